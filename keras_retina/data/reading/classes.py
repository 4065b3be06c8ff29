"""Which classes of the labels a detector learns: another name, several as one, a part of them, in the wanted order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from keras_retina.data.formats.repair import problem
from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import InputError, closest, printable
from keras_retina.foundation.files.places import address


def choose_classes(
    dataset: Dataset, classes: Sequence[str] | None, *, rename: Mapping[str, str], where: Path
) -> Dataset:
    """Returns the data set with renamed and chosen classes; boxes of all others are left out and counted.

    Args:
        classes: names after renaming, in the wanted order; None takes all of them.
        rename: name in the labels -> name for the detector; several names may become one.
        where: the data folder, for messages.

    Raises:
        InputError: a name that the labels do not have, or one of theirs that no file can hold.
    """
    _require_characters(dataset.class_names, where)
    if not rename and (classes is None or tuple(classes) == dataset.class_names):
        return dataset
    for name in rename:
        _require(name, dataset.class_names, field="data.rename", where=where)
    new_names = [rename.get(name, name) for name in dataset.class_names]
    wanted = tuple(dict.fromkeys(new_names)) if classes is None else tuple(classes)
    for name in wanted:
        _require(name, new_names, field="data.classes", where=where)
    index = np.array([wanted.index(name) if name in wanted else -1 for name in new_names], np.int32)
    records, left_out = [], Counter[str]()
    for record in dataset.records:
        new = index[record.classes]
        kept = new >= 0
        left_out.update(dataset.class_names[number] for number in record.classes[~kept])
        records.append(replace(record, boxes=record.boxes[kept], classes=new[kept], crowd=record.crowd[kept]))
    problems = [
        problem("class_left_out", f"class {name!r}", detail=f"{count} boxes left out by data.classes", fixed=True)
        for name, count in left_out.items()
    ]
    ids = tuple(dataset.category_ids[new_names.index(name)] for name in wanted)
    return replace(
        dataset,
        class_names=wanted,
        category_ids=ids,
        records=tuple(records),
        problems=(*dataset.problems, *problems),
    )


def _require_characters(names: Sequence[str], where: Path) -> None:
    """Refuses names that no file with labels can hold: `\\ud800` in JSON is half of a character."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"{printable(address(where))}: class names in UTF-8 were expected. Received: {name!r}, with half of a "
                "character. Correct the name in the labels."
            ) from error


def _require(name: str, valid: Sequence[str], *, field: str, where: Path) -> None:
    if name not in valid:
        raise InputError(
            f"{printable(address(where))}: {field}: a class of the labels was expected. Received: {name!r}, which they "
            f"do not have. {closest(name, valid)}"
        )
