"""The classes of COCO labels: one list for all files of a folder, so that every split has the same class order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_retina.data.formats.coco.json_file import Identifier, field_of, identifier, list_of
from keras_retina.data.formats.repair import problem
from keras_retina.data.records import Problem
from keras_retina.foundation.errors import InputError, printable


@dataclass(frozen=True)
class Category:
    """One entry of `categories`, with its place for messages."""

    where: str
    key: Identifier
    name: str
    supercategory: Any


@dataclass(frozen=True)
class FileCategories:
    """What one file says about classes: its categories, and the ids that its annotations use."""

    categories: tuple[Category, ...]
    used: frozenset[Identifier]


@dataclass(frozen=True)
class Categories:
    """The classes of a folder.

    Attributes:
        names: class index -> name.
        ids: class index -> integer id for results files, the labelled one where that is an integer.
        index: labelled id -> class index.
        problems: categories that are no classes.
    """

    names: tuple[str, ...]
    ids: tuple[int, ...]
    index: Mapping[Identifier, int]
    problems: tuple[Problem, ...] = ()


def file_categories(content: Mapping[str, Any], file: Path) -> FileCategories:
    """Reads the categories of one file.

    Raises:
        InputError: a category has no id or no name.
    """
    found = []
    for index, category in enumerate(list_of(content, "categories", file=file)):
        where = f"{printable(file)}: categories[{index}]"
        category_id, name = field_of(category, "id"), field_of(category, "name")
        key = identifier(category_id)
        if key is None or not isinstance(name, str) or not name.strip():
            raise InputError(
                f"{where}: an id and a name were expected. "
                f"Received: id={category_id!r}, name={name!r}. Correct the category."
            )
        found.append(Category(where, key, name, field_of(category, "supercategory")))
    annotations = list_of(content, "annotations", file=file)
    keys = {identifier(field_of(annotation, "category_id")) for annotation in annotations}
    return FileCategories(tuple(found), frozenset(key for key in keys if key is not None))


def merge_categories(files: Sequence[FileCategories]) -> Categories:
    """Joins the categories of all files: integer ids ascending, then ids that are texts, in the order of the texts.

    A category 0 that no box uses and that groups the others (Roboflow), or that is called background, is no class.

    Raises:
        InputError: an id or a name means two things.
    """
    listed = [category for file in files for category in file.categories]
    used = frozenset[Identifier]().union(*(file.used for file in files))
    groups = {category.supercategory for category in listed if category.key != 0}
    kept: dict[Identifier, Category] = {}
    problems: dict[str, Problem] = {}
    for category in listed:
        background = category.name.strip("_ ").lower() == "background"
        if category.key == 0 and 0 not in used and (category.name in groups or background):
            detail = f"category 0, {category.name!r}, has no boxes and only groups the others: it is no class"
            problems.setdefault(category.name, problem("category_left_out", category.where, detail=detail, fixed=True))
            continue
        first = kept.setdefault(category.key, category)
        if first.name != category.name:
            raise InputError(
                f"{category.where}: one name for each category id was expected. "
                f"Received: id={category.key} as {first.name!r} and {category.name!r}. Use one list in every split."
            )
    ordered = sorted(kept.values(), key=lambda category: (isinstance(category.key, str), category.key))
    by_name: dict[str, Category] = {}
    for category in ordered:
        first = by_name.setdefault(category.name, category)
        if first is not category:
            raise InputError(
                f"{category.where}: one id for each category name was expected. Received: "
                f"name={category.name!r}, id={first.key!r} and {category.key!r}. Use the same list in every split."
            )
    numbers = [category.key for category in ordered if isinstance(category.key, int)]
    free = max([0, *numbers]) + 1
    ids = (*numbers, *range(free, free + len(ordered) - len(numbers)))
    index = {category.key: number for number, category in enumerate(ordered)}
    return Categories(tuple(category.name for category in ordered), ids, index, tuple(problems.values()))
