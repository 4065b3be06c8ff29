"""A loss that is no number stops the training, with the step and the images."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.train.callbacks.finite import StopOnNaN


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_no_number_stops_with_a_clear_error(bad: float):
    hook = StopOnNaN()
    hook.on_train_batch_end(0, {"loss": 1.0})
    with pytest.raises(
        InputError, match=r"the loss must stay finite\. Received: loss=.*at step 4 of epoch 1\. .*clip_norm"
    ):
        hook.on_train_batch_end(3, {"loss": bad})


def test_the_error_names_the_section_that_has_the_learning_rate():
    with pytest.raises(InputError, match=r"lower compress\.half\.fine_tune\.learning_rate"):
        StopOnNaN("compress.half.fine_tune").on_train_batch_end(0, {"loss": float("nan")})


def test_the_images_are_asked_for_by_the_batches_since_the_training_began():
    asked = []
    hook = StopOnNaN(images_of=lambda step: asked.append(step) or ["a.jpg", "b\n.jpg"])
    hook.set_params({"steps": 10})
    hook.on_epoch_begin(2)
    with pytest.raises(InputError, match=r"at step 4 of epoch 3, on the images a\.jpg, b\\n\.jpg\. "):
        hook.on_train_batch_end(3, {"loss": float("nan")})
    assert asked == [23]


def test_training_on_targets_that_are_no_number_stops_in_the_first_step():
    x = keras.Input((1,))
    model = keras.Model(x, keras.layers.Dense(1)(x))
    model.compile("sgd", "mse", run_eagerly=True)
    with pytest.raises(InputError, match="at step 1 "):
        model.fit(np.ones((4, 1)), np.full((4, 1), np.nan), epochs=3, callbacks=[StopOnNaN()], verbose=0)
