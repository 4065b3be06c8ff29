"""Which splits of a data folder train, choose and measure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files import address
from keras_retina.plan.wishes import Choice
from keras_retina.recipe.data import Data

TRAIN_NAMES = ("train", "training", "train2017")
VALIDATION_NAMES = ("val", "valid", "validation", "dev", "val2017")
TEST_NAMES = ("test", "testing")


def choose_splits(data_dir: Path, found: Sequence[str], *, given: Data) -> Data:
    """Returns the section `data` of the recipe; what is set in `given` stays.

    Raises:
        InputError: no split to train on, or none to choose by.
    """
    names = {
        "train": _first(given, "train", found, TRAIN_NAMES),
        "validation": _first(given, "validation", found, VALIDATION_NAMES),
        "test": _first(given, "test", found, TEST_NAMES),
    }
    splits, place = ", ".join(found) or "none", printable(address(data_dir))
    if names["train"] is None:
        raise InputError(
            f"{place}: expected a split to train on. Received: the splits {printable(splits)}. "
            "Name it with --set data.train=NAME."
        )
    if names["validation"] is None:
        raise InputError(
            f"{place}: expected a split to choose the best epoch by. Received: the splits {printable(splits)}. "
            "Name it with --set data.validation=NAME, or let the program part the images: --set data.split=auto."
        )
    return given.model_copy(update=names)


def data_choice(data: Data) -> Choice:
    """Says the splits."""
    measured = data.test or data.validation
    why = f"The splits that are in the folder. The files are measured on {printable(measured)}"
    if data.test is None:
        why += ", since there is no test split: the epoch is chosen there too, so the AP is a little too good"
    value = data.model_dump(mode="json", include={"train", "validation", "test"} | data.model_fields_set)
    return Choice("data", value, f"{why}.")


def _first(given: Data, field: str, found: Sequence[str], names: Sequence[str]) -> str | None:
    if field in given.model_fields_set:
        return getattr(given, field)
    return next((name for name in names if name in found), None)
