"""Which splits of a data folder train, choose and measure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keras_retina.data.formats.split_names import TRAINVAL, WHOLE, find_split, usual_name
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.places import address
from keras_retina.plan.wishes import Choice
from keras_retina.recipe.data import Data

FIELDS = {"train": "train", "validation": "val", "test": "test"}
"""Field of the section `data` -> what its split is usually called."""


def choose_splits(data_dir: Path, found: Sequence[str], *, given: Data) -> Data:
    """Returns the section `data` of the recipe; what is set in `given` stays.

    Where the folder has no validation split, `split` becomes `auto`, so that one is made. A folder without any split
    gets a test split, too.

    Raises:
        InputError: no split to train on, or two that could be meant.
    """
    place = printable(address(data_dir))
    names = {field: _name(given, field, found, where=place) for field in FIELDS}
    for field in ("validation", "test"):  # of a folder with only a test split to train on, say
        if names[field] == names["train"] and field not in given.model_fields_set:
            names[field] = None
    if names["train"] is None and WHOLE not in found:
        name = printable(found[0]) if len(found) == 1 else "NAME"
        raise InputError(
            f"{place}: expected a split to train on. Received: the splits {printable(', '.join(found) or 'none')}. "
            f"Name it with --set data.train={name}"
        )
    if given.split == "auto" or names["train"] is None or names["validation"] is None:
        test = names["test"] or ("test" if names["train"] is None and "test" not in given.model_fields_set else None)
        names = {"train": names["train"] or "train", "validation": names["validation"] or "val", "test": test}
        return given.model_copy(update={**names, "split": "auto"})
    return given.model_copy(update=names)


def data_choice(data: Data) -> Choice:
    """Says the splits."""
    measured = data.test or data.validation
    made = data.split == "auto"
    why = "Splits that are not in the folder are made and kept in splits.json" if made else "The splits of the folder"
    why += f". The files are measured on {printable(measured)}"
    if data.test is None:
        why += ", since there is no test split: the epoch is chosen there too, so the AP is a little too good"
    value = data.model_dump(mode="json", include={"train", "validation", "test"} | data.model_fields_set)
    if made:
        value["split"] = "auto"
    return Choice("data", value, f"{why}.")


def _name(given: Data, field: str, found: Sequence[str], *, where: str) -> str | None:
    """Returns what is set for a field, else the split of the folder that means it, None for none."""
    if field in given.model_fields_set:
        return getattr(given, field)
    usual = FIELDS[field]
    if field == "train" and TRAINVAL in found and usual not in map(usual_name, found):
        return TRAINVAL
    if usual not in map(usual_name, found):
        return None
    return find_split(usual, found, where=where)
