"""The files of a YOLO folder, listed once: its images, and the label file that belongs to each of them.

A link that the user made in the folder is followed, wherever it leads: people link images instead of copying them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from keras_retina.data.formats.encoding import decode_text
from keras_retina.data.formats.split_names import usual_name
from keras_retina.data.images import IMAGE_SUFFIXES
from keras_retina.foundation.errors import InputError, printable

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
LABEL_FOLDERS = ("labels", "label", "annotations")
_IGNORED = ("__macosx", "thumbs.db", "desktop.ini", "lost+found", "$recycle.bin", "system volume information")


def is_split_name(name: str) -> bool:
    """Tells whether a name, in any case and with a year behind it, means training, validation or test."""
    return usual_name(name) in ("train", "val", "test")


def is_image(name: str) -> bool:
    """Tells by its suffix whether a file is an image that can be read."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def read_utf8(file: str | Path) -> str:
    """Returns a text file in UTF-8 or UTF-16, without the byte order mark.

    Raises:
        InputError: there is no such file, or it has another encoding.
    """
    try:
        return decode_text(Path(file).read_bytes(), Path(file))
    except OSError as error:
        raise InputError(
            f"{printable(file)}: a readable text file was expected. Received: {error.strerror}. Check the path."
        ) from error


@dataclass(frozen=True)
class Listing:
    """Sorted names in one folder; hidden files and those of operating systems are left out."""

    files: tuple[str, ...]
    folders: tuple[str, ...]

    def file(self, name: str) -> str | None:
        """Returns a file of this name, or else the only one whose name differs in upper and lower case alone."""
        return name if name in self._files else _only(self._folded.get(name.lower(), ()))

    def folder(self, name: str) -> str | None:
        """Returns a folder of this name, or else the only one whose name differs in upper and lower case alone."""
        return name if name in self.folders else _only([own for own in self.folders if own.lower() == name.lower()])

    @cached_property
    def _files(self) -> frozenset[str]:
        return frozenset(self.files)

    @cached_property
    def _folded(self) -> dict[str, list[str]]:
        folded: dict[str, list[str]] = {}
        for name in self.files:
            folded.setdefault(name.lower(), []).append(name)
        return folded


class Tree:
    """Folders of one data set, each listed when it is first asked for. Paths are absolute texts: this is quick."""

    def __init__(self) -> None:
        self._listings: dict[str, Listing] = {}
        self._label_folders: dict[tuple[str, str], tuple[str, ...]] = {}

    def listing(self, folder: str) -> Listing:
        """Returns the names in a folder; a folder that is not there has none.

        Raises:
            InputError: the folder may not be read.
        """
        found = self._listings.get(folder)
        if found is None:
            found = self._listings[folder] = _list(folder)
        return found

    def files(self, folder: str) -> Iterator[str]:
        """Yields the files in a folder and, after them, in its sub-folders, sorted by name in each."""
        return self._walk(folder, (os.path.realpath(folder),))

    def images(self, folder: str) -> Iterator[str]:
        """Yields the images among `files`."""
        return (file for file in self.files(folder) if is_image(file))

    def folder(self, path: str) -> str | None:
        """Returns an existing folder, its name compared without case where only one fits, or None."""
        parent, name = os.path.split(path)
        if os.path.isdir(path):
            return path
        own = self.listing(parent).folder(name) if name else None
        return os.path.join(parent, own) if own else None

    def label_folders(self, folder: str, root: str) -> tuple[str, ...]:
        """Returns the folders that may hold the labels of the images in `folder`, the most usual first.

        That is the folder in which the last `images` of the path below `root` is `labels`, the folder of the images
        itself (darknet), and a folder `labels` in it.
        """
        key = (folder, root)
        if key not in self._label_folders:
            self._label_folders[key] = tuple(self._find_label_folders(folder, root))
        return self._label_folders[key]

    def label(self, image: str, root: str) -> tuple[str, bool] | None:
        """Returns the label file of an image, and whether its name is the same in upper and lower case."""
        folder, name = os.path.split(image)
        wanted = f"{os.path.splitext(name)[0]}.txt"
        for place in self.label_folders(folder, root):
            own = self.listing(place).file(wanted)
            if own is not None:
                return os.path.join(place, own), own == wanted
        return None

    def _walk(self, folder: str, above: tuple[str, ...]) -> Iterator[str]:
        names = self.listing(folder)
        for name in names.files:
            yield os.path.join(folder, name)
        for name in names.folders:
            inner = os.path.join(folder, name)
            if not os.path.islink(inner):
                yield from self._walk(inner, above)
                continue
            target = os.path.realpath(inner)
            if not any(f"{place}{os.sep}".startswith(f"{target}{os.sep}") for place in above):  # it leads back up
                yield from self._walk(inner, (*above, target))

    def _find_label_folders(self, folder: str, root: str) -> Iterator[str]:
        below = os.path.relpath(folder, root).split(os.sep)
        for index in reversed(range(len(below))):
            if below[index].lower() in IMAGE_FOLDERS:
                base = os.path.normpath(os.path.join(root, *below[:index]))
                dated = [name for name in self.listing(base).folders if name.lower().startswith("labels_")]
                for name in (*LABEL_FOLDERS, *dated[:1]):  # makesense: labels_my-project-name_2024-01-31-10-00-00
                    place = self.folder(os.path.join(base, name))
                    for part in below[index + 1 :]:
                        place = self.folder(os.path.join(place, part)) if place else None
                    if place:
                        yield place
                break
        yield folder
        inner = self.listing(folder).folder("labels")
        if inner:
            yield os.path.join(folder, inner)


def _list(folder: str) -> Listing:
    files: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.name.lower() not in _IGNORED:
                    (folders if entry.is_dir() else files).append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return Listing((), ())
    except OSError as error:
        raise InputError(
            f"{printable(folder)}: a readable folder was expected. Received: {error.strerror}. Check its permissions."
        ) from error
    return Listing(tuple(sorted(files)), tuple(sorted(folders)))


def _only(names: list[str] | tuple[str, ...]) -> str | None:
    return names[0] if len(names) == 1 else None
