"""Image files as labels name them: with or without folders, with a path of another computer, in other letter case."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from keras_retina.data.formats.repair import problem
from keras_retina.data.images import IMAGE_SUFFIXES
from keras_retina.data.records import Problem

IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img", "photos", "data")
"""What folders of images are called, in lower case, the most telling name first."""

_MASK_FOLDERS = {"masks", "mask", "segmentationclass", "segmentationobject"}  # pictures of labels, not photographs
_SYSTEM_FILES = {"thumbs.db", "desktop.ini", "__macosx"}
_ADDRESS = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+://[^/]*|[A-Za-z]:)")  # https://host, or the drive C:
_SAMPLE = 32  # names that are looked up to tell in which of several folders the images are


def is_visible(name: str) -> bool:
    """Tells whether a file or folder belongs to the data and not to a tool or a system."""
    return not name.startswith(".") and name.lower() not in _SYSTEM_FILES


def folders_in(folder: Path) -> list[Path]:
    """Returns the folders in a folder by name; none where there is no folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and is_visible(entry.name)]
    return [folder / name for name in sorted(names)]


def files_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Returns the files in a folder with one of the suffixes, given in lower case, by name."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.lower().endswith(suffixes) and is_visible(entry.name)]
    return [folder / name for name in sorted(names)]


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


def walk_files(folder: Path) -> Iterator[Path]:
    """Yields every file under a folder, by name within each folder."""
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if is_visible(name))
        for name in sorted(files):
            if is_visible(name):
                yield Path(root, name)


def file_name_of(path: str) -> str:
    """Returns the last part of a labelled path, which may have slashes of either kind."""
    return path.replace("\\", "/").rpartition("/")[2]


@dataclass(frozen=True)
class Found:
    """A file name relative to the image folder.

    Attributes:
        name: with forward slashes; the nearest fitting name where there is no such file.
        exists: whether it is there.
        differs: it is there under a name that is not simply the labelled one.
    """

    name: str
    exists: bool
    differs: bool = False


class ImageFinder:
    """Finds the files that labels name in one folder; never outside it.

    The whole labelled path is tried first, then its ends (`/home/ann/photos/a.jpg`, `photos/a.jpg`, `a.jpg`), then the
    only file of that name in any sub-folder and letter case.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, labelled: str) -> Found:
        """Returns the file that a label means."""
        plain, *others = _readings(labelled)
        for reading in (plain, *others):
            for start in range(len(reading)):
                name = "/".join(reading[start:])
                if _is_file(self.root, name):
                    return Found(name, True, reading is not plain or not self._is_folder_of(labelled, plain[:start]))
        for reading in (plain, *others):
            only = self._only_one(reading)
            if only is not None:
                return Found(only, True, True)
        return Found("/".join(plain), False)

    def find_stem(self, stem: str, *, suffix: str = "") -> Found:
        """Returns the image of a label file, found by its path without suffix; one with `suffix` before others."""
        for same in (self._stems.get(stem.lower(), []), self._stems.get(f"*/{file_name_of(stem).lower()}", [])):
            exact = [name for name in same if os.path.splitext(file_name_of(name))[0] == file_name_of(stem)]
            choice = sorted(exact, key=lambda name: (not name.lower().endswith(suffix), _rank(name)))
            if exact and len({name.rpartition("/")[0] for name in exact}) == 1:
                return Found(choice[0], True)
            if len(same) == 1:
                return Found(same[0], True, True)
        return Found(stem + (suffix or ".jpg"), False)

    def holds_stem(self, stem: str) -> bool:
        """Tells whether there is an image with this path without suffix."""
        return stem.lower() in self._stems or f"*/{file_name_of(stem).lower()}" in self._stems

    def holds(self, labelled: str) -> bool:
        """Tells whether an end of the labelled path is a file here, without a look into other folders."""
        readings = _readings(labelled)
        return any(_is_file(self.root, "/".join(parts[start:])) for parts in readings for start in range(len(parts)))

    def _is_folder_of(self, labelled: str, skipped: Sequence[str]) -> bool:
        """Tells whether the parts that were skipped are only the folder itself, as in `images/a.jpg` for `a.jpg`."""
        path = PurePosixPath(labelled.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or _ADDRESS.match(labelled):
            return False
        own = [part.lower() for part in self.root.resolve().parts[-len(skipped) :]] if skipped else []
        return [part.lower() for part in skipped] == own

    def _only_one(self, parts: Sequence[str]) -> str | None:
        for start in range(len(parts)):
            end = "/".join(parts[start:]).lower()
            same = self._names.get(parts[-1].lower(), [])
            fitting = [name for name in same if f"/{name.lower()}".endswith(f"/{end}")]
            if fitting:
                return fitting[0] if len(fitting) == 1 else None
        return None

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        """Lower-case file name -> paths of such images under the folder."""
        names: dict[str, list[str]] = {}
        for path in walk_files(self.root):
            if path.name.lower().endswith(IMAGE_SUFFIXES):
                names.setdefault(path.name.lower(), []).append(path.relative_to(self.root).as_posix())
        return names

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        """Lower-case path without suffix -> such images; with `*/` before it, the name alone, in any sub-folder."""
        stems: dict[str, list[str]] = {}
        for names in self._names.values():
            for name in names:
                stem = os.path.splitext(name)[0].lower()
                stems.setdefault(stem, []).append(name)
                stems.setdefault(f"*/{file_name_of(stem)}", []).append(name)
        return stems


def image_finder(folders: Sequence[Path], labelled: Sequence[str]) -> ImageFinder:
    """Returns the finder of the folder in which most of the labelled files are; the first one counts on a draw."""
    sample = _some_of(labelled)
    return max(_finders(folders), key=lambda finder: sum(finder.holds(name) for name in sample))


def stem_finder(folders: Sequence[Path], stems: Sequence[str]) -> ImageFinder:
    """Returns the finder of the folder in which most of the images are whose paths without suffix are given."""
    sample, finders = _some_of(stems), _finders(folders)
    counts: list[int] = []
    for finder in finders:
        counts.append(sum(finder.holds_stem(stem) for stem in sample))
        if counts[-1] == len(sample):
            break  # a look into the next folder takes long
    return finders[counts.index(max(counts))]


def _finders(folders: Sequence[Path]) -> list[ImageFinder]:
    return [ImageFinder(folder) for folder in dict.fromkeys(folders) if folder.is_dir()]


def _some_of(names: Sequence[str]) -> Sequence[str]:
    return names[:: max(1, len(names) // _SAMPLE)]


def differing_name(found: Found, labelled: str, *, where: str) -> Problem:
    """Returns the fixed problem that an image is there under another name than the labels say."""
    detail = f"{found.name!r} is read, the only file here that fits {labelled!r}"
    return problem("file_name_differs", where, detail=detail, fixed=True)


def unread_files(
    folders: Iterable[Path], used: Collection[Path], *, label_suffixes: tuple[str, ...], detail: str
) -> list[Problem]:
    """Returns one fixed problem for each image and label file in the folders that is not used.

    Args:
        used: resolved paths of images and label files.
        label_suffixes: files that look like labels.
        detail: what an image is that the labels do not name.
    """
    problems: list[Problem] = []
    for path in dict.fromkeys(path for folder in folders for path in walk_files(folder)):
        if path.resolve() in used or path.parent.name.lower() in _MASK_FOLDERS:
            continue
        if path.name.lower().endswith(IMAGE_SUFFIXES):
            problems.append(problem("unlabelled_image", str(path), detail=detail, fixed=True))
        elif path.name.lower().endswith(label_suffixes):
            problems.append(problem("stray_file", str(path), detail="in no split: it is not read", fixed=True))
    return problems


def _rank(name: str) -> int:
    return next(number for number, suffix in enumerate(IMAGE_SUFFIXES) if name.lower().endswith(suffix))


def _is_file(root: Path, name: str) -> bool:
    return os.path.isfile(root / name)  # unlike Path.is_file, it is False for a name that is too long


def _readings(labelled: str) -> list[tuple[str, ...]]:
    """Returns the parts of a labelled path: as it stands, then read as the address of a web page."""
    plain = labelled.replace("\\", "/")
    address = unquote(plain.partition("?d=")[2] or plain.partition("?")[0])  # Label Studio: /data/local-files/?d=a.jpg
    return list(dict.fromkeys(parts for text in (plain, address) if (parts := _parts(text)))) or [("",)]


def _parts(path: str) -> tuple[str, ...]:
    parts = PurePosixPath(_ADDRESS.sub("", path.replace("\0", ""))).parts
    last = max((index for index, part in enumerate(parts) if part == ".."), default=-1)
    return tuple(part for part in parts[last + 1 :] if part not in ("/", "//"))
