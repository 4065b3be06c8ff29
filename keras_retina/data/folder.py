"""A data folder, whatever its label format, as one `Dataset` for each split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from keras_retina.data.formats.coco import coco_categories, coco_image_dir, coco_splits, order_categories, read_coco
from keras_retina.data.formats.csv_file import csv_class_names, csv_splits, read_csv
from keras_retina.data.formats.pack import pack_splits, read_pack
from keras_retina.data.formats.repair import refuse_unfixed
from keras_retina.data.formats.tfrecords import is_tfrecord_pattern, read_tfrecords, tfrecord_splits
from keras_retina.data.formats.voc import read_voc, voc_class_names, voc_image_dir, voc_splits
from keras_retina.data.formats.yolo import read_yolo, yolo_splits
from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError, closest, printable
from keras_retina.foundation.files import address, remote_address

DataFormat = Literal["coco", "voc", "yolo", "csv", "pack"]
DATA_FORMATS = ("auto", "coco", "voc", "yolo", "csv", "pack")


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
    dataset = read_dataset(data_dir, split, format, classes)
    refuse_unfixed(dataset.problems)
    if not dataset.records:
        splits = ", ".join(available_splits(data_dir, format))
        raise InputError(
            f"{printable(address(Path(data_dir)))}: a split with images was expected. "
            f"Received: split={split!r}, which lists none. Splits here: {splits}."
        )
    return dataset


def read_dataset(
    data_dir: str | Path, split: str, format: str = "auto", classes: Sequence[str] | None = None
) -> Dataset:
    """Reads like `load_dataset`, but leaves problems that cannot be fixed in `Dataset.problems` (for check-data).

    Raises:
        InputError: the folder, the split or a whole label file cannot be read.
    """
    data_dir = Path(data_dir)
    found_format = find_format(data_dir) if format == "auto" else format
    splits = _splits(data_dir, found_format)
    if split not in splits:
        raise InputError(
            f"{printable(address(data_dir))}: one of the splits {', '.join(splits) or '(none found)'} was expected. "
            f"Received: split={split!r}. {closest(split, splits) if splits else 'Add labels.'}"
        )
    name = (data_dir.parent if is_tfrecord_pattern(data_dir) else data_dir).resolve().name
    if found_format == "coco":
        categories = order_categories(coco_categories(splits.values()), classes, data_dir)
        return read_coco(splits[split], coco_image_dir(data_dir, split), split, name, categories)
    if found_format == "voc":
        names = tuple(classes) if classes is not None else voc_class_names(data_dir)
        return read_voc(splits[split], data_dir / "Annotations", voc_image_dir(data_dir), split, name, names)
    if found_format == "pack":
        if pack_splits(data_dir):
            return read_pack(data_dir, split, classes)
        return read_tfrecords(tfrecord_splits(data_dir), split, name, classes)
    if found_format == "yolo":
        return read_yolo(splits[split], split, name, classes)
    names = tuple(classes) if classes is not None else csv_class_names(data_dir)
    return read_csv(splits[split], data_dir, split, name, names)


def available_splits(data_dir: str | Path, format: str = "auto") -> list[str]:
    """Returns the splits of a data folder: train, val, test first, then the others by name."""
    data_dir = Path(data_dir)
    return list(_splits(data_dir, find_format(data_dir) if format == "auto" else format))


def find_format(data_dir: Path) -> DataFormat:
    """Recognises the label format by the files that are there.

    Raises:
        InputError: the folder does not exist, or fits no format or more than one.
    """
    if remote_address(data_dir) or is_tfrecord_pattern(data_dir):
        return _find_records(data_dir)
    if not data_dir.is_dir():
        raise InputError(f"an existing data folder was expected. Received: data={printable(data_dir)}. Check the path.")
    fitting: list[DataFormat] = ["pack"] if pack_splits(data_dir) or tfrecord_splits(data_dir) else []
    if coco_splits(data_dir):
        fitting.append("coco")
    if any((data_dir / "Annotations").glob("*.xml")):
        fitting.append("voc")
    if (data_dir / "data.yaml").is_file():
        fitting.append("yolo")
    if csv_splits(data_dir):
        fitting.append("csv")
    if len(fitting) != 1:
        raise InputError(
            f"{printable(data_dir)}: labels of one format were expected: annotations/<split>.json (COCO), "
            "Annotations/*.xml (VOC), data.yaml (YOLO), <split>.csv, pack.json or <split>*.tfrecord. "
            f"Received: {' and '.join(fitting) or 'none'}. {'Set data.format.' if fitting else 'Check the path.'}"
        )
    return fitting[0]


def _find_records(place: Path) -> DataFormat:
    try:
        if pack_splits(place) or tfrecord_splits(place):
            return "pack"
        reason = "neither is there"
    except OSError as error:
        reason = str(error.strerror)
    raise InputError(
        f"{printable(address(place))}: pack.json or <split>*.tfrecord was expected. Received: {printable(reason)}. "
        "Check the path, or copy the data to a local folder."
    )


def _splits(data_dir: Path, format: str) -> dict[str, Path]:
    """Maps each split to the label file that lists it."""
    if format == "coco":
        splits = coco_splits(data_dir)
    elif format == "voc":
        splits = voc_splits(data_dir)
    elif format == "yolo":
        splits = yolo_splits(data_dir)
    elif format == "csv":
        splits = csv_splits(data_dir)
    elif format == "pack":
        splits = {split: data_dir / f"{split}.json" for split in pack_splits(data_dir) or tfrecord_splits(data_dir)}
    else:
        hint = closest(format, DATA_FORMATS)
        raise InputError(f"a known label format was expected. Received: format={format!r}. {hint}")
    first = ("train", "val", "test")
    return {split: splits[split] for split in sorted(splits, key=lambda name: (*(name != one for one in first), name))}
