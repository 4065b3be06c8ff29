"""Where the images of a CSV file are: its names may be paths of another machine or a bucket, or have no suffix."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from keras_retina.data.formats.image_files import ImageFiles, nearest, shared_parts
from keras_retina.data.formats.listing import folders_in
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


def image_folders(root: Path, labels: Path, *, split: str) -> list[Path]:
    """Returns the folders where the images of a split usually are, those with the name of the split first.

    Args:
        labels: the folder of the CSV file.
    """
    images = root / "images"
    own = [path for parent in (images, root) for path in folders_in(parent) if _names_split(path.name, split)]
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
    candidates = files.by_name.get(last, [])
    if not candidates and PurePosixPath(last).suffix not in IMAGE_SUFFIXES:
        candidates, how = files.by_stem.get(last, []), "suffix"
    if not candidates:
        return None
    same_case = [path for path in candidates if PurePosixPath(path).name.startswith(parts[-1])]
    if not same_case:
        how = "case"
    chosen = _nearest(same_case or candidates, parts, split=split)
    pieces = PurePosixPath(chosen).parts
    cut = len(pieces) - shared_parts(chosen, parts)
    return Found(files.root.joinpath(*pieces[:cut]), "/".join(pieces[cut:]), how)


def _nearest(candidates: Sequence[str], parts: Sequence[str], *, split: str) -> str:
    fitting = nearest(candidates, parts)
    if len(fitting) > 1:
        own = [path for path in fitting if any(_names_split(part, split) for part in path.split("/")[:-1])]
        if len(own) != 1:
            raise SeveralFilesError(" and ".join(fitting[:2]))
        fitting = own
    return fitting[0]


def _names_split(folder: str, split: str) -> bool:
    """Tells whether a folder has the name of a split: `valid`, `val2017` and `val_images` for `val`."""
    words = (folder, *re.split(r"[^a-zA-Z0-9]+", folder))
    return any(usual_name(word) == usual_name(split) for word in words)


def _is_file(folder: Path, name: str) -> bool:
    path = PurePosixPath(name.replace("\\", "/"))
    safe = name and "\0" not in name and not path.is_absolute() and ".." not in path.parts
    return bool(safe) and os.path.isfile(folder / path)
