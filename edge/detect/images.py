"""Objects in an image or a folder of images, through a `.tflite`: pictures with boxes, COCO results, JSON lines."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from edge.detect.lines import detection_line, open_lines
from edge.runtime import SHOW_SCORE_THRESHOLD, Detections, Detector
from keras_retina.data.images import IMAGE_SUFFIXES, read_image
from keras_retina.foundation.drawing import draw_boxes
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files import make_folder, write_file, write_json
from keras_retina.geometry.boxes import yxyx_to_xywh

RESULTS = "results.json"
IMAGES = "images.json"


@dataclass(frozen=True)
class FoundInImages:
    """Where the results of several images are, and how much is in them."""

    results: Path
    images: int
    objects: int


def detect_paths(
    detector: Detector,
    inputs: Path,
    *,
    out_dir: Path,
    score_threshold: float = SHOW_SCORE_THRESHOLD,
    json_lines: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> FoundInImages:
    """Detects in one image, or in every image of a folder (not of its subfolders).

    Writes into `out_dir`, as the work goes on: `<image>.jpg`, a copy of each image with boxes and labels, and
    `detections.jsonl` (or to `json_lines`), one line an image: `{"file", "detections": [{"label", "score", "box"}]}`,
    or `{"file", "error"}`. After every image has been tried:
    `results.json`: a list in the COCO results format, `category_id` is the class index + 1;
    `images.json`: the images and categories those ids mean, and the unreadable images with the reason.

    Raises:
        InputError: there is no image, the pictures would replace the originals, or images could not be read; those
            that could are finished before it is raised.
    """
    paths = image_paths(inputs)
    targets = picture_paths(paths, out_dir)
    make_folder(out_dir)
    results: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    unreadable: list[dict[str, str]] = []
    with open_lines(json_lines, out_dir) as lines:
        for image_id, (path, target) in enumerate(zip(paths, targets, strict=True), start=1):
            try:
                image = read_image(path)
            except InputError as error:
                unreadable.append({"file_name": path.name, "reason": str(error)})
                lines.write(json.dumps({"file": path.name, "error": str(error)}) + "\n")
                continue
            found = detector.detect(image, score_threshold)
            names = [detector.class_names[index] for index in found.classes]
            write_file(target, jpeg_bytes(draw_boxes(image, found.boxes, labels=names, scores=found.scores)))
            lines.write(detection_line({"file": path.name}, found, class_names=detector.class_names))
            images.append(
                {"id": image_id, "file_name": path.name, "height": image.shape[0], "width": image.shape[1]}
                | {"picture": target.name}
            )
            results += coco_results(found, image_id)
            if progress:
                progress(f"{printable(path.name)}: {len(names)} objects")
    categories = [{"id": index, "name": name} for index, name in enumerate(detector.class_names, start=1)]
    listing = {"images": images, "categories": categories, "unreadable": unreadable}
    write_json(out_dir / IMAGES, listing)
    write_json(out_dir / RESULTS, results)
    if unreadable:
        raise InputError(
            f"{len(unreadable)} of {len(paths)} images could not be read; the others are finished in {out_dir}. "
            + _reasons(unreadable)
        )
    return FoundInImages(out_dir / RESULTS, images=len(images), objects=len(results))


def image_paths(inputs: Path) -> list[Path]:
    """Returns the image itself, or the image files of a folder in order of their names.

    Raises:
        InputError: there is nothing there, or no image in the folder.
    """
    if not inputs.is_dir():
        if not inputs.exists():
            raise InputError(f"{printable(inputs)}: expected an image or a folder. Received: nothing there.")
        return [inputs]
    paths = sorted(path for path in inputs.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    if not paths:
        raise InputError(
            f"{printable(inputs)}: expected images ({', '.join(IMAGE_SUFFIXES)}) in the folder. Received: none. "
            "Pass an image, or the folder that holds the images."
        )
    return paths


def picture_paths(paths: list[Path], out_dir: Path) -> list[Path]:
    """Returns where the drawn copy of each image goes: `<stem>.jpg`, or `<whole name>.jpg` where stems repeat.

    Raises:
        InputError: a copy would replace one of the images, or `out_dir` is a file.
    """
    if out_dir.exists() and not out_dir.is_dir():
        raise InputError(f"--out: expected a folder. Received: {printable(out_dir)}, a file. Choose another name.")
    stems = Counter(path.stem.casefold() for path in paths)
    targets = [out_dir / f"{path.stem if stems[path.stem.casefold()] == 1 else path.name}.jpg" for path in paths]
    originals = {path.resolve() for path in paths}
    for target in targets:
        if target.resolve() in originals:
            raise InputError(
                f"--out: expected another folder than that of the images. Received: {printable(out_dir)}, where "
                f"{printable(target.name)} would replace an original. Choose another folder."
            )
    return targets


def _reasons(unreadable: list[dict[str, str]]) -> str:
    more = f" And {len(unreadable) - 3} more, see {IMAGES}." if len(unreadable) > 3 else ""
    return " ".join(entry["reason"] for entry in unreadable[:3]) + more


def coco_results(found: Detections, image_id: int) -> list[dict[str, Any]]:
    """Returns detections in the COCO results format, boxes `[x, y, width, height]` in pixels of the image."""
    return [
        {
            "image_id": image_id,
            "category_id": int(class_index) + 1,
            "bbox": [round(float(side), 2) for side in box],
            "score": round(float(score), 4),
        }
        for box, score, class_index in zip(yxyx_to_xywh(found.boxes), found.scores, found.classes, strict=True)
    ]


def jpeg_bytes(image: Any) -> bytes:
    """Returns uint8 `[height, width, 3]` as JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()
