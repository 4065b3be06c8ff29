"""A data folder, whatever its label format and layout, as one `Dataset` for each split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from keras_retina.data.formats.coco import COCO
from keras_retina.data.formats.csv_files.reader import CSV
from keras_retina.data.formats.others.reader import OTHER
from keras_retina.data.formats.pack import PACK
from keras_retina.data.formats.repair import refuse_unfixed, skip_bad_images
from keras_retina.data.formats.split_names import find_split, in_order
from keras_retina.data.formats.tfrecords import is_tfrecord_pattern
from keras_retina.data.formats.voc import VOC
from keras_retina.data.formats.yolo import YOLO
from keras_retina.data.reading.archive import is_archive, unpacked
from keras_retina.data.reading.classes import choose_classes
from keras_retina.data.reading.split_lists import (
    SplitLists,
    choose_images,
    make_split_lists,
    missing_splits,
    source_split,
)
from keras_retina.data.records import Dataset, Layout, Reader, Reading
from keras_retina.foundation.errors import InputError, closest, printable
from keras_retina.foundation.files import address, remote_address
from keras_retina.recipe.data import Data

READERS: dict[str, Reader] = {reader.name: reader for reader in (COCO, VOC, YOLO, CSV, OTHER, PACK)}
"""Every label format that a data folder may have, by its name in `data.format` of a recipe."""

DEPTH = 2  # folders around the labelled one that hold nothing else, as archives and exports often have


def load_dataset(
    data_dir: str | Path, split: str, *, format: str = "auto", classes: Sequence[str] | None = None
) -> Dataset:
    """Reads one split of a data folder, for training and evaluation.

    Args:
        data_dir: a folder in any common layout of COCO, Pascal VOC, YOLO or CSV labels, an archive of one, or a pack;
            packs and TFRecord files may be remote (`gs://bucket/pack`) or given by a pattern
            (`DIR/*-of-00010.tfrecord`).
        split: `train`, `val`, `test` or what the folder calls it; `val` also finds `valid` and `validation`.
        format: `coco`, `voc`, `yolo`, `csv`, `pack`, or `auto` to find it out.
        classes: the class names in the wanted order, by default those of the labels, the same for every split. Boxes of
            other classes are left out and counted in `Dataset.problems`.

    Raises:
        InputError: there is no such split or no image in it, or a label has a problem that cannot be fixed.
    """
    return load_split(data_dir, split, settings=_settings(format, classes))


def read_dataset(
    data_dir: str | Path, split: str, *, format: str = "auto", classes: Sequence[str] | None = None
) -> Dataset:
    """Reads like `load_dataset`, but leaves problems that cannot be fixed in `Dataset.problems`.

    Raises:
        InputError: the folder, the split or a whole label file cannot be read.
    """
    return read_split(data_dir, split, settings=_settings(format, classes))


def load_split(data_dir: str | Path, split: str, *, settings: Data, lists: SplitLists | None = None) -> Dataset:
    """Reads one split as `settings`, the section `data` of a recipe, says; raises as `load_dataset` does.

    Args:
        lists: of `made_splits`, for `data.split: auto`.
    """
    dataset = read_split(data_dir, split, settings=settings, lists=lists)
    refuse_unfixed(dataset.problems)
    shown = printable(address(Path(data_dir)))
    if not dataset.records:
        splits = ", ".join(available_splits(data_dir, settings.format))
        raise InputError(
            f"{shown}: a split with images was expected. "
            f"Received: split={split!r}, which lists none. Splits here: {splits}."
        )
    return dataset


def read_split(data_dir: str | Path, split: str, *, settings: Data, lists: SplitLists | None = None) -> Dataset:
    """Reads like `load_split`, but leaves problems that cannot be fixed in `Dataset.problems` (for check-data)."""
    data_dir = Path(data_dir)
    layout, shown = find_layout(data_dir, settings.format), printable(address(data_dir))
    own = split_in_folder(split, layout.splits, lists=lists, where=shown)
    dataset = _read(layout, own, settings=settings, data_dir=data_dir)
    if lists is not None and split in lists.files:
        dataset = choose_images(dataset, lists, split=split, where=shown)
    return replace(dataset, split=split)


def made_splits(data_dir: Path, settings: Data) -> SplitLists | None:
    """Makes the splits that `data.split: auto` asks for and the folder does not have; None when there are none to make.

    The same images give the same splits. It decodes every image that is divided, to keep look-alikes together.

    Raises:
        InputError: there are no images to divide, or too few.
    """
    if settings.split != "auto":
        return None
    layout, shown = find_layout(data_dir, settings.format), printable(address(data_dir))
    missing = missing_splits(settings, layout.splits)
    if not missing:
        return None
    source = source_split(settings, layout.splits, where=shown)
    dataset = _read(layout, source, settings=settings, data_dir=data_dir)
    return make_split_lists(dataset, settings, missing=missing, source=source)


def split_in_folder(split: str, available: Sequence[str], *, lists: SplitLists | None, where: str) -> str:
    """Returns the split of the folder that a split of the recipe is, or was made of; raises as `find_split` does."""
    if lists is not None and split in lists.files:
        return lists.source
    return find_split(split, available, where=where)


def describe_folder(data_dir: Path, settings: Data, *, images: Mapping[str, int], lists: SplitLists | None) -> str:
    """Returns one line that says how a folder is read: "Roboflow COCO: train 700, valid -> val 200, test 100".

    Args:
        images: split of the recipe -> number of its images.
    """
    layout, shown = find_layout(data_dir, settings.format), printable(address(data_dir))
    parts, used = [], set()
    for split, count in images.items():
        own = split_in_folder(split, layout.splits, lists=lists, where=shown)
        used.add(own)
        part = " (part)" if lists is not None and split in lists.files else ""
        parts.append(f"{split} {count}" if own + part == split else f"{own}{part} -> {split} {count}")
    others = [split for split in in_order(layout.splits) if split not in used]
    beside = f"; not used: {', '.join(others)}" if others else ""
    return printable(f"{layout.kind}: {', '.join(parts)}{beside}")


def available_splits(data_dir: str | Path, format: str = "auto") -> list[str]:
    """Returns the splits of a data folder as it calls them: training, validation, test first, then others by name."""
    return in_order(find_layout(Path(data_dir), format).splits)


def find_format(data_dir: Path) -> str:
    """Recognises the label format by the files that are there; returns its name in `READERS`; raises as `find_layout`
    does.
    """
    return find_layout(data_dir).format


def find_layout(data: Path, format: str = "auto") -> Layout:
    """Returns the one way to read a folder, file or archive.

    Args:
        format: the name of a format, or the kind of a layout where one format fits in two ways.

    Raises:
        InputError: there is nothing, or it fits no layout or more than one.
    """
    if remote_address(data) or is_tfrecord_pattern(data):
        return _find_records(data)
    if is_archive(data):
        data = unpacked(data)
    if not data.exists():
        raise InputError(
            f"an existing data folder was expected. Received: data={printable(data)}, where there is nothing. "
            "Check the path."
        )
    layouts = _layouts(data)
    names = ["auto", *READERS, *(layout.kind for layout in layouts)]
    if format not in names:
        raise InputError(
            f"data.format: one of {', '.join(names)} was expected. Received: format={format!r}. "
            f"{closest(format, names)}"
        )
    fitting = [layout for layout in layouts if format in ("auto", layout.format, layout.kind)]
    if len(fitting) == 1:
        return fitting[0]
    shown = printable(data)
    if not fitting:
        expected = ", ".join(reader.signs for reader in READERS.values())
        found = ", ".join(f"{layout.kind} ({layout.format})" for layout in layouts)
        raise InputError(
            f"{shown}: labels in one of the known layouts were expected: {expected}. "
            f"Received: {found or _contents(data)}. "
            f"{'Set data.format to it.' if found else 'Check the path; name the folder that holds images and labels.'}"
        )
    # A format is enough to tell two formats apart; two layouts of one format are told apart by their kinds.
    same = len({layout.format for layout in fitting}) < len(fitting)
    choices = [layout.kind if same else layout.format for layout in fitting]
    raise InputError(
        f"{shown}: labels of one layout were expected. Received: {' and '.join(layout.kind for layout in fitting)}. "
        f"Say which is meant: --set data.format={choices[0]!r}, or {', '.join(repr(name) for name in choices[1:])}."
    )


def _read(layout: Layout, own: str, *, settings: Data, data_dir: Path) -> Dataset:
    """Reads a split of the folder by its own name, with the classes and the tolerance that the settings ask for."""
    dataset = layout.read(own, Reading(settings.boxes, settings.classes))
    dataset = choose_classes(dataset, settings.classes, rename=settings.rename, where=data_dir)
    if settings.bad_images == "skip":
        dataset = replace(dataset, problems=skip_bad_images(dataset.problems))
    return dataset


def _layouts(data: Path) -> list[Layout]:
    """Returns every way to read a folder, or the one folder in it when it holds no labels itself."""
    for _ in range(DEPTH + 1):
        found = [layout for reader in READERS.values() for layout in reader.find(data)]
        folders = [path for path in data.iterdir() if path.is_dir() and not is_hidden(path)] if data.is_dir() else []
        if found or len(folders) != 1:
            return found
        data = folders[0]
    return []


def is_hidden(path: Path) -> bool:
    """Tells whether a file or folder belongs to a tool or a system and not to the data."""
    return path.name.startswith((".", "__MACOSX"))


def _contents(data: Path) -> str:
    """Returns the first names in a folder, for a message."""
    if not data.is_dir():
        return "a file"
    names = sorted(f"{path.name}/" if path.is_dir() else path.name for path in data.iterdir() if not is_hidden(path))
    more = f" and {len(names) - 6} more" if len(names) > 6 else ""
    return f"none of them, but {printable(', '.join(names[:6]))}{more}" if names else "an empty folder"


def _find_records(place: Path) -> Layout:
    try:
        found = PACK.find(place)
        if found:
            return found[0]
        reason = "neither is there"
    except OSError as error:
        reason = str(error.strerror)
    raise InputError(
        f"{printable(address(place))}: {PACK.signs} was expected. Received: {printable(reason)}. "
        "Check the path, or copy the data to a local folder."
    )


def _settings(format: str, classes: Iterable[str] | None) -> Data:
    return Data(format=format, classes=None if classes is None else tuple(classes))
