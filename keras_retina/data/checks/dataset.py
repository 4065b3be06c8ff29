"""Everything about a data folder that a person should know before training on it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_retina.data.checks.coverage import AnchorCoverage, anchor_coverage
from keras_retina.data.checks.duplicates import DuplicatePair, Duplicates, find_duplicates
from keras_retina.data.checks.fit_anchors import POOR_IOU
from keras_retina.data.fingerprints import Fingerprint, look_at_all
from keras_retina.data.formats.repair import first_unfixed, problem
from keras_retina.data.formats.split_names import TRAINVAL, is_split_name, usual_name
from keras_retina.data.reading.folder import made_splits, open_folder, read_split, split_in_folder
from keras_retina.data.reading.record_image import other_size
from keras_retina.data.records import Dataset, Problem, Record
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.places import address
from keras_retina.geometry.boxes import area
from keras_retina.recipe.data import Data
from keras_retina.recipe.model import Model
from keras_retina.recipe.yaml_file import flow_yaml

DATA = Data()

SIZES = ("small", "medium", "large")
SIZE_AREAS = (32.0**2, 96.0**2)  # COCO: small under the first, large from the second, pixels of the image


@dataclass(frozen=True)
class SplitReport:
    """One split.

    Attributes:
        usable_boxes: number of boxes that training learns from; crowd boxes are not.
        boxes: class name -> size (`small`, `medium`, `large`) -> number of boxes.
        modes: stored pixel mode -> number of images.
        problems: all of them, those of the pixels included.
        coverage: None where no model was given.
    """

    split: str
    images: int
    images_without_objects: int
    usable_boxes: int
    boxes: dict[str, dict[str, int]]
    modes: dict[str, int]
    exif_rotated: int
    problems: tuple[Problem, ...]
    coverage: AnchorCoverage | None


@dataclass(frozen=True)
class DataReport:
    """All splits together; with `errors` the data is not to be trained on, `warnings` are for a person to judge.

    `duplicates` name images as `split/file_name`.

    Attributes:
        kind: what people call the layout of the folder.
        other_splits: those that are there too and were not looked at.
        unread: files that look like images or labels and are in no split.
        unusable: the errors that leave nothing to train or to measure on: no split could be read, or one has no box.
    """

    data_dir: str
    format: str
    kind: str
    splits: tuple[SplitReport, ...]
    other_splits: tuple[str, ...]
    unread: tuple[Problem, ...]
    duplicates: tuple[DuplicatePair, ...]
    errors: tuple[str, ...]
    unusable: tuple[str, ...]
    warnings: tuple[str, ...]


def check_dataset(
    data_dir: str | Path, splits: Sequence[str] | None = None, *, settings: Data = DATA, model: Model | None = None
) -> DataReport:
    """Reads every label and decodes every image of a data folder, on all cores; how far it is, is logged.

    Args:
        splits: as a recipe names them; by default those that mean train, val and test, or all where none of them does.
        settings: how the folder is read.
        model: the detector whose anchors must cover the boxes.

    Raises:
        InputError: the folder itself cannot be read, or has no split. Bad labels and images are in the report instead.
    """
    data_dir = Path(data_dir)
    folder = open_folder(data_dir, settings)
    layout, there = folder.layout, folder.splits
    made = made_splits(folder)
    folder = replace(folder, lists=made)
    usual = [split for split in there if is_split_name(split)]
    if TRAINVAL in there and "train" not in map(usual_name, usual):
        usual.insert(0, TRAINVAL)
    usual = usual or there
    chosen = list(splits or (made.files if made else usual))
    reports: list[SplitReport] = []
    errors: list[str] = []
    looked_at: list[str] = []
    images = _Images([], [], [])
    for split in chosen:
        try:
            dataset = read_split(folder, split)
            looked_at.append(split_in_folder(folder, split))
        except InputError as error:
            if str(error) not in errors:  # a damaged file that every split needs
                errors.append(str(error))
            continue
        reports.append(_check_split(dataset, model, images=images))
    unusable = [] if reports else errors[:1]
    found = find_duplicates(images.keys, images.fingerprints, records=images.records)
    for report in reports:
        unfixed = sum(not item.fixed for item in report.problems)
        if unfixed:
            errors.append(f"{report.split}: {unfixed} problems that cannot be fixed")
        if not report.usable_boxes:
            received = f"{report.images} images without any" if report.images else "no image"
            empty = (
                f"{folder.shown}: boxes in the split {printable(report.split)!r} were expected. "
                f"Received: {received}. Label some, or leave the split out."
            )
            errors.append(empty)
            unusable.append(first_unfixed(report.problems) or empty)  # the cause says more
    for pair in found.pairs:
        if pair.exact and _in_two_splits(pair):
            errors.append(f"the same image in two splits: {printable(pair.first)} and {printable(pair.second)}")
    return DataReport(
        data_dir=address(data_dir),
        format=layout.format,
        kind=layout.kind,
        splits=tuple(reports),
        other_splits=tuple(split for split in there if split not in (*looked_at, *chosen)),
        unread=tuple(layout.unread()),
        duplicates=found.pairs,
        errors=tuple(errors),
        unusable=tuple(unusable),
        warnings=tuple(_warnings(reports, found)),
    )


@dataclass(frozen=True)
class _Images:
    """The readable images of all splits, for the search for duplicates; the keys are `split/file_name`."""

    keys: list[str]
    fingerprints: list[Fingerprint]
    records: list[Record]


def _check_split(dataset: Dataset, model: Model | None, *, images: _Images) -> SplitReport:
    """Adds the readable images to `images`."""
    problems = list(dataset.problems)
    modes: Counter[str] = Counter()
    exif_rotated = 0
    readable = []
    found = look_at_all([record.path for record in dataset.records], title=dataset.split)
    for record, one in zip(dataset.records, found, strict=True):
        if isinstance(one, InputError):
            problems.append(problem("unreadable_image", record.file_name, detail=str(one), fixed=False))
            continue
        if one.size != (record.height, record.width):
            detail = str(other_size(record, one.size))
            problems.append(problem("size_mismatch", record.file_name, detail=detail, fixed=False))
            continue
        modes[one.mode] += 1
        exif_rotated += one.exif_rotated
        readable.append(record)
        images.keys.append(f"{dataset.split}/{record.file_name}")
        images.fingerprints.append(one.fingerprint)
        images.records.append(record)
    dataset = Dataset(dataset.name, dataset.split, dataset.class_names, dataset.category_ids, tuple(readable))
    return SplitReport(
        split=dataset.split,
        images=len(readable),
        images_without_objects=sum(len(record.boxes) == 0 for record in readable),
        usable_boxes=sum(int((~record.crowd).sum()) for record in readable),
        boxes=count_by_class_and_size(dataset),
        modes=dict(sorted(modes.items())),
        exif_rotated=exif_rotated,
        problems=tuple(problems),
        coverage=anchor_coverage(dataset, model) if model else None,
    )


def count_by_class_and_size(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Returns class name -> COCO size -> number of boxes, by the area of the box in the image as it is on disk."""
    counts = {name: dict.fromkeys(SIZES, 0) for name in dataset.class_names}
    for record in dataset.records:
        sizes = np.searchsorted(SIZE_AREAS, area(record.boxes), side="right")
        for class_index, size in zip(record.classes, sizes, strict=True):
            counts[dataset.class_names[class_index]][SIZES[size]] += 1
    return counts


def _warnings(reports: Sequence[SplitReport], duplicates: Duplicates) -> list[str]:
    warnings = _alike_names(name for report in reports for name in report.boxes)
    for report in reports:
        for name, sizes in report.boxes.items():
            if not any(sizes.values()):
                warnings.append(f"{report.split}: class {printable(name)!r} has no boxes")
        if report.coverage is None:
            continue
        for name in report.coverage.boxes:
            share = report.coverage.poor_share(name)
            if share > 0.1:
                text = f"{share:.0%} of the boxes of class {printable(name)!r} have no anchor of IoU {POOR_IOU}"
                warnings.append(f"{report.split}: {text}")
    within = sum(not _in_two_splits(pair) for pair in duplicates.pairs)
    if within:
        warnings.append(f"{within} pairs of identical or nearly identical images within a split")
    if duplicates.crowded:
        warnings.append(f"{duplicates.crowded} images look like so many others that only the nearest were compared")
    for pair in duplicates.pairs:
        if not pair.exact and _in_two_splits(pair):
            first, second = printable(pair.first), printable(pair.second)
            warnings.append(f"nearly the same image in two splits: {first} and {second}")
    return warnings


def _alike_names(names: Iterable[str]) -> list[str]:
    """Returns a warning for classes whose names differ in upper and lower case, blanks and underscores alone."""
    alike: dict[str, list[str]] = {}
    for name in dict.fromkeys(names):
        alike.setdefault(re.sub(r"[\s_-]+", "", name).casefold(), []).append(name)
    return [
        f"{' and '.join(repr(name) for name in group)} may be one class: "
        f"--set data.rename={printable(flow_yaml(dict.fromkeys(group[1:], group[0])))!r}"
        for group in alike.values()
        if len(group) > 1
    ]


def _in_two_splits(pair: DuplicatePair) -> bool:
    return pair.first.partition("/")[0] != pair.second.partition("/")[0]
