"""The JSON files of COCO labels: which files they are, told by their beginning, and what is in them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeGuard

from keras_retina.data.formats.encoding import read_beginning, read_text
from keras_retina.data.formats.listing import files_in
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.json_values import parse_json

_BEGINNING = 1 << 18  # bytes; licences and the like stand before the first list
_LISTS = re.compile(r'"(images|annotations)"\s*:\s*(\[|$)')
_CATEGORIES = re.compile(r'"categories"\s*:\s*\[')  # Label Studio's notes.json beside YOLO labels has nothing else
_MOST_FILES = 100  # more JSON files in one folder are one for each image, which is not COCO
_OTHER_TASKS = ("captions_", "image_info_", "stuff_", "panoptic_")
_COCO_NAME = re.compile("^instances_|coco")
_KEYPOINTS = "person_keypoints_"


def looks_like_coco(file: Path) -> Literal["yes", "no", "damaged"]:
    """Tells by its beginning whether a file holds COCO labels; an empty one or one that is no text is `damaged`."""
    beginning = read_beginning(file, _BEGINNING)
    if beginning is None:
        return "damaged"
    text, is_all = beginning
    if text.lstrip().startswith("["):
        return "no"  # COCO is an object; a list of images with their annotations is CreateML's
    if _LISTS.search(text) or (not is_all and _CATEGORIES.search(text)):
        return "yes"
    return "damaged" if not text.strip() or text.lstrip()[0] != "{" else "no"


def coco_files(folder: Path, *, damaged: bool = False) -> list[Path]:
    """Returns the files of COCO boxes in a folder, by name.

    Files of COCO's other tasks are left out; its keypoints, which have boxes too, count where there is nothing else.

    Args:
        damaged: whether a file that cannot be told is one, because nothing else is expected at its place. One that is
            called `instances_...` or `...coco...` is anyway.
    """
    files = [file for file in files_in(folder, (".json",)) if not file.name.lower().startswith(_OTHER_TASKS)]
    if len(files) > _MOST_FILES:
        return []
    answers = {file: looks_like_coco(file) for file in files}
    found = [
        file
        for file, answer in answers.items()
        if answer == "yes" or (answer == "damaged" and (damaged or _COCO_NAME.search(file.name.lower())))
    ]
    return [file for file in found if not file.name.startswith(_KEYPOINTS)] or found


def split_name(file: Path) -> str:
    """Returns the file name without what tools add to it: `train2017` of `instances_train2017.json`, perhaps ""."""
    stem = file.stem.removeprefix(_KEYPOINTS)
    words = [word for word in re.split(r"[_.\s-]+", stem) if word]
    kept = [word for word in words if word.lower() not in ("instances", "annotations", "annotation", "coco", "labels")]
    return stem if kept == words else "_".join(kept)


def load_json(file: Path) -> dict[str, Any]:
    """Returns the contents of a COCO file.

    Raises:
        InputError: it cannot be read, is cut off, or has something else in it.
    """
    content = read_json(file)
    if not isinstance(content, dict):
        raise InputError(
            f"{printable(file)}: a JSON object with images, annotations and categories was expected. "
            f"Received: {type(content).__name__}. Export the labels as COCO detection."
        )
    return content


def read_json(file: Path) -> Any:
    """Returns what is in a JSON file.

    Raises:
        InputError: it cannot be read, is cut off, or is no JSON.
    """
    text = read_text(file, "a JSON file")
    try:
        return parse_json(text)
    except ValueError as error:
        raise InputError(_damage(file, text, error=error)) from error


def _damage(file: Path, text: str, *, error: Exception) -> str:
    expected = f"{printable(file)}: complete JSON was expected."
    if not text.strip():
        return f"{expected} Received: an empty file. Export the labels again."
    # A string that is not closed reaches to the end, too; its error stands at its beginning.
    if isinstance(error, json.JSONDecodeError) and (
        not text[error.pos :].strip() or error.msg.startswith("Unterminated string")
    ):
        return f"{expected} Received: {printable(error)}, the end of the file. Is it cut off? Copy it again."
    reason = printable(error) or type(error).__name__
    return f"{expected} Received: {reason}. Correct that place, or export the labels again."


def list_of(content: Mapping[str, Any], field: str, *, file: Path) -> list[Any]:
    """Returns one of the lists of a COCO file; raises InputError where there is none."""
    value = content.get(field)
    if not isinstance(value, list):
        raise InputError(
            f"{printable(file)}: {field}: a list was expected. Received: {field}={type(value).__name__}. "
            f"Export the labels as COCO detection."
        )
    return value


def field_of(record: Any, field: str) -> Any:
    """Returns a field of a record, None where there is no such field or no record."""
    return record.get(field) if isinstance(record, dict) else None


Identifier = int | str


def identifier(value: Any) -> Identifier | None:
    """Returns an id as the number it means (7, 7.0 and "7" are one), any other text as it is, None for no id."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and value:
        return int(value) if value.isdecimal() and value.isascii() and str(int(value[:18])) == value else value
    return value if is_integer(value) else None


def is_integer(value: Any) -> TypeGuard[int]:
    """Tells whether a value is an integer and no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[int | float]:
    """Tells whether a value is a number that a float can hold; more digits than 63 bits are no pixel."""
    return isinstance(value, float) or (is_integer(value) and abs(value) < 1 << 63)
