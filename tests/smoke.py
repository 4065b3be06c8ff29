"""A user's first day with the installed `keras-retina`, made small: from drawn pictures to a detection.

Run it with the Python that has the package, `python tests/smoke.py`. It uses the command line alone, in a folder of its
own, so it also tells whether everything was installed. It says nothing about accuracy: a dozen training steps teach
nothing, so the gate of `verify` may fail, with the exit status that belongs to that.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

RECIPE = """
name: smoke
model:
  backbone: {name: plain, weights: none, frozen_stages: 0, batch_norm: trained}
  input: {height: 128, width: 128}
  pyramid: {width: 16}
  head: {width: 16, convolutions: 1}
training: {epochs: 1, batch_size: 4, steps_per_epoch: 12}
compress:
  half:
    channels: {keep: 0.5}
    fine_tune: {epochs: 1}
export: {formats: [float32, int8], calibration_images: 8}
verification: {latency_runs: 1}
"""
FILES = [
    f"smoke_{kind}{model}{head}.tflite"
    for kind in ("float32", "int8")
    for model in ("", "_half")
    for head in ("", "_raw")
]
GATE_FAILED = 1


def draw_data(folder: Path, split: str, images: int, generator: np.random.Generator) -> None:
    """Adds a split to a COCO folder: grey noise with a white disc on the left and a black square on the right."""
    labels = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "disc"}, {"id": 2, "name": "square"}]}
    for number in range(images):
        picture = Image.fromarray(generator.integers(90, 150, (128, 128, 3), np.uint8))
        draw = ImageDraw.Draw(picture)
        for category, left in ((1, 8), (2, 72)):
            x, y, side = (int(value) for value in generator.integers((left, 8, 24), (left + 8, 72, 48)))
            corners = (x, y, x + side - 1, y + side - 1)
            draw.ellipse(corners, "white") if category == 1 else draw.rectangle(corners, "black")
            box = {"bbox": [x, y, side, side], "area": side * side, "iscrowd": 0}
            identity = {"id": len(labels["annotations"]) + 1, "image_id": number, "category_id": category}
            labels["annotations"].append(identity | box)
        name = f"{split}_{number}.jpg"
        picture.save(folder / "images" / name)
        labels["images"].append({"id": number, "file_name": name, "width": 128, "height": 128})
    (folder / "annotations" / f"{split}.json").write_text(json.dumps(labels), encoding="utf-8")


def keras_retina(*arguments: str, writes: list[str], also_allowed: int = 0) -> int:
    """Runs one command, ends this script unless status and files are as they should be, and returns the status."""
    started = time.perf_counter()
    command = [Path(sys.executable).with_name("keras-retina"), *arguments]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if result.returncode not in {0, also_allowed}:
        sys.exit(f"{result.stdout}\nsmoke: exit status {result.returncode} of keras-retina {' '.join(arguments)}")
    for file in writes:
        if not Path(file).is_file() or not Path(file).stat().st_size:
            sys.exit(f"{result.stdout}\nsmoke: {file} was not written by keras-retina {' '.join(arguments)}")
    print(f"  {arguments[0]:<10} {time.perf_counter() - started:5.1f} s", flush=True)
    return result.returncode


def check_measurements(verify: dict, status: int) -> None:
    """Every file was measured, the float32 file computes what Keras computes, and the exit status is the gate's."""
    rows = {row["file"]: row["status"] for row in verify["rows"]}
    missing = [file for file in FILES if rows.get(file) not in {"verified", "failed"}]
    if missing or not verify["parity"]["passed"] or (status == 0) != verify["gate"]["passed"]:
        sys.exit(f"{json.dumps(verify, indent=2)}\nsmoke: verify, exit status {status}, not measured: {missing}")


def main() -> None:
    """Runs the commands in the order of the README."""
    for part in ("images", "annotations"):
        Path("data", part).mkdir(parents=True)
    generator = np.random.default_rng(0)
    draw_data(Path("data"), "train", 16, generator)
    draw_data(Path("data"), "val", 8, generator)
    Path("smoke.yaml").write_text(RECIPE, encoding="utf-8")

    started = time.perf_counter()
    keras_retina("check-data", "--data", "data", "--recipe", "smoke.yaml", writes=[])
    keras_retina("train", "smoke.yaml", "--data", "data", "--out", "run", writes=["run/model.keras"])
    keras_retina("evaluate", "run/model.keras", "--data", "data", writes=[])
    keras_retina("compress", "run", writes=["run/compress/half/model.keras"])
    keras3 = [f"run/export/smoke_keras3{ending}.keras" for ending in ("", "_half")]
    keras_retina("export", "run", "--keras3", writes=[*(f"run/export/{file}" for file in FILES), *keras3])
    status = keras_retina("verify", "run", writes=["run/verify.json"], also_allowed=GATE_FAILED)
    check_measurements(json.loads(Path("run/verify.json").read_text(encoding="utf-8")), status)
    keras_retina("report", "run", writes=["run/report.html"])
    keras_retina("inspect", "run/export/smoke_int8_half.tflite", writes=[])
    found = ["found/val_0.jpg", "found/results.json"]
    keras_retina("detect", "run/export/smoke_int8_half.tflite", "data/images/val_0.jpg", "--out", "found", writes=found)
    gate = "passed" if status == 0 else "failed, as it may"
    print(f"smoke: Python {platform.python_version()} passed in {time.perf_counter() - started:.0f} s (gate {gate})")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="keras_retina_smoke_") as folder:
        os.chdir(folder)
        main()
        os.chdir("/")
