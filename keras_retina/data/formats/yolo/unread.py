"""Files in a YOLO folder that belong to no split, so that nothing is left out without a word."""

from __future__ import annotations

import os
from collections.abc import Iterator

from keras_retina.data.formats.listing import is_image
from keras_retina.data.formats.repair import problem
from keras_retina.data.formats.yolo.description import Description, split_images
from keras_retina.data.formats.yolo.folders import is_label_file
from keras_retina.data.formats.yolo.names import class_files
from keras_retina.data.formats.yolo.tree import Tree
from keras_retina.data.records import Problem
from keras_retina.foundation.errors import InputError

# Images to a person; which of them can be read is for `images.py` to say.
_IMAGE_LIKE = (
    *(".avif", ".heic", ".heif", ".jfif", ".jpe", ".jp2", ".j2k", ".jxl", ".tga", ".psd", ".svg", ".eps"),
    *(".raw", ".dng", ".cr2", ".nef", ".arw", ".npy", ".dcm", ".pbm", ".exr", ".hdr"),
)


def unread_files(description: Description, tree: Tree) -> list[Problem]:
    """Returns one fixed problem for each image and each label file below the folder that no split reads."""
    read: set[str] = set()
    for split in description.splits:
        try:
            read.update(image.path for image in split_images(description, split, tree) if image.is_there)
        except InputError:
            continue  # reading this split says so
    places = [description.folder]
    if description.anywhere:  # the YAML file may lie among anything
        places = list(dict.fromkeys(os.path.dirname(path) for path in sorted(read)))
    return [item for place in places for item in _unread(description, place, tree=tree, read=read)]


def _unread(description: Description, place: str, *, tree: Tree, read: set[str]) -> Iterator[Problem]:
    files = list(tree.files(place))
    root = description.folder
    labels: set[str] = set(class_files(root, tree))
    odd: set[str] = set()
    for file in files:
        stem, suffix = os.path.splitext(file)
        if not is_image(file):
            if suffix.lower() in _IMAGE_LIKE:
                odd.add(os.path.basename(stem))
                detail = f"an image in the format {suffix} is not read. Save it as JPEG or PNG."
                yield problem("stray_file", file, detail=detail, fixed=True)
            continue
        label = tree.label(file, root)
        if label:
            labels.add(label[0])
        if file not in read:
            kind = "not_in_any_split" if label else "unlabelled_image"
            detail = "an image with labels in no split" if label else "an image in no split, without labels"
            yield problem(kind, file, detail=f"{detail}: not read", fixed=True)
    for file in files:
        name = os.path.basename(os.path.splitext(file)[0])
        if file.lower().endswith(".txt") and file not in labels and name not in odd and is_label_file(file):
            yield problem("label_without_image", file, detail="labels without an image: not read", fixed=True)
