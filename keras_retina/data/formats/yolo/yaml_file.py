"""`data.yaml`, or another YAML file with class names and splits, as Ultralytics, Roboflow and others write it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from keras_retina.data.formats.encoding import read_beginning, read_text
from keras_retina.data.formats.yolo.description import Description, is_there, locate
from keras_retina.data.formats.yolo.names import names_of
from keras_retina.data.formats.yolo.tree import Tree
from keras_retina.foundation.errors import InputError, printable, shortened
from keras_retina.recipe.plain_yaml import parse_plain_yaml

_SPLITS = ("train", "val", "valid", "validation", "test")
_MEANT = re.compile(r"^(names|nc)\s*:.*^(train|val)\s*:|^(train|val)\s*:.*^(names|nc)\s*:", re.MULTILINE | re.DOTALL)
_BEGINNING = 1 << 20  # bytes
_OTHER_NAMES = (("val", "valid", "validation"), ("test",))


def yaml_descriptions(folder: str, tree: Tree) -> list[Description]:
    """Returns the ways to read a folder that its YAML files describe; files that say the same count once.

    Raises:
        InputError: a file that names splits and classes is damaged.
    """
    files = [Path(folder, name) for name in tree.listing(folder).files if name.lower().endswith((".yaml", ".yml"))]
    found = [own for file in files if (own := describe_yaml(file, tree)) is not None]
    leading = [own for own in found if any(is_there(own, entry) for entry in own.splits.get("train", ()))]
    different: list[Description] = []
    for own in sorted(leading or found, key=lambda own: own.file is None or own.file.stem != "data"):
        if not any(_says_the_same(own, other) for other in different):
            different.append(own)
    if len(different) == 1:
        return different
    return [replace(own, kind=f"{own.kind} ({Path(str(own.file)).name})") for own in different]


def describe_yaml(file: Path, tree: Tree, *, anywhere: bool = False) -> Description | None:
    """Returns what a YAML file says, or None for one that describes no data set.

    Args:
        anywhere: whether its paths may leave its folder: the user has named the file.

    Raises:
        InputError: it names splits and classes, or is called `data.yaml`, and is damaged.
    """
    content = load_yaml(file)
    if not isinstance(content, dict):
        return None
    entries = {split: _entries(content[split]) for split in _SPLITS if content.get(split)}
    if not entries or not ("names" in content or "nc" in content or _is_usual(file)):
        return None
    path = content.get("path")
    found = Description(
        kind="Roboflow YOLO" if "roboflow" in content else "YOLO",
        folder=os.path.abspath(file.parent),
        splits=entries,
        file=file,
        names=_names_as_written(file, content),
        nc=content.get("nc"),
        path=path if isinstance(path, str) else "",
        anywhere=anywhere,
        keypoints=_keypoints(content.get("kpt_shape")),
    )
    return replace(found, splits=_without_missing_test(found) | _splits_beside(found, tree))


def yaml_names(folder: str, tree: Tree) -> dict[int, str]:
    """Returns class number -> name from a YAML file that names classes and no splits, as supervision writes it."""
    for name in tree.listing(folder).files:
        if name.lower().endswith((".yaml", ".yml")):
            content = load_yaml(Path(folder, name))
            if isinstance(content, dict) and content.get("names"):
                file = Path(folder, name)
                return names_of(_names_as_written(file, content), file, nc=content.get("nc"))
    return {}


def load_yaml(file: Path) -> Any:
    """Returns the content of a YAML file; None for a damaged one that is meant for other programs.

    Raises:
        InputError: it is damaged, and it names splits and classes, or is called `data.yaml`.
    """
    try:
        return parse_plain_yaml(read_text(file))
    except ValueError as error:
        if not (_is_usual(file) or _MEANT.search((read_beginning(file, _BEGINNING) or ("",))[0])):
            return None
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{printable(file)}: plain YAML was expected. Received: {shortened(str(error), 200)}. Correct the file."
        ) from error


def _names_as_written(file: Path, content: dict[Any, Any]) -> Any:
    """Returns `names:` with each name as the text that stands there: YAML alone reads `no` as False and 007 as 7."""
    names = content.get("names")
    if not isinstance(names, list | dict):
        return names
    whole = parse_plain_yaml(read_text(file), yaml.BaseLoader)  # it makes texts, lists and mappings alone
    return whole.get("names", names)  # a merge key (<<) would hide it


def _is_usual(file: Path) -> bool:
    return file.name.lower() in ("data.yaml", "data.yml")


def _entries(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list) else (value,)


def _keypoints(shape: Any) -> tuple[int, int] | None:
    if isinstance(shape, list) and len(shape) == 2 and all(isinstance(value, int) for value in shape):
        return (shape[0], shape[1])
    return None


def _without_missing_test(found: Description) -> dict[str, tuple[Any, ...]]:
    """Drops a test split that is not there: Roboflow names one in every file."""
    return {
        split: entries
        for split, entries in found.splits.items()
        if split != "test" or any(is_there(found, entry) for entry in entries)
    }


def _splits_beside(found: Description, tree: Tree) -> dict[str, tuple[str, ...]]:
    """Returns splits that the file does not name, from folders that lie as the one for training does."""
    train = found.splits.get("train", ())
    if len(train) != 1 or not is_there(found, train[0]):
        return {}
    (place,) = locate(found, train[0], where="")[:1]
    below = os.path.relpath(place, found.folder).split(os.sep)
    if not os.path.isdir(place) or "train" not in below:
        return {}
    index = len(below) - 1 - below[::-1].index("train")
    beside: dict[str, tuple[str, ...]] = {}
    for others in _OTHER_NAMES:
        if any(other in found.splits for other in others):
            continue
        for other in others:
            place = tree.folder(os.path.join(found.folder, *below[:index], other, *below[index + 1 :])) or ""
            if place and next(tree.images(place), None):
                beside[other] = (os.path.relpath(place, found.folder),)
                break
    return beside


def _says_the_same(one: Description, other: Description) -> bool:
    return _meaning(one) == _meaning(other)


def _meaning(found: Description) -> tuple[Any, ...]:
    try:
        names: Any = names_of(found.names, Path(str(found.file)))
    except InputError:
        names = found.names
    return names, {split: _all_places(found, entries) for split, entries in found.splits.items()}


def _all_places(found: Description, entries: Iterable[Any]) -> list[Any]:
    return [locate(found, entry, where="") if is_there(found, entry) else entry for entry in entries]
