"""The number formats and the forms of exported files, in one table each. How a format is made is not said here.

A new number format is a line of the table and a name in a `Literal`, both in this file, and the code that makes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

RecipeFormat = Literal["float32", "float16", "dynamic", "int8", "int16", "int4"]
"""What a recipe may choose in `formats`."""

FormatName = Literal[RecipeFormat, "int8_qat"]

Form = Literal["postprocess", "raw", "builtin"]
"""How a file ends: with TFLite_Detection_PostProcess, at the two raw heads, or with builtin operators only."""

OTHER_SLOT = 7
"""The colour of everything that has none of its own."""


@dataclass(frozen=True)
class Format:
    """A number format, or what a row of `verify.json` has in its place.

    Attributes:
        name: in recipes, and as `kind` in `verify.json` and in the description inside a file.
        label: the name in tables and charts.
        slot: the colour in tables and charts, a number of the style sheet of the report (`--k4`).
        activations: what flows between the operators of the network.
        calibrated: ranges come from images of the training split; layers can be left in float.
        kernel_bits: of the kernels in a network of integers.
        file_part: the name in file names where that is another one.
    """

    name: str
    label: str
    slot: int = OTHER_SLOT
    activations: Literal["float", "int8", "int16"] = "float"
    calibrated: bool = False
    kernel_bits: Literal[4, 8] = 8
    file_part: str | None = None

    @property
    def quantized(self) -> bool:
        """Whether the network computes with integers."""
        return self.activations != "float"

    @property
    def all_int8(self) -> bool:
        """Whether feature maps and kernels have 8 bits."""
        return self.activations == "int8" and self.kernel_bits == 8

    @property
    def part(self) -> str:
        """The format in the name of a file."""
        return self.file_part or self.name


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        one.name: one
        for one in (
            Format("float32", "float32", slot=1),
            Format("float16", "float16", slot=2),
            Format("dynamic", "dynamic range", slot=3),
            Format("int8", "int8", slot=4, activations="int8", calibrated=True),
            Format("int16", "int16", slot=11, activations="int16", calibrated=True),
            Format("int4", "int8, 4-bit kernels", slot=12, activations="int8", calibrated=True, kernel_bits=4),
            Format("int8_qat", "int8 QAT", slot=5, activations="int8", file_part="int8"),
        )
    }
)
"""The exported formats by name. Where files are compared with each other, an earlier one stands for later ones."""

KERAS = Format("keras", "Keras", slot=0)
EDGE_TPU = Format("edgetpu", "Edge TPU", slot=6, activations="int8")

FORMS: Mapping[Form, str] = MappingProxyType({"postprocess": "", "raw": "raw heads", "builtin": "builtin operators"})
"""What labels say of each form."""

RESERVED = {"float", KERAS.name, *FORMATS, *FORMS}
"""Names of smaller models that would read like something else in a file name or in an `expected:` block."""


def format_of(kind: str) -> Format:
    """Returns the format that a row of `verify.json` names; an unknown one has its name as label."""
    return {**FORMATS, KERAS.name: KERAS, EDGE_TPU.name: EDGE_TPU}.get(kind) or Format(kind, kind)


def calibrated_names() -> str:
    """Returns the formats that need images of the training split, for messages."""
    *names, last = (one.name for one in FORMATS.values() if one.calibrated)
    return f"{', '.join(names)} and {last}"
