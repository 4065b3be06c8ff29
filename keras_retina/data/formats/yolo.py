"""YOLO labels: `data.yaml` and one text file for each image, `class x_centre y_centre width height` in 0..1.

Source: https://docs.ultralytics.com/datasets/detect. An image without a label file has no objects. Lines of a
segmentation set (`class x1 y1 x2 y2 x3 y3 ...`) give the box around the polygon.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from keras_retina.data.formats.repair import LabelledBox, LabelledImage, build_records, problem, safe_path
from keras_retina.data.images import IMAGE_SUFFIXES
from keras_retina.data.records import Dataset, Layout, Problem, Reader, Reading
from keras_retina.foundation.errors import InputError, printable

_SPLITS = ("train", "val", "test")


def yolo_splits(data_dir: Path) -> dict[str, Path]:
    """Maps the splits that `data.yaml` names to `data.yaml`."""
    file = data_dir / "data.yaml"
    content = _load(file)
    return {split: file for split in _SPLITS if content.get(split)}


def read_yolo(data_yaml: Path, split: str, *, name: str) -> Dataset:
    """Reads one split; what could not be fixed is in `Dataset.problems`. Category ids are YOLO's own, from 0.

    Raises:
        InputError: `data.yaml` is damaged, or the split's folder or list is not inside the data folder.
    """
    data_dir = data_yaml.parent
    content = _load(data_yaml)
    names = _names(content, data_yaml)
    category_ids = list(names)
    problems: list[Problem] = []
    images: list[LabelledImage] = []
    for index, (where, file_name) in enumerate(_image_names(content, split, data_yaml=data_yaml), start=1):
        boxes, found = _read_labels(data_dir, file_name, where=where, category_ids=category_ids, names=names)
        problems.extend(found)
        images.append(LabelledImage(where, index, file_name, None, boxes, normalized=True))
    records, found = build_records(images, data_dir)
    class_names = tuple(names[category_id] for category_id in category_ids)
    return Dataset(name, split, class_names, tuple(category_ids), tuple(records), tuple(problems + found))


def _find(data_dir: Path) -> list[Layout]:
    if not (data_dir / "data.yaml").is_file():
        return []

    def read(split: str, reading: Reading) -> Dataset:
        return read_yolo(data_dir / "data.yaml", split, name=data_dir.resolve().name)

    return [Layout("yolo", "YOLO", tuple(yolo_splits(data_dir)), read)]


YOLO = Reader("yolo", "data.yaml (YOLO)", _find)


def label_path(file_name: str) -> str:
    """Returns the label file of an image: the last folder `images` becomes `labels`, the suffix `.txt`."""
    parts = list(PurePosixPath(file_name.replace("\\", "/")).with_suffix(".txt").parts)
    for index in reversed(range(len(parts) - 1)):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return str(PurePosixPath(*parts))


def _read_labels(
    data_dir: Path, file_name: str, *, where: str, category_ids: Sequence[int], names: dict[int, str]
) -> tuple[tuple[LabelledBox, ...], list[Problem]]:
    try:
        safe_path(data_dir, file_name)
    except InputError:
        return (), []  # build_records reports it
    try:
        file = safe_path(data_dir, label_path(file_name))
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        return (), [
            problem("no_label_file", where, detail=f"{file_name!r}: taken as an image without objects", fixed=True)
        ]
    except (OSError, ValueError) as error:
        return (), [problem("unreadable_labels", where, detail=f"{file_name!r}: {error}", fixed=False)]
    boxes: list[LabelledBox] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        box = _read_line(line, f"{file}: line {number}", category_ids=category_ids, names=names)
        if isinstance(box, Problem):
            problems.append(box)
        else:
            boxes.append(box)
    return tuple(boxes), problems


def _read_line(line: str, where: str, *, category_ids: Sequence[int], names: dict[int, str]) -> LabelledBox | Problem:
    try:
        category, *values = (float(word) for word in line.split())
    except ValueError:
        category, values = math.nan, []
    if not (len(values) == 4 or (len(values) >= 6 and len(values) % 2 == 0)):
        detail = f"class x_centre y_centre width height, five numbers, were expected. Received: {line!r:.80}."
        return problem("invalid_box", where, detail=f"{detail} Correct the line.", fixed=False)
    if category not in category_ids:
        valid = ", ".join(f"{category_id} ({names[category_id]})" for category_id in category_ids)
        detail = f"a class index in use was expected. Received: class={category:g}. Valid: {valid}."
        return problem("unknown_category", where, detail=detail, fixed=False)
    class_index = category_ids.index(int(category))
    if len(values) > 4:
        xs, ys = values[0::2], values[1::2]
        if not all(math.isfinite(value) for value in values):  # min and max would pass over NaN
            return LabelledBox(where, (math.nan, math.nan, math.nan, math.nan), class_index)
        return LabelledBox(where, (min(ys), min(xs), max(ys), max(xs)), class_index)
    x, y, width, height = values
    if width < 0 or height < 0:
        detail = f"width and height of at least 0 were expected. Received: {line!r:.80}. Correct the line."
        return problem("negative_box", where, detail=detail, fixed=False)
    return LabelledBox(where, (y - height / 2, x - width / 2, y + height / 2, x + width / 2), class_index)


def _image_names(content: dict[str, Any], split: str, *, data_yaml: Path) -> list[tuple[str, str]]:
    """Returns `(where, file name relative to the data folder)` of each image of a split, sorted within a folder."""
    data_dir = data_yaml.parent
    entries = content[split] if isinstance(content[split], list) else [content[split]]
    names: list[tuple[str, str]] = []
    for entry in entries:
        where = f"{data_yaml}: {split}"
        if not isinstance(entry, str):
            raise InputError(
                f"{printable(where)}: a folder or a list of images was expected. "
                f"Received: {type(entry).__name__}. Give a path inside the data folder."
            )
        path = _inside(data_dir, content.get("path"), entry=entry, where=where)
        if path.is_dir():
            for folder, folders, files in os.walk(path):
                folders.sort()
                relative = Path(folder).relative_to(data_dir)
                image_files = (file for file in sorted(files) if file.lower().endswith(IMAGE_SUFFIXES))
                names += [(where, (relative / file).as_posix()) for file in image_files]
        else:
            names += _listed_names(path, data_dir)
    return names


def _listed_names(file: Path, data_dir: Path) -> list[tuple[str, str]]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{printable(file)}: a list of image files was expected. Received: {printable(error)}. Check data.yaml."
        ) from error
    names = []
    for number, line in enumerate(lines, start=1):
        if entry := line.strip():
            beside = file.parent.relative_to(data_dir) / entry  # `./images/a.jpg` counts from the list's own folder
            name = entry if (data_dir / entry).is_file() or not (data_dir / beside).is_file() else beside.as_posix()
            names.append((f"{file}: line {number}", PurePosixPath(name).as_posix()))
    return names


def _inside(data_dir: Path, root: Any, *, entry: str, where: str) -> Path:
    """Finds a split's folder; `path:` and a leading `../` (Roboflow) point elsewhere when the folder has moved."""
    stripped = entry
    while stripped.startswith("../"):
        stripped = stripped.removeprefix("../")
    for candidate in (f"{root}/{entry}" if isinstance(root, str) else entry, entry, stripped):
        try:
            path = safe_path(data_dir, candidate)
        except InputError:
            continue  # tried next: the same entry without what leads out; the error below names all of it
        if path.exists():
            return path
    raise InputError(
        f"{printable(where)}: a folder or a list inside {printable(data_dir)} was expected. "
        f"Received: {entry!r}. Correct the path."
    )


def _load(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{printable(file)}: plain YAML was expected. Received: {printable(reason)}. Correct the file."
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{printable(file)}: YAML with names, train and val was expected. Received: {type(content).__name__}. "
            f"Correct the file."
        )
    return content


def _names(content: dict[str, Any], file: Path) -> dict[int, str]:
    names = content.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise InputError(
            f"{printable(file)}: names: a list of class names was expected. Received: {type(names).__name__}. Add it."
        )
    for index, name in names.items():
        # YAML reads `no` as a boolean: only the writer knows what was meant.
        if isinstance(index, bool) or not isinstance(index, int) or not isinstance(name, str | int) or name is True:
            raise InputError(
                f"{printable(file)}: names: integer keys and texts were expected. "
                f"Received: {type(index).__name__} and {type(name).__name__}. Put the class names in quotes."
            )
    texts = {index: str(name) for index, name in sorted(names.items())}
    if len(set(texts.values())) < len(texts):
        raise InputError(f"{printable(file)}: names: different names were expected. Received: one twice. Rename it.")
    if isinstance(content.get("nc"), int) and content["nc"] != len(texts):
        raise InputError(
            f"{printable(file)}: nc: the number of names was expected. "
            f"Received: nc={content['nc']}, {len(texts)} names. Correct one of them."
        )
    return texts
