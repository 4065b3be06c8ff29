"""YOLO folders without `data.yaml`: the names of their folders, or lists of images, tell the splits.

| found | splits |
|---|---|
| `train.txt`, `val.txt` with one image a line | the lists |
| `images/train`, `labels/train` | the folders |
| `train/images`, `train/labels`, or images and labels together in `train` | the folders |
| `images`, `labels`, or images and labels together in the folder or in one below | none: `all` |
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from keras_retina.data.formats.encoding import read_beginning
from keras_retina.data.formats.listing import is_image
from keras_retina.data.formats.split_names import WHOLE, is_split_name
from keras_retina.data.formats.yolo.description import Description, split_images
from keras_retina.data.formats.yolo.names import class_files
from keras_retina.data.formats.yolo.tree import IMAGE_FOLDERS, Tree

_TRIED = 50  # label files that are opened to tell the format
_FLAT_FOLDERS = ("data", "obj", "obj_train_data")


def folder_descriptions(folder: str, tree: Tree) -> list[Description]:
    """Returns the ways to read a folder of images and label files that no file describes."""
    lists = _list_splits(folder, tree)
    if lists:
        return [Description("YOLO lists", folder, lists)]
    found = []
    for name in tree.listing(folder).folders:
        if name.lower() in IMAGE_FOLDERS:
            splits = _split_folders(folder, name, tree)
            if splits:
                found.append(Description(f"YOLO {name}/train", folder, splits))
    splits = _split_folders(folder, "", tree)
    if splits:
        darknet = any("_darknet.labels" in tree.listing(os.path.join(folder, *own)).files for own in splits.values())
        found.append(Description("Roboflow darknet" if darknet else "YOLO train/", folder, splits))
    return found or _without_splits(folder, tree)


def has_labels(folder: str, root: str, tree: Tree) -> bool:
    """Tells whether there are images below `folder` and YOLO labels for one of them."""
    return _one_has_labels(tree.images(folder), root, tree)


def is_label_file(file: str) -> bool:
    """Tells whether a text file begins as YOLO labels do, or is empty, as for an image without objects."""
    beginning = read_beginning(Path(file), 1000)
    if beginning is None:
        return False
    line = beginning[0].strip().partition("\n")[0]
    try:
        return len([float(word) for word in line.split()]) >= 5 or not line
    except ValueError:
        return False


def _list_splits(folder: str, tree: Tree) -> dict[str, tuple[str, ...]]:
    """Returns the lists of images that are called as splits are, if their images have labels."""
    lists: dict[str, tuple[str, ...]] = {
        stem: (name,)
        for name in tree.listing(folder).files
        for stem, suffix in [os.path.splitext(name)]
        if suffix.lower() == ".txt" and is_split_name(stem) and _names_images(os.path.join(folder, name))
    }
    found = Description("", folder, lists)
    for split in lists:
        images = split_images(found, split, tree)[:_TRIED]
        labels = [tree.label(image.path, folder) for image in images if image.is_there]
        if any(label is not None and is_label_file(label[0]) for label in labels):
            return lists
    return {}


def _names_images(file: str) -> bool:
    beginning = read_beginning(Path(file), 4096)
    return beginning is not None and is_image(beginning[0].partition("\n")[0].strip())


def _split_folders(folder: str, above: str, tree: Tree) -> dict[str, tuple[str, ...]]:
    """Returns the folders with images and labels in `above`, provided that they are called as splits are."""
    base = os.path.join(folder, above) if above else folder
    names = tree.listing(base).folders
    if not any(is_split_name(name) for name in names):
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for name in names:
        if not above and not is_split_name(name):
            continue  # beside the splits may be anything, as weights and runs
        images = [own for own in tree.listing(os.path.join(base, name)).folders if own.lower() in IMAGE_FOLDERS]
        place = os.path.join(above, name, images[0]) if len(images) == 1 else os.path.join(above, name)
        if has_labels(os.path.join(folder, place), folder, tree):
            found[name] = (place,)
    return found


def _one_has_labels(images: Iterable[str], root: str, tree: Tree) -> bool:
    """Tells whether one of the labels is YOLO's, or all are empty: empty files say nothing of the format."""
    labels = (label for image in images if (label := tree.label(image, root)) is not None)
    tried = [file for file, _ in islice(labels, _TRIED)]
    full = [file for file in tried if os.path.getsize(file)]
    return any(map(is_label_file, full)) if full else bool(tried)


def _without_splits(folder: str, tree: Tree) -> list[Description]:
    places = _unsplit_places(folder, tree)
    files = tree.listing(folder).files
    kind = "Label Studio YOLO" if "notes.json" in files and "classes.txt" in files else "YOLO images"
    return [Description(kind, folder, {WHOLE: places})] if places else []


def _unsplit_places(folder: str, tree: Tree) -> tuple[str, ...]:
    names = tree.listing(folder)
    direct = [os.path.join(folder, name) for name in names.files if is_image(name)]
    if _one_has_labels(direct, folder, tree):
        return (".",)
    inner = [(name, os.path.join(folder, name)) for name in names.folders]
    found = tuple(name for name, path in inner if name.lower() in IMAGE_FOLDERS and has_labels(path, folder, tree))
    if found:
        return found
    flat = [(name, path) for name, path in inner if name.lower() in _FLAT_FOLDERS]
    for name, path in flat:  # images in it, not in folders of it: that would be a folder around the data
        if _one_has_labels(
            [os.path.join(path, own) for own in tree.listing(path).files if is_image(own)], folder, tree
        ):
            return (name,)
    own = any(os.path.dirname(file) == folder for file in class_files(folder, tree))
    return (".",) if own and has_labels(folder, folder, tree) else ()  # folders of any name, such as one for each film
