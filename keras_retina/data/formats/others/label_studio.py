"""Label Studio's own exports: JSON, JSON-MIN and CSV, whose boxes are percentages of the image.

Source: https://labelstud.io/guide/export.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from keras_retina.data.formats.coco.json_file import read_json
from keras_retina.data.formats.encoding import read_text
from keras_retina.data.formats.others.named import NamedBox, NamedImage, NamedLabels
from keras_retina.data.formats.repair import problem
from keras_retina.data.images import IMAGE_SUFFIXES
from keras_retina.data.records import Problem
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.json_values import parse_json

# Without `^` a long file of another tool would be searched again from each of its letters.
SIGN = re.compile(r'^(?=.*"original_width")(?=.*"(rectangle|polygon)labels")', re.DOTALL)
_SHAPES = ("rectanglelabels", "polygonlabels")
_UPLOAD = re.compile(r"^[0-9a-f]{8}-")  # put before the name of a file that was uploaded


def read_label_studio(file: Path) -> NamedLabels:
    """Reads an export of Label Studio; of several annotations of an image, the first that was not cancelled counts.

    Raises:
        InputError: the file is damaged, or is no list of tasks.
    """
    tasks = _rows(file) if file.suffix.lower() == ".csv" else read_json(file)
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise InputError(f"{printable(file)}: a list of tasks was expected. Received: something else. Export it again.")
    images: list[NamedImage] = []
    problems: list[Problem] = []
    for number, task in enumerate(tasks):
        where = f"{file}: task {task.get('id', number)}"
        name = _image_name(task)
        if not name:
            detail = "the address of an image was expected. Received: none. Correct the task."
            problems.append(problem("malformed_image", where, detail=detail, fixed=False))
            continue
        shapes = _shapes(task, where, problems)
        boxes = [box for index, shape in enumerate(shapes) for box in _boxes(shape, f"{where}: {index}", problems)]
        images.append(NamedImage(where, name, tuple(boxes), _size(shapes)))
    return NamedLabels(tuple(images), tuple(problems))


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        return list(csv.DictReader(io.StringIO(read_text(file, "a CSV file"), newline="")))
    except (OSError, csv.Error) as error:
        raise InputError(
            f"{printable(file)}: rows of CSV were expected. Received: {printable(error)}. Export the labels as JSON."
        ) from error


def without_upload(name: str) -> str:
    """Returns the name that a file had before it was uploaded: `1a2b3c4d-cat.jpg` was `cat.jpg`."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{_UPLOAD.sub('', last)}"


def _image_name(task: Mapping[str, Any]) -> str:
    """Returns the path in the address of the image: `/data/upload/1/a.jpg`, `/data/local-files/?d=photos/a.jpg`."""
    data = task.get("data")
    for value in (data if isinstance(data, dict) else task).values():
        if isinstance(value, str):
            path = unquote(value.partition("?d=")[2] or value.partition("?")[0])
            if PurePosixPath(path).suffix.lower() in IMAGE_SUFFIXES:
                return path.lstrip("/")
    return ""


def _shapes(task: Mapping[str, Any], where: str, problems: list[Problem]) -> list[dict[str, Any]]:
    """Returns the shapes of a task as JSON-MIN has them, size and place in one object."""
    if isinstance(task.get("annotations"), list):
        annotations = [one for one in task["annotations"] if isinstance(one, dict) and not one.get("was_cancelled")]
        if len(annotations) > 1:
            detail = f"{len(annotations)} annotations of one image: the first one is read"
            problems.append(problem("several_annotations", where, detail=detail, fixed=True))
        results = [one for one in (annotations[0].get("result") or [] if annotations else []) if isinstance(one, dict)]
        return [{**one, **one["value"]} for one in results if isinstance(one.get("value"), dict)]
    return [shape for value in task.values() for shape in _listed(value) if "original_width" in shape]


def _listed(value: Any) -> Sequence[dict[str, Any]]:
    if isinstance(value, str) and value.lstrip().startswith("[{"):  # a cell of CSV
        try:
            value = parse_json(value)
        except ValueError:
            return ()
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else ()


def _boxes(shape: Mapping[str, Any], where: str, problems: list[Problem]) -> Iterator[NamedBox]:
    kind = next((kind for kind in _SHAPES if shape.get(kind)), None)
    if kind is None:
        known = next((key for key in shape if key.endswith("labels")), "without a class")
        detail = f"rectangles or polygons with a class were expected. Received: {known}. Draw a box, or remove it."
        fixed = known in ("keypointlabels", "choices")
        problems.append(problem("shape_left_out" if fixed else "unknown_shape", where, detail=detail, fixed=fixed))
        return
    if shape.get("rotation"):
        detail = f"an upright box was expected. Received: rotation={shape['rotation']!r}. Draw it upright."
        problems.append(problem("rotated_box", where, detail=detail, fixed=False))
        return
    try:
        width, height = float(shape["original_width"]) / 100, float(shape["original_height"]) / 100
        if kind == "polygonlabels":
            xs, ys = zip(*((float(x), float(y)) for x, y in shape["points"]), strict=True)
            x1, y1, x2, y2 = min(xs), min(ys), max(xs), max(ys)
        else:
            x1, y1 = float(shape["x"]), float(shape["y"])
            x2, y2 = x1 + float(shape["width"]), y1 + float(shape["height"])
    except (KeyError, TypeError, ValueError):
        detail = f"x, y, width, height in percent were expected. Received: {dict(shape)!r:.120}. Correct it."
        problems.append(problem("invalid_box", where, detail=detail, fixed=False))
        return
    yield NamedBox(where, str(shape[kind][0]).strip(), (y1 * height, x1 * width, y2 * height, x2 * width))


def _size(shapes: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    sizes = [(one.get("original_height"), one.get("original_width")) for one in shapes]
    return next(((int(h), int(w)) for h, w in sizes if isinstance(h, int) and isinstance(w, int) and h and w), None)
