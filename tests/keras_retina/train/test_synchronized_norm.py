"""BatchNorm over all replicas: with one replica it is Keras' own. Several are in workers/test_global_batch.py."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.train.batch_norm import fold_frozen_batch_norm
from keras_retina.train.synchronized_norm import SynchronizedNorm, synchronized_norms

SHAPE = (4, 5, 6, 3)


def made_norm(**settings) -> keras.layers.BatchNormalization:
    """A BatchNorm with weights and statistics of its own; not fused, so that its variance is the one of the batch."""
    norm = keras.layers.BatchNormalization(fused=False, momentum=0.9, name="norm", **settings)
    norm.build((None, *SHAPE[1:]))
    rng = np.random.default_rng(1)
    norm.set_weights([rng.uniform(0.5, 2.0, weight.shape) for weight in norm.get_weights()])
    return norm


def values(mean: float = 0.0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(0).normal(mean, [0.1, 1.0, 5.0], SHAPE), tf.float32)


def outputs_and_gradients(layer, norm, inputs: tf.Tensor) -> list[np.ndarray]:
    weight = tf.constant(np.random.default_rng(2).normal(size=SHAPE), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs, training=True)
        loss = tf.reduce_sum(outputs * weight)
    gradients = tape.gradient(loss, [inputs, *norm.trainable_variables])
    return [value.numpy() for value in (outputs, *gradients, norm.moving_mean, norm.moving_variance)]


@pytest.mark.parametrize("settings", [{}, {"scale": False}, {"center": False}], ids=["both", "no scale", "no centre"])
def test_one_replica_has_outputs_gradients_and_statistics_of_keras(settings):
    expected_norm, norm = made_norm(**settings), made_norm(**settings)
    expected = outputs_and_gradients(expected_norm, expected_norm, values())
    found = outputs_and_gradients(SynchronizedNorm(norm), norm, values())
    assert len(found) == 4 + len(norm.trainable_variables)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-5)


def test_a_large_mean_takes_no_digits_from_the_variance():
    norm = made_norm()
    norm.moving_mean.assign([1000.0] * 3)
    inputs = values(mean=1000.0)
    outputs = SynchronizedNorm(norm)(inputs, training=True).numpy()
    exact = inputs.numpy().astype(np.float64)
    normal = (exact - exact.mean((0, 1, 2))) / np.sqrt(exact.var((0, 1, 2)) + norm.epsilon)
    np.testing.assert_allclose(outputs, normal * norm.gamma.numpy() + norm.beta.numpy(), atol=5e-3)


def test_outside_of_training_it_is_the_layer_itself():
    norm = made_norm()
    np.testing.assert_array_equal(SynchronizedNorm(norm)(values(), training=False), norm(values(), training=False))


def test_in_float16_statistics_are_float32():
    norm = made_norm(dtype=keras.mixed_precision.Policy("mixed_float16"))
    outputs = SynchronizedNorm(norm)(tf.cast(values(mean=300.0), tf.float16), training=True)
    assert outputs.dtype == tf.float16
    assert norm.moving_mean.dtype == tf.float32
    assert np.isfinite(outputs.numpy()).all()  # the square of 300 is none of float16


def test_only_what_learns_is_replaced_and_only_with_several_replicas():
    image = keras.Input(SHAPE[1:], name="image")
    learns = keras.layers.BatchNormalization(name="learns")
    frozen = keras.layers.BatchNormalization(name="frozen", trainable=False)
    model = keras.Model(image, {"out": keras.layers.ReLU(name="out")(frozen(learns(image)))})
    assert synchronized_norms(model, replicas=1) == {}
    instead = synchronized_norms(model, replicas=2)
    assert list(instead) == ["learns"]
    network = fold_frozen_batch_norm(model, instead=instead)
    assert [layer.name for layer in network.layers] == ["image", "learns_synchronized", "frozen", "out"]
    assert {id(variable) for variable in network.variables} == {id(variable) for variable in model.variables}
    np.testing.assert_array_equal(network(values(), training=False)["out"], model(values(), training=False)["out"])
