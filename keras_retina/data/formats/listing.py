"""What is in the folders of a data set; files of tools and systems are left out here, for every label format."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path

from keras_retina.data.formats.split_names import is_split_name
from keras_retina.data.images import IMAGE_SUFFIXES
from keras_retina.foundation.errors import InputError, printable

_SYSTEM_FILES = ("thumbs.db", "desktop.ini", "lost+found", "$recycle.bin", "system volume information")


def is_visible(name: str) -> bool:
    """Tells whether a file or folder belongs to the data and not to a tool or a system."""
    return not name.startswith((".", "__MACOSX")) and name.lower() not in _SYSTEM_FILES


def is_image(name: str) -> bool:
    """Tells by its suffix whether a file is an image that can be read."""
    return name.lower().endswith(IMAGE_SUFFIXES)


@dataclass(frozen=True)
class Listing:
    """The visible names in one folder, sorted."""

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


def list_folder(folder: str | Path) -> Listing:
    """Returns the names in a folder; a folder that is not there has none.

    Raises:
        InputError: the folder may not be read.
    """
    files: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_visible(entry.name):
                    (folders if _is_folder(entry) else files).append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return Listing((), ())
    except OSError as error:
        raise InputError(
            f"{printable(folder)}: a readable folder was expected. Received: {error.strerror}. Check its permissions."
        ) from error
    return Listing(tuple(sorted(files)), tuple(sorted(folders)))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle: reading it as a file says so
        return False


def folders_in(folder: Path) -> list[Path]:
    """Returns the folders in a folder by name; none where there is no folder."""
    return [folder / name for name in list_folder(folder).folders]


def files_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Returns the files in a folder with one of the suffixes, given in lower case, by name."""
    return [folder / name for name in list_folder(folder).files if name.lower().endswith(suffixes)]


def some_files(folder: Path, suffix: str, count: int) -> list[Path]:
    """Returns a few files with a suffix, whichever come first: a folder may have very many."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = (entry.name for entry in entries if entry.name.lower().endswith(suffix) and is_visible(entry.name))
        return [folder / name for name in islice(names, count)]


def named_folders(folder: Path, names: Sequence[str]) -> list[Path]:
    """Returns the folders in a folder whose lower-case names are among `names`, in their order."""
    found = [path for path in folders_in(folder) if path.name.lower() in names]
    return sorted(found, key=lambda path: names.index(path.name.lower()))


def label_folders(
    folder: Path, names: Collection[str], *, around: Collection[str], suffixes: tuple[str, ...]
) -> list[Path]:
    """Returns the folders where label files may be: the folder, and folders for labels or splits in it, three deep.

    There are none where all of the data is in one folder below: that one is the data folder.

    Args:
        names: what folders for labels are called, in lower case.
        around: what the one folder that has all of the data may be called.
        suffixes: of label files.
    """

    def holds_labels(inner: Path) -> bool:
        return inner.name.lower() in names or is_split_name(inner.name)

    inside = folders_in(folder)
    if len(inside) == 1 and inside[0].name.lower() in around and not files_in(folder, (*suffixes, *IMAGE_SUFFIXES)):
        return []
    found = [folder]
    for inner in filter(holds_labels, inside):
        second = list(filter(holds_labels, folders_in(inner)))
        found += [inner, *second, *(third for folder in second for third in filter(holds_labels, folders_in(folder)))]
    return found


def walk_files(folder: Path) -> Iterator[Path]:
    """Yields every file under a folder, by name within each folder."""
    return (folder / name for name in walk_names(folder))


def walk_names(folder: Path) -> Iterator[str]:
    """Yields what `walk_files` does as texts: relative to the folder, with forward slashes."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(filter(is_visible, folders))
        start = "" if Path(root) == folder else f"{Path(root).relative_to(folder).as_posix()}/"
        for name in sorted(filter(is_visible, files)):
            yield start + name


def _only(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None
