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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args

from backbone_table import Row, backbone_table
from backbone_trial import Trial

from keras_retina.foundation.machine import machine_name
from keras_retina.recipe.backbones import BackboneName

TRAIN_IMAGES, VAL_IMAGES = 64, 12
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
