"""A data folder, whatever its label format and layout, as one `Dataset` for each split."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from keras_retina.data.formats.coco import COCO
from keras_retina.data.formats.csv_files.reader import CSV
from keras_retina.data.formats.others.reader import OTHER
from keras_retina.data.formats.packs.pack import PACK
from keras_retina.data.formats.packs.tfrecords import is_tfrecord_pattern
from keras_retina.data.formats.repair import refuse_unfixed, skip_bad_images
from keras_retina.data.formats.split_names import find_split, in_order
from keras_retina.data.formats.voc import VOC
from keras_retina.data.formats.yolo import YOLO
from keras_retina.data.reading.archive import is_archive, unpacked
from keras_retina.data.reading.classes import choose_classes
from keras_retina.data.reading.contents import unknown_contents
from keras_retina.data.reading.few_images import draw_images
from keras_retina.data.reading.search import search_layouts
from keras_retina.data.reading.split_lists import (
    SplitLists,
    choose_images,
    make_split_lists,
    missing_splits,
    source_split,
)
from keras_retina.data.records import Dataset, Layout, Reader, Reading
from keras_retina.foundation.errors import InputError, closest, printable
from keras_retina.foundation.files.places import address, local_path, remote_address
from keras_retina.recipe.data import Data

READERS: dict[str, Reader] = {reader.name: reader for reader in (COCO, VOC, YOLO, CSV, OTHER, PACK)}
"""Every label format that a data folder may have, by its name in `data.format` of a recipe."""


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
    return load_split(open_folder(data_dir, _settings(format, classes)), split)


def read_dataset(
    data_dir: str | Path, split: str, *, format: str = "auto", classes: Sequence[str] | None = None
) -> Dataset:
    """Reads like `load_dataset`, but leaves problems that cannot be fixed in `Dataset.problems`.

    Raises:
        InputError: the folder, the split or a whole label file cannot be read.
    """
    return read_split(open_folder(data_dir, _settings(format, classes)), split)


def available_splits(data_dir: str | Path, format: str = "auto") -> list[str]:
    """Returns the splits of a data folder as it calls them: training, validation, test first, then others by name."""
    return open_folder(data_dir, _settings(format, None)).splits


@dataclass(frozen=True)
class DataFolder:
    """A data folder and how to read it. Several splits of one `DataFolder` share what was found and parsed.

    Attributes:
        path: as the user gave it: a folder, an archive, `data.yaml`, or a pattern of TFRecord files.
        settings: the section `data` of a recipe.
        layout: what was found there.
        lists: of `made_splits`, for `data.split: auto`; None where the folder has all splits.
    """

    path: Path
    settings: Data
    layout: Layout
    lists: SplitLists | None = None

    @property
    def shown(self) -> str:
        """The path for messages."""
        return printable(address(self.path))

    @property
    def splits(self) -> list[str]:
        """The splits as the folder calls them: training, validation, test first, then others by name."""
        return in_order(self.layout.splits)


def open_folder(data_dir: str | Path, settings: Data | None = None) -> DataFolder:
    """Finds out how a data folder is to be read, by default with the settings of a recipe that says nothing of it.

    Raises:
        InputError: as `find_layout`, or it has no split.
    """
    path, settings = local_path(Path(data_dir)), settings or Data()
    layout = find_layout(path, settings.format)
    if not layout.splits:
        raise InputError(
            f"{printable(address(path))}: images of at least one split were expected. Received: {layout.kind} labels "
            "that name none which is there. Add the images, or name the folder with them."
        )
    return DataFolder(path, settings, layout)


def load_split(folder: DataFolder, split: str) -> Dataset:
    """Reads one split, of the training split the images that `train_images` draws; raises as `load_dataset` does."""
    dataset = read_split(folder, split)
    refuse_unfixed(dataset.problems)
    if not dataset.records:
        raise InputError(
            f"{folder.shown}: a split with images was expected. "
            f"Received: split={split!r}, which lists none. Splits here: {', '.join(folder.splits)}."
        )
    if folder.settings.train_images is not None and split == folder.settings.train:
        return draw_images(dataset, folder.settings.train_images, seed=folder.settings.split_seed)
    return dataset


def read_split(folder: DataFolder, split: str) -> Dataset:
    """Reads like `load_split`, but leaves problems that cannot be fixed in `Dataset.problems` (for check-data)."""
    dataset = _read(folder, split_in_folder(folder, split))
    if folder.lists is not None and split in folder.lists.files:
        dataset = choose_images(dataset, folder.lists, split=split, where=folder.shown)
    return replace(dataset, split=split)


def made_splits(folder: DataFolder) -> SplitLists | None:
    """Makes the splits that `data.split: auto` asks for and the folder does not have; None when there are none to make.

    The same images give the same splits. It decodes every image that is divided, to keep look-alikes together.

    Raises:
        InputError: there are no images to divide, or too few.
    """
    if folder.settings.split != "auto":
        return None
    missing = missing_splits(folder.settings, folder.layout.splits)
    if not missing:
        return None
    source = source_split(folder.settings, folder.layout.splits, where=folder.shown)
    dataset = _read(folder, source)
    refuse_unfixed(dataset.problems)  # first: labels that were left out would look like too few
    return make_split_lists(dataset, folder.settings, missing=missing, source=source)


def split_in_folder(folder: DataFolder, split: str) -> str:
    """Returns the split of the folder that a split of the recipe is, or was made of; raises as `find_split` does."""
    if folder.lists is not None and split in folder.lists.files:
        return folder.lists.source
    return find_split(split, folder.layout.splits, where=folder.shown)


def describe_folder(folder: DataFolder, images: Mapping[str, int]) -> str:
    """Returns one line that says how a folder is read: "Roboflow COCO: train 700, valid -> val 200, test 100".

    Args:
        images: split of the recipe -> number of its images.
    """
    parts, used = [], set()
    for split, count in images.items():
        own = split_in_folder(folder, split)
        used.add(own)
        is_part = folder.lists is not None and split in folder.lists.files
        is_part = is_part or (folder.settings.train_images is not None and split == folder.settings.train)
        part = " (part)" if is_part else ""
        parts.append(f"{split} {count}" if own + part == split else f"{own}{part} -> {split} {count}")
    others = [split for split in folder.splits if split not in used]
    beside = f"; not used: {', '.join(others)}" if others else ""
    return printable(f"{folder.layout.kind}: {', '.join(parts)}{beside}")


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
    layouts = search_layouts(data, list(READERS.values()))
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
            f"Received: {found + '. Set data.format to it.' if found else unknown_contents(data)}"
        )
    # A format is enough to tell two formats apart; two layouts of one format are told apart by their kinds.
    same = len({layout.format for layout in fitting}) < len(fitting)
    choices = [layout.kind if same else layout.format for layout in fitting]
    raise InputError(
        f"{shown}: labels of one layout were expected. Received: {' and '.join(layout.kind for layout in fitting)}. "
        f"Say which is meant: --set data.format={choices[0]!r}, or {', '.join(repr(name) for name in choices[1:])} "
        "(check-data, plan and run also take --format)."
    )


def _read(folder: DataFolder, own: str) -> Dataset:
    """Reads a split of the folder by its own name, with the classes and the tolerance that the settings ask for."""
    settings = folder.settings
    dataset = folder.layout.read(own, Reading(settings.boxes, settings.classes))
    dataset = choose_classes(dataset, settings.classes, rename=settings.rename, where=folder.path)
    if settings.bad_images == "skip":
        dataset = replace(dataset, problems=skip_bad_images(dataset.problems))
    return dataset


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
