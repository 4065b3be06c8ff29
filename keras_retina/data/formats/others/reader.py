"""Labels of other tools and data sets, read as they are saved: LabelMe, CVAT, Label Studio, KITTI, DOTA and more."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice, takewhile
from pathlib import Path

from keras_retina.data.formats.box_values import with_box_values
from keras_retina.data.formats.csv_files.place_images import left_over, meant_files, place_images
from keras_retina.data.formats.encoding import read_beginning
from keras_retina.data.formats.image_files import IMAGE_FOLDERS, ImageFiles, file_name_of, list_images
from keras_retina.data.formats.listing import files_in, folders_in, label_folders, named_folders
from keras_retina.data.formats.others.copies import join_copies
from keras_retina.data.formats.others.fiftyone import FIFTYONE_SIGN, read_fiftyone
from keras_retina.data.formats.others.globox_labels import read_cvat, read_labelme
from keras_retina.data.formats.others.gtsdb import looks_like_gtsdb, read_gtsdb
from keras_retina.data.formats.others.image_lines import IMAGE_LINES_SIGN, read_image_lines
from keras_retina.data.formats.others.json_file import read_createml, read_via
from keras_retina.data.formats.others.label_studio import SIGN, read_label_studio, without_upload
from keras_retina.data.formats.others.named import NamedImage, NamedLabels, class_names, numbered
from keras_retina.data.formats.others.scalabel import SCALABEL_SIGN, read_scalabel
from keras_retina.data.formats.others.text_lines import (
    looks_like_dota,
    looks_like_kitti,
    looks_like_oidv4,
    looks_like_visdrone,
    read_dota,
    read_kitti,
    read_oidv4,
    read_visdrone,
)
from keras_retina.data.formats.repair import problem
from keras_retina.data.formats.split_names import WHOLE, is_split_name
from keras_retina.data.records import Dataset, Layout, Problem, Reader, Reading
from keras_retina.foundation.files.reading import read_bytes

_BEGINNING = 1 << 16  # bytes
_MOST_FILES = 20  # more files of one kind in a folder are one for each image
_FOLDERS = (
    "annotations", "annotation", "annfiles", "labels", "label", "label_2", "labeltxt", "labeltxt-v1.0",
    "labeltxt-v1.5", "labeltxt-v2.0", "det_20", "json", "images", "data",
)  # fmt: skip


@dataclass(frozen=True)
class _Kind:
    """A tool: its name, the suffix of its files, what tells them by their beginning, how one is read."""

    name: str
    suffix: str
    begins: Callable[[str], object]
    read: Callable[[Path], NamedLabels]
    one_for_each_image: bool = False
    normalized: bool = False  # numbers are shares of the image
    folders_of_classes: bool = False  # a photo is in each folder of a class that it shows

    @property
    def names_no_image(self) -> bool:
        """Whether a file labels the image that has its name."""
        return self.one_for_each_image and self.suffix == ".txt"


_LABELME = re.compile(r'^\s*\{(?=.*"shapes"\s*:)(?=.*"(version|flags|imagePath)"\s*:)', re.DOTALL)
_VIA = re.compile(r'^\s*\{((?=.*"_via_img_metadata")|(?=.*"filename"\s*:)(?=.*"regions"\s*:))', re.DOTALL)
_CREATEML = re.compile(r'^\s*\[\s*\{(?=.*"label"\s*:)(?=.*"coordinates"\s*:)', re.DOTALL)
_CVAT = re.compile(r"<annotations>.*<(image|track|meta)\b", re.DOTALL)
_KINDS = (
    _Kind("LabelMe", ".json", _LABELME.search, read_labelme, one_for_each_image=True),
    _Kind("VIA JSON", ".json", _VIA.search, read_via),
    _Kind("CreateML", ".json", _CREATEML.search, read_createml),
    _Kind("CVAT for images", ".xml", _CVAT.search, read_cvat),
    _Kind("Label Studio JSON", ".json", SIGN.search, read_label_studio),
    _Kind("Label Studio CSV", ".csv", SIGN.search, read_label_studio),
    _Kind("Scalabel JSON", ".json", SCALABEL_SIGN.search, read_scalabel),
    _Kind("FiftyOne JSON", ".json", FIFTYONE_SIGN.search, read_fiftyone, normalized=True),
    _Kind("GTSDB", ".txt", looks_like_gtsdb, read_gtsdb),
    _Kind("YOLO Keras lists", ".txt", IMAGE_LINES_SIGN.search, read_image_lines),
    _Kind("KITTI", ".txt", looks_like_kitti, read_kitti, one_for_each_image=True),
    _Kind("DOTA labelTxt", ".txt", looks_like_dota, read_dota, one_for_each_image=True),
    _Kind("VisDrone", ".txt", looks_like_visdrone, read_visdrone, one_for_each_image=True),
    _Kind("OIDv4 ToolKit", ".txt", looks_like_oidv4, read_oidv4, one_for_each_image=True, folders_of_classes=True),
)


def _find(place: Path) -> list[Layout]:
    if place.is_file():
        kind = _kind_of(place)
        return [] if kind is None or kind.names_no_image else [_layout(kind, {WHOLE: [place]}, place.parent)]
    found: dict[str, dict[str, list[Path]]] = {}
    images = cache(lambda: list_images(place))
    folders = label_folders(place, _FOLDERS, around=("data",), suffixes=(".json", ".xml", ".txt"))
    for folder in [*folders, *_folders_of_classes(place)]:
        for kind, files in _files_of(folder, images=images).items():
            for file in files:
                split = _split_of(file, place, one_for_each_image=kind.one_for_each_image)
                found.setdefault(kind.name, {}).setdefault(split, []).append(file)
    kinds = [kind for kind in _KINDS if kind.name in found]
    return [_layout(kind, found[kind.name], place) for kind in kinds if _has_images(kind, found[kind.name], images)]


OTHER = Reader(
    "other", "LabelMe, CVAT, VIA, CreateML, Label Studio, FiftyOne, Scalabel, KITTI, DOTA or VisDrone files", _find
)


def _has_images(kind: _Kind, files: Mapping[str, Sequence[Path]], images: Callable[[], ImageFiles]) -> bool:
    """Tells whether there is an image with the name of one of the files, for a kind whose files name none."""
    return not kind.names_no_image or any(
        file.stem.lower() in images().by_stem for own in files.values() for file in own
    )


def _folders_of_classes(place: Path) -> list[Path]:
    """Returns the folders of labels that the OIDv4 ToolKit writes: `train/Apple/Label`."""
    inside = [inner for split in folders_in(place) if is_split_name(split.name) for inner in folders_in(split)]
    return [label for inner in inside for label in named_folders(inner, ("label",))]


def _layout(kind: _Kind, files: Mapping[str, Sequence[Path]], root: Path) -> Layout:
    labels = cache(kind.read)
    images = cache(lambda: list_images(root))
    subsets = {name for own in files.values() for file in own for name in _subsets(kind, file)}
    splits = tuple(sorted(subsets)) if subsets and list(files) == [WHOLE] else tuple(files)

    @cache
    def members(split: str) -> list[tuple[Path, NamedImage]]:
        """Returns the images of a split and the files that label them; CVAT may name the split of each image."""
        return [
            (file, replace(image, file_name=_from_root(image.file_name, file, root=root, kind=kind, files=images())))
            for place, own in files.items()
            for file in own
            for image in labels(file).images
            if (image.split if subsets and place == WHOLE else place) == split
        ]

    def read(split: str, reading: Reading) -> Dataset:
        names = class_names(labels(file) for own in files.values() for file in own)
        own = members(split)
        told = dict.fromkeys([*files.get(split, ()), *(file for file, _ in own)])
        problems = [item for file in told for item in labels(file).problems]
        source = own[0][0] if own else root
        named = [image for _, image in own]
        if kind.folders_of_classes:
            named, copies = join_copies(named, root)
            problems += copies
        found, wrong = with_box_values(
            numbered(named, names), reading.boxes, normalized=kind.normalized, kind=kind.name, file=source
        )
        records, more = place_images(found, images(), labels=source, split=split)
        ids = tuple(range(1, len(names) + 1))
        return Dataset(root.resolve().name, split, names, ids, tuple(records), tuple(wrong or [*problems, *more]))

    def unread() -> list[Problem]:
        used = {file for own in files.values() for file in own}
        for split in splits:
            own = members(split)
            names = [image.file_name for _, image in own]
            used |= meant_files(names, images(), labels=own[0][0] if own else root, split=split)
        problems = []
        for _, image in members(""):  # CVAT names no split
            detail = f"{image.file_name!r} is of no split, left out"
            problems.append(problem("not_in_any_split", image.where, detail=detail, fixed=True))
        return problems + left_over(images(), used)

    return Layout("other", kind.name, splits, read, unread)


def _from_root(name: str, file: Path, *, root: Path, kind: _Kind, files: ImageFiles) -> str:
    """Returns the path of an image as LabelMe means it, relative to the data folder; other names as they are.

    Label Studio calls an uploaded file otherwise: the name that it had counts where only that is there. Labels that
    name no image mean the one with their name that is nearest to them.
    """
    if kind.names_no_image:
        return _with_the_name_of(file, root=root, files=files)
    if kind.read is read_label_studio and name.rpartition("/")[2].lower() not in files.by_name:
        return without_upload(name)
    path = Path(os.path.normpath(file.parent / name.replace("\\", "/")))
    beside = kind.one_for_each_image and path.is_file() and path.is_relative_to(os.path.normpath(root))
    return path.relative_to(os.path.normpath(root)).as_posix() if beside else name


def _with_the_name_of(file: Path, *, root: Path, files: ImageFiles) -> str:
    """Returns the image with the name of a label file that is nearest to it; its bare name where several are."""
    folder = file.parent.relative_to(root).as_posix().lower()
    mates = (folder.replace("labeltxt", "images"), folder.replace("label", "image"), folder.removesuffix("/label"))

    def nearness(path: str) -> tuple[bool, int, bool]:
        parent = path.rpartition("/")[0].lower()
        around = sum(
            1
            for _ in takewhile(lambda pair: pair[0] == pair[1], zip(parent.split("/"), folder.split("/"), strict=False))
        )
        return parent in mates, around, parent.rpartition("/")[2] in IMAGE_FOLDERS

    same = files.by_stem.get(file.stem.lower(), [f"{file.stem}.jpg"])
    best = max(map(nearness, same))
    nearest = [path for path in same if nearness(path) == best]
    return nearest[0] if len(nearest) == 1 else file_name_of(nearest[0])


def _files_of(folder: Path, *, images: Callable[[], ImageFiles]) -> dict[_Kind, list[Path]]:
    """Returns the label files in a folder; of many the first ones tell the kind of all.

    Args:
        images: lists the images of the data folder.
    """
    found: dict[_Kind, list[Path]] = {}
    for suffix in (".json", ".xml", ".csv", ".txt"):
        files = files_in(folder, (suffix,))
        first = list(islice((file for file in files if os.path.getsize(file)), _MOST_FILES))
        for file, kind in zip(first, map(_kind_of, first), strict=True):
            if kind is not None:
                found.setdefault(kind, []).append(file)
        for kind in [kind for kind in found if kind.suffix == suffix]:
            if kind.names_no_image:  # an empty file is an image without objects
                known = images().by_stem
                found[kind] = [file for file in files if file.stem.lower() in known or _kind_of(file) is kind]
            elif kind.one_for_each_image or len(found[kind]) == _MOST_FILES:
                found[kind] += [file for file in files if file not in first]
    return found


def _kind_of(file: Path) -> _Kind | None:
    beginning = read_beginning(file, _BEGINNING)
    if beginning is None:
        return None
    return next(
        (kind for kind in _KINDS if file.name.lower().endswith(kind.suffix) and kind.begins(beginning[0])), None
    )


def _subsets(kind: _Kind, file: Path) -> list[str]:
    """Returns the splits that a CVAT project names at its images."""
    if kind.suffix != ".xml":
        return []
    try:
        text = read_bytes(file).decode("utf-8", "replace")
    except OSError:
        return []
    return re.findall(r'<image\b[^>]*\bsubset="([^"]+)"', text)


def _split_of(file: Path, root: Path, *, one_for_each_image: bool) -> str:
    """Names the split of a file by the folder that it is in, or by its own name when it labels many images."""
    parts = [] if one_for_each_image else [word for word in re.split(r"[^a-zA-Z0-9]+", file.stem)]
    parts += reversed(file.relative_to(root).parts[:-1])
    return next((part for part in parts if is_split_name(part)), WHOLE)
