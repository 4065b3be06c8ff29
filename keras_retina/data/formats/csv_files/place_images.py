"""Labels of a CSV file and the image files that they mean, as records; and which files no label means."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from keras_retina.data.formats.csv_files.find_images import (
    Found,
    SeveralFilesError,
    find_image,
    image_folder,
    image_folders,
)
from keras_retina.data.formats.image_files import ImageFiles
from keras_retina.data.formats.listing import walk_files
from keras_retina.data.formats.repair import LabelledImage, build_records, problem
from keras_retina.data.records import Problem, Record

_LABEL_SUFFIXES = (".csv", ".tsv", ".xml", ".json")
_BUCKETS = ("gs://", "s3://", "http://", "https://")


def place_images(
    images: Sequence[LabelledImage], files: ImageFiles, *, labels: Path, split: str
) -> tuple[list[Record], list[Problem]]:
    """Returns the records of a split in the order of the labels, and what is wrong with them.

    Args:
        labels: the CSV file.
    """
    folder = _folder([image.file_name for image in images], files, labels=labels, split=split)
    problems: list[Problem] = []
    groups: dict[Path, list[LabelledImage]] = {}
    names: dict[Path, LabelledImage] = {}
    for image in images:
        try:
            found = find_image(image.file_name, folder, files=files, split=split)
        except SeveralFilesError as error:
            detail = f"one image file was expected. Received: {image.file_name!r}, which fits {error}. "
            detail += "Write the folder in front of the name."
            problems.append(problem("ambiguous_image", image.where, detail=detail, fixed=False))
            continue
        if found is None:  # build_records says so
            groups.setdefault(folder, []).append(image)
            continue
        path = found.folder / found.name
        first = names.setdefault(path, image)
        if first is not image and first.file_name != image.file_name:
            detail = f"each image under one name was expected. Received: {image.file_name!r}, which is the same file "
            detail += f"as {first.file_name!r} at {first.where}. Use one name."
            problems.append(problem("image_listed_twice", image.where, detail=detail, fixed=False))
            continue
        if _differs(image.file_name, found):
            detail = f"{found.name!r} is read, the only file here that fits {image.file_name!r}"
            problems.append(problem("file_name_differs", image.where, detail=detail, fixed=True))
        groups.setdefault(found.folder, []).append(replace(image, file_name=found.name))
    records: list[Record] = []
    for place, own in groups.items():
        made, wrong = build_records(own, place)
        records.extend(made)
        problems.extend(wrong)
    return sorted(records, key=lambda record: record.image_id), problems


def meant_files(names: Iterable[str], files: ImageFiles, *, labels: Path, split: str) -> set[Path]:
    """Returns the image files that the names of a split mean."""
    names = list(dict.fromkeys(names))
    folder = _folder(names, files, labels=labels, split=split)
    meant = set()
    for name in names:
        try:
            found = find_image(name, folder, files=files, split=split)
        except SeveralFilesError:
            continue
        if found is not None:
            meant.add(found.folder / found.name)
    return meant


def left_over(files: ImageFiles, used: Collection[Path]) -> list[Problem]:
    """Returns one fixed problem for each image, and each file that looks like labels, that is not in `used`."""
    problems = []
    for path in (files.root / name for names in files.by_name.values() for name in names):
        if path not in used:
            detail = "no label names this image, left out"
            problems.append(problem("unlabelled_image", str(path), detail=detail, fixed=True))
    for path in walk_files(files.root):
        if path.name.lower().endswith(_LABEL_SUFFIXES) and path not in used:
            detail = "no file of labels, or one without all of their columns, not read"
            problems.append(problem("stray_file", str(path), detail=detail, fixed=True))
    return problems


def _folder(names: Sequence[str], files: ImageFiles, *, labels: Path, split: str) -> Path:
    return image_folder(image_folders(files.root, labels.parent, split=split), names)


def _differs(name: str, found: Found) -> bool:
    # A path in a bucket is expected to lead elsewhere.
    return found.how == "case" or (found.how == "tail" and not name.startswith(_BUCKETS))
