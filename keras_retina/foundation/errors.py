"""The one exception that a person who typed or labelled something wrong gets to see."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: the command line prints the message as one line on stderr and exits with status 2.

    The message names the file and the field, what was expected, `Received: name=value`, and what to do.
    """


def closest(value: str, choices: Iterable[str]) -> str:
    """Returns a sentence that names the valid choice nearest to `value`, or all of them when none is near."""
    valid = sorted(str(choice) for choice in choices)
    near = difflib.get_close_matches(str(value), valid, n=1, cutoff=0.5)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Valid: {', '.join(valid)}."


def printable(text: object) -> str:
    """Returns the text with control characters escaped: an error stays one line whatever a file is called."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in str(text))
