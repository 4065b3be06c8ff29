"""The splits that `data.split: auto` made of a folder: which images are in each, so that every stage reads the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keras_retina.data.formats.repair import problem
from keras_retina.data.formats.split_names import WHOLE, find_split, usual_name
from keras_retina.data.reading.automatic_split import TEST, VALIDATION, cut_long_groups, split_images
from keras_retina.data.reading.look_alike import look_alike_groups
from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.reading import read_bytes
from keras_retina.foundation.files.writing import write_json
from keras_retina.foundation.json_values import parse_json
from keras_retina.recipe.data import Data


@dataclass(frozen=True)
class SplitLists:
    """Splits that were made of one split of the folder.

    Attributes:
        source: the split of the folder that was divided, as the folder calls it.
        files: name of the split in the recipe -> file names. Splits that the folder has are not in it.
    """

    source: str
    files: Mapping[str, tuple[str, ...]]


def missing_splits(settings: Data, available: tuple[str, ...]) -> list[str]:
    """Returns the splits that a recipe names and a folder does not have."""
    wanted = [name for name in (settings.train, settings.validation, settings.test) if name is not None]
    return [name for name in wanted if name not in available and not _alike(name, available)]


def source_split(settings: Data, available: tuple[str, ...], *, where: str) -> str:
    """Returns the split of the folder that is divided: its training images, or all when it has no splits.

    Raises:
        InputError: it has splits, but none for training.
    """
    if WHOLE in available and settings.train not in available and not _alike(settings.train, available):
        return WHOLE
    return find_split(settings.train, available, where=where)


def make_split_lists(dataset: Dataset, settings: Data, *, missing: list[str], source: str) -> SplitLists:
    """Divides the images of the source split; look-alikes and neighbouring frames stay on one side.

    Args:
        missing: the splits to make; the training split gets what they leave.
    """
    shares = {name: TEST if name == settings.test else VALIDATION for name in missing if name != settings.train}
    shares = {settings.train: 1 - sum(shares.values()), **shares}
    groups = cut_long_groups(look_alike_groups(dataset), len(dataset.records))
    lists = split_images(dataset, groups, shares=shares, seed=settings.split_seed)
    return SplitLists(source, {name: tuple(files) for name, files in lists.items()})


def choose_images(dataset: Dataset, lists: SplitLists, *, split: str, where: str) -> Dataset:
    """Returns the part of the source split that is in a list.

    Raises:
        InputError: an image of the list is not in the folder any more.
    """
    here = {record.file_name: record for record in dataset.records}
    gone = [name for name in lists.files[split] if name not in here]
    if gone:
        raise InputError(
            f"{where}: the images that the split was made of were expected. Received: {len(gone)} of {split!r} are not "
            f"there, such as {printable(gone[0])!r}. Put them back, or start a new run."
        )
    listed = {name for names in lists.files.values() for name in names}
    new = [name for name in here if name not in listed]
    detail = f"{len(new)} images are in no list, such as {new[0]!r}: added after the split was made" if new else ""
    found = (problem("not_in_any_split", "splits.json", detail=detail, fixed=True),) if new else ()
    records = tuple(here[name] for name in lists.files[split])
    return replace(dataset, records=records, problems=(*dataset.problems, *found))


def describe(lists: SplitLists) -> str:
    """Returns one line that says what was made."""
    counts = ", ".join(f"{name} {len(files)}" for name, files in lists.files.items())
    return f"made a split of {sum(map(len, lists.files.values()))} images ({lists.source}): {counts}"


def write_lists(path: Path, lists: SplitLists) -> None:
    """Writes the lists as JSON."""
    write_json(path, {"source": lists.source, "files": {name: list(files) for name, files in lists.files.items()}})


def read_lists(path: Path) -> SplitLists:
    """Reads what `write_lists` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        content: Any = parse_json(read_bytes(path).decode())
        return SplitLists(str(content["source"]), {str(key): tuple(names) for key, names in content["files"].items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{printable(path)}: the lists of data.split=auto were expected. Received: {printable(error)!r}. "
            "Put the file back, or start a new run."
        ) from error


def _alike(name: str, available: tuple[str, ...]) -> bool:
    return usual_name(name) in map(usual_name, available)
