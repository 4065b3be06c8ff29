"""The table of number formats: one list, in whatever shape somebody needs it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

import edge.report
from keras_retina.recipe.formats import (
    EDGE_TPU,
    FORMATS,
    FORMS,
    KERAS,
    OTHER_SLOT,
    RESERVED,
    Form,
    FormatName,
    RecipeFormat,
    format_of,
)


def test_the_names_that_types_know_are_those_of_the_table():
    assert get_args(FormatName) == tuple(FORMATS)
    assert set(get_args(RecipeFormat)) == set(FORMATS) - {"int8_qat"}
    assert get_args(Form) == tuple(FORMS)


def test_colours_are_not_shared_and_are_there_in_light_and_dark():
    slots = [one.slot for one in (*FORMATS.values(), KERAS, EDGE_TPU) if one.slot != OTHER_SLOT]
    assert len(set(slots)) == len(slots) >= 8
    page = (Path(edge.report.__file__).parent / "page.html.jinja").read_text(encoding="utf-8")
    for slot in (*slots, OTHER_SLOT):
        assert page.count(f"--k{slot}: #") == 2


@pytest.mark.parametrize(
    ("name", "quantized", "calibrated"),
    [
        ("float32", False, False),
        ("float16", False, False),
        ("dynamic", False, False),
        ("int8", True, True),
        ("int16", True, True),
        ("int8_qat", True, False),
    ],
)
def test_what_a_format_needs(name, quantized, calibrated):
    assert (FORMATS[name].quantized, FORMATS[name].calibrated) == (quantized, calibrated)


def test_what_is_no_exported_format_has_a_label_and_a_colour_too():
    assert (format_of("keras").label, format_of("edgetpu").label) == ("Keras", "Edge TPU")
    assert (format_of("<b>").label, format_of("<b>").slot) == ("<b>", OTHER_SLOT)


def test_names_that_read_like_a_format_or_a_form_are_reserved():
    assert {"float", "keras", "int8", "int16", "int8_qat", "raw", "builtin", "postprocess"} <= RESERVED
