"""One backbone on its way through training, files and compressions, for backbones.py."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backbone_table import Row

from keras_retina.recipe.backbones import BackboneName

SIDE = 256  # pixels of the input
BATCH, STEPS, NORM_BATCHES = 4, 4, 4
CALIBRATION, COMPARED = 6, 4  # images


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
