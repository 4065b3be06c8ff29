"""What every section of a recipe is made of: its base class and the kinds of numbers."""

from __future__ import annotations

import reprlib
from typing import Annotated, Any, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from keras_retina.foundation.errors import InputError, closest, printable, shortened

LARGEST_COUNT = 2**31 - 1
LARGEST_SEED = 2**32 - 1  # that NumPy and TensorFlow take
_SMALLEST, _LARGEST = 1e-30, 1e30  # float32 has no smaller and larger ones to compute with


def from_least(least: float) -> AfterValidator:
    """Returns a check beside `gt=0`: a positive number that computes as 0 is refused too."""

    def check(value: float) -> float:
        if value < least:
            raise ValueError(f"expected {least:g} or more. Received: {value:g}. Correct the value")
        return value

    return AfterValidator(check)


Positive = Annotated[float, Field(gt=0, le=_LARGEST), from_least(_SMALLEST)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
CountOrNone = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Inside = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """Base of all sections: no unknown keys, no silent conversion of text to numbers, no infinities, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def __init__(self, **fields: Any) -> None:
        """Checks the fields; a section inside may be a dictionary.

        Raises:
            InputError: one line that names every wrong field, the value received and the closest valid choice.
        """
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise InputError(f"{type(self).__name__}: {explain(error, type(self))}") from error

    # Without this mark pydantic would call it for the sections inside as well, and lose their place in the message.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]


# YAML aliases can make a value whose full repr would fill the memory.
_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxother = 2, 100, 100


def explain(error: ValidationError, root: type[BaseModel]) -> str:
    """Returns every problem of `error`, raised while `root` was validated, joined by semicolons."""
    problems = error.errors()
    # A list without its wrong items is "too short" as well: only the innermost place is named.
    outer = {problem["loc"][:end] for problem in problems for end in range(len(problem["loc"]))}
    return "; ".join(_explain(problem, root) for problem in problems if problem["loc"] not in outer)


def _explain(problem: Any, root: type[BaseModel]) -> str:
    place = shortened(printable(".".join(str(part) for part in problem["loc"])), 200)
    received = _short.repr(problem.get("input"))[:200]
    if problem["type"] == "missing":
        return f"{place}: expected a value. Received: nothing. Add the key."
    if problem["type"] == "extra_forbidden":
        section = _section_at(problem["loc"][:-1], root)
        hint = closest(str(problem["loc"][-1]), section.model_fields) if section else "Remove the key."
        return f"{place}: unknown key. Received: {place}={received}. {hint}"
    if problem["type"] == "literal_error":
        choices = [choice.strip(" '") for choice in problem["ctx"]["expected"].replace(" or ", ", ").split(",")]
        hint = closest(received.strip("'"), choices)
        if hint.startswith("Valid:"):
            hint = "Choose one of them."  # all were named already
        return f"{place}: expected {problem['ctx']['expected']}. Received: {received}. {hint}"
    message = problem["msg"].removeprefix("Value error, ")
    if "Received:" in message:
        return f"{place}: {message}" if place else message
    return f"{place}: {message}. Received: {received}. {_nearest(problem)}"


def _nearest(problem: Any) -> str:
    bounds = problem.get("ctx", {})
    if problem["type"] == "multiple_of":
        step = bounds["multiple_of"]
        return f"Closest: {max(step, round(problem['input'] / step) * step)}"
    for bound in ("ge", "le"):
        if bound in bounds:
            return f"Closest: {bounds[bound]}"
    return "Correct the value."


def _section_at(location: tuple[Any, ...], root: type[BaseModel]) -> type[BaseModel] | None:
    """Returns the section that a place in a recipe is part of; the name of a model under `compress` leads into it."""
    kind: Any = root
    for name in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[name].annotation if name in kind.model_fields else None
        else:
            kind = None if get_origin(kind) is not dict else get_args(kind)[1]
        if get_origin(kind) is not dict:
            candidates = [kind, *get_args(kind)]
            kind = next((one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)), None)
        if kind is None:
            return None
    return kind if isinstance(kind, type) else None
