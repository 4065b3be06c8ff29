"""What every section of a recipe is made of: its base class and the kinds of numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Inside = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """Base of all sections: no unknown keys, no silent conversion of text to numbers, no infinities, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
