"""What a checkpoint of a training holds beside the weights."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.legacy_keras import keras
from keras_retina.losses import AutomatedFocalLoss, BoxLoss, EqualizedFocalLoss, FocalLoss
from keras_retina.losses.dense import ClassLoss
from keras_retina.train.fit import _resumed


def network(loss: ClassLoss) -> keras.Model:
    inputs = keras.Input((5,))
    outputs = {"classes": keras.layers.Reshape((6, 3), name="classes")(keras.layers.Dense(18)(inputs)),
               "boxes": keras.layers.Reshape((6, 4), name="boxes")(keras.layers.Dense(24)(inputs))}  # fmt: skip
    model = keras.Model(inputs, outputs)
    model.compile("adam", loss={"classes": loss, "boxes": BoxLoss()})
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize("make", [AutomatedFocalLoss, lambda: EqualizedFocalLoss(3), FocalLoss])
def test_a_gamma_that_follows_the_training_goes_on_where_it_was(tmp_path, make):
    first, codes = network(make()), np.zeros((2, 6), np.int32)
    manager, _ = _resumed(first, first, train_dir=tmp_path)
    boxes = np.zeros((2, 6, 5), np.float32)
    first.train_on_batch(np.ones((2, 5), np.float32), {"classes": codes, "boxes": boxes})
    manager.save()
    state = [variable.numpy() for variable in first.loss["classes"].state]
    second = network(make())
    _resumed(second, second, train_dir=tmp_path)
    for variable, saved in zip(second.loss["classes"].state, state, strict=True):
        assert np.any(saved)
        np.testing.assert_array_equal(variable, saved)
    np.testing.assert_array_equal(second.get_weights()[0], first.get_weights()[0])
