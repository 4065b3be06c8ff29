"""What a folder holds that no reader knows, and what its owner can do about it."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from keras_retina.data.formats.listing import is_visible, walk_files
from keras_retina.data.images import IMAGE_SUFFIXES
from keras_retina.data.reading.archive import SUFFIXES
from keras_retina.foundation.errors import printable

_ARCHIVES = (*SUFFIXES, ".rar", ".7z", ".gz", ".tar.zst")
_LABELS = (".json", ".jsonl", ".xml", ".csv", ".tsv", ".txt", ".yaml", ".yml", ".xlsx", ".xls", ".mat", ".parquet",
           ".record", ".tfrecord", ".names", ".data", ".pbtxt", ".odgt", ".ndjson")  # fmt: skip
_ABOUT = ("readme", "license", "licence", "requirements", "classes", "labels.txt", "package.json")
_LOOKED_AT = 20_000  # files, so that a message about a whole disk does not take for ever
_SHOWN = 6


def unknown_contents(data: Path) -> str:
    """Returns what was received and what to do, as the end of a message about a place without known labels."""
    if not data.is_dir():
        return f"a file that is none of them. {_about_file(data.name.lower())}"
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in data.iterdir() if is_visible(path.name))
    if not names:
        return "an empty folder. Check the path."
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"none of them, but {printable(', '.join(names[:_SHOWN]))}{more}. {_advice(data)}"


def _about_file(name: str) -> str:
    if name.endswith(_ARCHIVES):
        return "Unpack it, and give the folder."
    if name.endswith(IMAGE_SUFFIXES):
        return "Give the folder with the images and their labels."
    return "Give the data folder, or convert the labels to COCO JSON."


def _advice(data: Path) -> str:
    images, labels, archives = [], [], []
    for path in islice(walk_files(data), _LOOKED_AT):
        name = path.name.lower()
        if name.endswith(_ARCHIVES):
            archives.append(path.relative_to(data).as_posix())
        elif name.endswith(IMAGE_SUFFIXES):
            images.append(path)
        elif name.endswith(_LABELS) and not name.startswith(_ABOUT):
            labels.append(path.relative_to(data).as_posix())
    if archives and not (images and labels):
        return f"Unpack {printable(', '.join(archives[:_SHOWN]))}, and give the folder with all of it."
    if images and not labels:
        return (
            "There are images and no labels: draw boxes with a tool such as CVAT, Label Studio or LabelImg, and "
            "export them as COCO."
        )
    if labels and not images:
        return f"There are no images: put them beside the labels, such as {printable(labels[0])}."
    if labels:
        return f"If {printable(labels[0])} holds labels, convert them to COCO JSON or YOLO."
    return "Check the path."
