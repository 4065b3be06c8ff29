"""The exceptions that a person gets to see as one line: bad input, and a worker that is gone."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any

LONGEST_MESSAGE = 2_000  # characters


class InputError(ValueError):
    """Bad input: the command line prints the message as one line on stderr and exits with status 2.

    The message names the file and the field, what was expected, `Received: name=value`, and what to do. Whatever a file
    or a person wrote, it is one printable line of at most 2,000 characters.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(message))


_COMPARED = 200  # characters of a value; the search takes the square of their number


class WorkerLostError(RuntimeError):
    """A worker of a cluster went away, or never came: nothing is wrong with the input, and trying again may help.

    The command line prints the message as one line on stderr and exits with status `TRY_AGAIN`.
    """


class PortTakenError(RuntimeError):
    """Another program has the port of this worker: an earlier worker that is still ending, or one that stays.

    The command line prints the message as one line on stderr and exits with status `PORT_TAKEN`.
    """


TRY_AGAIN = 75
"""Exit status of work that the same command goes on with: EX_TEMPFAIL of sysexits.h."""
PORT_TAKEN = 69
"""Exit status of a worker whose port another program has: EX_UNAVAILABLE of sysexits.h."""


def closest(value: str, choices: Iterable[str]) -> str:
    """Returns a sentence that names the valid choice nearest to `value`, or all of them when none is near."""
    valid = sorted(str(choice) for choice in choices)
    near = difflib.get_close_matches(str(value)[:_COMPARED], valid, n=1, cutoff=0.5)
    if near:
        return f"Did you mean {near[0]!r}?"
    return f"Valid: {', '.join(valid)}."


def printable(text: object) -> str:
    """Returns the text with control characters escaped: an error stays one line whatever a file is called.

    Escaped are also lone surrogates, which no file and no terminal can hold, and marks that turn the direction of
    writing, behind which a name looks like another.
    """
    written = str(text)
    if written.isprintable():
        return written
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in written)


def printable_lines(text: str) -> str:
    """Returns the text with its lines and tabs as they are, all else as `printable` has it, and no endless line."""
    return "\n".join(
        _without_middle("\t".join(map(printable, line.split("\t"))), LONGEST_MESSAGE) for line in text.split("\n")
    )


def shortened(text: str, most: int) -> str:
    """Returns a text of at most `most` characters: of a longer one the beginning, and how many there are."""
    return text if len(text) <= most else f"{text[: max(0, most - 40)]}... ({len(text)} characters)"


_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxother, _short.maxlong = 3, 100, 100, 40


def shown(value: Any) -> str:
    """Returns the repr of a value of a file, shortened: whole, it may fill the memory, or be too deep for Python."""
    try:
        return _short.repr(value)[:200]
    except ValueError:  # an integer of over 4,300 digits
        return f"an integer of {value.bit_length()} bits"


def one_line(message: object, *, most: int = LONGEST_MESSAGE) -> str:
    """Returns a message as one printable line; of a longer one the middle is left out: the end says what to do."""
    text = _without_middle(str(message), 4 * most)  # a value may fill the memory
    return _without_middle(printable(text.replace("\n", " ")), most)


def _without_middle(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    end = most * 3 // 10
    return f"{text[: most - end - 50]} ... ({len(text)} characters) ... {text[-end:]}"
