"""The exceptions that a person gets to see as one line: bad input, and a worker that is gone."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input: the command line prints the message as one line on stderr and exits with status 2.

    The message names the file and the field, what was expected, `Received: name=value`, and what to do.
    """


class WorkerLostError(RuntimeError):
    """A worker of a cluster went away, or never came: nothing is wrong with the input, and trying again may help.

    The command line prints the message as one line on stderr and exits with status `TRY_AGAIN`.
    """


TRY_AGAIN = 75
"""Exit status of work that the same command goes on with: EX_TEMPFAIL of sysexits.h."""


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
