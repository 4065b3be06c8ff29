"""`run` compares with `expected:` only what can be compared."""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_retina.cli.train import has_other_settings

DEMO = Path(__file__).parents[3] / "recipes" / "demo.yaml"


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        (None, False),
        ([], False),
        (["seed=3"], False),
        (["training.epochs=30"], False),  # as it is in the recipe
        (["training.epochs=2"], True),
        (["seed=3", "compress.half.channels.keep=0.4"], True),
    ],
)
def test_other_settings_than_the_seed_belong_to_other_figures(overrides, changed):
    assert has_other_settings(DEMO, overrides) is changed


def test_a_recipe_that_expects_nothing_has_nothing_to_compare(tmp_path):
    (tmp_path / "own.yaml").write_text("name: own\n")
    assert not has_other_settings(tmp_path / "own.yaml", ["training.epochs=2"])
