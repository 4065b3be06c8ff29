"""Everything about a data folder that a person should know before training on it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from keras_retina.data.checks.coverage import POOR_IOU, AnchorCoverage, anchor_coverage
from keras_retina.data.formats.repair import problem
from keras_retina.data.images import inspect_image, read_image
from keras_retina.data.reading.folder import available_splits, find_format, read_dataset
from keras_retina.data.records import Dataset, ImageFile, Problem
from keras_retina.foundation.errors import InputError, printable
from keras_retina.geometry.boxes import area
from keras_retina.model.spec import DetectorSpec

# Measured on the 564 photographs of BCCD and raccoon: copies at JPEG quality 30 or at half the size differ by at most
# 29 bits and 3.2 grey levels, the same scene focused again by 30 and 2.3, different photographs by 73 and 6.7 or more.
HASH_DISTANCE = 40  # of 256 bits
GREY_DIFFERENCE = 5.0  # mean over the thumbnail, of 255


@dataclass(frozen=True)
class Fingerprint:
    """What two copies of a picture share: `digest` byte for byte, `bits` and `grey` also when saved again."""

    digest: str
    bits: np.ndarray  # uint64 [4]: is each of 16 x 16 cells darker than its right neighbour
    grey: np.ndarray  # uint8 [16, 17]


@dataclass(frozen=True)
class DuplicatePair:
    """Two keys of the same picture; `exact` when the files are equal byte for byte."""

    first: str
    second: str
    exact: bool


def fingerprint(path: ImageFile, image: np.ndarray) -> Fingerprint:
    """Describes an image file and its decoded pixels, uint8 `[height, width, 3]`. The bits are a difference hash."""
    small = Image.fromarray(image).convert("L").resize((17, 16), Image.Resampling.BOX)
    grey = np.asarray(small)
    bits = np.packbits(grey[:, :-1] < grey[:, 1:]).view(np.uint64)
    return Fingerprint(hashlib.sha256(path.read_bytes()).hexdigest(), bits, grey)


def find_duplicates(fingerprints: Mapping[str, Fingerprint]) -> list[DuplicatePair]:
    """Returns the pairs of keys that are the same picture, in the order of the keys."""
    keys = list(fingerprints)
    if not keys:
        return []
    bits = np.stack([fingerprints[key].bits for key in keys])
    pairs: list[DuplicatePair] = []
    for index, key in enumerate(keys):
        one = fingerprints[key]
        distances = np.bitwise_count(bits[index + 1 :] ^ one.bits).sum(axis=1)
        for other in np.flatnonzero(distances <= HASH_DISTANCE) + index + 1:
            two = fingerprints[keys[other]]
            exact = one.digest == two.digest
            difference = np.abs(one.grey.astype(np.int16) - two.grey).mean()
            if exact or difference <= GREY_DIFFERENCE:
                pairs.append(DuplicatePair(key, keys[other], exact))
    return pairs


SIZES = ("small", "medium", "large")
SIZE_AREAS = (32.0**2, 96.0**2)  # COCO: small under the first, large from the second, pixels of the image


@dataclass(frozen=True)
class SplitReport:
    """One split.

    Attributes:
        boxes: class name -> size (`small`, `medium`, `large`) -> number of boxes.
        modes: stored pixel mode -> number of images.
        problems: all of them, those of the pixels included.
        coverage: None where no detector was described.
    """

    split: str
    images: int
    images_without_objects: int
    boxes: dict[str, dict[str, int]]
    modes: dict[str, int]
    exif_rotated: int
    problems: tuple[Problem, ...]
    coverage: AnchorCoverage | None


@dataclass(frozen=True)
class DataReport:
    """All splits together; with `errors` the data is not to be trained on, `warnings` are for a person to judge.

    `duplicates` name images as `split/file_name`.
    """

    data_dir: str
    format: str
    splits: tuple[SplitReport, ...]
    duplicates: tuple[DuplicatePair, ...]
    errors: tuple[str, ...]
    warnings: tuple[str, ...]


def check_dataset(
    data_dir: str | Path,
    splits: Sequence[str] | None = None,
    *,
    format: str = "auto",
    classes: Sequence[str] | None = None,
    spec: DetectorSpec | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DataReport:
    """Reads every label and decodes every image of a data folder.

    Args:
        splits: by default train, val and test, as far as they exist, or all where none of them does.
        spec: the detector whose anchors must cover the boxes; its classes do not matter.
        progress: called with (images decoded, images of this split).

    Raises:
        InputError: the folder itself cannot be read. Bad labels and images are in the report instead.
    """
    data_dir = Path(data_dir)
    found_format = find_format(data_dir) if format == "auto" else format
    valid = available_splits(data_dir, found_format)
    chosen = list(splits or [split for split in valid if split in ("train", "val", "test")] or valid)
    reports: list[SplitReport] = []
    errors: list[str] = []
    fingerprints: dict[str, Fingerprint] = {}
    for split in chosen:
        try:
            dataset = read_dataset(data_dir, split, format=found_format, classes=classes)
        except InputError as error:
            if str(error) not in errors:  # a damaged file that every split needs
                errors.append(str(error))
            continue
        reports.append(_check_split(dataset, spec, fingerprints=fingerprints, progress=progress))
    duplicates = tuple(find_duplicates(fingerprints))
    for report in reports:
        unfixed = sum(not item.fixed for item in report.problems)
        if unfixed:
            errors.append(f"{report.split}: {unfixed} problems that cannot be fixed")
        elif not report.images:
            errors.append(f"{report.split}: no images")
    leaks = [pair for pair in duplicates if _split_of(pair.first) != _split_of(pair.second)]
    for pair in leaks:
        if pair.exact:
            errors.append(f"the same image in two splits: {printable(pair.first)} and {printable(pair.second)}")
    return DataReport(
        str(data_dir), found_format, tuple(reports), duplicates, tuple(errors), tuple(_warnings(reports, duplicates))
    )


def _check_split(
    dataset: Dataset,
    spec: DetectorSpec | None,
    *,
    fingerprints: dict[str, Fingerprint],
    progress: Callable[[int, int], None] | None,
) -> SplitReport:
    """Adds the images to `fingerprints` under `split/file_name`."""
    problems = list(dataset.problems)
    modes: Counter[str] = Counter()
    exif_rotated = 0
    readable = []
    for index, record in enumerate(dataset.records, start=1):
        try:
            _, _, mode, rotated = inspect_image(record.path)
            image = read_image(record.path)
        except InputError as error:
            problems.append(problem("unreadable_image", record.file_name, detail=str(error), fixed=False))
        else:
            modes[mode] += 1
            exif_rotated += rotated
            readable.append(record)
            fingerprints[f"{dataset.split}/{record.file_name}"] = fingerprint(record.path, image)
        if progress is not None:
            progress(index, len(dataset.records))
    dataset = Dataset(dataset.name, dataset.split, dataset.class_names, dataset.category_ids, tuple(readable))
    return SplitReport(
        split=dataset.split,
        images=len(readable),
        images_without_objects=sum(len(record.boxes) == 0 for record in readable),
        boxes=count_by_class_and_size(dataset),
        modes=dict(sorted(modes.items())),
        exif_rotated=exif_rotated,
        problems=tuple(problems),
        coverage=anchor_coverage(dataset, spec.anchors(), height=spec.height, width=spec.width, resize=spec.resize)
        if spec
        else None,
    )


def count_by_class_and_size(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Returns class name -> COCO size -> number of boxes, by the area of the box in the image as it is on disk."""
    counts = {name: dict.fromkeys(SIZES, 0) for name in dataset.class_names}
    for record in dataset.records:
        sizes = np.searchsorted(SIZE_AREAS, area(record.boxes), side="right")
        for class_index, size in zip(record.classes, sizes, strict=True):
            counts[dataset.class_names[class_index]][SIZES[size]] += 1
    return counts


def _warnings(reports: Sequence[SplitReport], duplicates: Sequence[DuplicatePair]) -> list[str]:
    warnings = []
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
    within = sum(_split_of(pair.first) == _split_of(pair.second) for pair in duplicates)
    if within:
        warnings.append(f"{within} pairs of identical or nearly identical images within a split")
    for pair in duplicates:
        if not pair.exact and _split_of(pair.first) != _split_of(pair.second):
            first, second = printable(pair.first), printable(pair.second)
            warnings.append(f"nearly the same image in two splits: {first} and {second}")
    return warnings


def _split_of(key: str) -> str:
    return key.partition("/")[0]
