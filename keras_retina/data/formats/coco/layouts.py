"""The folders that hold COCO labels: how each tool lays them out, and how they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_retina.data.formats.coco.categories import Categories, FileCategories, file_categories, merge_categories
from keras_retina.data.formats.coco.json_file import coco_files, load_json, looks_like_coco, split_name
from keras_retina.data.formats.coco.labels import read_coco, read_images
from keras_retina.data.formats.image_files import IMAGE_FOLDERS, unread_files
from keras_retina.data.formats.listing import folders_in, named_folders
from keras_retina.data.formats.split_names import WHOLE, is_split_name, usual_name
from keras_retina.data.records import Dataset, Layout, Problem, Reader, Reading
from keras_retina.foundation.files.places import real_path

_LABEL_FOLDERS = ("annotations", "annotation", "labels")
_ROBOFLOW = "_annotations.coco.json"


@dataclass(frozen=True)
class CocoSplit:
    """The label file of a split and the folders where its images may be, the likeliest first."""

    file: Path
    image_folders: tuple[Path, ...]


def find_coco(data: Path) -> list[Layout]:
    """Returns every way to read a folder or a file as COCO labels."""
    if data.is_file():
        if data.suffix.lower() != ".json" or looks_like_coco(data) == "no":
            return []
        splits = {WHOLE: CocoSplit(data, _image_folders(data, split=split_name(data)))}
        return [_layout("COCO file", splits, _data_folder(data))]
    found = [_in_label_folder(data), _beside_images(data), _in_split_folders(data)]
    return [_layout(kind, splits, data) for kind, splits in found if splits]


COCO = Reader("coco", "COCO JSON files (annotations/*.json, train/*.json, labels.json)", find_coco)


def _in_label_folder(data: Path) -> tuple[str, dict[str, CocoSplit]]:
    """Finds `annotations/train.json` or COCO's own `annotations/instances_train2017.json`."""
    for folder in named_folders(data, _LABEL_FOLDERS):
        files = coco_files(folder, damaged=folder.name.lower() == "annotations")
        if files:
            cvat = [file.name for file in files] == ["instances_default.json"]
            return "CVAT COCO" if cvat else "COCO", _splits_of_files(files)
    return "", {}


def _beside_images(data: Path) -> tuple[str, dict[str, CocoSplit]]:
    """Finds `labels.json` with `data/` or `images/`, `result.json`, and `train.json` beside `train/`."""
    files = coco_files(data)
    names = [file.name.lower() for file in files]
    kind = "COCO beside images"
    if names == [_ROBOFLOW]:
        kind = "Roboflow COCO"
    elif names == ["labels.json"]:
        kind = "FiftyOne COCO" if named_folders(data, ("data",)) else "MediaPipe COCO"
    elif names == ["result.json"]:
        kind = "Label Studio COCO"
    return kind, _splits_of_files(files)


def _in_split_folders(data: Path) -> tuple[str, dict[str, CocoSplit]]:
    """Finds `train/_annotations.coco.json` (Roboflow), `train/labels.json` (MediaPipe), `train/annotations/*.json`."""
    splits: dict[str, CocoSplit] = {}
    for folder in folders_in(data):
        if folder.name.lower() in (*_LABEL_FOLDERS, *IMAGE_FOLDERS):
            continue
        files = coco_files(folder)
        if not files and is_split_name(folder.name):
            files = [file for inner in named_folders(folder, _LABEL_FOLDERS) for file in coco_files(inner)]
        preferred = [file for file in files if file.name == _ROBOFLOW] or files
        if len(preferred) == 1:
            image_folders = (*_image_folders(preferred[0], split=folder.name), *_split_folders(data, folder.name))
            splits[folder.name] = CocoSplit(preferred[0], image_folders)
    names = {split.file.name for split in splits.values()}
    first = next(iter(splits.values()), None)
    kind = "COCO in split folders"
    if names == {_ROBOFLOW}:
        kind = "Roboflow COCO"
    elif names == {"labels.json"} and first:
        kind = "FiftyOne COCO" if named_folders(first.file.parent, ("data",)) else "MediaPipe COCO"
    return kind, splits


def _splits_of_files(files: Sequence[Path]) -> dict[str, CocoSplit]:
    """Names the splits after their files; one file that is not called after a split is the whole data."""
    names = [split_name(file) for file in files]
    if "" in names or len(set(names)) < len(names):
        names = [file.stem for file in files]
    splits = {name: CocoSplit(file, _image_folders(file, split=name)) for name, file in zip(names, files, strict=True)}
    if len(files) == 1 and not is_split_name(names[0]):
        return {WHOLE: splits[names[0]]}
    return splits


def _image_folders(file: Path, *, split: str) -> tuple[Path, ...]:
    """Returns the folders around a label file where its images may be, the likeliest first."""
    here, root = file.absolute().parent, _data_folder(file)
    return (*_split_folders(root, split), *named_folders(root, IMAGE_FOLDERS), here, root)


def _data_folder(file: Path) -> Path:
    here = file.absolute().parent
    return here.parent if here.name.lower() in _LABEL_FOLDERS else here


def _split_folders(root: Path, split: str) -> list[Path]:
    """Returns `images/train` and `train` for the split `train` of any spelling, `train_2017`."""
    folders = [folder for parent in (*named_folders(root, IMAGE_FOLDERS), root) for folder in folders_in(parent)]
    alike = [folder for folder in folders if usual_name(folder.name) == usual_name(split)]
    return sorted(alike, key=lambda folder: folder.name != split)  # `val` of several years: its own first


def _layout(kind: str, splits: Mapping[str, CocoSplit], data_dir: Path) -> Layout:
    known: dict[Path, FileCategories] = {}

    def load(file: Path) -> dict[str, Any]:
        content = load_json(file)
        known[file] = file_categories(content, file)
        return content

    def categories() -> Categories:
        for split in splits.values():
            if split.file not in known:
                load(split.file)
        return merge_categories([known[split.file] for split in splits.values()])

    def read(split: str, reading: Reading) -> Dataset:
        file, image_folders = splits[split].file, splits[split].image_folders
        content = load(file)  # the other files are read for their classes alone, so one is in memory at a time
        return read_coco(
            content,
            file,
            image_folders=image_folders,
            split=split,
            name=real_path(data_dir).name,
            categories=categories(),
            boxes=reading.boxes,
        )

    def unread() -> list[Problem]:
        used: set[Path] = set()
        folders = [data_dir]
        for split in splits.values():
            finder, images, _ = read_images(load_json(split.file), split.file, image_folders=split.image_folders)
            used.update(real_path(finder.root / image.file_name) for image in images)
            used.add(real_path(split.file))
            if not real_path(finder.root).is_relative_to(real_path(data_dir)):
                folders.append(finder.root)
        detail = "in no label file: it is not read"
        return unread_files(folders, used, label_suffixes=(".json", ".xml", ".csv"), detail=detail)

    return Layout("coco", kind, tuple(splits), read, unread)
