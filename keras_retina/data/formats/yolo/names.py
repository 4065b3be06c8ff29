"""Class names of a YOLO folder: in `data.yaml`, or in a file with one name a line (`classes.txt`, `obj.names`)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from keras_retina.data.formats.encoding import read_beginning, read_text
from keras_retina.data.formats.split_names import is_split_name
from keras_retina.data.formats.yolo.tree import IMAGE_FOLDERS, LABEL_FOLDERS, Tree
from keras_retina.foundation.errors import InputError, printable

CLASS_FILES = ("classes.txt", "labels.txt", "_darknet.labels", "predefined_classes.txt")


def names_of(content: Any, file: Path, *, nc: Any = None) -> dict[int, str]:
    """Returns class number -> name, ascending, from `names:` of `data.yaml`: a list, a mapping or one text.

    Raises:
        InputError: it is none of them, a name is missing or there twice, or `nc` is another number.
    """
    if isinstance(content, str):
        content = [part.strip() for part in content.strip("[] ").split(",")]
    if isinstance(content, list):
        content = dict(enumerate(content))
    if not isinstance(content, dict) or not content:
        raise InputError(
            f"{printable(file)}: names: a list of class names was expected. Received: {type(content).__name__}. Add it."
        )
    texts: dict[int, str] = {}
    for key, name in content.items():
        index = int(key) if isinstance(key, str) and key.strip().isdecimal() else key
        # YAML reads `no` as a boolean: only the writer knows what was meant.
        if isinstance(index, bool) or not isinstance(index, int) or not isinstance(name, str | int) or name is True:
            raise InputError(
                f"{printable(file)}: names: integer keys and texts were expected. "
                f"Received: {type(index).__name__} and {type(name).__name__}. Put the class names in quotes."
            )
        if name is False or not str(name).strip() or index in texts:
            wrong = f"class {index} twice" if index in texts else f"class {index} as {name!r}"
            raise InputError(
                f"{printable(file)}: names: one text for each class was expected. Received: {wrong}. "
                "Put the class names in quotes."
            )
        texts[index] = str(name)
    texts = dict(sorted(texts.items()))
    if len(set(texts.values())) < len(texts):
        raise InputError(f"{printable(file)}: names: different names were expected. Received: one twice. Rename it.")
    if isinstance(nc, int) and nc != len(texts):  # a name is missing, perhaps from the middle of the list
        field = "classes" if file.suffix == ".data" else "nc"
        raise InputError(
            f"{printable(file)}: {field}: the number of names was expected. "
            f"Received: {field}={nc}, {len(texts)} names. Correct one of them."
        )
    return texts


def class_files(folder: str, tree: Tree) -> list[str]:
    """Returns the files below a data folder that hold class names: in it, and in folders of images and of labels."""
    return [
        os.path.join(place, name)
        for place in _places(folder, tree)
        for name in tree.listing(place).files
        if (name.lower() in CLASS_FILES or name.lower().endswith(".names")) and is_class_file(os.path.join(place, name))
    ]


def is_class_file(file: str) -> bool:
    """Tells a list of names from the labels of an image that is called `labels.jpg`."""
    beginning = read_beginning(Path(file), 200)
    if beginning is None:
        return True  # reading all of it says why
    words = beginning[0].split("\n")[0].split()
    try:
        return not [float(word) for word in words[:5]][4:]
    except ValueError:
        return True


def read_class_files(files: Iterable[str]) -> dict[int, str]:
    """Returns class number -> name; of files that begin alike, as LabelImg writes them, the longest counts.

    Raises:
        InputError: a file is not UTF-8, a name is missing or there twice, or two files differ.
    """
    longest: tuple[str, list[str]] | None = None
    for file in files:
        names = _read_class_file(file)
        if longest is None:
            longest = (file, names)
            continue
        short, long = sorted((names, longest[1]), key=len)
        if long[: len(short)] != short:
            raise InputError(
                f"{printable(file)}: the class names of {printable(longest[0])} were expected. "
                "Received: other names. Keep one of the files."
            )
        if long is names:
            longest = (file, names)
    return dict(enumerate(longest[1])) if longest else {}


def _read_class_file(file: str) -> list[str]:
    names = [line.strip() for line in read_text(file).rstrip().splitlines()]
    for number, name in enumerate(names, start=1):
        if not name or name in names[: number - 1]:
            wrong = f"{name!r} twice" if name else "an empty line"
            raise InputError(
                f"{printable(file)}: line {number}: one class name a line was expected, the first for class 0. "
                f"Received: {wrong}. Correct the file."
            )
    if not names:
        raise InputError(
            f"{printable(file)}: one class name a line was expected, the first for class 0. "
            "Received: an empty file. Add the names."
        )
    return names


def _places(folder: str, tree: Tree) -> Iterator[str]:
    yield folder
    for name in tree.listing(folder).folders:
        inner = os.path.join(folder, name)
        yield inner
        for below in tree.listing(inner).folders:
            if is_split_name(below) or below.lower() in IMAGE_FOLDERS + LABEL_FOLDERS:
                yield os.path.join(inner, below)
