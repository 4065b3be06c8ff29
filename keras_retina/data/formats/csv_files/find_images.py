"""Where the images of a CSV file are: its names may be paths of another machine or a bucket, or have no suffix."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from keras_retina.data.formats.split_names import usual_name
from keras_retina.data.images import IMAGE_SUFFIXES

How = Literal["there", "suffix", "tail", "case"]
"""How a name leads to its file: as it stands, without its suffix, by its last parts, or written in another case."""


class SeveralFilesError(ValueError):
    """Several files fit the name of an image; the text names two of them."""


@dataclass(frozen=True)
class Found:
    """An image file: `name` below `folder`."""

    folder: Path
    name: str
    how: How


@dataclass(frozen=True)
class ImageFiles:
    """All image files below a data folder.

    Attributes:
        root: the data folder.
        paths: relative to it, with forward slashes, by their last part in lower case.
        stems: the same by their last part in lower case without the suffix.
    """

    root: Path
    paths: dict[str, list[str]]
    stems: dict[str, list[str]]


def list_images(root: Path) -> ImageFiles:
    """Lists the image files below a folder; hidden files and folders are no part of the data."""
    paths: dict[str, list[str]] = {}
    stems: dict[str, list[str]] = {}
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        start = "" if Path(folder) == root else Path(folder).relative_to(root).as_posix() + "/"
        for name in sorted(files):
            stem, suffix = os.path.splitext(name.lower())
            if suffix in IMAGE_SUFFIXES and not name.startswith("."):
                paths.setdefault(name.lower(), []).append(start + name)
                stems.setdefault(stem, []).append(start + name)
    return ImageFiles(root, paths, stems)


def image_folders(root: Path, labels: Path, *, split: str) -> list[Path]:
    """Returns the folders where the images of a split usually are, those with the name of the split first.

    Args:
        labels: the folder of the CSV file.
    """
    images = root / "images"
    own = [path for parent in (images, root) for path in _folders(parent) if _names_split(path.name, split)]
    return [*own, *([labels] if labels != root else []), images, root]


def image_folder(folders: Iterable[Path], names: Sequence[str]) -> Path:
    """Returns the folder that has most of a hundred of the names; the first of equals."""
    sample = names[:: max(1, len(names) // 100)]
    return max(folders, key=lambda folder: sum(_is_file(folder, name) for name in sample))


def find_image(name: str, folder: Path, *, files: ImageFiles, split: str) -> Found | None:
    """Finds the file that a label means: in `folder` as it is named, else the one file here with the same last parts.

    Raises:
        SeveralFilesError: more than one file fits, and no folder with the name of the split tells which.
    """
    if _is_file(folder, name):
        return Found(folder, name.replace("\\", "/"), "there")
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ("/", ".", "..")]
    if not parts:
        return None
    last = parts[-1].lower()
    how: How = "tail" if len(parts) > 1 else "there"
    candidates = files.paths.get(last, [])
    if not candidates and PurePosixPath(last).suffix not in IMAGE_SUFFIXES:
        candidates, how = files.stems.get(last, []), "suffix"
    if not candidates:
        return None
    same_case = [path for path in candidates if PurePosixPath(path).name.startswith(parts[-1])]
    if not same_case:
        how = "case"
    chosen = _nearest(same_case or candidates, parts, split=split)
    pieces = PurePosixPath(chosen).parts
    cut = len(pieces) - _shared(chosen, parts)
    return Found(files.root.joinpath(*pieces[:cut]), "/".join(pieces[cut:]), how)


def _nearest(candidates: Sequence[str], parts: Sequence[str], *, split: str) -> str:
    longest = max(_shared(path, parts) for path in candidates)
    nearest = [path for path in candidates if _shared(path, parts) == longest]
    if len(nearest) > 1:
        own = [path for path in nearest if any(_names_split(part, split) for part in path.split("/")[:-1])]
        if len(own) != 1:
            raise SeveralFilesError(" and ".join(nearest[:2]))
        nearest = own
    return nearest[0]


def _shared(path: str, parts: Sequence[str]) -> int:
    """Returns how many last parts are the same in any case; the file itself always counts."""
    count = 1
    for one, other in zip(reversed(path.split("/")[:-1]), reversed(parts[:-1]), strict=False):
        if one.lower() != other.lower():
            break
        count += 1
    return count


def _names_split(folder: str, split: str) -> bool:
    """Tells whether a folder has the name of a split: `valid`, `val2017` and `val_images` for `val`."""
    words = (folder, *re.split(r"[^a-zA-Z0-9]+", folder))
    return any(usual_name(word) == usual_name(split) for word in words)


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir()) if parent.is_dir() else []


def _is_file(folder: Path, name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    safe = name and "\0" not in name and not path.is_absolute() and ".." not in path.parts
    return bool(safe) and os.path.isfile(folder / path)  # links out of the folder are refused later
