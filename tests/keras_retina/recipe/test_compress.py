"""The section `compress`: one way each, parents first, and errors that name the closest key."""

from __future__ import annotations

from typing import Any

import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.recipe.compress import ancestry
from keras_retina.recipe.recipe import Recipe, dump_recipe, load_recipe, recipe_from_fields


def recipe_with(compress: Any) -> Recipe:
    return recipe_from_fields({"name": "x", "compress": compress}, "x.yaml")


def test_models_are_kept_in_order_and_know_their_ancestors():
    models = recipe_with(
        {
            "half": {"channels": {"keep": 0.5}},
            "half_sparse": {"parent": "half", "sparsity": {}},
            "half_sparse_qat": {"parent": "half_sparse", "quantize": {}},
            "qat": {"quantize": {}},
        }
    ).compress
    assert list(models) == ["half", "half_sparse", "half_sparse_qat", "qat"]
    line = ancestry(models, "half_sparse_qat")
    assert [model.parent for model in line] == [None, "half", "half_sparse"]
    assert line[0].channels is not None
    assert line[0].channels.keep == 0.5
    assert ancestry(models, "qat") == [models["qat"]]


def test_a_recipe_without_the_section_compresses_nothing():
    assert recipe_from_fields({"name": "x"}, "x.yaml").compress == {}


def test_the_section_survives_writing_and_reading(tmp_path):
    recipe = recipe_with({"sparse": {"sparsity": {"pattern": "2_of_4", "amount": 0.5}, "formats": ["int8"]}})
    path = tmp_path / "x.yaml"
    path.write_text(dump_recipe(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe
    changed = load_recipe(path, ["compress.sparse.fine_tune.epochs=3"])
    assert changed.compress["sparse"].fine_tune.epochs == 3


@pytest.mark.parametrize(
    ("compress", "message"),
    [
        ({"half": {"channels": {"keeep": 0.3}}}, r"compress\.half\.channels\.keeep: unknown key.*Did you mean 'keep'"),
        ({"half": {"chanels": {}}}, r"compress\.half\.chanels: unknown key.*Did you mean 'channels'"),
        ({"half": {"channels": {"criterion": "tailor"}}}, r"Received: 'tailor'. Did you mean 'taylor'"),
        ({"half": {"channels": {"keep": 0.0}}}, r"compress\.half\.channels\.keep.*Received: 0\.0"),
        ({"half": {}}, r"compress\.half: expected exactly one of.*Received: none"),
        ({"half": {"channels": {}, "quantize": {}}}, r"Received: channels, quantize"),
        ({"Half!": {"channels": {}}}, r"compress\.Half!"),
        ({"int8": {"channels": {}}}, r"taken by a number format. Received: 'int8'"),
        ({"b": {"parent": "a", "channels": {}}}, r"b\.parent.*Received: parent='a'. Before it: none"),
        ({"b": {"parent": "b", "channels": {}}}, r"b\.parent.*Received: parent='b'"),
        ({"q": {"quantize": {}}, "b": {"parent": "q", "channels": {}}}, r"quantized model cannot be changed"),
        ({"s": {"sparsity": {"pattern": "2_of_4"}}}, r"2_of_4' is a half. Received: amount=0\.7"),
        (5, r"compress: .*Received: 5"),
    ],
)
def test_bad_sections_are_refused_in_one_line(compress: Any, message: str):
    with pytest.raises(InputError, match=message) as caught:
        recipe_with(compress)
    assert "\n" not in str(caught.value)
