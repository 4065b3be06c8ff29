"""What a YOLO folder says about itself, before any label is read: its splits and where their images are.

The line that paths may not cross: a path in `data.yaml`, `obj.data` or a list of images stays inside the data folder,
since all of them come along in archives of strangers. A path that leads elsewhere is looked for here by its end, as
after a move. Two things may lead out, since the user answers for them: a link in the folder, for no archive can bring
it, and the paths of a file that the user names (`--data FOLDER/data.yaml`).
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_retina.data.formats.encoding import read_text
from keras_retina.data.formats.image_files import MOST_PARTS
from keras_retina.data.formats.listing import is_image
from keras_retina.data.formats.split_names import is_split_name
from keras_retina.data.formats.yolo.tree import Tree
from keras_retina.foundation.errors import InputError, printable


@dataclass(frozen=True)
class Description:
    """One way to read a YOLO folder.

    Attributes:
        kind: what people call it.
        folder: the data folder, absolute.
        splits: split -> entries, each a folder, a list of images or a pattern, as written.
        file: `data.yaml` or `obj.data`; None where the folders alone tell everything.
        names: class names as `data.yaml` has them, or the name of a file with one name a line; None for none.
        nc: the number of classes as the file has it.
        path: `path:` of `data.yaml`.
        anywhere: whether paths may leave the folder.
        keypoints: `(points, numbers a point)` of a pose set, else None.
    """

    kind: str
    folder: str
    splits: Mapping[str, tuple[Any, ...]]
    file: Path | None = None
    names: Any = None
    nc: Any = None
    path: str = ""
    anywhere: bool = False
    keypoints: tuple[int, int] | None = None

    def where(self, split: str) -> str:
        """Returns the place that names the images of a split, for messages."""
        return f"{self.file}: {split}" if self.file else f"{self.folder}: {split}"


@dataclass(frozen=True)
class Image:
    """One image of a split.

    Attributes:
        path: absolute; as the list has it where the file is not there.
        is_there: False for an image that a list names and that was not found.
        same_case: False where the file's name has other upper and lower case letters than in the list.
    """

    where: str
    path: str
    is_there: bool = True
    same_case: bool = True


def split_images(description: Description, split: str, tree: Tree) -> list[Image]:
    """Returns the images of a split, sorted within a folder, or in the order of their list.

    Raises:
        InputError: an entry is no folder, list or pattern inside the data folder.
    """
    where = description.where(split)
    found: list[Image] = []
    for entry in description.splits[split]:
        for path in locate(description, entry, where=where):
            if os.path.isdir(path):
                found += [Image(where, image) for image in tree.images(path)]
            elif is_image(path):
                found.append(Image(where, path))
            else:
                found += _listed(description, path, tree)
    return found


def locate(description: Description, entry: Any, *, where: str) -> list[str]:
    """Returns the existing folders and files that an entry of a split means; a pattern may mean several.

    Raises:
        InputError: there is none that paths may lead to.
    """
    if not isinstance(entry, str):
        raise InputError(
            f"{printable(where)}: a folder or a list of images was expected. "
            f"Received: {type(entry).__name__}. Give a path inside the data folder."
        )
    outside = False
    for path in _places(description, entry):
        if not (description.anywhere or is_inside(path, description.folder)):
            outside = outside or os.path.exists(path)
            continue
        if os.path.exists(path):
            return [path]
        pattern = os.path.relpath(path, description.folder)
        if glob.has_magic(pattern):
            fitting = sorted(glob.glob(pattern, root_dir=description.folder, recursive=True))
            found = [os.path.normpath(os.path.join(description.folder, name)) for name in fitting]
            if found:
                return [own for own in found if is_image(own) or os.path.isdir(own)] or found
    advice = f"It is outside: name the file itself, --data {printable(description.file)}"
    raise InputError(
        f"{printable(where)}: a folder or a list inside {printable(description.folder)} was expected. "
        f"Received: {entry!r}. {advice if outside else 'Correct the path'}."
    )


def is_there(description: Description, entry: Any) -> bool:
    """Tells whether an entry of a split leads anywhere."""
    try:
        return bool(locate(description, entry, where=""))
    except InputError:
        return False


def is_inside(path: str, folder: str) -> bool:
    """Tells whether an absolute path without `..` lies in a folder, links not followed."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def tails(path: str) -> Iterator[str]:
    """Yields a path with ever fewer folders at its front, `..` and drive left out.

    It stops before the name of a split would get lost: `images` must not be found for `/content/val/images`.
    """
    parts = [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    if parts and parts[0].endswith(":"):
        parts = parts[1:]
    parts = parts[-MOST_PARTS:]
    for index in range(len(parts)):
        if index and is_split_name(parts[index - 1]):
            return
        yield "/".join(parts[index:])


def _places(description: Description, entry: str) -> Iterator[str]:
    """Yields where an entry may lie: as written, from the folder of the file, then by the end of the path."""
    entry = entry.strip().replace("\\", "/")
    written = [f"{description.path}/{entry}", entry] if description.path else [entry]
    for path in written:
        yield _absolute(description.folder, path)
    for path in written:
        for tail in tails(path):
            yield _absolute(description.folder, tail)


def _absolute(folder: str, path: str) -> str:
    """Joins and drops `..`; a path through the real folder of a linked data folder is written through the link."""
    absolute = os.path.normpath(os.path.join(folder, path))
    real = os.path.realpath(folder)
    if os.path.isabs(path) and not is_inside(absolute, folder) and is_inside(absolute, real):
        return os.path.normpath(os.path.join(folder, os.path.relpath(absolute, real)))
    return absolute


def _listed(description: Description, file: str, tree: Tree) -> Iterator[Image]:
    """Yields the images that a list names, one a line."""
    places: dict[str, list[str]] = {}  # the same few folders for all lines
    for number, line in enumerate(read_text(file).splitlines(), start=1):
        text = line.strip().replace("\\", "/")
        if not text:
            continue
        folder, _, name = text.rpartition("/")
        if folder not in places:
            places[folder] = list(_list_folders(description, os.path.dirname(file), folder=folder))
        where = f"{file}: line {number}"
        for place in places[folder]:
            own = tree.listing(place).file(name)
            if own is not None:
                yield Image(where, os.path.join(place, own), same_case=own == name)
                break
        else:
            yield Image(where, text, is_there=False)


def _list_folders(description: Description, beside: str, *, folder: str) -> Iterator[str]:
    """Yields the existing folders that a list may mean: as written, then by the end of the path, then no folder."""
    starts = list(dict.fromkeys([*_roots(description), beside]))
    places = [_absolute(start, folder) for start in starts]
    places += [_absolute(start, tail) for tail in tails(folder) for start in starts]
    if not any(is_split_name(part) for part in folder.split("/")):
        places += starts
    for place in dict.fromkeys(places):
        if (description.anywhere or is_inside(place, description.folder)) and os.path.isdir(place):
            yield place


def _roots(description: Description) -> list[str]:
    if not description.path:
        return [description.folder]
    path = _absolute(description.folder, description.path)
    allowed = description.anywhere or is_inside(path, description.folder)
    return [path, description.folder] if allowed and os.path.isdir(path) else [description.folder]
