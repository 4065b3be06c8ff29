"""The labels of one COCO file as one split. Source: https://cocodataset.org/#format-data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_retina.data.formats.box_values import with_box_values
from keras_retina.data.formats.coco.categories import Categories
from keras_retina.data.formats.coco.json_file import Identifier, field_of, identifier, is_number, list_of
from keras_retina.data.formats.coco.segmentation import box_around
from keras_retina.data.formats.image_files import ImageFinder, differing_name, image_finder
from keras_retina.data.formats.repair import LabelledBox, LabelledImage, build_records, problem
from keras_retina.data.records import BoxValues, Dataset, Problem


@dataclass(frozen=True)
class CocoImage:
    """One entry of `images`: `file_name` is relative to the image folder, `size` is `(height, width)`."""

    where: str
    key: Identifier
    file_name: str
    exists: bool
    size: tuple[int, int] | None


def read_coco(
    content: Mapping[str, Any],
    annotation_file: Path,
    *,
    image_folders: Sequence[Path],
    split: str,
    name: str,
    categories: Categories,
    boxes: BoxValues = "auto",
) -> Dataset:
    """Reads one split; what could not be fixed is in `Dataset.problems`.

    Args:
        content: what is in `annotation_file`.
        image_folders: where the images may be; they are read from the one in which most of them are.
        boxes: `normalized` reads `bbox` as shares of the image. With `auto`, numbers that look so are refused.

    Raises:
        InputError: there is no list `images` or `annotations`.
    """
    finder, listed, problems = read_images(content, annotation_file, image_folders=image_folders)
    images, twice, found = _once(listed)
    problems += found
    by_image: dict[Identifier, list[LabelledBox]] = {key: [] for key in images}
    for index, annotation in enumerate(list_of(content, "annotations", file=annotation_file)):
        where = f"{annotation_file}: annotations[{index}]"
        box, found = _read_annotation(annotation, where, images=images, categories=categories)
        problems += found
        if box is not None:
            by_image[images_key(annotation)].append(box)

    ids, found = _image_ids(images, annotation_file)
    labelled, unclear = with_box_values(
        [
            LabelledImage(image.where, ids[key], image.file_name, image.size, tuple(by_image[key]))
            for key, image in images.items()
            if key not in twice
        ],
        boxes,
        normalized=False,
        kind="COCO",
        file=annotation_file,
    )
    records, unfit = build_records(labelled, finder.root)
    problems = [*categories.problems, *problems, *unclear, *found, *unfit]
    return Dataset(name, split, categories.names, categories.ids, tuple(records), tuple(problems))


def read_images(
    content: Mapping[str, Any], annotation_file: Path, *, image_folders: Sequence[Path]
) -> tuple[ImageFinder, list[CocoImage], list[Problem]]:
    """Returns the image folder, the listed images with their files in it, and the records that are none."""
    problems: list[Problem] = []
    entries: list[tuple[str, Identifier, str, Any]] = []
    for index, image in enumerate(list_of(content, "images", file=annotation_file)):
        where = f"{annotation_file}: images[{index}]"
        image_id, file_name = field_of(image, "id"), field_of(image, "file_name")
        key = identifier(image_id)
        if key is None or not isinstance(file_name, str):
            detail = f"an id and a file_name were expected. Received: id={image_id!r}, file_name={file_name!r}."
            problems.append(problem("malformed_image", where, detail=f"{detail} Correct the record.", fixed=False))
        else:
            entries.append((where, key, file_name, image))
    finder = image_finder(image_folders, [file_name for _, _, file_name, _ in entries])
    images = []
    for where, key, file_name, image in entries:
        found = finder.find(file_name)
        if found.differs:
            problems.append(differing_name(found, file_name, where=where))
        images.append(CocoImage(where, key, found.name, found.exists, _size(image)))
    return finder, images, problems


def images_key(annotation: Any) -> Identifier:
    """Returns the id of the image that an annotation belongs to, "" for none."""
    key = identifier(field_of(annotation, "image_id"))
    return "" if key is None else key


def _once(listed: Sequence[CocoImage]) -> tuple[dict[Identifier, CocoImage], set[Identifier], list[Problem]]:
    """Returns the images by id, the ids of files that were listed before, and these second records as problems."""
    images: dict[Identifier, CocoImage] = {}
    files: dict[str, CocoImage] = {}
    twice: set[Identifier] = set()
    problems = []
    for image in listed:
        if image.key in images:
            place = images[image.key].where
            detail = f"each id once was expected. Received: id={image.key!r} again, first at {place}. Remove one."
            problems.append(problem("image_listed_twice", image.where, detail=detail, fixed=False))
            continue
        images[image.key] = image
        first = files.setdefault(image.file_name, image)
        if first is not image:
            detail = (
                f"each image listed once was expected. Received: {image.file_name!r} with id={image.key!r}, and with "
                f"id={first.key!r} at {first.where}. Give the annotations of both one image_id and remove one record."
            )
            problems.append(problem("image_listed_twice", image.where, detail=detail, fixed=False))
            twice.add(image.key)
    return images, twice, problems


def _image_ids(images: Mapping[Identifier, CocoImage], file: Path) -> tuple[dict[Identifier, int], list[Problem]]:
    """Returns labelled id -> id for results files: integers as they are; if one is a text, all are numbered from 1."""
    numbers: dict[Identifier, int] = {key: key for key in images if isinstance(key, int)}
    if len(numbers) == len(images):
        return numbers, []
    text = next(key for key in images if isinstance(key, str))
    detail = f"image ids are texts such as {text!r}: the images are numbered from 1 in the order of the file"
    numbered = {key: number for number, key in enumerate(images, start=1)}
    return numbered, [problem("ids_numbered", str(file), detail=detail, fixed=True)]


def _read_annotation(
    annotation: Any, where: str, *, images: Mapping[Identifier, CocoImage], categories: Categories
) -> tuple[LabelledBox | None, list[Problem]]:
    image_id, category_id = field_of(annotation, "image_id"), field_of(annotation, "category_id")
    bbox, problems = field_of(annotation, "bbox"), []
    if images_key(annotation) not in images:
        detail = f"the id of a listed image was expected. Received: image_id={image_id!r}. Correct the record."
        return None, [problem("unknown_image", f"{where}.image_id", detail=detail, fixed=False)]
    category = identifier(category_id)
    if category is None or category not in categories.index:
        valid = ", ".join(f"{key} ({categories.names[index]})" for key, index in categories.index.items())
        detail = f"a category id in use was expected. Received: category_id={category_id!r}. Valid: {valid}."
        return None, [problem("unknown_category", f"{where}.category_id", detail=detail, fixed=False)]
    if bbox is None or bbox == []:
        around = box_around(field_of(annotation, "segmentation"))
        if around is not None:
            bbox, detail = around, "no bbox: the box around the segmentation is taken"
            problems.append(problem("box_from_segmentation", f"{where}.segmentation", detail=detail, fixed=True))
    if not isinstance(bbox, list) or len(bbox) != 4 or not all(is_number(value) for value in bbox):
        detail = f"a list [x, y, width, height] was expected. Received: bbox={bbox!r:.80}. Correct the record."
        return None, [problem("invalid_box", f"{where}.bbox", detail=detail, fixed=False)]
    x, y, width, height = (float(value) for value in bbox)
    if width < 0 or height < 0:  # which corner is x, y? Not to be guessed.
        detail = f"width and height of at least 0 were expected. Received: bbox={bbox!r}. Correct the record."
        return None, [problem("negative_box", f"{where}.bbox", detail=detail, fixed=False)]
    crowd = field_of(annotation, "iscrowd") in (1, True, "1")
    return LabelledBox(f"{where}.bbox", (y, x, y + height, x + width), categories.index[category], crowd), problems


def _size(image: Mapping[str, Any]) -> tuple[int, int] | None:
    height, width = (identifier(field_of(image, side)) for side in ("height", "width"))
    return (height, width) if isinstance(height, int) and isinstance(width, int) and height > 0 < width else None
