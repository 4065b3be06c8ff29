"""Folded BatchNorm: the same function, the same gradients and the same variables as the detector."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.retinanet import detector_network
from keras_retina.recipe.model import Model
from keras_retina.train.batch_norm import FoldedConvolution, fold_frozen_batch_norm
from keras_retina.train.workers.devices import in_precision


def settings(name: str = "mobilenet_v2", head_norms: str = "none", **backbone) -> Model:
    return Model.model_validate(
        {
            "backbone": {"name": name, **backbone},
            "input": {"height": 64, "width": 96},
            "pyramid": {"levels": [3, 5], "width": 16},
            "head": {"width": 16, "convolutions": 1, "batch_norm": head_norms},
        }
    )


def randomize(model: keras.Model) -> None:
    """Gives every BatchNorm statistics and factors unlike those of an untrained one."""
    generator = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([generator.uniform(0.5, 1.5, weight.shape) for weight in layer.get_weights()])


def images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (count, 64, 96, 3)).astype(np.float32)


def outputs_and_gradients(model: keras.Model, variables: list[tf.Variable]) -> tuple[dict, list[np.ndarray]]:
    with tf.GradientTape() as tape:
        outputs = model(images(), training=True)
        loss = sum(tf.reduce_sum(tf.square(output)) for output in outputs.values())
    return outputs, [gradient.numpy() for gradient in tape.gradient(loss, variables)]


@pytest.fixture
def float64():
    """In float32 a value that rounds to the corner of a ReLU6 moves a gradient by percents, on some processors."""
    keras.backend.set_floatx("float64")
    yield
    keras.backend.set_floatx("float32")


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_lite0", "resnet50"])
def test_outputs_and_gradients_are_those_of_the_detector(name: str, float64):
    keras.utils.set_random_seed(0)
    model = detector_network(settings(name, frozen_stages=2), 3)
    randomize(model)
    folded = fold_frozen_batch_norm(model)
    expected, expected_gradients = outputs_and_gradients(model, model.trainable_variables)
    received, received_gradients = outputs_and_gradients(folded, model.trainable_variables)
    for output in ("classes", "boxes"):
        scale = np.abs(expected[output]).max()
        np.testing.assert_allclose(received[output] / scale, expected[output] / scale, atol=1e-9)
    for expected_one, received_one in zip(expected_gradients, received_gradients, strict=True):
        difference = np.linalg.norm(received_one - expected_one)
        assert difference <= 1e-9 * np.linalg.norm(expected_one)


def test_norms_of_the_heads_stay_and_follow_the_batch():
    model = detector_network(settings(frozen_stages=2, head_norms="per_level", alpha=0.35), 3)
    randomize(model)
    folded = fold_frozen_batch_norm(model)
    norms = {layer.name for layer in folded.layers if isinstance(layer, keras.layers.BatchNormalization)}
    assert norms == {f"{head}_0_norm_{level}" for head in ("classes", "boxes") for level in range(3)}
    for name, expected in model(images(), training=False).items():
        scale = np.abs(expected).max()
        np.testing.assert_allclose(folded(images(), training=False)[name] / scale, expected / scale, atol=1e-4)
    norm, before = model.get_layer("boxes_0_norm_1"), model.get_layer("boxes_0_norm_1").moving_mean.numpy()
    folded(images(), training=True)
    assert (norm.moving_mean.numpy() != before).all()


@pytest.fixture(scope="module")
def whole_and_folded() -> tuple[keras.Model, keras.Model]:
    model = detector_network(settings(alpha=0.35), 3)
    return model, fold_frozen_batch_norm(model)


def test_no_frozen_batch_norm_and_no_padding_is_left(whole_and_folded):
    kinds = {type(layer) for layer in whole_and_folded[1].layers}
    assert FoldedConvolution in kinds
    assert not kinds & {keras.layers.BatchNormalization, keras.layers.ZeroPadding2D}


def test_the_same_variables_are_trained(whole_and_folded):
    model, folded = whole_and_folded
    assert {id(variable) for variable in folded.trainable_variables} == {id(v) for v in model.trainable_variables}
    assert {id(variable) for variable in folded.variables} == {id(variable) for variable in model.variables}


def test_a_training_step_of_the_folded_model_changes_the_detector_alike(whole_and_folded):
    model, folded = whole_and_folded
    folded.compile("sgd", {"classes": "mse", "boxes": "mse"}, run_eagerly=True)
    anchors = model.output_shape["classes"][1]
    before = model.get_weights()
    folded.train_on_batch(images(), {"classes": np.ones((2, anchors, 3)), "boxes": np.ones((2, anchors, 4))})
    assert any((old != new).any() for old, new in zip(before, model.get_weights(), strict=True))
    for output in ("classes", "boxes"):
        np.testing.assert_allclose(folded(images())[output], model(images())[output], atol=1e-5)


def test_a_model_whose_batch_norm_trains_is_returned_as_it_is():
    model = detector_network(settings("plain", weights="none", frozen_stages=0, batch_norm="trained"), 3)
    assert fold_frozen_batch_norm(model) is model


def test_padding_that_same_does_not_replace_stays():
    """On 5 rows, "same" with stride 2 pads one row above and one below; the layer pads below alone."""
    image = keras.Input((5, 5, 2))
    padded = keras.layers.ZeroPadding2D(((0, 1), (0, 1)))(image)
    norm = keras.layers.BatchNormalization(trainable=False)
    model = keras.Model(image, {"out": norm(keras.layers.Conv2D(3, 3, 2, name="convolution")(padded))})
    folded = fold_frozen_batch_norm(model)
    pixels = np.random.default_rng(2).normal(size=(1, 5, 5, 2)).astype(np.float32)
    assert any(isinstance(layer, keras.layers.ZeroPadding2D) for layer in folded.layers)
    np.testing.assert_allclose(folded(pixels)["out"], model(pixels)["out"], atol=1e-6)


def test_a_model_in_lower_precision_is_folded_in_that_precision():
    model = detector_network(settings(alpha=0.35), 3)
    randomize(model)
    mixed = in_precision(model, "bfloat16")
    folded = fold_frozen_batch_norm(mixed)
    assert folded.get_layer("block_1_expand_folded").compute_dtype == "bfloat16"
    assert {variable.dtype for variable in folded.variables} == {tf.float32}
    expected, received = mixed(images())["boxes"], folded(images())["boxes"]
    assert received.dtype == tf.float32
    # bfloat16 has 8 bits, and each way rounds in other places.
    assert np.abs(received - expected).max() < 0.1 * np.abs(expected).max()
