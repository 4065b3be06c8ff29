"""COCO detection labels: one JSON file for each split. Source: https://cocodataset.org/#format-data."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from keras_retina.data.formats.repair import LabelledBox, LabelledImage, build_records, problem
from keras_retina.data.records import Dataset, Layout, Problem, Reader, Reading
from keras_retina.foundation.errors import InputError, printable

_OTHER_TASKS = ("captions_", "person_keypoints_", "image_info_", "stuff_", "panoptic_")


def coco_splits(data_dir: Path) -> dict[str, Path]:
    """Maps split names to `annotations/<split>.json`, or to COCO's own `annotations/instances_<split>.json`."""
    files = sorted((data_dir / "annotations").glob("*.json"))
    return {file.stem.removeprefix("instances_"): file for file in files if not file.name.startswith(_OTHER_TASKS)}


def coco_image_dir(data_dir: Path, split: str) -> Path:
    """Returns the folder of a split's images: `images/<split>`, `images`, or COCO's own `<split>`."""
    for folder in (data_dir / "images" / split, data_dir / "images", data_dir / split):
        if folder.is_dir():
            return folder
    raise InputError(f"{printable(data_dir)}: a folder images/ was expected. Received: none. Put the images there.")


def coco_categories(annotation_files: Iterable[Path]) -> dict[int, str]:
    """Returns category id -> name over all files, ascending by id, so that every split has the same class order.

    Raises:
        InputError: a file is damaged, or an id or a name means two things.
    """
    names: dict[int, str] = {}
    for file in annotation_files:
        for index, category in enumerate(_list(_load(file), "categories", file=file)):
            where = f"{printable(file)}: categories[{index}]"
            category_id, name = _field(category, "id"), _field(category, "name")
            if not _is_integer(category_id) or not isinstance(name, str) or not name.strip():
                raise InputError(
                    f"{where}: an integer id and a name were expected. "
                    f"Received: id={category_id!r}, name={name!r}. Correct the category."
                )
            if names.setdefault(category_id, name) != name:
                raise InputError(
                    f"{where}: one name for each category id was expected. "
                    f"Received: id={category_id} as {names[category_id]!r} and {name!r}. Use one list in every split."
                )
    for category_id, name in names.items():
        if list(names.values()).count(name) > 1:
            raise InputError(
                f"{printable(', '.join(map(str, annotation_files)))}: one id for each category name was expected. "
                f"Received: name={name!r}, id={category_id} and another. Use the same list in every split."
            )
    return dict(sorted(names.items()))


def read_coco(
    annotation_file: Path, image_dir: Path, *, split: str, name: str, categories: Mapping[int, str] | None = None
) -> Dataset:
    """Reads one split; what could not be fixed is in `Dataset.problems`.

    Args:
        categories: category id -> name in class order; by default those of this file, ascending by id.

    Raises:
        InputError: the JSON is damaged or lacks `images`, `annotations` or `categories`.
    """
    if categories is None:
        categories = coco_categories([annotation_file])
    content = _load(annotation_file)
    file = str(annotation_file)
    class_index = {category_id: index for index, category_id in enumerate(categories)}
    problems: list[Problem] = []
    images: dict[int, dict[str, Any]] = {}
    boxes: dict[int, list[LabelledBox]] = {}
    for index, image in enumerate(_list(content, "images", file=annotation_file)):
        where = f"{file}: images[{index}]"
        image_id, file_name = _field(image, "id"), _field(image, "file_name")
        if not _is_integer(image_id) or not isinstance(file_name, str):
            detail = f"an integer id and a file_name were expected. Received: id={image_id!r}, file_name={file_name!r}."
            problems.append(problem("malformed_image", where, detail=f"{detail} Correct the record.", fixed=False))
        elif image_id in images:
            detail = f"each image listed once was expected. Received: id={image_id} again. Remove one."
            problems.append(problem("image_listed_twice", where, detail=detail, fixed=False))
        else:
            images[image_id] = {"where": where, "file_name": file_name, "size": _size(image)}
            boxes[image_id] = []

    for index, annotation in enumerate(_list(content, "annotations", file=annotation_file)):
        where = f"{file}: annotations[{index}]"
        box = _read_annotation(annotation, where, images=images, class_index=class_index, names=categories)
        if isinstance(box, Problem):
            problems.append(box)
        else:
            boxes[annotation["image_id"]].append(box)

    labelled = (
        LabelledImage(image_id=image_id, boxes=tuple(boxes[image_id]), **image) for image_id, image in images.items()
    )
    records, found = build_records(labelled, image_dir)
    return Dataset(name, split, tuple(categories.values()), tuple(categories), tuple(records), tuple(problems + found))


def _find(data_dir: Path) -> list[Layout]:
    splits = coco_splits(data_dir)
    if not splits:
        return []

    def read(split: str, reading: Reading) -> Dataset:
        categories = coco_categories(splits.values())
        name = data_dir.resolve().name
        return read_coco(splits[split], coco_image_dir(data_dir, split), split=split, name=name, categories=categories)

    return [Layout("coco", "COCO", tuple(splits), read)]


COCO = Reader("coco", "annotations/<split>.json (COCO)", _find)


def _read_annotation(
    annotation: Any, where: str, *, images: Mapping[int, Any], class_index: Mapping[int, int], names: Mapping[int, str]
) -> LabelledBox | Problem:
    image_id, category_id = _field(annotation, "image_id"), _field(annotation, "category_id")
    bbox = _field(annotation, "bbox")
    if not _is_integer(image_id) or image_id not in images:
        detail = f"the id of a listed image was expected. Received: image_id={image_id!r}. Correct the record."
        return problem("unknown_image", f"{where}.image_id", detail=detail, fixed=False)
    if not _is_integer(category_id) or category_id not in class_index:
        valid = ", ".join(f"{number} ({name})" for number, name in names.items())
        detail = f"a category id in use was expected. Received: category_id={category_id!r}. Valid: {valid}."
        return problem("unknown_category", f"{where}.category_id", detail=detail, fixed=False)
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(_is_number(value) for value in bbox):
        detail = f"a list [x, y, width, height] was expected. Received: bbox={bbox!r:.80}. Correct the record."
        return problem("invalid_box", f"{where}.bbox", detail=detail, fixed=False)
    x, y, width, height = (float(value) for value in bbox)
    if width < 0 or height < 0:  # which corner is x, y? Not to be guessed.
        detail = f"width and height of at least 0 were expected. Received: bbox={bbox!r}. Correct the record."
        return problem("negative_box", f"{where}.bbox", detail=detail, fixed=False)
    crowd = _field(annotation, "iscrowd") in (1, True)
    return LabelledBox(f"{where}.bbox", (y, x, y + height, x + width), class_index[category_id], crowd)


def _load(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(
            f"{printable(file)}: a readable COCO JSON file was expected. Received: {error.strerror}. Check the path."
        ) from error
    except (ValueError, RecursionError) as error:  # damaged JSON, not UTF-8, nested without end
        reason = printable(error) or type(error).__name__
        raise InputError(
            f"{printable(file)}: complete JSON was expected. Received: {reason}. Is the file cut off? Copy it again."
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{printable(file)}: a JSON object with images, annotations and categories was expected. "
            f"Received: {type(content).__name__}. Export the labels as COCO detection."
        )
    return content


def _list(content: Mapping[str, Any], field: str, *, file: Path) -> list[Any]:
    value = content.get(field)
    if not isinstance(value, list):
        raise InputError(
            f"{printable(file)}: {field}: a list was expected. Received: {field}={type(value).__name__}. "
            f"Export the labels as COCO detection."
        )
    return value


def _field(record: Any, field: str) -> Any:
    return record.get(field) if isinstance(record, dict) else None


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = image.get("height"), image.get("width")
    return (height, width) if _is_integer(height) and _is_integer(width) and height > 0 and width > 0 else None


def _is_integer(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    # Integers beyond the range of float would overflow; nothing with that many digits is a pixel.
    return isinstance(value, float) or (_is_integer(value) and abs(value) < 1 << 63)
