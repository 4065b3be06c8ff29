"""The cut between what is frozen and what learns."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.model.retinanet import detector_network
from keras_retina.recipe.model import Model
from keras_retina.train.batch_norm import fold_frozen_batch_norm
from keras_retina.train.feature_cache import split_at_frozen


def settings(**backbone) -> Model:
    return Model.model_validate(
        {
            "backbone": {"name": "mobilenet_v2", **backbone},
            "input": {"height": 64, "width": 96},
            "pyramid": {"levels": [3, 5], "width": 16},
            "head": {"width": 16, "convolutions": 1},
        }
    )


@pytest.mark.parametrize(
    ("stages", "features"),
    [
        (2, {"features_block_2_add": (None, 16, 24, 24)}),
        (3, {"features_block_5_add": (None, 8, 12, 32)}),
        (
            5,
            {
                "features_block_5_add": (None, 8, 12, 32),
                "features_block_12_add": (None, 4, 6, 96),
                "features_block_16_project_BN": (None, 2, 3, 320),
            },
        ),
    ],
)
def test_the_two_parts_are_the_detector_and_are_cut_where_learning_begins(stages: int, features: dict):
    model = detector_network(settings(frozen_stages=stages), 3)
    frozen, learning = split_at_frozen(model)
    assert frozen.output_shape == features
    assert not frozen.trainable_variables
    assert {id(v) for v in learning.trainable_variables} == {id(v) for v in model.trainable_variables}
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 96, 3)).astype(np.float32)
    expected = model(images)
    for received in (learning(frozen(images)), fold_frozen_batch_norm(learning)(frozen(images))):
        for name in ("classes", "boxes"):
            np.testing.assert_allclose(received[name], expected[name], atol=1e-5)


@pytest.mark.parametrize("trainable", [True, False])
def test_a_model_of_which_nothing_or_everything_is_frozen_is_refused(trainable: bool):
    model = detector_network(settings(frozen_stages=0), 1)
    for layer in model.layers:
        layer.trainable = trainable
    with pytest.raises(ValueError, match="a frozen part and a part that learns"):
        split_at_frozen(model)
