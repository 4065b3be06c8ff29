"""Kernels lose weights where the loss notices least, in all exactly what was asked for."""

from __future__ import annotations

import numpy as np
import pytest

from edge.compress.weights.sparsity import LARGEST, amounts_by_loss, even_amounts, loss_curvatures, prunable_layers
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.losses import BoxLoss, FocalLoss


def chain(kernels: dict[str, list[float]]) -> keras.Model:
    """1x1 convolutions of one input and output channel count, in a row between a stem and a prediction."""
    image = keras.Input((1, 1, 3), name="image")
    tensor = keras.layers.Conv2D(2, 1, name="stem")(image)
    for name in kernels:
        tensor = keras.layers.Conv2D(2, 1, use_bias=False, name=name)(tensor)
    model = keras.Model(image, {"classes": keras.layers.Conv2D(1, 1, name="prediction")(tensor)})
    for name, values in kernels.items():
        model.get_layer(name).set_weights([np.float32(values).reshape(1, 1, 2, 2)])
    return model


@pytest.fixture(scope="module")
def two() -> keras.Model:
    return chain({"early": [1.0, -2.0, 3.0, 4.0], "late": [5.0, 6.0, -7.0, 8.0]})


def test_the_weights_that_cost_least_go_by_hand(two):
    """Costs with a hundredth of the curvature: 1 4 9 | 0.25 0.36 0.49; the largest weight of four stays (`LARGEST`)."""
    assert amounts_by_loss(two, 0.25, curvatures={"early": 1.0, "late": 0.01}) == {"early": 0.0, "late": 0.5}
    assert amounts_by_loss(two, 0.5, curvatures={"early": 1.0, "late": 0.01}) == {"early": 0.25, "late": 0.75}
    assert amounts_by_loss(two, 0.5, curvatures={"early": 0.01, "late": 1.0}) == {"early": 0.75, "late": 0.25}
    assert amounts_by_loss(two, 0.5, curvatures={"early": 1.0, "late": 1.0}) == {
        "early": 0.75,
        "late": 0.25,
    }  # 1 4 9 25


def test_layers_without_a_curvature_keep_their_weights_and_the_others_make_up_for_them(two):
    assert amounts_by_loss(two, 0.25, curvatures={"late": 1.0}) == {"late": 0.5}


def test_weights_that_are_zero_already_count_as_gone():
    sparse = chain({"early": [0.0, 0.0, 3.0, 4.0], "late": [5.0, 6.0, -7.0, 8.0]})
    assert amounts_by_loss(sparse, 0.25, curvatures={"early": 1.0, "late": 1.0}) == {"early": 0.5, "late": 0.0}


def test_a_kernel_that_the_file_has_for_each_level_counts_as_often():
    """`late` twice with half of the cost each: 1 4 9 | 12.5 18 24.5, of twelve; the largest weight of four stays."""
    image = keras.Input((1, 1, 3), name="image")
    tensor = keras.layers.Conv2D(2, 1, use_bias=False, name="early")(keras.layers.Conv2D(2, 1, name="stem")(image))
    late, predict = keras.layers.Conv2D(2, 1, use_bias=False, name="late"), keras.layers.Conv2D(1, 1, name="prediction")
    rows = [predict(keras.layers.BatchNormalization()(late(one))) for one in (tensor, keras.layers.ReLU()(tensor))]
    model = keras.Model(image, {"classes": keras.layers.Concatenate(axis=1)(rows)})
    for name, values in (("early", [1.0, 2.0, 3.0, 4.0]), ("late", [5.0, 6.0, -7.0, 8.0])):
        model.get_layer(name).set_weights([np.float32(values).reshape(1, 1, 2, 2)])
    both = {"early": 1.0, "late": 1.0}
    assert amounts_by_loss(model, 0.25, curvatures=both) == {"early": 0.75, "late": 0.0}
    assert amounts_by_loss(model, 5 / 12, curvatures=both) == {"early": 0.75, "late": 0.25}
    assert amounts_by_loss(model, 2 / 12, curvatures={"early": 1.0, "late": 0.01}) == {"early": 0.0, "late": 0.25}
    with pytest.raises(InputError, match=r"at most 0\.5,"):
        amounts_by_loss(model, 0.6, curvatures={"late": 1.0})


@pytest.mark.parametrize("amount", [0.0, 0.5, 0.9])
def test_an_amount_that_the_learning_layers_do_not_have_is_refused(amount, two):
    with pytest.raises(InputError, match=rf"at most 0\.375.*Received: amount={amount}"):
        amounts_by_loss(two, amount, curvatures={"late": 1.0})


def test_the_whole_detector_loses_the_amount_and_no_kernel_more_than_the_largest_share(small_quantized):
    model = small_quantized.model
    names = prunable_layers(model)
    amounts = amounts_by_loss(model, 0.7, curvatures={name: 10.0**-number for number, name in enumerate(names)})
    sizes = {name: model.get_layer(name).get_weights()[0].size for name in names}
    gone = sum(round(amounts[name] * sizes[name]) for name in names)
    assert gone == round(0.7 * sum(sizes.values()))
    assert max(amounts.values()) <= LARGEST
    assert set(even_amounts(model, 0.7).values()) == {0.7}


def test_curvatures_are_mean_squared_gradients_of_single_images(small_quantized):
    """Against gradients of the layer's kernel taken image by image, and not of the mean over the batch."""
    model = small_quantized.model
    images = np.concatenate([image for (image,) in small_quantized.samples()])[:2]
    anchors = model.output["boxes"].shape[1]
    classes = np.full((2, anchors), -1, np.int32)
    classes[0, :5], classes[1, 5:7] = 0, 1
    boxes = np.zeros((2, anchors, 5), np.float32)
    boxes[classes >= 0] = (0.5, -0.5, 0.1, 0.2, 1.0)
    batch = (tf.constant(images), {"classes": tf.constant(classes), "boxes": tf.constant(boxes)})
    losses = {"classes": FocalLoss(), "boxes": BoxLoss()}
    found = loss_curvatures(model, ["plain_1_conv", "boxes_0_pointwise"], batches=[batch], losses=losses)
    for name, value in found.items():
        kernel, squares = model.get_layer(name).kernel, []
        for one in range(2):
            with tf.GradientTape() as tape:
                outputs = model(images[one : one + 1], training=False)
                loss = losses["classes"](classes[one : one + 1], outputs["classes"])
                loss += losses["boxes"](boxes[one : one + 1], outputs["boxes"])
            squares.append(np.mean(tape.gradient(loss, kernel).numpy() ** 2))
        assert value == pytest.approx(np.mean(squares), rel=1e-3)
        assert value > 0


def test_curvatures_without_images_are_refused(two):
    with pytest.raises(InputError, match=r"expected images.*Received: batches=\[\]"):
        loss_curvatures(two, ["early"], batches=[], losses={"classes": FocalLoss()})
