"""One record type for every label format: what is in an image, in pixels of that image."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.places import address
from keras_retina.foundation.files.reading import read_bytes


@dataclass(frozen=True)
class PackedImage:
    """Where the bytes of an image file are; takes the place of its path.

    Attributes:
        shard: the TFRecord file.
        offset, length: bytes in it.
        checksum: zlib.crc32 of the bytes.
        name: the file name that the image had.
    """

    shard: Path
    offset: int
    length: int
    checksum: int
    name: str

    def __str__(self) -> str:
        return f"{address(self.shard)}: {self.name}"

    def read_bytes(self) -> bytes:
        """Returns the bytes of the image file.

        Raises:
            InputError: the shard is missing, or its bytes are not those that were written.
        """
        try:
            data = read_bytes(self.shard, self.offset, length=self.length)
        except OSError as error:
            raise InputError(
                f"{address(self.shard)}: expected a TFRecord file with images. Received: {error.strerror}. "
                "Put it back, or pack again."
            ) from error
        if zlib.crc32(data) != self.checksum:
            raise InputError(
                f"{address(self.shard)}: expected the bytes of {self.name} as they were packed. "
                f"Received: another checksum at byte {self.offset}. Copy the file again, or pack again."
            )
        return data


ImageFile = Path | PackedImage


@dataclass(frozen=True)
class Record:
    """One labelled image; an image without objects has arrays of length zero.

    Attributes:
        image_id: id of the image in results files (COCO `image_id`).
        path: where the image is on disk, in a file of its own or in a shard.
        file_name: the name the labels use, relative to the image folder, with forward slashes.
        height, width: pixels of the upright image (after the EXIF rotation is applied).
        boxes: float32 [objects, 4], `[y1, x1, y2, x2]`, pixels of the upright image.
        classes: int32 [objects], index into `Dataset.class_names`.
        crowd: bool [objects], COCO `iscrowd`: ignored by training, handled by pycocotools in evaluation.
    """

    image_id: int
    path: ImageFile
    file_name: str
    height: int
    width: int
    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray


@dataclass(frozen=True)
class Problem:
    """Something wrong with the data: `kind` is a short stable name, `where` is file and line, `detail` one line."""

    kind: str
    where: str
    detail: str
    fixed: bool


@dataclass(frozen=True)
class Dataset:
    """One split, read and repaired.

    Attributes:
        name: name of the data folder.
        split: `train`, `val`, `test` or what the folder calls it.
        class_names: class index -> name, the same for every split of a folder.
        category_ids: class index -> category id in the labels (COCO), used in results files.
        records: one per image, in the order of the labels.
        problems: every problem met while reading, fixed ones included.
    """

    name: str
    split: str
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]
    records: tuple[Record, ...]
    problems: tuple[Problem, ...] = field(default=())

    def problem_counts(self) -> Counter[str]:
        """Counts problems by kind."""
        return Counter(problem.kind for problem in self.problems)


BoxValues = Literal["auto", "pixels", "normalized"]
"""How box numbers are meant: `auto` is what the label format says; `normalized` are shares of the image, 0 to 1."""


@dataclass(frozen=True)
class Reading:
    """What the user says about labels that the labels do not say themselves.

    Attributes:
        boxes: how box numbers are meant.
        classes: names for classes that the labels only number; formats that have names do not look at it.
    """

    boxes: BoxValues = "auto"
    classes: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Layout:
    """One way to read one data folder, found by the files that are there.

    Attributes:
        format: the name of its reader, as in `data.format` of a recipe.
        kind: what people call it, such as "Roboflow COCO".
        splits: as the folder calls them, in the order of the folder. A folder without splits has one, `all`.
        read: reads one of these splits, all of its classes. Whatever could not be fixed is in `Dataset.problems`; it
            raises InputError for files that cannot be read.
        unread: returns one fixed problem for each file that looks like an image or a label and is in no split. It may
            take a while, so it is called for reports only.
    """

    format: str
    kind: str
    splits: tuple[str, ...]
    read: Callable[[str, Reading], Dataset]
    unread: Callable[[], Sequence[Problem]] = tuple


@dataclass(frozen=True)
class Reader:
    """One label format: how a folder of it is recognised.

    Attributes:
        name: as in `data.format` of a recipe.
        signs: the files that show the format, for messages.
        find: returns every way in which a folder, or a file such as `data.yaml`, can be read in this format: none for
            another format. It looks for files and at their beginning, and reads no labels.
    """

    name: str
    signs: str
    find: Callable[[Path], Sequence[Layout]]


def listed(class_names: Sequence[str]) -> str:
    """Returns the first eight names for a message."""
    return printable(", ".join(class_names[:8])) + (", ..." if len(class_names) > 8 else "")


def check_classes(class_names: tuple[str, ...], dataset: Dataset, *, source: Path | str) -> None:
    """Raises InputError unless detector and data name the same classes in the same order and there are images."""
    if tuple(class_names) != tuple(dataset.class_names):
        raise InputError(
            f"{source}: expected the classes of the data, {listed(dataset.class_names)}. "
            f"Received: {listed(class_names)}. Is this the right data? The order of the classes counts, too."
        )
    if not dataset.records:
        raise InputError(
            f"{dataset.name}: expected images in the split {dataset.split!r}. Received: none. Choose another split."
        )


def require_other_images(train: Dataset, validation: Dataset) -> None:
    """Raises InputError for a validation split of training images alone, as small sample sets have it."""
    paths = {str(record.path) for record in train.records}
    if all(str(record.path) in paths for record in validation.records):
        raise InputError(
            f"{printable(train.name)}: images that are not trained on were expected in the split "
            f"{printable(validation.split)!r}. Received: all {len(validation.records)} of them are in "
            f"{printable(train.split)!r}, too. Let a split be made: --set data.validation=held_out "
            "--set data.split=auto"
        )


def require_boxes(dataset: Dataset) -> None:
    """Raises InputError for a split without any box: nothing can be learnt or measured on it."""
    if not any(len(record.boxes) for record in dataset.records):
        raise InputError(
            f"{printable(dataset.name)}: a split with boxes was expected. Received: split={dataset.split!r} with "
            f"{len(dataset.records)} images and no box. Check that its labels are where its images say; "
            "`keras-retina check-data` shows what was read."
        )
