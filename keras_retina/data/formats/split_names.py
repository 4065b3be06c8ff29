"""What splits are called: a recipe says `val`, a folder says `valid`, `validation` or `val2017`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from keras_retina.foundation.errors import InputError, closest, printable

WHOLE = "all"
"""The only split of a folder that has none."""

SAME: tuple[tuple[str, ...], ...] = (
    ("train", "training"),
    ("val", "valid", "validation", "validate", "dev", "eval", "evaluation"),
    ("test", "testing"),
)
"""Names that mean the same split, in any case and with a year or `set` behind them."""

TRAINVAL = "trainval"
"""VOC's name for training and validation images together."""

_BEHIND = re.compile(r"[-_ ]?((19|20)\d\d|set|split)$")


def usual_name(name: str) -> str:
    """Returns `train`, `val` or `test` for a name that means it, any other name as it is."""
    plain = _BEHIND.sub("", name.strip().lower())
    return next((names[0] for names in SAME if plain in names), name)


def is_split_name(name: str) -> bool:
    """Tells whether a name, in any case and with a year behind it, means training, validation or test."""
    return usual_name(name) in {names[0] for names in SAME}


def split_in_name(name: str) -> str | None:
    """Returns the one word of a file or folder name that means a split: `train` of `oidv6-train-annotations-bbox`."""
    if is_split_name(name):
        return name
    plain = re.sub(r"(test)[-_ ]dev", r"\1", name, flags=re.IGNORECASE)  # test-dev is one word
    words = [word for word in re.split(r"[^a-zA-Z0-9]+", plain) if is_split_name(word)]
    return words[0] if len(set(map(usual_name, words))) == 1 else None


def find_split(wanted: str, available: Sequence[str], *, where: str) -> str:
    """Returns the split that is meant, as the folder calls it: exactly this name, or else one that means the same.

    Raises:
        InputError: there is no such split, or two are meant alike.
    """
    if wanted in available:
        return wanted
    alike = [name for name in available if usual_name(name) == usual_name(wanted)]
    if len(alike) == 1:
        return alike[0]
    shown = printable(", ".join(in_order(available)))
    if alike:
        raise InputError(
            f"{where}: one split that means {wanted!r} was expected. Received: {' and '.join(map(repr, alike))}. "
            f"Say which one: --set data.{_field(wanted)}={alike[0]}"
        )
    if list(available) == [WHOLE]:
        raise InputError(
            f"{where}: a split {wanted!r} was expected. Received: images without any split. "
            "Let one be made: --set data.split=auto"
        )
    fits = closest(wanted, available) if available else "Add labels."
    leave = ", do without one: --set data.test=null" if _field(wanted) == "test" else ""
    raise InputError(
        f"{where}: one of the splits {shown or '(none found)'} was expected. Received: split={wanted!r}. {fits} "
        f"Name it: --set data.{_field(wanted)}=NAME{leave}, or let one be made: --set data.split=auto"
    )


def in_order(splits: Iterable[str]) -> list[str]:
    """Sorts split names: those that mean train, val and test first, then the others by name."""
    first = tuple(names[0] for names in SAME)
    return sorted(splits, key=lambda name: (*(usual_name(name) != one for one in first), name))


def _field(wanted: str) -> str:
    return {"train": "train", "test": "test"}.get(usual_name(wanted), "validation")
