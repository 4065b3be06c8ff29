"""The surfaces of text: recipes, files of a run folder, logs, the command line, and labels (`fuzz_labels`).

A surface writes one hostile input into a folder and returns the words to run `keras-retina` with.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from fuzz_commands import command_line, outputs, special_files
from fuzz_labels import coco, csv_file, data_yaml, other_formats, voc, yolo
from fuzz_sound import RECIPE, coco_labels, sound_coco
from fuzz_values import YAML_BOMBS, Generator, chance, damaged_json, damaged_text, name, number, pick, written


def recipe(rng: Generator, folder: Path) -> list[str]:
    """A recipe with hostile values, or one changed by `--set`."""
    sound_coco(folder / "data")
    file = folder / "r.yaml"
    written(rng, file, damaged_json(rng, RECIPE))
    return [*_with_recipe(rng, file, folder / "data")]


def recipe_yaml(rng: Generator, folder: Path) -> list[str]:
    """A recipe whose YAML is hostile."""
    sound_coco(folder / "data")
    file, sound = folder / "r.yaml", yaml.safe_dump(RECIPE)
    text = pick(rng, YAML_BOMBS) if chance(rng, 0.5) else damaged_text(rng, sound)
    written(rng, file, text + ("" if chance(rng, 0.5) else sound))
    return _with_recipe(rng, file, folder / "data")


def _with_recipe(rng: Generator, file: Path, data: Path) -> list[str]:
    verbs = (
        ["check-data", "--recipe", str(file), "--data", str(data)],
        ["fit-anchors", str(file), "--data", str(data)],
        ["show-batch", str(file), "--data", str(data), "--images", "1"],
        ["pack", str(file), "--data", str(data), "--out", "packed"],
    )
    return list(verbs[int(rng.choice(4, p=[0.6, 0.2, 0.1, 0.1]))])


def run_folder(rng: Generator, folder: Path) -> list[str]:
    """A run folder in which some of the files that verbs read back are hostile."""
    sound_coco(folder / "data")
    run = folder / "run"
    metrics = {
        "split": "val",
        "AP": 1.0,
        "AP50": 2.0,
        "AP75": 1.0,
        "AP_small": None,
        "AP_medium": 1.0,
        "AP_large": None,
        "per_class": {"cat": 1.0, "dog": None},
    }
    row = {
        "file": "r_float32.tflite",
        "format": "float32",
        "head": "raw",
        "status": "measured",
        "reason": "",
        "ap": {"AP": 1.0, "AP50": 2.0, "AP75": 1.0},
        "size_bytes": 10,
        "gzip_bytes": 9,
        "sha256": "x",
        "latency": {"median": 1.0, "p95": 2.0, "runs": 3, "threads": 2},
        "per_class": {"cat": 1.0},
    }
    results = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    files: dict[str, Any] = {
        "run.json": {"data": str(folder / "data"), "command": "c", "keras_retina": "1", "python": "3", "machine": "m"},
        "metrics.json": metrics,
        "verify.json": {
            "dataset": {"name": "d", "split": "val", "images": 3, "sha256": "x"},
            "gate": {"rule": "r", "passed": True},
            "rows": [row, {**row, "file": "r_int8.tflite", "format": "int8"}],
        },
        "verify/ground_truth.json": coco_labels("val"),
        "verify/r_float32.json": results,
        "export/r_float32.json": {"kind": "float32", "quantized": None, "input": {"height": 128}},
        "train/class_balance.json": {"classes": [{"name": "cat", "anchors": 3}], "levels": []},
        "splits.json": {"files": {"train": ["a"], "val": ["b"]}, "seed": 0},
        "train/best.json": {"AP": 1.0, "epoch": 1},
    }
    hostile = {str(pick(rng, [*files, "recipe.yaml", "train/history.csv"])) for _ in range(2)}
    for file, value in files.items():
        if file in hostile or chance(rng, 0.8):
            written(rng, run / file, damaged_json(rng, value) if file in hostile else json.dumps(value))
    history = "epoch,loss,AP,seconds,learning_rate\n1,2.0,1.0,3.0,0.1\n"
    texts = {"recipe.yaml": json.dumps({**RECIPE, "compress": {}, "expected": None}), "train/history.csv": history}
    for file, text in texts.items():
        written(rng, run / file, damaged_text(rng, text) if file in hostile else text)
    verbs = (
        ["report", str(run)],
        ["evaluate", str(run)],
        ["export", str(run)],
        ["verify", str(run)],
        ["compress", str(run)],
    )
    return list(verbs[int(rng.choice(5, p=[0.7, 0.1, 0.05, 0.1, 0.05])) if chance(rng, 0.7) else 0])


def file_names(rng: Generator, folder: Path) -> list[str]:
    """Pictures, folders and label files with hostile names, links in circles and links that lead out."""
    data = folder / "data"
    sound_coco(data)
    for _ in range(int(rng.integers(1, 4))):
        plain = name(rng).replace("/", "_").replace("\0", "")[:200].encode("utf-8", "surrogatepass")[:200]
        place = os.fsencode(data) + b"/" + pick(rng, (b"images/", b"annotations/", b"")) + (plain or b"x")
        if os.path.lexists(place):
            continue
        kind = int(rng.integers(5))
        if kind == 0:
            os.symlink(pick(rng, (place, b"..", b"/", b"/etc/passwd", b"nowhere", b"/proc/self", b"x" * 4000)), place)
        elif kind == 1:
            os.mkdir(place)
        else:
            Path(os.fsdecode(place + pick(rng, (b"", b".png", b".json", b".txt", b".xml", b".csv")))).write_bytes(b"{}")
    if chance(rng, 0.5):
        return ["check-data", "--data", str(data)]
    return list(
        pick(rng, (["plan", str(data)], ["check-data", "--data", str(data / name(rng)[:5000].replace("\0", ""))]))
    )


def logs(rng: Generator, folder: Path) -> list[str]:
    """Logs of devices and of the Edge TPU compiler, class names and class maps."""
    timing = "Inference timings in us: Init: 1000, First inference: 2000, Warmup (avg): 2000, Inference (avg): 1500.5"
    log = "STARTING!\nGraph: [a.tflite]\nNum threads: [2]\ncount=50 first=1 curr=2 min=1 max=3 avg=2.0 std=1\n" + timing
    cells = log.split(" ")
    for _ in range(int(rng.integers(1, 4))):
        cells[int(rng.integers(len(cells)))] = pick(rng, (number, name))(rng)
    text = " ".join(cells)
    written(rng, folder / "log.txt", damaged_text(rng, text) if chance(rng, 0.3) else text)
    (folder / "x.tflite").write_bytes(b"\x1c\0\0\0TFL3" + b"\0" * 50)
    if chance(rng, 0.7):
        return ["benchmark", "--import", str(folder / "log.txt"), "--device", os.fsdecode(os.fsencode("d"))]
    return ["edgetpu", str(folder / "x.tflite"), "--log", str(folder / "log.txt")]


def surfaces() -> dict[str, Callable[[np.random.Generator, Path], list[str]]]:
    """Returns every surface of text by its name."""
    found = (
        recipe,
        recipe_yaml,
        coco,
        voc,
        yolo,
        data_yaml,
        csv_file,
        other_formats,
        run_folder,
        command_line,
        file_names,
        special_files,
        logs,
        outputs,
    )
    return {one.__name__: one for one in found}
