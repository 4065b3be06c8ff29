"""Which VOC files a split has: those that a list names (`ImageSets/Main/train.txt`), or all files of a folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from keras_retina.data.formats.encoding import read_text
from keras_retina.data.formats.listing import files_in, named_folders, walk_files
from keras_retina.data.formats.repair import problem
from keras_retina.data.formats.split_names import is_split_name
from keras_retina.data.images import IMAGE_SUFFIXES
from keras_retina.data.records import Problem

_FLAG = re.compile(r"\s+[-+]?[01]$")  # ImageSets/Main/cat_train.txt: "2008_000008 -1"
_SUFFIXES = (*IMAGE_SUFFIXES, ".xml")


@dataclass(frozen=True)
class VocEntry:
    """One file of a split: `where` lists it, `stem` is its path in the label folder without suffix."""

    where: str
    stem: str
    file: Path


class LabelFolder:
    """The XML files under a folder, found by their names; it is searched once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def files(self) -> Mapping[str, Path]:
        """Path without suffix, relative to the folder -> file, by name within each folder."""
        return {
            path.relative_to(self.root).as_posix()[: -len(".xml")]: path
            for path in walk_files(self.root)
            if path.name.lower().endswith(".xml")
        }


def find_lists(data_dir: Path) -> dict[str, Path]:
    """Maps split names to the lists of `ImageSets/Main`, of `ImageSets`, or `train.txt` and the like in the folder.

    The lists of one class, `cat_train.txt` beside `train.txt`, are no splits.
    """
    for sets in named_folders(data_dir, ("imagesets",)):
        for folder in (*named_folders(sets, ("main",)), sets):
            files = {file.stem: file for file in files_in(folder, (".txt",))}
            lists = {stem: file for stem, file in files.items() if not _is_of_one_class(stem, files)}
            if lists:
                return lists
    beside = {file.stem: file for file in files_in(data_dir, (".txt",))}
    return {stem: file for stem, file in beside.items() if is_split_name(stem) or stem.lower() == "trainval"}


def listed_entries(list_file: Path, folder: LabelFolder) -> tuple[list[VocEntry], list[Problem]]:
    """Returns the files that a list names, each once, and the lines that name none or name one again.

    Raises:
        InputError: the list cannot be read.
    """
    entries: dict[Path, VocEntry] = {}
    problems: list[Problem] = []
    for number, line in enumerate(read_lines(list_file), start=1):
        if not line.strip():
            continue
        where = f"{list_file}: line {number}"
        stem = next((stem for stem in _stems(line) if stem in folder.files), None)
        if stem is None:
            detail = f"an XML file of {line.strip()!r} in {folder.root} was expected. Received: none."
            advice = "Add it, without <object> where nothing is to be seen, or remove the line."
            problems.append(problem("missing_labels", where, detail=f"{detail} {advice}", fixed=False))
            continue
        file = folder.files[stem]
        first = entries.setdefault(file, VocEntry(where, stem, file))
        if first.where != where:
            detail = f"each image listed once was expected. Received: {line.strip()!r}, also at {first.where}."
            problems.append(
                problem("image_listed_twice", where, detail=f"{detail} Remove one of the lines.", fixed=False)
            )
    return list(entries.values()), problems


def read_lines(file: Path) -> list[str]:
    """Returns the lines of a list; raises InputError where it cannot be read."""
    return read_text(file, "a list of image names").splitlines()


def _is_of_one_class(stem: str, files: Mapping[str, Path]) -> bool:
    if "_" not in stem or stem.rpartition("_")[2] not in files:
        return False
    first = next((line for line in read_lines(files[stem]) if line.strip()), "")
    return _FLAG.search(first.strip()) is not None


def _stems(line: str) -> list[str]:
    """Returns what the label file of a line may be called, the likeliest first.

    A line is a name, with or without folders and suffix, perhaps with a flag behind it (`2008_000008 -1`), or an image
    and its label file (`images/a.jpg annotations/a.xml`).
    """
    whole = line.strip().strip('"')
    words = whole.split()
    pair = words if len(words) == 2 and all(word.lower().endswith(_SUFFIXES) for word in words) else []
    stems: list[str] = []
    for text in (whole, _FLAG.sub("", whole), *reversed(pair)):
        parts = [part for part in PurePosixPath(text.replace("\\", "/")).parts if part not in ("/", "..")]
        for start in range(len(parts)):
            end = "/".join(parts[start:])
            suffix = next((suffix for suffix in _SUFFIXES if end.lower().endswith(suffix)), "")
            stems += [end, end[: len(end) - len(suffix)]]
    return stems
