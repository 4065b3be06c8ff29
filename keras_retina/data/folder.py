"""A data folder, whatever its label format, as one `Dataset` for each split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from keras_retina.data.formats.coco import COCO
from keras_retina.data.formats.csv_file import CSV
from keras_retina.data.formats.pack import PACK
from keras_retina.data.formats.repair import refuse_unfixed
from keras_retina.data.formats.tfrecords import is_tfrecord_pattern
from keras_retina.data.formats.voc import VOC
from keras_retina.data.formats.yolo import YOLO
from keras_retina.data.records import Dataset, Reader
from keras_retina.foundation.errors import InputError, closest, printable
from keras_retina.foundation.files import address, remote_address

READERS: dict[str, Reader] = {reader.name: reader for reader in (COCO, VOC, YOLO, CSV, PACK)}
"""Every label format that a data folder may have, by its name in `data.format` of a recipe."""


def load_dataset(
    data_dir: str | Path, split: str, *, format: str = "auto", classes: Sequence[str] | None = None
) -> Dataset:
    """Reads one split of a data folder, for training and evaluation.

    Args:
        data_dir: a folder; packs and TFRecord files may be remote (`gs://bucket/pack`) or given by a pattern
            (`DIR/*-of-00010.tfrecord`).
        split: `train`, `val`, `test` or what the folder calls it.
        format: `coco` (`images/`, `annotations/<split>.json`), `voc` (`Annotations/`, `ImageSets/Main/<split>.txt`,
            `JPEGImages/`), `yolo` (`data.yaml`), `csv` (`<split>.csv` or `<split>_labels.csv`), `pack`
            (`pack.json`, or `<split>*.tfrecord` of other tools), or `auto`.
        classes: the class names in the wanted order; by default those of the labels, the same for every split.

    Raises:
        InputError: there is no such split or no image in it, or a label has a problem that cannot be fixed.
    """
    dataset = read_dataset(data_dir, split, format=format, classes=classes)
    refuse_unfixed(dataset.problems)
    if not dataset.records:
        splits = ", ".join(available_splits(data_dir, format))
        raise InputError(
            f"{printable(address(Path(data_dir)))}: a split with images was expected. "
            f"Received: split={split!r}, which lists none. Splits here: {splits}."
        )
    return dataset


def read_dataset(
    data_dir: str | Path, split: str, *, format: str = "auto", classes: Sequence[str] | None = None
) -> Dataset:
    """Reads like `load_dataset`, but leaves problems that cannot be fixed in `Dataset.problems` (for check-data).

    Raises:
        InputError: the folder, the split or a whole label file cannot be read.
    """
    data_dir = Path(data_dir)
    reader = _reader(data_dir, format)
    splits = _in_order(reader.splits(data_dir))
    if split not in splits:
        raise InputError(
            f"{printable(address(data_dir))}: one of the splits {', '.join(splits) or '(none found)'} was expected. "
            f"Received: split={split!r}. {closest(split, splits) if splits else 'Add labels.'}"
        )
    return reader.read(data_dir, split, classes)


def available_splits(data_dir: str | Path, format: str = "auto") -> list[str]:
    """Returns the splits of a data folder: train, val, test first, then the others by name."""
    data_dir = Path(data_dir)
    return _in_order(_reader(data_dir, format).splits(data_dir))


def find_format(data_dir: Path) -> str:
    """Recognises the label format by the files that are there; returns its name in `READERS`.

    Raises:
        InputError: the folder does not exist, or fits no format or more than one.
    """
    if remote_address(data_dir) or is_tfrecord_pattern(data_dir):
        return _find_records(data_dir)
    if not data_dir.is_dir():
        raise InputError(f"an existing data folder was expected. Received: data={printable(data_dir)}. Check the path.")
    fitting = [reader.name for reader in READERS.values() if reader.fits(data_dir)]
    if len(fitting) != 1:
        raise InputError(
            f"{printable(data_dir)}: labels of one format were expected: "
            f"{', '.join(reader.signs for reader in READERS.values())}. "
            f"Received: {' and '.join(fitting) or 'none'}. {'Set data.format.' if fitting else 'Check the path.'}"
        )
    return fitting[0]


def _find_records(place: Path) -> str:
    try:
        if PACK.fits(place):
            return PACK.name
        reason = "neither is there"
    except OSError as error:
        reason = str(error.strerror)
    raise InputError(
        f"{printable(address(place))}: {PACK.signs} was expected. Received: {printable(reason)}. "
        "Check the path, or copy the data to a local folder."
    )


def _reader(data_dir: Path, format: str) -> Reader:
    name = find_format(data_dir) if format == "auto" else format
    if name not in READERS:
        names = ("auto", *READERS)
        raise InputError(
            f"data.format: one of {', '.join(names)} was expected. Received: format={name!r}. {closest(name, names)}"
        )
    return READERS[name]


def _in_order(splits: Iterable[str]) -> list[str]:
    first = ("train", "val", "test")
    return sorted(splits, key=lambda name: (*(name != one for one in first), name))
