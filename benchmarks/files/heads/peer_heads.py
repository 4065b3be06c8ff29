r"""Are the heads of other detectors read as their authors read them? AP by the package and by a second decode.

    python benchmarks/files/heads/peer_heads.py --data DIR [--split val] [--count 40] [--size 320] [--only yolov8]
    python benchmarks/files/heads/peer_heads.py --data DIR --files FILE ... --labels FILE \
        --class-map THEIRS=OURS,... [--head HEAD]

The first form writes a file for every form of every head (peer_networks.py, peer_levels.py). Their weights are random,
so the labels are made from what the second decode (peer_decodes.py, peer_level_decodes.py) finds: every second of its
best boxes, moved a little. The second form takes trained files and the set's own labels. Exit status 1 if an AP differs
by more than 0.1.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peer_decodes
import peer_level_decodes
from ai_edge_litert.interpreter import Interpreter
from peer_decodes import LEAST_SCORE, Detection, in_photo
from peer_level_decodes import ALL_SHEETS, LEVEL_SHEETS
from peer_levels import ANCHORED, LEVEL_FORMS, LevelForm, write_levels
from peer_networks import FORMS, NAMES, Form, write_network
from PIL import Image

from edge.detectors.foreign import Preprocessing
from edge.detectors.reading import Reading, ReadingOptions, choose_reading
from edge.detectors.split import detect_split
from keras_retina.data.images import read_image
from keras_retina.data.labelled import validation_split
from keras_retina.data.reading.folder import load_split, open_folder
from keras_retina.data.records import Dataset, Record
from keras_retina.evaluate.coco import coco_metrics, results_of_image

LARGEST_DIFFERENCE = 0.1
BEST = 12  # boxes of an image that labels are made from


@dataclass(frozen=True)
class Compared:
    """AP of one file by both decodes, and the largest difference between detections, matched in order of score."""

    name: str
    ours: float
    theirs: float
    detections: int
    boxes: float
    scores: float

    @property
    def agrees(self) -> bool:
        return abs(self.ours - self.theirs) <= LARGEST_DIFFERENCE


class Second:
    """A file opened beside the package: LiteRT, a sheet of OpenCV, and the second decode of its head."""

    def __init__(
        self,
        path: Path,
        head: str,
        *,
        classes: int,
        shares: bool,
        roles: Sequence[str] = (),
        corners: bool = False,
        anchors: Sequence[Sequence[float]] | None = None,
    ) -> None:
        self.head, self.classes, self.shares, self.roles = head, classes, shares, roles
        self.corners, self.anchors = corners, anchors
        self.interpreter = Interpreter(model_path=str(path), num_threads=1)
        self.interpreter.allocate_tensors()
        self.detail = self.interpreter.get_input_details()[0]
        self.nchw = self.detail["shape"][1] == 3
        self.size = [int(side) for side in (self.detail["shape"][2:] if self.nchw else self.detail["shape"][1:3])]

    def detect(self, photo: np.ndarray) -> list[Detection]:
        sheet = ALL_SHEETS[self.head](photo, *self.size)
        values = sheet.pixels.transpose(2, 0, 1) if self.nchw else sheet.pixels
        if self.detail["shape"][3] == 1:
            values = np.asarray(Image.fromarray(np.round(255 * values).astype(np.uint8)).convert("L"))[..., None] / 255
        kind, (scale, zero_point) = self.detail["dtype"], self.detail["quantization"]
        if kind == np.uint8 and self.head == "postprocess":
            values = np.round((values + 1) * 127.5)  # SSD files get camera bytes
        elif kind != np.float32:
            limits = np.iinfo(kind)
            values = np.clip(np.round(values / scale + zero_point), limits.min, limits.max)
        self.interpreter.set_tensor(self.detail["index"], values[None].astype(kind))
        self.interpreter.invoke()
        outputs = []
        for detail in self.interpreter.get_output_details():
            scale, zero_point = detail["quantization"]
            stored = self.interpreter.get_tensor(detail["index"])
            outputs.append((stored.astype(np.float32) - zero_point) * np.float32(scale) if scale else stored)
        return in_photo(self._decode(outputs), sheet, photo)

    def _decode(self, outputs: list[np.ndarray]) -> list[Detection]:
        height, width = self.size
        if self.head in LEVEL_SHEETS:
            return peer_level_decodes.detect(
                outputs, self.head, height, width, classes=self.classes, least=LEAST_SCORE, anchors=self.anchors
            )
        sides = np.array([width, height, width, height]) if self.shares else np.ones(4)
        if self.head in ("yolo-parts", "yolo-best"):
            return self._parts(outputs, sides)
        if self.head == "fomo":
            return peer_decodes.fomo(outputs[0][0], height // outputs[0].shape[1], 0.5)
        if self.head.startswith("centernet"):
            return self._centernet(outputs)
        if self.roles:
            by_role = dict(zip(self.roles, outputs, strict=True))
            order = [0, 1, 2, 3] if self.head == "yolov5-nms" else [1, 0, 3, 2]
            boxes = by_role["boxes"][0][:, order] * sides
            table = zip(boxes.tolist(), by_role["scores"][0], by_role["classes"][0], strict=True)
            found = [(box, float(score), int(label)) for box, score, label in table]
            return [one for one in found[: int(by_role["count"][0])] if one[1] >= LEAST_SCORE]
        rows = outputs[0][0]
        if rows.shape[0] < rows.shape[1]:
            rows = rows.T
        if self.head.startswith("nanodet"):
            if rows[:, : self.classes].min() < -0.01:
                rows = np.concatenate([1 / (1 + np.exp(-rows[:, : self.classes])), rows[:, self.classes :]], axis=1)
            plus = self.head == "nanodet-plus"
            return peer_decodes.nanodet(rows, height, width, classes=self.classes, plus=plus, least=LEAST_SCORE)
        if self.head == "yolox-grid":
            rows = peer_decodes.yolox_grid(rows, height, width)
        rows = np.concatenate([rows[:, :4] * sides, rows[:, 4:]], axis=1)
        if self.head == "yolo-nms":
            return [(row[:4].tolist(), float(row[4]), int(row[5])) for row in rows if row[4] >= LEAST_SCORE]
        known = {"yolov8": peer_decodes.yolov8, "yolov5": peer_decodes.yolov5, "yolov6": peer_decodes.yolov6}
        return known.get(self.head, peer_decodes.yolox)(rows, LEAST_SCORE)

    def _parts(self, outputs: list[np.ndarray], sides: np.ndarray) -> list[Detection]:
        tables = [one[0].T if one.ndim == 3 and one.shape[1] < one.shape[2] else one[0] for one in outputs]
        boxes = next(one for one in tables if one.ndim == 2 and one.shape[1] == 4) * sides
        rest = [one for one in tables if one.ndim == 1 or one.shape[1] != 4]
        if self.head == "yolo-parts":
            return peer_decodes.parts(boxes, rest[0], LEAST_SCORE, are_corners=self.corners)
        labels = next(one for one in rest if one.dtype == np.uint8)
        return peer_decodes.best(boxes, next(one for one in rest if one is not labels), labels, LEAST_SCORE)

    def _centernet(self, outputs: list[np.ndarray]) -> list[Detection]:
        heat, size, offset = (one[0].transpose(1, 2, 0) if self.nchw else one[0] for one in outputs)
        if heat.min() < -0.01:
            heat = 1 / (1 + np.exp(-heat))
        if self.head == "centernet-tf":
            size, offset = size[:, :, ::-1], offset[:, :, ::-1]
        return peer_decodes.centernet(heat, size, offset, self.size[0] // heat.shape[0], LEAST_SCORE)


def labels_from(found: Sequence[list[Detection]], dataset: Dataset) -> Dataset:
    """Returns the images of a set with every second of the best detections as labels, moved by up to a tenth."""
    random, records = np.random.default_rng(1), []
    for record, detections in zip(dataset.records, found, strict=True):
        chosen = detections[:BEST:2]
        boxes = np.array([box for box, _, _ in chosen], np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]]
        sizes = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        boxes = (boxes + sizes * random.uniform(-0.1, 0.1, boxes.shape)).astype(np.float32)
        classes = np.array([label for _, _, label in chosen], np.int32)
        records.append(dataclasses.replace(record, boxes=boxes, classes=classes, crowd=np.zeros(len(chosen), bool)))
    ids = tuple(range(1, len(NAMES) + 1))
    return dataclasses.replace(dataset, class_names=NAMES, category_ids=ids, records=tuple(records))


def compare_form(form: Form, folder: Path, *, dataset: Dataset, size: tuple[int, int]) -> Compared:
    """Writes a file of random weights and compares both readings of it on the images of a set."""
    path = write_network(form, folder / f"{form.name}.tflite", height=size[0], width=size[1])
    four = form.head in ("postprocess", "yolov5-nms")
    roles = form.order or (("boxes", "scores", "classes", "count") if four else ())
    second = Second(path, form.head, classes=len(NAMES), shares=form.shares, roles=roles, corners=form.corners)
    found = [second.detect(read_image(record.path)) for record in dataset.records]
    in_two_ways = roles == ("boxes", "scores", "classes", "count") or form.head.startswith("centernet")
    asked = {"head": form.head} if in_two_ways else {}
    reading = choose_reading(path, dataclasses.replace(dataset, class_names=NAMES), options=ReadingOptions(**asked))
    return compared(form.name, path, reading, dataset=labels_from(found, dataset), found=found)


def compare_levels(form: LevelForm, folder: Path, *, dataset: Dataset, size: tuple[int, int]) -> Compared:
    """As `compare_form`, of a file that ends in maps for each level; anchors that it does not have are chosen."""
    path = write_levels(form, folder / f"{form.name}.tflite", height=size[0], width=size[1])
    second = Second(path, form.head, classes=len(NAMES), shares=False, anchors=form.anchors)
    found = [second.detect(read_image(record.path)) for record in dataset.records]
    asked = {"head": form.head} if form.head in ANCHORED else {}
    if form.anchors is not None:
        asked["anchors"] = "/".join(",".join(map(str, level)) for level in form.anchors)
    reading = choose_reading(path, dataclasses.replace(dataset, class_names=NAMES), options=ReadingOptions(**asked))
    return compared(form.name, path, reading, dataset=labels_from(found, dataset), found=found)


def compared(
    name: str, path: Path, reading: Reading, *, dataset: Dataset, found: Sequence[list[Detection]]
) -> Compared:
    """Returns both APs on a set; `found` are the second decode's detections, classes those of the set."""
    ours = detect_split(path, dataset, reading=reading)
    theirs: list[dict[str, Any]] = []
    for record, detections in zip(dataset.records, found, strict=True):
        boxes = np.array([box for box, _, _ in detections], np.float32).reshape(-1, 4)[:, [1, 0, 3, 2]]
        scores = np.array([score for _, score, _ in detections], np.float32)
        classes = np.array([label for _, _, label in detections], np.int32)
        theirs += results_of_image(record, dataset.category_ids, boxes=boxes, scores=scores, classes=classes)
    boxes, scores = differences(ours, theirs)
    aps = [float(coco_metrics(dataset, one)["AP"] or 0.0) for one in (ours, theirs)]
    return Compared(name, aps[0], aps[1], len(theirs), boxes, scores)


def differences(ours: Sequence[dict[str, Any]], theirs: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Returns how far the nearest detection of ours, of the same class, lies from each of theirs: pixels, and score.

    The 20 best of each image count: where two scores differ in the last digit, suppression may choose otherwise.
    """
    images: dict[int, tuple[list, list]] = {}
    for side, detections in enumerate((ours, theirs)):
        for one in detections:
            images.setdefault(one["image_id"], ([], []))[side].append(one)
    far, off = 0.0, 0.0
    for mine, others in images.values():
        for other in sorted(others, key=lambda one: -one["score"])[:20]:
            same = [one for one in mine if one["category_id"] == other["category_id"]]
            gaps = [
                (float(np.abs(np.subtract(one["bbox"], other["bbox"])).max()), abs(one["score"] - other["score"]))
                for one in same
            ]
            if not gaps:
                return float("inf"), float("inf")
            nearest = min(gaps, key=sum)
            far, off = max(far, nearest[0]), max(off, nearest[1])
    return far, off


def compare_file(path: Path, dataset: Dataset, *, options: ReadingOptions) -> Compared:
    """Compares both readings of a trained file on a set's own labels."""
    reading = choose_reading(path, dataset, options=options)
    steps = reading.preprocessing or Preprocessing()
    if reading.columns is None or steps.head is None:
        raise SystemExit(f"{path}: expected a file of others. Received: one of ours, which needs no second decode.")
    roles = ("boxes", "classes", "scores", "count") if steps.head == "postprocess" else ()
    second = Second(path, steps.head, classes=len(reading.columns), shares=steps.box_units != "pixels", roles=roles)
    found = []
    for record in dataset.records:
        known = [(box, score, reading.columns[label]) for box, score, label in second.detect(read_image(record.path))]
        found.append([one for one in known if one[2] >= 0])
    return compared(path.name, path, reading, dataset=dataset, found=found)


def read_records(data: Path, split: str | None, count: int) -> Dataset:
    folder = open_folder(data)
    dataset = load_split(folder, split or validation_split(folder))
    records: tuple[Record, ...] = dataset.records[:: max(1, len(dataset.records) // count)][:count]
    return dataclasses.replace(dataset, records=records)


def table(rows: Sequence[Compared]) -> list[str]:
    """Returns the lines that `main` prints."""
    lines = [f"{'file':<44} {'AP':>7} {'second':>7} {'boxes, px':>10} {'scores':>8} {'found':>6}"]
    for row in rows:
        mark = "" if row.agrees else "  DIFFERS"
        lines.append(
            f"{row.name:<44} {row.ours:7.2f} {row.theirs:7.2f} {row.boxes:10.3f} {row.scores:8.4f} "
            f"{row.detections:6}{mark}"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--files", nargs="+", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--class-map")
    parser.add_argument("--head")
    parser.add_argument("--only", default="", help="forms whose name begins so")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    dataset = read_records(arguments.data, arguments.split, arguments.count)
    print(f"{len(dataset.records)} images of {dataset.name}, split {dataset.split}", flush=True)
    if arguments.files:
        rows = []
        for path in arguments.files:
            labels = None if has_names(path) else arguments.labels
            options = ReadingOptions(labels=labels, class_map=arguments.class_map, head=arguments.head)
            rows.append(compare_file(path, dataset, options=options))
            print(table(rows)[-1], flush=True)
    else:
        size = (arguments.size, arguments.size)
        with tempfile.TemporaryDirectory() as folder:
            forms = [form for form in FORMS if form.name.startswith(arguments.only)]
            rows = [compare_form(form, Path(folder), dataset=dataset, size=size) for form in forms]
            of_levels = [form for form in LEVEL_FORMS if form.name.startswith(arguments.only)]
            rows += [compare_levels(form, Path(folder), dataset=dataset, size=size) for form in of_levels]
    print("\n".join(table(rows)))
    if arguments.json:
        arguments.json.write_text(json.dumps([dataclasses.asdict(row) for row in rows], indent=1), encoding="utf-8")
    sys.exit(0 if all(row.agrees for row in rows) else 1)


def has_names(path: Path) -> bool:
    """Whether class names are appended, as Ultralytics and the metadata of TensorFlow do."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith((".json", ".txt")) for name in archive.namelist())


if __name__ == "__main__":
    main()
