"""Whether an imported detector is the original: heads, anchors and final detections on random weights.

    python benchmarks/imports/check.py --python torchvision=PYTHON --python official=PYTHON

The original runs with its own library in the Python that `--python` names (default: this one); what it writes is
imported with `keras-retina import` and compared here. A source whose library is missing is told and counts as not
checked. Exit status 1 where a difference is too large.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_retina.cli.weights import import_
from keras_retina.evaluate.predict import detect_function
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.imports.coco import OUTPUTS
from keras_retina.model.saving import load_detector
from keras_retina.model.spec import DetectorSpec
from keras_retina.run.folder import open_run

HERE = Path(__file__).parent
LARGEST_DIFFERENCE = 1e-4
THEIR_THRESHOLD = 0.05
PIXELS = 0.01  # of the same box, after heads that differ in the sixth digit

SOURCES = {
    "torchvision v1": ("torchvision", "torchvision_original.py", ["v1"]),
    "torchvision v2": ("torchvision", "torchvision_original.py", ["v2"]),
    "Model Garden, MobileNetV2": ("official", "model_garden_original.py", ["mobilenet_v2"]),
    "Model Garden, ResNet-50": ("official", "model_garden_original.py", ["resnet50"]),
    "keras_hub v1": ("keras_hub", "keras_hub_original.py", ["v1"]),
    "keras_hub v2": ("keras_hub", "keras_hub_original.py", ["v2"]),
    "keras_cv": ("keras_cv", "keras_cv_original.py", ["rescaling"]),
    "keras_cv plain": ("keras_cv", "keras_cv_original.py", ["plain"]),
}
"""name -> its library, and the program with its arguments that writes the original."""


@dataclass(frozen=True)
class Comparison:
    """Largest differences of anchors in pixels, logits and deltas; detections of the original, and those found here."""

    anchors: float
    logits: float
    deltas: float
    detections: int
    equal: int

    @property
    def passed(self) -> bool:
        """Whether nothing differs by more than rounding, and there was something to find."""
        differs = max(self.anchors, self.logits, self.deltas) >= LARGEST_DIFFERENCE
        return not differs and self.equal == self.detections > 0


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--python", action="append", default=[], metavar="LIBRARY=PYTHON")
    made.add_argument("--only", action="append", default=[], choices=sorted(SOURCES), help="this source, not all")
    arguments = made.parse_args()
    pythons, chosen = dict(one.split("=", 1) for one in arguments.python), arguments.only
    failed = False
    for name, (library, program, arguments) in SOURCES.items():
        if chosen and name not in chosen:
            continue
        python = pythons.get(library, sys.executable)
        if library not in pythons and importlib.util.find_spec(library) is None:
            print(f"{name}: not checked, {library} is not installed; --python {library}=PYTHON names one that has it")
            continue
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([python, HERE / program, *arguments, folder], check=True)
            for checkpoint in sorted(Path(folder).glob("checkpoint.*[!0-9]")):  # not the data beside an .index
                compared = compare(checkpoint, Path(folder) / "expected.npz", run=Path(folder) / "run")
                failed |= not compared.passed
                print(f"{name}, {checkpoint.suffix}: {compared}", flush=True)
    sys.exit(1 if failed else 0)


def compare(checkpoint: Path, expected: Path, *, run: Path) -> Comparison:
    """Imports a checkpoint and compares the detector with what the original found."""
    theirs = dict(np.load(expected))
    height, width = theirs["image"].shape[:2]
    settings = [f"model.input.height={height}", f"model.input.width={width}"]
    labels = checkpoint.with_name("labels.txt")
    labels.write_text("\n".join(OUTPUTS))  # which only some sources know by themselves
    import_(checkpoint, run, labels=labels, set_=settings, overwrite=True)
    model, spec = load_detector(run / "model.keras")
    return comparison(model, spec, theirs=theirs, run=run)


def comparison(model: keras.Model, spec: DetectorSpec, *, theirs: dict[str, np.ndarray], run: Path) -> Comparison:
    """Compares heads and detections; the outputs that stand for no class are left out on both sides."""
    kept = np.array([OUTPUTS.index(name) for name in spec.class_names])
    heads = model(spec.scale(theirs["image"][None]), training=False)
    limits = open_run(run).recipe.export
    detect = detect_function(
        model, spec, iou_threshold=limits.iou_threshold, max_detections=limits.max_detections, nms=limits.nms
    )
    found = {name: values[0] for name, values in detect(theirs["image"][None]).items()}
    ours = found["scores"] > THEIR_THRESHOLD
    boxes = np.clip(found["boxes"][ours], 0, [spec.height, spec.width] * 2)
    classes, scores = kept[found["classes"][ours]], found["scores"][ours]
    equal = sum(
        bool(
            np.any(
                (classes == label)
                & (np.abs(scores - score) < LARGEST_DIFFERENCE)
                & (np.abs(boxes - box).max(axis=1, initial=0) < PIXELS)
            )
        )
        for box, score, label in zip(theirs["boxes"], theirs["scores"], theirs["classes"], strict=True)
    )
    return Comparison(
        anchors=float(np.abs(spec.anchors() - theirs["anchors"]).max()),
        logits=float(np.abs(heads["classes"][0] - theirs["logits"][:, kept]).max()),
        deltas=float(np.abs(heads["boxes"][0] - theirs["deltas"]).max()),
        detections=len(theirs["scores"]),
        equal=equal if len(scores) == len(theirs["scores"]) else -1,
    )


if __name__ == "__main__":
    main()
