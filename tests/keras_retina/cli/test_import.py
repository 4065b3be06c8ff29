"""`keras-retina import` as a person meets it: the run folder it makes, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.cli import weights as module
from keras_retina.cli.weights import import_, run_name
from keras_retina.foundation.errors import InputError
from keras_retina.model.imports.original import Original
from keras_retina.model.imports.torch_layers import class_prediction
from keras_retina.model.saving import load_detector
from keras_retina.run.folder import open_run


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A checkpoint of a detector with a small backbone, of which only the class prediction is given."""
    tensors = {
        "weight": np.arange(27 * 16, dtype=np.float32).reshape(27, 16, 1, 1),
        "bias": np.arange(27, dtype=np.float32),
    }

    def read(path, epsilon=None):
        from keras_retina.model.imports.original import Part

        fields = {
            "model": {
                "backbone": {"name": "plain", "weights": "model.keras"},
                "input": {"height": 64, "width": 64},
                "pyramid": {"width": 16},
                "head": {"convolutions": 0, "width": 16},
            }
        }
        parts = [Part("classes_prediction_pointwise", ("weight", "bias"), None)]

        def of(kept, settings):
            return [Part(parts[0].layer, parts[0].names, class_prediction(3, kept))]

        return Original(
            path=path,
            name="a tiny detector",
            told="3 outputs",
            tensors=tensors,
            fields=fields,
            outputs=3,
            per_cell=9,
            class_names=("__background__", "cat", "dog"),
            parts=of,
            ignored=lambda name: False,
        )

    import keras_retina.model.imports as imports

    monkeypatch.setattr(imports, "read_original", read)
    return tmp_path / "tiny.pth"


def test_a_run_is_made_that_opens_and_trains_from_the_import(tiny, tmp_path, capsys):
    out = tmp_path / "my run"
    import_(tiny, out, set_=["data.classes=[dog]"])
    run = open_run(out, tmp_path)
    assert run.recipe.name == "my_run"
    assert run.recipe.model.backbone.weights == str(out / "model.keras")
    model, spec = load_detector(run.model)
    assert spec.class_names == ("dog",)
    bias = model.get_layer("classes_prediction_pointwise").get_weights()[1]
    np.testing.assert_array_equal(bias, np.arange(2, 27, 3))  # dog is the last of three outputs
    assert f"next: keras-retina evaluate {out}" in capsys.readouterr().out.replace("'", "")


def test_a_setting_that_the_recipe_does_not_know_is_refused_before_a_folder_is_made(tiny, tmp_path):
    with pytest.raises(InputError, match="anchor"):
        import_(tiny, tmp_path / "run", set_=["model.anchor.size=3"])
    assert not (tmp_path / "run").exists()


def test_a_folder_of_other_files_is_left_alone(tiny, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").touch()
    with pytest.raises(InputError, match="--out"):
        import_(tiny, tmp_path / "full")
    assert module.run_name(tmp_path / "full") == "full"


@pytest.mark.parametrize(("folder", "name"), [("a b", "a_b"), ("..x", "x"), ("---", "imported")])
def test_the_name_of_the_folder_becomes_that_of_the_recipe(tmp_path, folder, name):
    assert run_name(tmp_path / folder) == name
