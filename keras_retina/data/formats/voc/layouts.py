"""The folders that hold VOC labels: how each tool lays them out, and how they are read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from keras_retina.data.formats.image_files import IMAGE_FOLDERS, ImageFinder, stem_finder, unread_files
from keras_retina.data.formats.listing import folders_in, named_folders, some_files
from keras_retina.data.formats.repair import problem
from keras_retina.data.formats.split_names import WHOLE, is_split_name, split_in_name, usual_name
from keras_retina.data.formats.voc.labels import image_of, read_voc, voc_class_names
from keras_retina.data.formats.voc.lists import LabelFolder, VocEntry, find_lists, listed_entries
from keras_retina.data.formats.voc.xml_file import VocLabels, looks_like_voc, read_labels
from keras_retina.data.images import IMAGE_SUFFIXES
from keras_retina.data.records import Dataset, Layout, Problem, Reader, Reading
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.places import real_path

_LABEL_FOLDERS = ("annotations", "annotation", "xmls", "xml", "labels", "label")
_YEAR = re.compile(r"voc(19|20)\d\d", re.IGNORECASE)
_TRIED = 20  # files that are looked at to tell the format


@dataclass(frozen=True)
class VocSplit:
    """Where the label files of a split are, the list that names them if there is one, and where images may be."""

    labels: Path
    image_folders: tuple[Path, ...]
    list_file: Path | None = None


def find_voc(data: Path) -> list[Layout]:
    """Returns every way to read a folder as VOC labels."""
    if not data.is_dir():
        return []
    found = [_in_label_folder(data)]
    for folder in (data, *named_folders(data, IMAGE_FOLDERS)):
        if not any(splits for _, splits in found):
            found += [_in_split_folders(folder), _beside_images(folder)]
    whole = [kind for kind, splits in found if list(splits) == [WHOLE]]
    if len(set(whole)) < len(whole):  # beside images, and in folders below as well: all of them are read
        found = found[:-1]
    layouts = [_layout(kind, splits, data) for kind, splits in found if splits]
    return layouts or _by_year(data)


VOC = Reader("voc", "VOC XML files (Annotations/*.xml, train/*.xml, *.xml beside images)", find_voc)


def _in_label_folder(data: Path) -> tuple[str, dict[str, VocSplit]]:
    """Finds `Annotations/*.xml` with the lists of `ImageSets/Main`, `Annotations/train/*.xml`, or without splits."""
    for folder in named_folders(data, _LABEL_FOLDERS):
        inner = [path for path in folders_in(folder) if _has_labels(path, damaged=True)]
        if not inner and not _has_labels(folder, damaged=folder.name.lower() == "annotations"):
            continue
        images = (
            *named_folders(data, IMAGE_FOLDERS),
            folder,
            data,
            *named_folders(data.absolute().parent, ("images",)),
        )
        lists = find_lists(data)
        if list(lists) == ["default"]:  # CVAT writes this list for all images
            lists = {WHOLE: lists["default"]}
        if lists:
            return "Pascal VOC", {name: VocSplit(folder, images, file) for name, file in lists.items()}
        if any(is_split_name(path.name) for path in inner):
            return "VOC with label folders", {
                path.name: VocSplit(path, (*_of_split(images, path.name), *images)) for path in inner
            }
        return "VOC without lists", {WHOLE: VocSplit(folder, images)}
    return "", {}


def _in_split_folders(data: Path) -> tuple[str, dict[str, VocSplit]]:
    """Finds `train/*.xml` beside images (Roboflow) and `train/annotations/*.xml` with `train/images`."""
    splits: dict[str, VocSplit] = {}
    beside = []
    for folder in folders_in(data):
        if folder.name.lower() in (*_LABEL_FOLDERS, *IMAGE_FOLDERS):
            continue
        inner = [path for path in named_folders(folder, _LABEL_FOLDERS) if _has_labels(path)]
        if _has_labels(folder):
            splits[folder.name] = VocSplit(folder, (folder, *named_folders(folder, IMAGE_FOLDERS)))
            beside.append(folder)
        elif inner and is_split_name(folder.name):
            splits[folder.name] = VocSplit(inner[0], (*named_folders(folder, IMAGE_FOLDERS), folder))
    if any(map(is_split_name, splits)):
        return ("Roboflow VOC" if len(beside) == len(splits) else "VOC in split folders"), splits
    named = {split_in_name(folder.name): folder for folder in beside}
    if None not in named and len(named) == len(beside) > 0:  # `train_annotations` with the images in `train`
        return "VOC in split folders", {
            str(name): VocSplit(folder, (folder, *_folders_of(data, str(name)))) for name, folder in named.items()
        }
    if beside:  # frames of several cameras, say
        return "LabelImg VOC", {WHOLE: VocSplit(data, (data,))}
    return "", {}


def _beside_images(data: Path) -> tuple[str, dict[str, VocSplit]]:
    """Finds `*.xml` beside images of the same names (LabelImg)."""
    if not _has_labels(data):
        return "", {}
    suffixes = [suffix for lower in IMAGE_SUFFIXES for suffix in (lower, lower.upper())]
    if not any(file.with_suffix(suffix).is_file() for file in some_files(data, ".xml", _TRIED) for suffix in suffixes):
        return "", {}
    return "LabelImg VOC", {WHOLE: VocSplit(data, (data,))}


def _by_year(data: Path) -> list[Layout]:
    """Finds `VOC2007` and `VOC2012`, in `VOCdevkit` or in the folders of the archives as they are downloaded."""
    folders = [folder for folder in folders_in(data) if "voc" in folder.name.lower()]
    for _ in range(2):
        folders += [inner for folder in folders for inner in folders_in(folder) if "voc" in inner.name.lower()]
    years = [folder for folder in dict.fromkeys(folders) if _YEAR.fullmatch(folder.name)]
    found = [(folder, *_in_label_folder(folder)) for folder in years]
    found = [(folder, kind, splits) for folder, kind, splits in found if splits]
    names = [folder.name for folder, _, _ in found]
    return [
        _layout(folder.name if names.count(folder.name) == 1 else str(folder.relative_to(data)), splits, folder)
        for folder, _, splits in found
    ]


def _has_labels(folder: Path, *, damaged: bool = False) -> bool:
    wanted = ("yes", "damaged") if damaged else ("yes",)
    return any(looks_like_voc(file) in wanted for file in some_files(folder, ".xml", _TRIED))


def _folders_of(data: Path, split: str) -> list[Path]:
    """Returns the folders whose names hold a split, such as `train_images`."""
    return [folder for folder in folders_in(data) if usual_name(split_in_name(folder.name) or "") == usual_name(split)]


def _of_split(folders: tuple[Path, ...], split: str) -> list[Path]:
    return [inner for folder in folders for inner in folders_in(folder) if inner.name == split]


def _layout(kind: str, splits: Mapping[str, VocSplit], data_dir: Path) -> Layout:
    folders = {split.labels: LabelFolder(split.labels) for split in splits.values()}
    outcomes: dict[Path, VocLabels | InputError] = {}

    def labels_of(file: Path) -> VocLabels:
        if file not in outcomes:
            try:
                outcomes[file] = read_labels(file)
            except InputError as error:
                outcomes[file] = error
        outcome = outcomes[file]
        if isinstance(outcome, InputError):
            raise outcome
        return outcome

    @cache
    def entries(name: str) -> tuple[list[VocEntry], list[Problem]]:
        split = splits[name]
        if split.list_file is not None:
            return listed_entries(split.list_file, folders[split.labels])
        return [VocEntry(str(file), stem, file) for stem, file in folders[split.labels].files.items()], []

    @cache
    def finder(name: str) -> ImageFinder:
        return stem_finder(splits[name].image_folders, [entry.stem for entry in entries(name)[0]])

    def read(split: str, reading: Reading) -> Dataset:
        everything = [entry for name in splits for entry in entries(name)[0]]
        dataset = read_voc(
            entries(split)[0],
            finder(split),
            split=split,
            name=real_path(data_dir).name,
            class_names=voc_class_names(everything, labels_of=labels_of),
            labels_of=labels_of,
            boxes=reading.boxes,
        )
        return replace(dataset, problems=(*entries(split)[1], *dataset.problems))

    def unread() -> list[Problem]:
        listed = {entry.file: entry for name in splits for entry in entries(name)[0]}
        used: set[Path] = {real_path(file) for file in listed}
        problems: list[Problem] = []
        for name, split in splits.items():
            for stem, file in folders[split.labels].files.items():
                try:
                    image = image_of(VocEntry(str(file), stem, file), labels_of(file), finder=finder(name))
                except InputError:
                    image = finder(name).find_stem(stem)
                path = real_path(finder(name).root / image.name)
                if real_path(file) not in used:
                    kind = "not_in_any_split" if image.exists else "label_without_image"
                    detail = "in no list: it is not read" if image.exists else "no image has its name: it is not read"
                    problems.append(problem(kind, str(file), detail=detail, fixed=True))
                used.update((real_path(file), path))
        roots = {finder(name).root for name in splits}
        outside = [root for root in sorted(roots) if not real_path(root).is_relative_to(real_path(data_dir))]
        detail = "has no label file: it is not read"
        return problems + unread_files(
            [data_dir, *outside], used, label_suffixes=(".xml", ".json", ".csv"), detail=detail
        )

    return Layout("voc", kind, tuple(splits), read, unread)
