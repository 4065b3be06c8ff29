"""YOLO labels in any layout, one split at a time."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from pathlib import Path

from keras_retina.data.formats.encoding import read_text
from keras_retina.data.formats.repair import LabelledImage, build_records, problem
from keras_retina.data.formats.yolo.darknet import darknet_descriptions, describe_darknet
from keras_retina.data.formats.yolo.description import Description, Image, is_inside, is_there, locate, split_images
from keras_retina.data.formats.yolo.folders import folder_descriptions
from keras_retina.data.formats.yolo.lines import Line, read_lines, settle
from keras_retina.data.formats.yolo.names import class_files, names_of, read_class_files
from keras_retina.data.formats.yolo.tree import Tree
from keras_retina.data.formats.yolo.unread import unread_files
from keras_retina.data.formats.yolo.yaml_file import describe_yaml, yaml_descriptions, yaml_names
from keras_retina.data.records import Dataset, Layout, Problem, Reader, Reading
from keras_retina.foundation.errors import InputError, printable


def find_yolo(data: Path) -> list[Layout]:
    """Returns every way to read a folder, `data.yaml` or `obj.data` as YOLO.

    Raises:
        InputError: a file that names splits and classes is damaged.
    """
    tree = Tree()

    def layout(own: Description) -> Layout:
        def read(split: str, reading: Reading) -> Dataset:
            return read_yolo(own, split, reading=reading, tree=tree)

        return Layout("yolo", own.kind, tuple(own.splits), read, lambda: unread_files(own, tree))

    return [layout(own) for own in find_descriptions(data, tree) if not _has_turned_boxes(own.folder, tree)]


def find_descriptions(data: Path, tree: Tree) -> list[Description]:
    """Returns what a folder or a file says about itself, once for each way to read it."""
    if data.is_file():
        folder = os.path.abspath(data.parent)
        lower = data.name.lower()
        own = describe_yaml(data, tree, anywhere=True) if lower.endswith((".yaml", ".yml")) else None
        own = describe_darknet(data, folder, tree=tree, anywhere=True) if lower.endswith(".data") else own
        return [own] if own else []
    folder = os.path.abspath(data)
    found = [*yaml_descriptions(folder, tree), *darknet_descriptions(folder, tree)]
    return found or folder_descriptions(folder, tree)


def read_yolo(description: Description, split: str, *, reading: Reading, tree: Tree) -> Dataset:
    """Reads one split; what could not be fixed is in `Dataset.problems`. Category ids are YOLO's own, from 0.

    Raises:
        InputError: the split or the class names are not there.
    """
    images = split_images(description, split, tree)
    root = _root(description, images)
    names = _class_names(description, reading, tree)
    where = description.where(split)
    if not names:
        raise _without_names(description, root, images=images, tree=tree)
    if len(images) > 1 and not any(image.is_there for image in images):
        raise InputError(
            f"{printable(where)}: the images that it lists were expected in {printable(description.folder)}. "
            f"Received: none of {len(images)}, not even {images[0].path!r}. Export them with the labels, or copy them."
        )
    class_index = {number: index for index, number in enumerate(names)}
    problems: list[Problem] = []
    files: list[list[Line]] = []
    missing: list[Problem] = []
    for image in images:
        lines: list[Line] = []
        label = tree.label(image.path, root) if image.is_there else None
        if label is not None:
            lines, found = _read_file(label[0], class_index, names=names, keypoints=description.keypoints)
            problems += found
        elif image.is_there:
            detail = f"{_relative(image, root)!r}: taken as an image without objects"
            missing.append(problem("no_label_file", image.where, detail=detail, fixed=True))
        if not image.same_case or (label is not None and not label[1]):
            detail = f"{_relative(image, root)!r}: found with other upper and lower case letters"
            problems.append(problem("other_case", image.where, detail=detail, fixed=True))
        files.append(lines)
    if missing and len(missing) == len(images):
        missing = [_no_labels(images, root, where=where, tree=tree)]
    boxes, found = settle(files, reading.boxes, where=where)
    labelled = (
        LabelledImage(image.where, number, _relative(image, root), None, own, normalized=reading.boxes != "pixels")
        for number, (image, own) in enumerate(zip(images, boxes, strict=True), start=1)
    )
    records, others = build_records(labelled, Path(root))
    return Dataset(
        name=_name(description),
        split=split,
        class_names=tuple(names.values()),
        category_ids=tuple(names),
        records=tuple(records),
        problems=(*problems, *missing, *found, *others),
    )


YOLO = Reader("yolo", "data.yaml, obj.data, or images with a .txt each (YOLO)", find_yolo)


def _read_file(
    file: str, class_index: dict[int, int], *, names: dict[int, str], keypoints: tuple[int, int] | None
) -> tuple[list[Line], list[Problem]]:
    try:
        text = read_text(file)
    except InputError as error:
        detail = str(error).removeprefix(f"{printable(file)}: ")
        return [], [problem("unreadable_labels", file, detail=detail, fixed=False)]
    return read_lines(text, file, class_index=class_index, names=names, keypoints=keypoints)


def _class_names(description: Description, reading: Reading, tree: Tree) -> dict[int, str]:
    """Returns class number -> name from the first of: the description, files of names, what the user says."""
    names, file = description.names, description.file
    if file is not None and isinstance(names, str):
        places = locate(description, names, where="") if is_there(description, names) else []
        if places and os.path.isfile(places[0]):
            return names_of(dict(read_class_files(places[:1])), file, nc=description.nc)
        if file.suffix == ".data":
            names = None
    if file is not None and names is not None:
        return names_of(names, file, nc=description.nc)
    found = read_class_files(class_files(description.folder, tree)) or yaml_names(description.folder, tree)
    if found and file is not None:
        return names_of(dict(found), file, nc=description.nc)
    return found or dict(enumerate(reading.classes or ()))


def _without_names(description: Description, root: str, *, images: Sequence[Image], tree: Tree) -> InputError:
    """Returns the error for labels with class numbers and no names; it says how many names are needed."""
    numbers: set[float] = set()
    for image in images:
        label = tree.label(image.path, root) if image.is_there else None
        for line in read_text(label[0]).splitlines() if label else ():
            with contextlib.suppress(ValueError, IndexError):  # a bad line is reported once there are names
                numbers.add(float(line.split()[0]))
    used = [number for number in numbers if math.isfinite(number)]
    count = int(max(used, default=0)) + 1
    classes = os.path.join(description.folder, "classes.txt")
    place = f"{description.file}: names" if description.file else classes
    return InputError(
        f"{printable(place)}: a name for each class was expected, {count} of them. Received: none; the labels use "
        f"{len(used)} class numbers up to {count - 1}. Write one name a line into {printable(classes)}, the first for "
        "class 0, or say --set data.classes=[...]"
    )


def _no_labels(images: Sequence[Image], root: str, *, where: str, tree: Tree) -> Problem:
    places = [os.path.relpath(place, root) for place in tree.label_folders(os.path.dirname(images[0].path), root)]
    detail = (
        f"a label file, NAME.txt, for at least one of {len(images)} images was expected in "
        f"{' or '.join(places)} of {root}. Received: none. "
        "Put the label files there, or leave the split out."
    )
    return problem("no_label_files", where, detail=detail, fixed=False)


def _has_turned_boxes(folder: str, tree: Tree) -> bool:
    """Tells whether the labels are in `labelTxt`, as Roboflow exports for YOLOv5-OBB: lines of DOTA, not of YOLO."""
    places = [folder, *(os.path.join(folder, name) for name in tree.listing(folder).folders)]
    turned = [place for place in places if tree.folder(os.path.join(place, "labelTxt"))]
    return bool(turned) and not any(tree.folder(os.path.join(place, "labels")) for place in turned)


def _root(description: Description, images: Sequence[Image]) -> str:
    """Returns the folder that file names are relative to: the data folder, or one around all images as well."""
    folders = {os.path.dirname(image.path) for image in images if image.is_there}
    if all(is_inside(folder, description.folder) for folder in folders):
        return description.folder
    return os.path.commonpath([description.folder, *folders])


def _relative(image: Image, root: str) -> str:
    return image.path[len(root.rstrip(os.sep)) + 1 :].replace(os.sep, "/") if image.is_there else image.path


def _name(description: Description) -> str:
    """Returns the name of the data folder, or that of a YAML file whose images lie elsewhere."""
    if description.anywhere and description.file and description.file.stem not in ("data", "dataset", "obj"):
        return description.file.stem
    return Path(description.folder).resolve().name
