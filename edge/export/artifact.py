"""One exported file of a run: its name, and what its name says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keras_retina.recipe.formats import FORMATS, FORMS, Form, Format, format_of

UNKNOWN = format_of("unknown")


@dataclass(frozen=True)
class Artifact:
    """One `.tflite` file of a run.

    Attributes:
        recipe: the name of the recipe.
        model: the smaller model that it is made of, None for the float model of the run.
    """

    recipe: str
    format: Format
    model: str | None = None
    form: Form = "postprocess"

    def path(self, folder: Path) -> Path:
        """Returns `NAME_<format>[_<model>][_<form>].tflite` in a folder; `int8_qat` is an `int8` in file names."""
        parts = [self.recipe, self.format.part, self.model]
        return folder / f"{'_'.join(part for part in parts if part)}{ending(self.form)}.tflite"

    @property
    def key(self) -> str:
        """The name in an `expected:` block."""
        return key(self.format.name, self.model, form=self.form)

    @classmethod
    def of(cls, path: Path) -> Artifact:
        """Reads the name of a file, for one that cannot be asked; the format may be `UNKNOWN`.

        Of several formats in a name the last one counts: the name of the recipe stands before it.
        """
        form = form_in_name(path)
        stem = f"_{path.stem.removesuffix(ending(form))}_"
        places = {one.name: stem.rfind(f"_{one.name}_") for one in FORMATS.values()}
        name = max(places, key=lambda name: (places[name], len(name)))
        if places[name] < 0:
            return cls(stem[1:-1], UNKNOWN, form=form)
        recipe, model = stem[1 : places[name]], stem[places[name] + len(FORMATS[name].part) + 2 : -1]
        return cls(recipe, FORMATS[name], model or None, form)


def ending(form: Form) -> str:
    """Returns what a form adds to the stem of a file name and to a key."""
    return "" if form == "postprocess" else f"_{form}"


def form_in_name(path: Path, model: str | None = None) -> Form:
    """Returns the form in a file name; with the name of its smaller model also where that ends like a form."""
    after = path.stem.rpartition(f"_{model}")[2] if model else path.stem
    return next((form for form in FORMS if form != "postprocess" and after.endswith(ending(form))), "postprocess")


def key(kind: str, model: str | None, *, form: Form) -> str:
    """Returns `keras`, `int8`, `int8_raw`, `half_int8` ..: the name of a measured file in an `expected:` block."""
    return (kind if model is None else f"{model}_{kind}") + ending(form)
