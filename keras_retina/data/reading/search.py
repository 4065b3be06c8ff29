"""Where in a folder the labelled data is: in it, in a folder below, in several that belong together, in an archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from keras_retina.data.formats.image_files import unread_files
from keras_retina.data.formats.listing import folders_in
from keras_retina.data.formats.split_names import TRAINVAL, WHOLE, is_split_name, split_in_name, usual_name
from keras_retina.data.reading.archive import is_archive, unpacked
from keras_retina.data.records import Dataset, Layout, Problem, Reader, Reading
from keras_retina.foundation.errors import InputError, printable

DEPTH = 4  # folders around the labelled one that hold nothing else, as archives and exports often have
_MOST_FOLDERS = 50  # side by side: more of them are classes or films, not data sets
_TRAINING = ("train", TRAINVAL, WHOLE)


def search_layouts(data: Path, readers: Sequence[Reader], *, depth: int = DEPTH) -> list[Layout]:
    """Returns every way to read a folder or a file.

    Where a folder holds no labels itself, or none to train on, the folders in it are looked at, and then the one
    archive in it.

    Raises:
        InputError: several folders in it have labels and do not belong together.
    """
    found = [layout for reader in readers for layout in reader.find(data)]
    if not data.is_dir() or any(map(_trains, found)):
        return found
    folders = folders_in(data)
    if len(folders) == 1 and not found:
        inner = search_layouts(folders[0], readers, depth=depth - 1) if depth else []
    else:
        inner = _side_by_side(data, folders, readers=readers, beside=bool(found))
    if found or inner:
        return [*found, *inner]
    archives = [path for path in sorted(data.iterdir()) if is_archive(path) and not path.name.startswith(".")]
    if len(archives) == 1 and depth:
        return search_layouts(unpacked(archives[0]), readers, depth=depth - 1)
    return []


def _trains(layout: Layout) -> bool:
    return any(usual_name(split) in _TRAINING for split in layout.splits)


def _side_by_side(data: Path, folders: Sequence[Path], *, readers: Sequence[Reader], beside: bool) -> list[Layout]:
    """Returns the layouts of the one labelled folder among several, or those of several as one.

    Args:
        beside: whether there are labels beside the folders: then only a folder to train on counts.
    """
    if len(folders) > _MOST_FOLDERS:
        return []
    layouts = {folder: [layout for reader in readers for layout in reader.find(folder)] for folder in folders}
    labelled = {folder: own for folder, own in layouts.items() if own and (not beside or any(map(_trains, own)))}
    if len(labelled) == 1:
        ((folder, own),) = labelled.items()
        others = [other for other in folders if other != folder]
        return [_in_folder(layout, folder, others=others) for layout in own]
    if not labelled or beside:
        return []
    parts = _parts(labelled)
    if parts:
        return [_joined(parts, data)]
    shown = " and ".join(f"{folder.name} ({own[0].kind})" for folder, own in list(labelled.items())[:4])
    more = f" and {len(labelled) - 4} more" if len(labelled) > 4 else ""
    raise InputError(
        f"{printable(data)}: one folder with labels was expected. Received: {printable(shown)}{more}. "
        f"Give one of them: --data {printable(next(iter(labelled)))}"
    )


def _in_folder(layout: Layout, folder: Path, *, others: Sequence[Path]) -> Layout:
    """Returns a layout that says in which folder it is, and which files lie in the folders beside it."""

    def unread() -> list[Problem]:
        detail = f"beside the labelled folder {folder.name}: it is not read"
        return [*layout.unread(), *unread_files(others, (), label_suffixes=(".json", ".xml", ".csv"), detail=detail)]

    return replace(layout, kind=f"{layout.kind} in {folder.name}", unread=unread)


def _parts(labelled: Mapping[Path, Sequence[Layout]]) -> dict[str, tuple[Layout, str]]:
    """Returns split -> where it is, if every folder holds other splits of one format; else nothing."""
    parts: dict[str, tuple[Layout, str]] = {}
    for folder, layouts in labelled.items():
        if len(layouts) != 1:
            return {}
        for own in layouts[0].splits:
            name = own if is_split_name(own) or len(layouts[0].splits) > 1 else split_in_name(folder.name)
            if name is None or not is_split_name(name) or usual_name(name) in map(usual_name, parts):
                return {}
            parts[name] = (layouts[0], own)
    same = len({layout.format for layout, _ in parts.values()}) == 1
    return parts if same else {}


def _joined(parts: Mapping[str, tuple[Layout, str]], data: Path) -> Layout:
    """Returns one layout of splits that lie in folders of their own; their classes are told apart by name."""
    first = next(iter(parts.values()))[0]

    @cache
    def part(split: str, reading: Reading) -> Dataset:
        layout, own = parts[split]
        return layout.read(own, reading)

    def read(split: str, reading: Reading) -> Dataset:
        sets = [part(one, reading) for one in parts]
        names = tuple(dict.fromkeys(name for dataset in sets for name in dataset.class_names))
        dataset = part(split, reading)
        number = np.array([names.index(name) for name in dataset.class_names], np.int32)
        return replace(
            dataset,
            name=data.resolve().name,
            split=split,
            class_names=names,
            category_ids=tuple(range(1, len(names) + 1)),
            records=tuple(replace(record, classes=number[record.classes]) for record in dataset.records),
        )

    unread: list[Callable[[], Sequence[Problem]]] = list({id(one): one.unread for one, _ in parts.values()}.values())
    return Layout(first.format, first.kind, tuple(parts), read, lambda: [item for own in unread for item in own()])
