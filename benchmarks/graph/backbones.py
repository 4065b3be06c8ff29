"""What each backbone gives: size, work, files, agreement of int8 with float, and which compressions it allows.

    python benchmarks/graph/backbones.py measure --out OUT [--names NAME ...] [--parts PART ...]
    python benchmarks/graph/backbones.py measure --out OUT --only-latency    (run nothing else beside it)
    python benchmarks/graph/backbones.py table   --out OUT                   (prints Markdown)

Every backbone is measured in a process of its own, on the built-in drawn set, which is written to OUT/data. It is
trained a few steps from random weights, so its AP is near 0: what the row proves is that every stage runs, and how far
the int8 file is from the float one. Biases are rounded only, while the usual export corrects them, which takes minutes
for each of the many networks here: the int8 files of a run are a little nearer to float. What is in OUT/NAME.json is
not measured again.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

from backbone_table import Row, backbone_table

from keras_retina.foundation.machine import machine_name
from keras_retina.recipe.model import BackboneName

SIDE = 256  # pixels of the input
TRAIN_IMAGES, VAL_IMAGES = 64, 12
BATCH, STEPS, NORM_BATCHES = 4, 4, 4
CALIBRATION, COMPARED = 6, 4  # images
ROUNDS = 12  # of the latency
PARTS = ("network", "training", "saved", "float32", "int8", "agreement", "edge_tpu", "int16")
PARTS += ("channels", "sparsity", "clusters", "qat")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("measure", "one", "table"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--names", nargs="+", default=get_args(BackboneName), choices=get_args(BackboneName))
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    parser.add_argument("--only-latency", action="store_true")
    arguments = parser.parse_args()
    if arguments.stage == "table":
        rows = [row for row in (read_row(arguments.out, name) for name in arguments.names) if row]
        print(backbone_table(rows))
        return
    {"measure": measure, "one": one}[arguments.stage](arguments)


def measure(arguments: argparse.Namespace) -> None:
    """Measures what is missing; one process a backbone, so that none can end or slow the others."""
    from keras_retina.data.builtin.builtin import write_builtin_set

    write_builtin_set(arguments.out / "data", TRAIN_IMAGES, VAL_IMAGES)
    for name in arguments.names:
        if arguments.only_latency:
            add_latency(arguments.out, name)
        elif not set(read_row(arguments.out, name)).issuperset(arguments.parts):
            print(f"{name}: {datetime.datetime.now():%H:%M:%S}", flush=True)
            command = [sys.executable, __file__, "one", "--out", str(arguments.out), "--names", name]
            command += ["--parts", *arguments.parts]
            if subprocess.run(command, check=False).returncode:
                print(f"{name}: ended before it was done", flush=True)


def one(arguments: argparse.Namespace) -> None:
    """Measures one backbone; each part is written when it is done."""
    from keras_retina.foundation.errors import InputError

    (name,) = arguments.names
    fresh = {"name": name, "machine": machine_name(), "date": datetime.date.today().isoformat()}
    row = read_row(arguments.out, name) or fresh
    trial = Trial.begin(name, arguments.out)
    parts: dict[str, Callable[[], Row]] = {
        "network": trial.network,
        "training": trial.train,
        "saved": trial.save,
        "float32": partial(trial.export, "float32"),
        "int8": partial(trial.export, "int8"),
        "agreement": trial.agreement,
        "edge_tpu": trial.edge_tpu,
        "int16": partial(trial.export, "int16"),
        "channels": trial.prune,
        "sparsity": trial.sparse,
        "clusters": trial.clusters,
        "qat": trial.quantize_aware,
    }
    for part, run in parts.items():
        if part in row or part not in arguments.parts:
            continue
        started = time.perf_counter()
        try:
            row[part] = run()
        except InputError as error:
            row[part] = {"refused": str(error)}
        seconds = time.perf_counter() - started
        print(f"  {part} ({seconds:.0f} s): {json.dumps(row[part])[:300]}", flush=True)
        write_row(arguments.out, row)


@dataclass
class Trial:
    """One backbone on its way through the stages; goes on with OUT/NAME.keras where that is there."""

    name: str
    out: Path
    model: Any
    spec: Any
    dataset: Any
    validation: Any

    @classmethod
    def begin(cls, name: BackboneName, out: Path) -> Trial:
        import keras_retina as kr

        settings = kr.Model(
            backbone={"name": name, "weights": "none", "frozen_stages": 0, "batch_norm": "trained"},
            input={"height": SIDE, "width": SIDE},
            pyramid={"width": 64},
            head={"width": 64, "convolutions": 2},
        )
        dataset, validation = (kr.load_dataset(out / "data", split) for split in ("train", "val"))
        trained = out / f"{name}.keras"
        if trained.exists():
            model, spec = kr.load_detector(trained)
        else:
            model, spec = kr.retinanet(settings, class_names=dataset.class_names)
        return cls(name, out, model, spec, dataset, validation)

    def file(self, kind: str) -> Path:
        return self.out / f"{self.name}_{kind}_raw.tflite"

    def batches(self) -> Any:
        import keras_retina as kr

        return kr.training_batches(self.dataset, self.spec, batch_size=BATCH)

    def images(self, dataset: Any, count: int) -> list[Any]:
        from keras_retina.data.images import read_image

        return [read_image(record.path) for record in dataset.records[:count]]

    def fit(self, model: Any, *, steps: int, callbacks: tuple[Any, ...] = ()) -> list[float]:
        """Trains with the paper's loss and returns the loss of each step."""
        import keras_retina as kr
        from keras_retina.foundation.legacy_keras import keras

        model.compile(keras.optimizers.Adam(1e-3), loss={"classes": kr.FocalLoss(), "boxes": kr.BoxLoss()})
        history = model.fit(self.batches(), epochs=steps, steps_per_epoch=1, callbacks=list(callbacks), verbose=0)
        return [round(float(loss), 4) for loss in history.history["loss"]]

    def network(self) -> Row:
        from keras_retina.foundation.legacy_keras import keras
        from keras_retina.model.backbones import backbone_features
        from keras_retina.model.graph import multiply_adds
        from keras_retina.recipe.model import Backbone

        image = keras.Input((224, 224, 3))
        settings = Backbone(name=self.name, weights="none", frozen_stages=0, batch_norm="trained")
        alone = keras.Model(image, backbone_features(image, settings))
        return {
            "backbone_parameters": alone.count_params(),
            "backbone_multiply_adds_224": multiply_adds(alone),
            "channels": [alone.output_shape[level][3] for level in (3, 4, 5)],
            "parameters": self.model.count_params(),
            "multiply_adds": multiply_adds(self.model),
        }

    def train(self) -> Row:
        from keras_retina.train.batch_norm import estimate_batch_norm

        started = time.perf_counter()
        losses = self.fit(self.model, steps=STEPS)
        seconds = time.perf_counter() - started
        estimate_batch_norm(self.model, self.batches().take(NORM_BATCHES))
        return {"losses": losses, "seconds": round(seconds, 1)}

    def save(self) -> Row:
        import numpy as np

        import keras_retina as kr

        path = self.out / f"{self.name}.keras"
        kr.save_detector(self.model, self.spec, path)
        loaded, _ = kr.load_detector(path)
        images = next(iter(self.batches()))[0]
        ours, theirs = self.model(images, training=False), loaded(images, training=False)
        difference = max(float(np.abs(ours[head] - theirs[head]).max()) for head in ours)
        return {"largest_difference": difference}

    def export(self, kind: str) -> Row:
        import edge
        from edge.export import convert

        path = self.file(kind)
        convert.BIAS_IMAGES = 0
        edge.export_detector(
            self.model, self.spec, path, calibration=self.images(self.dataset, CALIBRATION), format=kind, head="raw"
        )
        found = edge.evaluate_tflite(path, self.validation)
        row = {"bytes": path.stat().st_size, "AP": found["AP"], "AP50": found["AP50"]}
        if kind == "int16":
            row |= self.compared(path)
            path.unlink()
        return row

    def agreement(self) -> Row:
        return self.compared(self.file("int8"))

    def compared(self, path: Path) -> Row:
        """Holds the heads of a file against those of the float file."""
        import numpy as np

        floats, others = (self.heads(one) for one in (self.file("float32"), path))
        found: Row = {}
        for head, values in floats.items():
            received = others[head]
            found[f"{head}_error"] = float(np.sqrt(np.mean(np.square(received - values))) / np.std(values))
            found[f"{head}_correlation"] = float(np.corrcoef(values.ravel(), received.ravel())[0, 1])
        return found

    def heads(self, path: Path) -> dict[str, Any]:
        """Returns both heads of a raw file on validation images, as floats."""
        import numpy as np
        from ai_edge_litert.interpreter import Interpreter

        from edge.quantize.own_images import calibration_images
        from edge.runtime import dequantized

        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        image_index = interpreter.get_input_details()[0]["index"]
        found: dict[str, list[Any]] = {}
        for image in calibration_images(self.images(self.validation, COMPARED), self.spec).pixels:
            interpreter.set_tensor(image_index, image[None])
            interpreter.invoke()
            for detail in interpreter.get_output_details():
                values = dequantized(interpreter.get_tensor(detail["index"]), detail)
                found.setdefault("boxes" if values.shape[-1] == 4 else "classes", []).append(values)
        return {head: np.stack(values) for head, values in found.items()}

    def edge_tpu(self) -> Row:
        from edge.edgetpu.operators import LATER_SUBGRAPH
        from edge.edgetpu.parser import NOT_PARSED
        from edge.edgetpu.predict import predict

        found = predict(self.file("int8"))
        of_others = (LATER_SUBGRAPH, NOT_PARSED)
        alone = [one for one in found.operators if one.status != "mapped" and one.reason not in of_others]
        return {
            "verdict": found.verdict,
            "mapped": sum(one.status == "mapped" for one in found.operators),
            "operators": len(found.operators),
            "refused": dict(Counter(f"{one.op}: {one.reason}" for one in alone)),
            "parameter_bytes": found.parameter_bytes,
        }

    def prune(self) -> Row:
        import edge
        from keras_retina.model.graph import multiply_adds

        smaller = edge.prune_channels(self.model, self.spec, self.batches().take(1), keep=0.5)
        losses = self.fit(smaller, steps=1)
        path = self.out / f"{self.name}_half.tflite"
        edge.export_detector(
            smaller, self.spec, path, calibration=self.images(self.dataset, 2), format="float32", head="raw"
        )
        row = {"multiply_adds": multiply_adds(smaller), "parameters": smaller.count_params(), "loss": losses[-1]}
        row["bytes"] = path.stat().st_size
        path.unlink()
        return row

    def sparse(self) -> Row:
        import edge
        from edge.compress.weights.sparsity import sparsity_of

        sparse, callbacks = edge.sparse_model(self.model, steps=1, amount=0.7)
        losses = self.fit(sparse, steps=2, callbacks=tuple(callbacks))
        found = sparsity_of(edge.finish_sparse(sparse))
        return {"zeros": found.share, "of_all": found.total_share, "loss": losses[-1]}

    def clusters(self) -> Row:
        from edge.compress.weights.clusters import clustered_model, clusters_of, strip
        from edge.quantize.aware.model import quantizable
        from edge.quantize.own_images import calibration_images

        images = calibration_images(self.images(self.dataset, 2), self.spec)
        clustered = clustered_model(quantizable(self.model, images), 16, start="linear")
        losses = self.fit(clustered, steps=1)
        return {"most_values": max(clusters_of(strip(clustered)).values()), "loss": losses[-1]}

    def quantize_aware(self) -> Row:
        import edge

        model = edge.quantize_aware(self.model, self.spec, calibration=self.images(self.dataset, 4))
        losses = self.fit(model, steps=1)
        path = self.out / f"{self.name}_qat.tflite"
        edge.export_detector(model, self.spec, path, format="int8", head="raw")
        row = {"bytes": path.stat().st_size, "loss": losses[-1]}
        path.unlink()
        return row


def add_latency(out: Path, name: str) -> None:
    """Times the float and int8 files of a backbone in turns on one thread."""
    from edge.benchmark.interleave import interleaved_latency

    row = read_row(out, name)
    paths = [out / f"{name}_{kind}_raw.tflite" for kind in ("float32", "int8")]
    if not row or not all(path.exists() for path in paths) or "latency_ms" in row:
        return
    times = interleaved_latency(paths, 1, rounds=ROUNDS, image=None)
    medians = [min(statistics.median(turn) for turn in one_file) for one_file in times]
    row["latency_ms"] = dict(zip(("float32", "int8"), (round(value, 2) for value in medians), strict=True))
    row["latency_machine"] = f"{machine_name()}, {datetime.date.today().isoformat()}"
    write_row(out, row)
    print(f"{name}: {row['latency_ms']}", flush=True)


def read_row(out: Path, name: str) -> Row:
    path = out / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def write_row(out: Path, row: Row) -> None:
    (out / f"{row['name']}.json").write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
