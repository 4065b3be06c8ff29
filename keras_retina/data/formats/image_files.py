"""Image files as labels name them: with or without folders, with a path of another computer, in other letter case."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from keras_retina.data.formats.listing import is_image, walk_files, walk_names
from keras_retina.data.formats.repair import problem
from keras_retina.data.images import IMAGE_SUFFIXES
from keras_retina.data.records import Problem
from keras_retina.foundation.files.places import real_path

IMAGE_FOLDERS = ("jpegimages", "images", "image", "imgs", "img", "photos", "data")
"""What folders of images are called, in lower case, the most telling name first."""

_MASK_FOLDERS = {"masks", "mask", "segmentationclass", "segmentationobject"}  # pictures of labels, not photographs
_ADDRESS = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]+://[^/]*|[A-Za-z]:)")  # https://host, or the drive C:
MOST_PARTS = 64
"""Of a labelled path that are looked at, the last ones: each is tried as the beginning, which takes the square."""
_SAMPLE = 32  # names that are looked up to tell in which of several folders the images are


def file_name_of(path: str) -> str:
    """Returns the last part of a labelled path, which may have slashes of either kind."""
    return path.replace("\\", "/").rpartition("/")[2]


@dataclass(frozen=True)
class ImageFiles:
    """All image files under a folder.

    Attributes:
        root: the folder.
        by_name: last part of a path in lower case -> such paths, relative to the folder, with forward slashes.
        by_stem: the same without the suffix -> such paths.
    """

    root: Path
    by_name: Mapping[str, Sequence[str]]
    by_stem: Mapping[str, Sequence[str]]


def list_images(root: Path) -> ImageFiles:
    """Lists the image files under a folder."""
    by_name: dict[str, list[str]] = {}
    by_stem: dict[str, list[str]] = {}
    for name in filter(is_image, walk_names(root)):
        lower = file_name_of(name).lower()
        by_name.setdefault(lower, []).append(name)
        by_stem.setdefault(os.path.splitext(lower)[0], []).append(name)
    return ImageFiles(root, by_name, by_stem)


def nearest(paths: Sequence[str], parts: Sequence[str]) -> list[str]:
    """Returns the paths that share the most last parts with a labelled path, in any case.

    Args:
        paths: with forward slashes; the last part of each is taken as the labelled one.
    """
    longest = max((shared_parts(path, parts) for path in paths), default=0)
    return [path for path in paths if shared_parts(path, parts) == longest]


def shared_parts(path: str, parts: Sequence[str]) -> int:
    """Returns how many last parts are the same in any case; the file itself always counts."""
    count = 1
    for one, other in zip(reversed(path.split("/")[:-1]), reversed(parts[:-1]), strict=False):
        if one.lower() != other.lower():
            break
        count += 1
    return count


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
        last = file_name_of(stem).lower()
        for same in (self._by_path.get(stem.lower(), []), self.images.by_stem.get(last, [])):
            exact = [name for name in same if os.path.splitext(file_name_of(name))[0] == file_name_of(stem)]
            choice = sorted(exact, key=lambda name: (not name.lower().endswith(suffix), _rank(name)))
            if exact and len({name.rpartition("/")[0] for name in exact}) == 1:
                return Found(choice[0], True)
            if len(same) == 1:
                return Found(same[0], True, True)
        return Found(stem + (suffix or ".jpg"), False)

    def holds_stem(self, stem: str) -> bool:
        """Tells whether there is an image with this path without suffix."""
        return file_name_of(stem).lower() in self.images.by_stem

    def holds(self, labelled: str) -> bool:
        """Tells whether an end of the labelled path is a file here, without a look into other folders."""
        readings = _readings(labelled)
        return any(_is_file(self.root, "/".join(parts[start:])) for parts in readings for start in range(len(parts)))

    def _is_folder_of(self, labelled: str, skipped: Sequence[str]) -> bool:
        """Tells whether the parts that were skipped are only the folder itself, as in `images/a.jpg` for `a.jpg`."""
        path = PurePosixPath(labelled.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or _ADDRESS.match(labelled):
            return False
        own = [part.lower() for part in real_path(self.root).parts[-len(skipped) :]] if skipped else []
        return [part.lower() for part in skipped] == own

    def _only_one(self, parts: Sequence[str]) -> str | None:
        fitting = nearest(self.images.by_name.get(parts[-1].lower(), ()), parts)
        return fitting[0] if len(fitting) == 1 else None

    @cached_property
    def images(self) -> ImageFiles:
        """The images under the folder; it is searched when it is first needed."""
        return list_images(self.root)

    @cached_property
    def _by_path(self) -> dict[str, list[str]]:
        """Lower-case path without suffix -> such images."""
        paths: dict[str, list[str]] = {}
        for names in self.images.by_stem.values():
            for name in names:
                paths.setdefault(os.path.splitext(name)[0].lower(), []).append(name)
        return paths


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
        if real_path(path) in used or path.parent.name.lower() in _MASK_FOLDERS:
            continue
        if is_image(path.name):
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
    return tuple(part for part in parts[last + 1 :][-MOST_PARTS:] if part not in ("/", "//"))
