"""What the names of the classes say about mirrored images: whether a flipped object would still be of its class."""

from __future__ import annotations

import re
from collections.abc import Sequence

from keras_retina.foundation.errors import printable

OPPOSITES = (
    ("left", "right"),
    ("l", "r"),
    ("lhs", "rhs"),
    ("east", "west"),
    ("clockwise", "counterclockwise"),
    ("clockwise", "anticlockwise"),
    ("links", "rechts"),
    ("gauche", "droite"),
    ("izquierda", "derecha"),
    ("sinistra", "destra"),
    ("esquerda", "direita"),
)
"""Words that a mirror exchanges. Two classes whose names differ in such a pair are each other's mirror image."""

ONE_SIDED = {"left", "right"}
"""Words that tell a side even where the class of the other side is not labelled."""

WRITING = {
    *("text", "texts", "word", "words", "digit", "digits", "letter", "letters", "numeral", "numerals"),
    *("character", "characters", "handwriting", "writing", "ocr", "alphabet"),
}
"""Words that say that something is to be read."""

MANY = 0.5  # of the classes: with so many single letters and digits, the classes are characters


def words_of(name: str) -> list[str]:
    """Returns the words of a class name in small letters: `leftHand`, `left_hand` and `Left hand` are the same."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[^\W_]+", parted.lower())


def mirrored_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the classes that a mirror turns into another class, each pair once, or a class that names one side."""
    known = {tuple(words_of(name)): name for name in names}
    for name in names:
        own = words_of(name)
        for pair in OPPOSITES:
            for one, other in (pair, pair[::-1]):
                turned = tuple(other if word == one else word for word in own)
                if turned != tuple(own) and turned in known:
                    return name, known[turned]
    return tuple(name for name in names if ONE_SIDED & set(words_of(name)))[:1]


def written_classes(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the first classes that are letters, digits or text, which a mirror turns into something else."""
    read = [name for name in names if WRITING & set(words_of(name))]
    characters = [name for name in names if len(name.strip()) == 1 or name.strip().isdigit()]
    if len(characters) >= MANY * len(names):
        read += characters
    return tuple(dict.fromkeys(read))[:2]


def why_no_flip(names: Sequence[str]) -> str | None:
    """Returns why images must not be mirrored; None where the names of the classes have nothing against it."""
    mirrored = mirrored_classes(names)
    if len(mirrored) == 2:
        return f"a mirror would turn {_quoted(mirrored[0])} into {_quoted(mirrored[1])}"
    if mirrored:
        return f"a mirror would turn {_quoted(mirrored[0])} to the other side"
    written = written_classes(names)
    if written:
        return f"{' and '.join(_quoted(name) for name in written)} could be writing, which a mirror makes unreadable"
    return None


def _quoted(name: str) -> str:
    return f"'{printable(name)}'"
