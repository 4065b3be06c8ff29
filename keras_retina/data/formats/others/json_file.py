"""The contents of a JSON label file, and CreateML and VIA files, which need no library."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keras_retina.data.formats.coco.json_file import read_json
from keras_retina.data.formats.csv_files.boxes import NoBoxError, OtherShapeError, class_of_attributes, shape_boxes
from keras_retina.data.formats.csv_files.classes import ONLY_CLASS
from keras_retina.data.formats.others.named import NamedBox, NamedImage, NamedLabels
from keras_retina.data.formats.repair import problem
from keras_retina.data.records import Problem
from keras_retina.foundation.errors import InputError, printable


def read_createml(file: Path) -> NamedLabels:
    """Reads a CreateML file: a list of images with boxes of a centre and a size in pixels.

    Source: https://developer.apple.com/documentation/createml/mlobjectdetector/datasource.

    Raises:
        InputError: the file is damaged.
    """
    content = read_json(file)
    if not isinstance(content, list):
        raise InputError(f"{printable(file)}: a list of images was expected. Received: an object. Export it again.")
    images: list[NamedImage] = []
    problems: list[Problem] = []
    for index, entry in enumerate(content):
        where = f"{file}: [{index}]"
        name = _first(entry, "image", "imagefilename")
        annotations = _first(entry, "annotations", "annotation")
        if not isinstance(name, str) or not isinstance(annotations, list | None):
            detail = f"an image and its annotations were expected. Received: image={name!r}. Correct the entry."
            problems.append(problem("malformed_image", where, detail=detail, fixed=False))
            continue
        boxes = []
        for number, annotation in enumerate(annotations or ()):
            place = f"{where}.annotations[{number}]"
            try:
                values = [float(annotation["coordinates"][key]) for key in ("x", "y", "width", "height")]
                boxes.append(NamedBox(place, str(annotation["label"]).strip(), _from_center(*values)))
            except (LookupError, TypeError, ValueError):
                detail = f"a label and coordinates x, y, width, height were expected. Received: {annotation!r:.120}. "
                problems.append(problem("invalid_box", place, detail=f"{detail}Correct it.", fixed=False))
        images.append(NamedImage(where, name, tuple(boxes)))
    return NamedLabels(tuple(images), tuple(problems))


def read_via(file: Path) -> NamedLabels:
    """Reads the labels of the VGG Image Annotator, exported or in a saved project.

    Raises:
        InputError: the file is damaged.
    """
    content = read_json(file)
    entries = content.get("_via_img_metadata", content) if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise InputError(f"{printable(file)}: images of VIA were expected. Received: a list. Export it again.")
    images: list[NamedImage] = []
    problems: list[Problem] = []
    for key, entry in entries.items():
        where = f"{file}: {key!r}"
        name, regions = _first(entry, "filename"), _first(entry, "regions") or []
        regions = list(regions.values()) if isinstance(regions, dict) else regions  # VIA 1 numbers them
        if not isinstance(name, str) or not isinstance(regions, list):
            detail = f"a filename and its regions were expected. Received: filename={name!r}. Correct the entry."
            problems.append(problem("malformed_image", where, detail=detail, fixed=False))
            continue
        boxes = []
        for number, region in enumerate(regions):
            place = f"{where}: regions[{number}]"
            try:
                class_name = class_of_attributes(region.get("region_attributes") or {})
                boxes += [NamedBox(place, class_name, corners) for corners in shape_boxes(region["shape_attributes"])]
            except OtherShapeError as error:
                detail = f"a shape {str(error)!r} encloses no object, left out"
                problems.append(problem("shape_left_out", place, detail=detail, fixed=True))
            except (NoBoxError, LookupError, TypeError, AttributeError):
                detail = f"a region with shape_attributes was expected. Received: {region!r:.120}. Correct it."
                problems.append(problem("invalid_box", place, detail=detail, fixed=False))
        images.append(NamedImage(where, name, tuple(boxes)))
    return _named_classes(images, problems, file=file)


def _named_classes(images: list[NamedImage], problems: list[Problem], *, file: Path) -> NamedLabels:
    """Gives regions a class where none has one, and refuses those without one where others have."""
    boxes = [box for image in images for box in image.boxes]
    if boxes and not any(box.class_name for box in boxes):
        detail = f"no region names a class, so every box is of the class {ONLY_CLASS!r}"
        problems.append(problem("no_class_column", str(file), detail=detail, fixed=True))
        images = [_with_boxes(image, [NamedBox(box.where, ONLY_CLASS, box.corners) for box in image.boxes])
                  for image in images]  # fmt: skip
    else:
        detail = "a region attribute with the class was expected. Received: none. Give the region its class."
        problems += [problem("unknown_category", box.where, detail=detail, fixed=False)
                     for box in boxes if not box.class_name]  # fmt: skip
        images = [_with_boxes(image, [box for box in image.boxes if box.class_name]) for image in images]
    return NamedLabels(tuple(images), tuple(problems))


def _with_boxes(image: NamedImage, boxes: list[NamedBox]) -> NamedImage:
    return NamedImage(image.where, image.file_name, tuple(boxes), image.size, image.split)


def _first(entry: Any, *keys: str) -> Any:
    return next((entry[key] for key in keys if key in entry), None) if isinstance(entry, dict) else None


def _from_center(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return y - height / 2, x - width / 2, y + height / 2, x + width / 2
