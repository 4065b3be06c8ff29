"""What a recipe asks for is counted before it is made: hand-counted sizes, and refusals that name the count."""

from __future__ import annotations

import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.geometry.anchors import AnchorGrid
from keras_retina.recipe.model import Model
from keras_retina.recipe.recipe import bytes_of_batch, recipe_from_fields
from keras_retina.recipe.size import anchor_count, batch_bytes, map_bytes, weight_bytes


def test_the_counts_are_those_of_a_hand():
    assert anchor_count(128, 256, levels=(6, 7), per_cell=9) == 9 * (2 * 4 + 1 * 2)
    # Two levels of 8 channels: 2 (9 * 8 + 64). Two heads of 8 -> 16 -> 16: 2 (9 * 8 + 128 + 9 * 16 + 256). Four bytes.
    assert weight_bytes(8, 16, convolutions=2, levels=(3, 4), full=(False, False)) == 4 * (2 * 136 + 2 * 600)
    assert weight_bytes(8, 16, convolutions=0, levels=(3, 3), full=(True, True)) == 4 * 9 * 64
    assert map_bytes(64, 32, level=3, channels=10) == 4 * 8 * 4 * 10
    assert batch_bytes(2, 4, 8, anchors=3) == 4 * 2 * (96 + 15)


def test_the_anchors_that_are_counted_are_the_anchors_that_are_made():
    grid = AnchorGrid(256, 384, (3, 7), scales=(1.0, 1.5), ratios=(1.0, 2.0, 3.0))
    assert len(grid.boxes()) == anchor_count(256, 384, levels=(3, 7), per_cell=6)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"head": {"width": 800_000_000}}, "weights of at most 2.0 GiB.*Received: .* GiB .*head.width=800000000"),
        ({"pyramid": {"width": 80_000_000}}, "weights of at most 2.0 GiB"),
        ({"input": {"height": 4096, "width": 4096}, "head": {"width": 8192}}, "a feature map of at most 2.0 GiB"),
        (
            {"anchors": {"scales": [1.0] * 1000, "ratios": [1.0] * 1000}},
            r"at most 10,000,000 of them. Received: 3,069,",
        ),
        ({"anchors": {"size": 1e308}}, "less than or equal to 10000"),
        ({"anchors": {"scales": [1e-320]}}, "expected 0.0001 or more"),
        ({"coder_weights": [1e-320, 1, 1, 1]}, "expected 1e-30 or more"),
    ],
)
def test_a_network_that_no_machine_holds_is_refused_with_its_count(fields, told):
    with pytest.raises(InputError, match=told):
        Model(**fields)


def test_a_grid_of_somebody_elses_file_is_counted_too():
    with pytest.raises(InputError, match="Received: 1,396,736,000 on"):
        AnchorGrid(8192, 8192, (3, 7), scales=[1.0] * 10, ratios=[1.0] * 100)
    with pytest.raises(InputError, match="first <= last <= 20"):
        AnchorGrid(512, 512, (3, 10**9))


def test_a_batch_that_no_machine_holds_is_refused_with_its_bytes():
    with pytest.raises(InputError, match=r"training.batch_size: .* at most 64.0 GiB. Received: batch_size=100000000"):
        recipe_from_fields({"name": "a", "training": {"batch_size": 100_000_000}}, "r.yaml")
    recipe = recipe_from_fields({"name": "a", "training": {"batch_size": 1024}}, "r.yaml")
    assert bytes_of_batch(recipe) == 4 * 1024 * (3 * 384 * 384 + 5 * 9 * (48**2 + 24**2 + 12**2 + 6**2 + 3**2))


@pytest.mark.parametrize(
    "field",
    ["seed=4294967296", "training.epochs=2147483648", "training.batch_size=0", "verification.threads=3000000000"],
)
def test_a_count_beyond_what_programs_count_with_is_refused(field):
    section, _, value = field.rpartition("=")
    *outer, name = section.split(".")
    fields = {name: int(value)}
    with pytest.raises(InputError, match=f"{section}: "):
        recipe_from_fields({"name": "a", **({outer[0]: fields} if outer else fields)}, "r.yaml")
