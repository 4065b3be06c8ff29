"""Which head a file has: every known one is asked, and where two fit both are named.

As a program, in a process of its own that a damaged file may end: `{"path"}` in, what `head_facts` returns out.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edge.detectors.child import ChildError, run_module
from edge.detectors.heads import anchors, centernet, fomo, postprocess
from edge.detectors.heads.head import Head, Seen
from edge.detectors.heads.levels import recognise as levels
from edge.detectors.heads.levels.maps import anchors_per_cell
from edge.detectors.heads.look import input_form, look
from edge.detectors.heads.tables import nanodet, parts, yolo, yolox
from edge.detectors.open_file import PATIENCE, limit_memory, load, refused
from edge.runtime import ModelFileError
from edge.tflite.flatbuffer import read_flatbuffer
from edge.tflite.read_metadata import read_metadata
from keras_retina.foundation.errors import InputError, closest

ROOM = (postprocess, anchors, yolo, yolox, nanodet, parts, fomo, centernet, levels)
KNOWN = {
    postprocess.NAME: "boxes [1, n, 4], classes, scores, count with suppression inside (SSD, EfficientDet-Lite)",
    postprocess.YOLO_NAME: "the same with x first (YOLOv5 with suppression)",
    anchors.NAME: "location [1, n, 4] and score [1, n, classes] with anchors in DETECTOR_METADATA (MediaPipe)",
    yolo.YOLOV8: "[1, 4 + classes, n] or [1, n, 4 + classes] (YOLOv8, YOLO11)",
    yolo.YOLOV5: "[1, n, 5 + classes], three rows a cell (YOLOv3, v5, v7)",
    yolo.YOLOV6: "[1, cells, 5 + classes] with an objectness of 1 (YOLOv6)",
    parts.NAME: "boxes [1, n, 4] and scores [1, n, classes], apart (YOLOv8, YOLO11 and the like)",
    parts.BEST_NAME: "corners [1, n, 4], the best score [1, n] and its class [1, n] (Qualcomm AI Hub)",
    yolo.YOLO_NMS: "[1, n, 6] (YOLO with suppression inside, YOLOv10)",
    yolox.NAME: "[1, cells, 5 + classes], decoded (YOLOX)",
    yolox.GRID_NAME: "the same, to be decoded (YOLOX)",
    nanodet.NAME: "[1, cells, classes + 4 * bins] (NanoDet)",
    nanodet.PLUS_NAME: "the same, from corners of cells (NanoDet-Plus)",
    fomo.NAME: "[1, rows, columns, 1 + classes] that add up to 1 (FOMO)",
    centernet.NAME: "maps of heat, size and offset, x first (CenterNet)",
    centernet.TF_NAME: "the same, y first (TensorFlow)",
    **levels.KNOWN,
}
TASK = "detect"


def readings(seen: Seen) -> list[Head]:
    """Returns every way in which the outputs can be read."""
    return [head for module in ROOM for head in module.recognise(seen)]


def chosen(path: Path, seen: Seen) -> Head:
    """Returns the only reading, or the one that was asked for.

    Raises:
        ModelFileError: no known head, or a network of another task.
        InputError: several readings, an unknown `--head`, or a number of class names that does not fit.
    """
    if seen.asked is not None and seen.asked not in KNOWN:
        raise InputError(
            f"--head: expected one of {', '.join(KNOWN)}. Received: {seen.asked}. {closest(seen.asked, KNOWN)}"
        )
    if seen.metadata.task not in (None, TASK):
        raise ModelFileError(
            f"{path}: expected a network that detects boxes. Received: task {seen.metadata.task}, in its metadata. "
            "Export a detection model."
        )
    shown = "; ".join(output.line() for output in seen.outputs)
    if not all(np.isfinite(output.values).all() for output in seen.outputs):
        raise ModelFileError(
            f"{path}: expected finite numbers. Received, for noise: {shown}. LiteRT does not compute this file; "
            "convert it again, or take another form of it."
        )
    found = readings(seen)
    if seen.anchors is not None:
        found = [head for head in found if head.name in levels.WITH_ANCHORS]
        if not found:
            levels_given, per_cell = len(seen.anchors), anchors_per_cell(seen)
            raise InputError(
                f"--anchors: expected a YOLO in maps, {per_cell} anchors a cell on {levels_given} levels. Received: "
                f"{path} with {shown}. Leave it out, or give as many anchors as the file has."
            )
    if len(found) == 1:
        return found[0]
    if found:
        ways = "; or ".join(f"{head.name}: {head.why}" for head in found)
        options = " or ".join(f"--head {head.name}" for head in found)
        labels = "" if seen.classes is not None else " Or pass --labels: the number of names may decide."
        raise InputError(
            f"{path}: expected outputs that can be read in one way. Received: {ways}. Say {options}.{labels}"
        )
    others = readings(dataclasses.replace(seen, classes=None)) if seen.classes is not None else []
    if others:
        raise InputError(
            f"{path}: expected as many class names as it has classes, read as {others[0].name}: {others[0].why}. "
            f"Received: {seen.classes} names. Pass the right --labels."
        )
    if seen.asked is not None:
        raise InputError(
            f"--head: expected outputs of {seen.asked}: {KNOWN[seen.asked]}. Received: {path} with {shown}. "
            "Leave --head out to see how it is read."
        )
    raise ModelFileError(
        f"{path}: expected a known detection head. Received, for noise: {shown}. Known: "
        f"{'; '.join(f'{name}: {text}' for name, text in KNOWN.items())}. A file that ends at two heads needs their "
        "anchors in DETECTOR_METADATA; a classifier has no boxes."
    )


def head_facts(path: Path) -> dict[str, Any]:
    """Returns `readings` (`name`, `why` and `input` of each), `seen` (a line for each output) and `problem` of a file.

    `steady` is false where two runs on one picture gave different numbers. The file is opened in a process of its own.
    `problem` is None where there is one reading.
    """
    nothing: dict[str, Any] = {"readings": [], "seen": [], "problem": None, "steady": True}
    try:
        return run_module("edge.detectors.heads.recognise", {"path": str(path)}, timeout=PATIENCE)
    except ChildError as error:
        return nothing | {"problem": f"{path}: {error}"}


def _facts(path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {"readings": [], "seen": [], "problem": None, "steady": True}
    try:
        interpreter = load(path, 1)
        form = input_form(path, interpreter.get_input_details())
        model = read_flatbuffer(path.read_bytes())
        seen = look(interpreter, form, model=model, metadata=read_metadata(path))
        facts["steady"] = seen.steady
        facts["seen"] = [output.line() for output in seen.outputs]
        facts["readings"] = [{"name": head.name, "why": head.why, "input": form.told()} for head in readings(seen)]
        chosen(path, seen)
    except (ModelFileError, InputError) as error:
        facts["problem"] = str(error)
    except (ValueError, RuntimeError) as error:
        facts["problem"] = str(refused(path, str(error)))
    return facts


def main() -> None:
    """Reads `{"path"}` from standard input and prints the facts."""
    limit_memory()
    json.dump(_facts(Path(json.load(sys.stdin)["path"])), sys.stdout)


if __name__ == "__main__":
    main()
