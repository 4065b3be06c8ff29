"""The labels of VOC files as one split.

Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf, section 4. Objects marked `difficult` are
ordinary objects here. VOC's own files (`<database>` starts with "The VOC") count pixels from 1 and include the last
one, so 1 is taken from xmin and ymin; other tools' files are taken as they stand.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from keras_retina.data.formats.box_values import with_box_values
from keras_retina.data.formats.image_files import Found, ImageFinder, file_name_of
from keras_retina.data.formats.repair import LabelledBox, LabelledImage, build_records, problem
from keras_retina.data.formats.voc.lists import VocEntry
from keras_retina.data.formats.voc.xml_file import VocLabels, VocObject, number
from keras_retina.data.images import IMAGE_SUFFIXES
from keras_retina.data.records import BoxValues, Dataset, Problem
from keras_retina.foundation.errors import InputError, closest

LabelsOf = Callable[[Path], VocLabels]
"""Returns the labels in a file, which it parses once; raises InputError for a damaged one."""


def voc_class_names(entries: Iterable[VocEntry], *, labels_of: LabelsOf) -> tuple[str, ...]:
    """Returns the class names in the files, sorted, because VOC folders do not list them."""
    names: set[str] = set()
    for entry in entries:
        try:
            names.update(item.name for item in labels_of(entry.file).objects)
        except InputError:
            continue  # read_voc reports it, in the split that has it
    return tuple(sorted(names - {""}))


def read_voc(
    entries: Sequence[VocEntry],
    finder: ImageFinder,
    *,
    split: str,
    name: str,
    class_names: tuple[str, ...],
    labels_of: LabelsOf,
    boxes: BoxValues = "auto",
) -> Dataset:
    """Reads one split; what could not be fixed is in `Dataset.problems`. Category ids are 1, 2, ... in class order.

    Args:
        boxes: `normalized` reads corners as shares of the image. With `auto`, numbers that look so are refused.
    """
    problems: list[Problem] = []
    images: list[tuple[str, int, str, tuple[int, int] | None, tuple[LabelledBox, ...]]] = []
    for index, entry in enumerate(entries, start=1):
        try:
            labels = labels_of(entry.file)
        except InputError as error:
            problems.append(problem("unreadable_labels", entry.where, detail=str(error), fixed=False))
            continue
        found = image_of(entry, labels, finder=finder)
        base, image = file_name_of(labels.file_name), file_name_of(found.name)
        if found.exists and (found.differs or (base and base not in (image, os.path.splitext(image)[0]))):
            detail = f"{found.name!r} is read, the image here that fits {entry.file.name!r}, not {labels.file_name!r}"
            problems.append(problem("file_name_differs", f"{entry.file}: filename", detail=detail, fixed=True))
        if labels.size is None:
            detail = "no size in the labels, taken from the image file"
            problems.append(problem("missing_size", f"{entry.file}: size", detail=detail, fixed=True))
        # Shares of the image have no first pixel.
        first_pixel = 1.0 if labels.database.startswith("The VOC") and boxes != "normalized" else 0.0
        kept = []
        for item in labels.objects:
            box = _read_object(item, entry.file, class_names=class_names, first_pixel=first_pixel)
            if isinstance(box, Problem):
                problems.append(box)
            else:
                kept.append(box)
        images.append((str(entry.file), index, found.name, labels.size, tuple(kept)))
    labelled, unclear = with_box_values(
        [LabelledImage(*image) for image in images], boxes, normalized=False, kind="VOC", file=f"{name}: {split}"
    )
    records, unfit = build_records(labelled, finder.root)
    ids = tuple(range(1, len(class_names) + 1))
    return Dataset(name, split, class_names, ids, tuple(records), (*problems, *unclear, *unfit))


def image_of(entry: VocEntry, labels: VocLabels, *, finder: ImageFinder) -> Found:
    """Returns the image of a label file: the one with its name, else the one that it names itself."""
    stem, suffix = os.path.splitext(file_name_of(labels.file_name))
    same = stem == file_name_of(entry.stem) and suffix.lower() in IMAGE_SUFFIXES
    by_stem = finder.find_stem(entry.stem, suffix=suffix.lower() if same else "")
    if by_stem.exists or not labels.file_name:
        return by_stem
    by_name = finder.find(labels.file_name)
    return by_name if by_name.exists else by_stem


def _read_object(
    item: VocObject, file: Path, *, class_names: tuple[str, ...], first_pixel: float
) -> LabelledBox | Problem:
    where = f"{file}: line {item.line}: object"
    if item.name not in class_names:
        detail = f"a known class was expected. Received: name={item.name!r}. {closest(item.name, class_names)}"
        return problem("unknown_category", f"{where}.name", detail=detail, fixed=False)
    y1, x1, y2, x2 = (number(text) for text in item.corners)
    if any(math.isnan(value) for value in (y1, x1, y2, x2)):
        texts = dict(zip(("ymin", "xmin", "ymax", "xmax"), item.corners, strict=True))
        detail = f"four numbers were expected. Received: bndbox={texts}. Correct the object."
        return problem("invalid_box", f"{where}.bndbox", detail=detail, fixed=False)
    corners = (y1 - first_pixel, x1 - first_pixel, y2, x2)
    return LabelledBox(f"{where}.bndbox", corners, class_names.index(item.name))
