"""Names of exported files, written and read."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.export.artifact import UNKNOWN, Artifact, form_in_name
from keras_retina.recipe.formats import FORMATS, FORMS


@pytest.mark.parametrize(
    ("artifact", "file", "key"),
    [
        (Artifact("x", FORMATS["int8"]), "x_int8.tflite", "int8"),
        (Artifact("x", FORMATS["int16"], None, "raw"), "x_int16_raw.tflite", "int16_raw"),
        (Artifact("x", FORMATS["int8"], "half", "raw"), "x_int8_half_raw.tflite", "half_int8_raw"),
        (Artifact("x", FORMATS["int8_qat"], "qat"), "x_int8_qat.tflite", "qat_int8_qat"),
        (Artifact("x", FORMATS["int8_qat"], "q", "builtin"), "x_int8_q_builtin.tflite", "q_int8_qat_builtin"),
    ],
)
def test_path_and_key(artifact, file, key):
    assert artifact.path(Path("run/export")) == Path("run/export") / file
    assert artifact.key == key


@pytest.mark.parametrize("model", [None, "half", "half_sparse"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "int8_qat"])
@pytest.mark.parametrize("recipe", ["x", "net_int8_v1.0", "a-b"])
def test_a_name_is_read_as_it_was_written(recipe, name, model, form):
    artifact = Artifact(recipe, FORMATS[name], model, form)
    assert Artifact.of(artifact.path(Path("export"))) == artifact


def test_a_model_called_qat_is_taken_for_a_quantization_aware_one():
    artifact = Artifact("x", FORMATS["int8_qat"], "qat", "raw")
    assert Artifact.of(artifact.path(Path())) == artifact


@pytest.mark.parametrize(
    ("file", "form"),
    [
        ("missing.tflite", "postprocess"),
        ("x_int9_raw.tflite", "raw"),
        ("int", "postprocess"),
        ("_.tflite", "postprocess"),
    ],
)
def test_a_name_without_a_format_is_unknown(file, form):
    found = Artifact.of(Path(file))
    assert (found.format, found.model, found.form) == (UNKNOWN, None, form)


@pytest.mark.parametrize(
    ("file", "model", "form"),
    [
        ("x_int8_raw.tflite", None, "raw"),
        ("x_int8_half_raw.tflite", "half", "raw"),
        ("x_int8_half_raw.tflite", "half_raw", "postprocess"),
        ("x_int8_half_raw_raw.tflite", "half_raw", "raw"),
        ("x_int8_half_builtin.tflite", "half", "builtin"),
        ("compress/half/model.keras", "half", "postprocess"),
    ],
)
def test_the_form_is_what_stands_behind_the_model(file, model, form):
    assert form_in_name(Path(file), model) == form
