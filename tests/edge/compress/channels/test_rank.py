"""Importance against values worked out by hand, and the Taylor term against the loss itself."""

from __future__ import annotations

import numpy as np
import pytest

from edge.compress.channels.cost import MOVED_NUMBER, time_cost
from edge.compress.channels.groups import prune_groups
from edge.compress.channels.rank import kernel_norms, loss_changes, norm_scales
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf

layers = keras.layers


@pytest.fixture
def model() -> keras.Model:
    """`made` with a BatchNorm and a depthwise convolution behind it, then `bare` without either."""
    image = keras.Input((4, 4, 1), name="image")
    made = layers.BatchNormalization(epsilon=1.0, name="norm")(layers.Conv2D(3, 1, use_bias=False, name="made")(image))
    deep = layers.DepthwiseConv2D((1, 2), use_bias=False, name="deep")(layers.ReLU()(made))
    bare = layers.Conv2D(2, 1, activation="relu", name="bare")(deep)
    model = keras.Model(image, {"out": layers.Conv2D(1, 1, name="last")(bare)})
    model.get_layer("made").set_weights([np.array([1.0, -2.0, 3.0]).reshape(1, 1, 1, 3)])
    gamma, beta, mean, variance = [4.0, 1.0, -1.0], [5.0, 6.0, 7.0], [0.0, 0.0, 0.0], [3.0, 0.0, 8.0]
    model.get_layer("norm").set_weights([np.array(values) for values in (gamma, beta, mean, variance)])
    model.get_layer("deep").set_weights([np.array([[3.0, 0.0, 1.0], [4.0, 0.0, 0.0]]).reshape(1, 2, 3, 1)])
    kernel = np.array([[1.0, 4.0], [2.0, 4.0], [2.0, 7.0]]).reshape(1, 1, 3, 2)
    model.get_layer("bare").set_weights([kernel, np.ones(2)])
    return model


# What one channel of the first group takes: 4 x 4 cells and one input in `made`, 4 x 3 cells and two taps in `deep`,
# 4 x 3 cells and two outputs in `bare`, and it is written, read, written and read. One of the second: 4 x 3 cells,
# three inputs in `bare` and one output in `last`, written and read.
FIRST_EACH = 16 + 24 + 24 + MOVED_NUMBER * (16 + 16 + 12 + 12)
SECOND_EACH = 36 + 12 + MOVED_NUMBER * (12 + 12)


def test_kernel_norms_are_those_of_the_folded_kernels_relative_to_their_group(model):
    first, second = kernel_norms(model, prune_groups(model), order=1)
    made = np.array([1 * 4 / 2, 2 * 1 / 1, 3 * 1 / 3])  # |kernel| x |gamma| / sqrt(variance + 1)
    deep = np.array([7.0, 0.0, 1.0])
    np.testing.assert_allclose(first, FIRST_EACH * (made / made.mean() + deep / deep.mean()) / 2, rtol=1e-6)
    np.testing.assert_allclose(second, SECOND_EACH * np.array([5 / 10, 15 / 10]), rtol=1e-6)


def test_the_l2_norm_is_euclidean(model):
    first, second = kernel_norms(model, prune_groups(model), order=2)
    made, deep = np.array([2.0, 2.0, 1.0]), np.array([5.0, 0.0, 1.0])
    np.testing.assert_allclose(first, FIRST_EACH * (made / made.mean() + deep / deep.mean()) / 2, rtol=1e-6)
    np.testing.assert_allclose(second, SECOND_EACH * np.array([3, 9]) / 6, rtol=1e-6)


def test_norm_scales_are_relative_and_fall_back_to_norms_without_a_batch_norm(model):
    groups = prune_groups(model)
    first, second = norm_scales(model, groups)
    np.testing.assert_allclose(first, FIRST_EACH * np.array([4 / 2, 1 / 2, 1 / 2]))
    np.testing.assert_allclose(second, kernel_norms(model, groups)[1])


def test_priced_by_time_norms_shrink_groups_alike(model):
    groups = prune_groups(model)
    each = time_cost(model, groups).saved(np.array([3, 2]), np.ones(2))
    for importance in (kernel_norms(model, groups), norm_scales(model, groups)):
        means = [values.mean() / price for values, price in zip(importance, each, strict=True)]
        np.testing.assert_allclose(means, [1.0, 1.0])


def test_a_batch_norm_without_gamma_counts_as_none():
    image = keras.Input((4, 4, 1))
    made = layers.BatchNormalization(scale=False)(layers.Conv2D(3, 1)(image))
    model = keras.Model(image, {"out": layers.Conv2D(1, 1)(made)})
    groups = prune_groups(model)
    np.testing.assert_allclose(norm_scales(model, groups)[0], kernel_norms(model, groups)[0])


def test_the_norms_of_all_levels_behind_a_shared_convolution_count():
    """Two levels of 4 x 4 and 2 x 2 cells; factors by hand: 4/2, 1/1, 1/1 on the one, 3/3, 7/1, 1/1 on the other."""
    image = keras.Input((4, 4, 1), name="image")
    shared, last = layers.Conv2D(3, 1, use_bias=False, name="shared"), layers.Conv2D(1, 1, name="last")
    rows = []
    for level, tensor in enumerate((image, layers.MaxPooling2D(2)(image))):
        norm = layers.BatchNormalization(epsilon=1.0, name=f"norm_{level}")
        rows.append(layers.Reshape((-1, 1))(last(layers.ReLU()(norm(shared(tensor))))))
    model = keras.Model(image, {"out": layers.Concatenate(axis=1)(rows)})
    model.get_layer("shared").set_weights([np.array([1.0, -2.0, 3.0]).reshape(1, 1, 1, 3)])
    for level, gamma, variance in ((0, [4.0, 1.0, -1.0], [3.0, 0.0, 0.0]), (1, [3.0, -7.0, 1.0], [8.0, 0.0, 0.0])):
        model.get_layer(f"norm_{level}").set_weights([np.array(gamma), np.zeros(3), np.zeros(3), np.array(variance)])
    groups = prune_groups(model)
    (each,) = time_cost(model, groups).saved(np.array([3]), np.ones(1))
    made = np.array([1.0, 2.0, 3.0]) * np.sqrt([(4 + 1) / 2, (1 + 49) / 2, (1 + 1) / 2])
    np.testing.assert_allclose(kernel_norms(model, groups)[0], each * made / made.mean(), rtol=1e-6)
    gammas = np.array([[4.0, 1.0, 1.0], [3.0, 7.0, 1.0]])
    relative = (gammas / gammas.mean(axis=1, keepdims=True)).mean(axis=0)
    np.testing.assert_allclose(norm_scales(model, groups)[0], each * relative, rtol=1e-6)


def test_kernels_that_are_all_zero_have_no_importance(model):
    model.get_layer("bare").set_weights([np.zeros((1, 1, 3, 2)), np.zeros(2)])
    groups = prune_groups(model)
    for importance in (kernel_norms(model, groups), norm_scales(model, groups)):
        np.testing.assert_array_equal(importance[1], [0.0, 0.0])


@pytest.fixture(scope="module")
def branched() -> keras.Model:
    """A residual block with depthwise convolution and two outputs that share their last convolution."""
    keras.utils.set_random_seed(4)
    image = keras.Input((6, 6, 2), name="image")
    first = layers.Conv2D(4, 3, padding="same", name="first")(image)
    inner = layers.DepthwiseConv2D(3, padding="same", name="deep")(layers.Conv2D(5, 1, name="inner")(first))
    total = layers.Add()([first, layers.Conv2D(4, 1, name="back")(layers.Activation("tanh")(inner))])
    small = layers.DepthwiseConv2D(3, 2, padding="same", name="stride")(total)
    shared = layers.Conv2D(3, 1, bias_initializer="random_normal", name="shared")
    return keras.Model(image, {"large": shared(total), "small": shared(small)})


def weighted(targets: tf.Tensor, values: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(targets * values)


def batch(images: int) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    random = np.random.default_rng(1)
    shapes = {"large": (images, 6, 6, 3), "small": (images, 3, 3, 3)}
    targets = {name: tf.constant(random.normal(size=shape), tf.float32) for name, shape in shapes.items()}
    return tf.constant(random.normal(size=(images, 6, 6, 2)), tf.float32), targets


def test_loss_changes_are_the_slope_of_the_loss_as_a_channel_fades(branched):
    image, targets = batch(1)
    groups = prune_groups(branched)
    found = loss_changes(branched, groups, batches=[(image, targets)], losses={"large": weighted, "small": weighted})

    def loss_with(consumers: dict[str, np.ndarray], channel: int, strength: float) -> float:
        copy = keras.models.clone_model(branched)
        copy.set_weights(branched.get_weights())
        for name, where in consumers.items():
            kernel, bias = copy.get_layer(name).get_weights()
            kernel[:, :, where[channel]] *= strength
            copy.get_layer(name).set_weights([kernel, bias])
        outputs = copy(image)
        return sum(float(weighted(targets[name], outputs[name])) for name in targets)

    assert [group.name for group in groups] == ["first", "inner"]
    for group, values in zip(groups, found, strict=True):
        for channel in range(group.channels):
            difference = loss_with(group.consumers, channel, 1.01) - loss_with(group.consumers, channel, 0.99)
            np.testing.assert_allclose(values[channel], abs(difference / 0.02), rtol=2e-3, atol=2e-3)
            assert values[channel] > 0.01


def test_loss_changes_are_averages_over_images_of_any_batches(branched):
    groups, losses = prune_groups(branched), {"large": weighted, "small": weighted}
    images, targets = batch(3)
    single = [(images[i : i + 1], {name: values[i : i + 1] for name, values in targets.items()}) for i in range(3)]
    alone = [loss_changes(branched, groups, batches=[one], losses=losses) for one in single]
    for batches in ([(images, targets)], single):
        for group, values in enumerate(loss_changes(branched, groups, batches=batches, losses=losses)):
            np.testing.assert_allclose(values, np.mean([one[group] for one in alone], axis=0), rtol=1e-4)


def test_images_of_opposite_slope_do_not_cancel(branched):
    image, targets = batch(1)
    groups, losses = prune_groups(branched), {"large": weighted, "small": weighted}
    both = tf.repeat(image, 2, axis=0), {name: tf.concat([values, -values], 0) for name, values in targets.items()}
    once = loss_changes(branched, groups, batches=[(image, targets)], losses=losses)
    for expected, values in zip(once, loss_changes(branched, groups, batches=[both], losses=losses), strict=True):
        np.testing.assert_allclose(values, expected, rtol=1e-4)


def test_frozen_layers_are_ranked_like_others_and_keep_their_weights(branched):
    losses = {"large": weighted, "small": weighted}
    free = loss_changes(branched, prune_groups(branched), batches=[batch(1)], losses=losses)
    before = branched.get_weights()
    branched.trainable = False
    frozen = loss_changes(branched, prune_groups(branched), batches=[batch(1)], losses=losses)
    branched.trainable = True
    for one, other in zip(free, frozen, strict=True):
        np.testing.assert_allclose(one, other)
    assert all((one == other).all() for one, other in zip(before, branched.get_weights(), strict=True))


def test_no_images_are_refused(branched):
    with pytest.raises(InputError, match=r"expected images .* Received: batches=\[\]. Pass training batches"):
        loss_changes(branched, prune_groups(branched), batches=[], losses={"large": weighted, "small": weighted})
