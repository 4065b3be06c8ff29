"""Which TFRecord files of other tools belong to which split, by their names."""

from __future__ import annotations

import re
from pathlib import Path

from keras_retina.data.images import printable
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files import address, matching_files

# train.tfrecord, train-00000-of-00010.tfrecord, train-00000.tfrecord, train.tfrecord-00000-of-00010
_FILE_NAME = re.compile(r"(?P<split>.+?)(?:[-_.]\d+(?:-of-(?P<of>\d+))?)?\.tfrecords?(?:-\d+-of-(?P<count>\d+))?")


def tfrecord_splits(place: Path) -> dict[str, list[Path]]:
    """Maps each split to its files: those of a folder, or those that a pattern such as `DIR/train-*.tfrecord` matches.

    Raises:
        InputError: a file of a folder says that there are more of its split than there are.
        OSError: a remote place cannot be reached.
    """
    is_pattern = is_tfrecord_pattern(place)
    folder, pattern = (place.parent, place.name) if is_pattern else (place, "*.tfrecord*")
    splits: dict[str, list[Path]] = {}
    wanted: dict[str, int] = {}
    for file in matching_files(folder, pattern):
        name = _FILE_NAME.fullmatch(file.name)
        if name:
            splits.setdefault(name["split"], []).append(file)
            wanted[name["split"]] = int(name["of"] or name["count"] or 0)
    for split, files in splits.items():
        if not is_pattern and wanted[split] and len(files) != wanted[split]:
            raise InputError(
                f"{printable(address(folder))}: {wanted[split]} TFRecord files of {split!r} were expected, "
                f"as their names say. Received: {len(files)}. Copy the missing ones, or name the files with a pattern."
            )
    return splits


def is_tfrecord_pattern(place: Path) -> bool:
    """Returns whether a path names TFRecord files, not a folder."""
    return ".tfrecord" in place.name and not place.is_dir()
