"""Photos that lie in several folders, each with a part of their labels: the OIDv4 ToolKit has a folder for each class.

Read one by one, every copy would teach that the objects of the other folders are background.
"""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from keras_retina.data.formats.image_files import file_name_of
from keras_retina.data.formats.others.named import NamedImage
from keras_retina.data.formats.repair import problem
from keras_retina.data.records import Problem


def join_copies(images: Sequence[NamedImage], root: Path) -> tuple[list[NamedImage], list[Problem]]:
    """Joins images with the same name and the same bytes into the first; returns one fixed problem for each other.

    Args:
        images: file names are relative to `root`.
    """
    firsts: dict[str, list[int]] = {}
    joined: list[NamedImage] = []
    problems: list[Problem] = []
    for image in images:
        known = firsts.setdefault(file_name_of(image.file_name).lower(), [])
        place = next((one for one in known if _same_bytes(root, joined[one].file_name, image.file_name)), None)
        if place is None:
            known.append(len(joined))
            joined.append(image)
            continue
        first = joined[place]
        joined[place] = replace(first, boxes=(*first.boxes, *image.boxes))
        detail = f"the same photo as {first.file_name!r}, its boxes are added there"
        problems.append(problem("copy_joined", image.where, detail=detail, fixed=True))
    return joined, problems


def _same_bytes(root: Path, one: str, other: str) -> bool:
    try:
        return filecmp.cmp(root / one, root / other, shallow=False)
    except OSError:  # a missing file is told where the image is read
        return False
