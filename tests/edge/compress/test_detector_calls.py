"""The calls that make a detector smaller from Python: what they return trains, and what goes in stays as it is."""

from __future__ import annotations

import numpy as np
import pytest

from edge.compress.channels.detector import prune_channels
from edge.compress.weights.detector import finish_sparse, sparse_model
from edge.compress.weights.sparsity import sparsity_of
from keras_retina.data.pipeline import training_batches
from keras_retina.data.reading.folder import load_dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf
from keras_retina.losses import BoxLoss, FocalLoss
from keras_retina.model.graph import multiply_adds


@pytest.fixture(scope="module")
def batches(small_per_level, tiny_coco):
    return training_batches(load_dataset(tiny_coco, "train"), small_per_level.spec, batch_size=2)


def fit(model, batches, callbacks=(), steps=2):
    model.compile("sgd", loss={"classes": FocalLoss(), "boxes": BoxLoss()})
    return model.fit(batches, epochs=1, steps_per_epoch=steps, verbose=0, callbacks=list(callbacks))


def test_pruned_channels_leave_the_asked_share_and_the_model_as_it_was(small_per_level, batches):
    model, spec = small_per_level.model, small_per_level.spec
    before = [weights.copy() for weights in model.get_weights()]
    smaller = prune_channels(model, spec, batches, keep=0.6)
    assert 0.3 < multiply_adds(smaller) / multiply_adds(model) <= 0.6
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert np.isfinite(fit(smaller, batches).history["loss"][0])
    assert prune_channels(model, spec, list(batches.take(4)), keep=0.6).count_params() == smaller.count_params()


def test_a_share_that_is_none_is_refused(small_per_level, batches):
    for keep in (0.0, 1.0, -1):
        with pytest.raises(InputError, match=f"between 0 and 1. Received: keep={keep}"):
            prune_channels(small_per_level.model, small_per_level.spec, batches, keep=keep)
    with pytest.raises(InputError, match="expected images"):
        prune_channels(small_per_level.model, small_per_level.spec, [], keep=0.5)


def test_images_that_are_no_batches_are_refused_in_one_line(small_per_level):
    image, boxes = tf.zeros([4, 40, 50, 3], tf.uint8), tf.zeros([4, 2, 4])
    raw = tf.data.Dataset.from_tensor_slices((image, {"boxes": boxes, "classes": tf.zeros([4, 2], tf.int32)}))
    for data, received in (
        (raw, r"an image of shape \[40, 50, 3\]"),
        (raw.batch(2), r"an array of shape \[2, 40, 50, 3\] without such targets"),
        ([image[0]], r"an image of shape \[40, 50, 3\]"),
        (3, "int"),
    ):
        with pytest.raises(InputError, match=f"batches of kr.detector_batches.*Received: {received}") as refused:
            prune_channels(small_per_level.model, small_per_level.spec, data, keep=0.5)
        assert "\n" not in str(refused.value)


def test_a_sparse_model_has_its_zeros_after_fit_and_computes_the_same_when_finished(small_quantized, batches):
    model = small_quantized.model
    before = [weights.copy() for weights in model.get_weights()]
    sparse, callbacks = sparse_model(model, steps=2, amount=0.6)
    fit(sparse, batches, callbacks, steps=3)
    plain = finish_sparse(sparse)
    assert sparsity_of(plain).share == pytest.approx(0.6, abs=0.01)
    assert [layer.name for layer in plain.layers] == [layer.name for layer in model.layers]
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_sparse_model_starts_as_the_function_that_it_is_made_of(small_per_level):
    model = small_per_level.model
    image = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    sparse, _ = sparse_model(model, steps=2)
    for name, value in model(image).items():
        np.testing.assert_allclose(sparse(image)[name], value, atol=1e-3)
