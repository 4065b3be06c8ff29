"""The narrower detector: the same function where channels were zero, and an ordinary detector in every other way."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from edge.compress.channels.cost import multiply_add_cost, parameter_cost
from edge.compress.channels.groups import ChannelGroup, prune_groups
from edge.compress.channels.prune import choose_by_measurement, keep_channels, prune_to
from edge.compress.channels.rank import kernel_norms, loss_changes, norm_scales
from edge.export.convert import convert_heads
from edge.export.export import write_detector
from edge.quantize.calibration import calibration_samples
from edge.runtime import Detector
from keras_retina.data.images import read_image
from keras_retina.data.resize import resize_image
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.losses import BoxLoss, FocalLoss
from keras_retina.model.backbones import backbone_layers
from keras_retina.model.graph import multiply_adds
from keras_retina.model.retinanet import detector_network
from keras_retina.model.saving import load_detector, save_detector
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.model import Model
from keras_retina.recipe.recipe import Export
from keras_retina.train.batch_norm import fold_frozen_batch_norm
from keras_retina.train.feature_cache import split_at_frozen

UNTRAINED = {"weights": "none", "frozen_stages": 0, "batch_norm": "trained"}
CLASSES = ("disc", "square")


def settings(
    name: str, convolution: str, levels: tuple[int, int] = (3, 6), head_norms: str = "none", **backbone
) -> Model:
    return Model.model_validate(
        {
            "backbone": {"name": name, **backbone},
            "input": {"height": 64, "width": 64},
            "pyramid": {"levels": levels, "width": 16, "convolution": convolution},
            "head": {"width": 16, "convolutions": 1, "convolution": convolution, "batch_norm": head_norms},
        }
    )


def lively(model: keras.Model) -> keras.Model:
    """Gives every BatchNorm and every bias values unlike those of an untrained network."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.beta.shape
            ranges = ((0.5, 1.0), (-0.5, 0.5), (-0.2, 0.2), (0.5, 1.5))  # gamma, beta, mean, variance
            layer.set_weights([random.uniform(*limits, shape) for limits in ranges])
        elif isinstance(layer, keras.layers.Conv2D) and layer.use_bias and "prediction" not in layer.name:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, random.uniform(-0.1, 0.1, bias.shape)])
    return model


def images(count: int = 2) -> np.ndarray:
    return np.random.default_rng(5).uniform(-1, 1, (count, 64, 64, 3)).astype(np.float32)


def half_of(groups: list[ChannelGroup]) -> list[np.ndarray]:
    random = np.random.default_rng(6)
    return [random.permutation(group.channels) < max(8, group.channels // 16 * 8) for group in groups]


def make_zero(model: keras.Model, group: ChannelGroup, channels: np.ndarray) -> None:
    """Zeroes channels of a group: kernels and biases that make them, gamma and beta of the BatchNorms they pass."""
    for name, where in {**group.producers, **group.between}.items():
        layer = model.get_layer(name)
        weights = layer.get_weights()
        places = where[channels].ravel()
        if isinstance(layer, keras.layers.BatchNormalization):
            weights[0][places] = weights[1][places] = 0.0
        elif isinstance(layer, keras.layers.Conv2D):
            for value in weights:
                value[..., places] = 0.0
        layer.set_weights(weights)


@pytest.fixture(scope="module")
def detector() -> keras.Model:
    """MobileNetV2 0.35 with separable convolutions, its first stages and all its BatchNorm frozen."""
    keras.utils.set_random_seed(1)
    model = lively(detector_network(settings("mobilenet_v2", "separable", alpha=0.35, **UNTRAINED), len(CLASSES)))
    for layer in backbone_layers(model, settings("mobilenet_v2", "separable", alpha=0.35).backbone):
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization) and not layer.name.startswith("Conv1")
    return model


@pytest.fixture(scope="module")
def pruned(detector) -> keras.Model:
    return prune_to(detector, 0.5, importance_of=kernel_norms)


@pytest.mark.parametrize(
    ("name", "convolution", "backbone"),
    [
        ("plain", "separable", {}),
        ("plain", "full", {}),
        ("plain", "separable", {"head_norms": "per_level"}),
        ("plain", "full", {"head_norms": "per_level"}),
        ("mobilenet_v2", "separable", {"alpha": 0.35}),
        ("mobilenet_v2", "full", {"alpha": 0.35}),
        ("efficientnet_lite0", "separable", {}),
        ("resnet50", "full", {}),
    ],
)
def test_removing_channels_that_are_zero_changes_nothing(name, convolution, backbone):
    keras.utils.set_random_seed(2)
    model = lively(detector_network(settings(name, convolution, **backbone, **UNTRAINED), len(CLASSES)))
    groups = prune_groups(model)
    kept = half_of(groups)
    lively_outputs = model(images(), training=False)
    for group, marks in zip(groups, kept, strict=True):
        make_zero(model, group, np.flatnonzero(~marks))
    expected, received = (
        model(images(), training=False),
        keep_channels(model, groups, kept=kept)(images(), training=False),
    )
    for output in ("classes", "boxes"):
        scale = np.abs(expected[output]).max()
        np.testing.assert_allclose(received[output], expected[output], atol=1e-5 * max(scale, 1.0))
        assert np.abs(expected[output] - lively_outputs[output]).max() > 1e-3 * scale  # the channels had said something
        assert np.std(expected[output]) > 1e-4  # and so do those that are left


def test_the_channels_that_stay_are_those_that_were_marked(detector):
    groups = prune_groups(detector)
    kept = half_of(groups)
    copy = keep_channels(detector, groups, kept=kept)
    group, marks = next((one, marks) for one, marks in zip(groups, kept, strict=True) if one.name == "block_4_expand")
    whole, narrow = detector.get_layer("block_4_depthwise"), copy.get_layer("block_4_depthwise")
    np.testing.assert_array_equal(narrow.get_weights()[0], whole.get_weights()[0][:, :, marks])
    for expected, received in zip(
        detector.get_layer("block_4_expand_BN").get_weights(),
        copy.get_layer("block_4_expand_BN").get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(received, expected[marks])
    assert group.channels == 96 and marks.sum() == 48


def test_keeping_everything_is_the_same_detector(detector):
    groups = prune_groups(detector)
    copy = keep_channels(detector, groups, kept=[np.ones(group.channels, bool) for group in groups])
    assert [layer.get_config() for layer in copy.layers] == [layer.get_config() for layer in detector.layers]
    for output, expected in detector(images(), training=False).items():
        np.testing.assert_array_equal(copy(images(), training=False)[output], expected)
    for expected, received in zip(detector.get_weights(), copy.get_weights(), strict=True):
        np.testing.assert_array_equal(received, expected)
    copy.get_layer("Conv1").set_weights([np.zeros_like(copy.get_layer("Conv1").get_weights()[0])])
    assert detector.get_layer("Conv1").get_weights()[0].any()  # the weights are not shared


def test_a_group_left_out_stays_whole(detector):
    groups = [group for group in prune_groups(detector) if group.name == "block_4_expand"]
    copy = keep_channels(detector, groups, kept=[np.arange(96) < 8])
    sizes = [{layer.name: layer.count_params() for layer in model.layers} for model in (detector, copy)]
    changed = {name for name in sizes[0] if sizes[0][name] != sizes[1][name]}
    assert changed == {f"block_4_{name}" for name in ("expand", "expand_BN", "depthwise", "depthwise_BN", "project")}


def test_names_order_settings_and_frozen_layers_are_carried_over(detector, pruned):
    assert [layer.name for layer in pruned.layers] == [layer.name for layer in detector.layers]
    assert [layer.trainable for layer in pruned.layers] == [layer.trainable for layer in detector.layers]
    assert {layer.trainable for layer in pruned.layers} == {True, False}
    assert pruned.name == detector.name and pruned.input_names == detector.input_names
    assert pruned.output_shape == detector.output_shape
    for old, new in zip(detector.layers, pruned.layers, strict=True):
        wanted, received = old.get_config(), new.get_config()
        for config in (wanted, received):
            config.pop("filters", None)
        assert received == wanted
    backbone = settings("mobilenet_v2", "separable", alpha=0.35).backbone
    names = [[layer.name for layer in backbone_layers(model, backbone)] for model in (detector, pruned)]
    assert names[0] == names[1]


def test_the_target_is_met_by_widths_that_are_multiples_of_8(detector, pruned):
    assert 0.45 * multiply_adds(detector) < multiply_adds(pruned) <= 0.5 * multiply_adds(detector)
    for layer in pruned.layers:
        if isinstance(layer, keras.layers.Conv2D) and "prediction" not in layer.name:
            assert layer.filters % 8 == 0 and layer.filters >= 8


@pytest.mark.parametrize("importance", [kernel_norms, norm_scales])
def test_heads_with_a_norm_for_each_level_are_pruned_to_the_target_and_saved(importance, tmp_path):
    model_settings = settings("plain", "separable", head_norms="per_level", **UNTRAINED)
    model = lively(detector_network(model_settings, len(CLASSES)))
    smaller = prune_to(model, 0.5, importance_of=importance)
    assert multiply_adds(smaller) <= 0.5 * multiply_adds(model)
    width = smaller.get_layer("boxes_0_pointwise").filters
    assert {smaller.get_layer(f"boxes_0_norm_{level}").gamma.shape for level in range(4)} == {(width,)}
    assert all(smaller.get_layer(f"boxes_0_norm_{level}").trainable for level in range(4))
    save_detector(smaller, detector_spec(model_settings, CLASSES), tmp_path / "smaller.keras")
    loaded, _ = load_detector(tmp_path / "smaller.keras")
    for name, expected in smaller(images(), training=False).items():
        np.testing.assert_array_equal(loaded(images(), training=False)[name], expected)


def test_a_target_on_parameters(detector):
    smaller = prune_to(detector, 0.6, importance_of=partial(kernel_norms, order=2), cost_of=parameter_cost)
    assert 0.55 < smaller.count_params() / detector.count_params() <= 0.6


def test_a_share_out_of_reach_is_refused(detector):
    with pytest.raises(InputError, match=r"a target of at least 0\.\d+, .* Received: target=0.01"):
        prune_to(detector, 0.01, importance_of=norm_scales)
    with pytest.raises(InputError, match="between 0 and 1. Received: target=0"):
        prune_to(detector, 0, importance_of=kernel_norms)


def test_an_empty_group_is_refused(detector):
    groups = prune_groups(detector)
    kept = [np.arange(group.channels) >= (group.channels if group.name == "block_4_expand" else 0) for group in groups]
    with pytest.raises(InputError, match="channels of 'block_4_expand' to stay. Received: 0 of 96"):
        keep_channels(detector, groups, kept=kept)


def test_the_pruned_detector_is_saved_and_loaded(pruned, tmp_path):
    spec = detector_spec(settings("mobilenet_v2", "separable", alpha=0.35), CLASSES)
    save_detector(pruned, spec, tmp_path / "model.keras")
    loaded, loaded_spec = load_detector(tmp_path / "model.keras")
    assert loaded_spec == spec
    for output, expected in pruned(images(), training=False).items():
        np.testing.assert_array_equal(loaded(images(), training=False)[output], expected)


def test_the_graphs_of_training_compute_what_the_pruned_detector_does(pruned):
    expected = pruned(images(), training=False)
    folded = fold_frozen_batch_norm(pruned)
    assert folded is not pruned
    frozen, learning = split_at_frozen(pruned)
    for received in (folded(images(), training=True), learning(frozen(images(), training=False), training=False)):
        for output in ("classes", "boxes"):
            np.testing.assert_allclose(received[output], expected[output], atol=1e-5)


def test_the_pruned_detector_learns(pruned):
    copy = keep_channels(pruned, [], kept=[])
    copy.compile("sgd", {"classes": FocalLoss(), "boxes": BoxLoss()})
    anchors = copy.output_shape["classes"][1]
    before = copy.get_layer("block_4_expand").get_weights()[0]
    copy.train_on_batch(images(), {"classes": np.zeros((2, anchors), np.int32), "boxes": np.ones((2, anchors, 5))})
    assert (copy.get_layer("block_4_expand").get_weights()[0] != before).any()


def test_the_pruned_detector_is_exported(tiny_model, tiny_spec, image_paths, tmp_path):
    copy = prune_to(tiny_model, 0.7, importance_of=kernel_norms)
    pixels = np.stack([resize_image(read_image(path), 128, width=128, mode="stretch") for path in image_paths])
    expected = copy(tiny_spec.scale(pixels), training=False)
    for kind in ("float32", "int8"):
        heads = convert_heads(copy, tiny_spec, kind=kind, samples=lambda: calibration_samples(image_paths, tiny_spec))
        write_detector(tmp_path / f"{kind}.tflite", heads, spec=tiny_spec, kind=kind, head="raw", settings=Export())
        file = Detector(tmp_path / f"{kind}.tflite")
        for index in range(len(pixels)):
            file.invoke(pixels[index : index + 1])
            for received, output in zip(file.heads(), ("classes", "boxes"), strict=True):
                if kind == "float32":
                    np.testing.assert_allclose(received, expected[output][index], atol=1e-3)
                else:  # a random network is far noisier in 8 bits than a trained one
                    assert np.corrcoef(received.ravel(), np.ravel(expected[output][index]))[0, 1] > 0.8


def test_importance_from_the_loss_prunes_to_the_target(detector):
    anchors = detector.output_shape["classes"][1]
    targets = {
        "classes": tf.constant(np.random.default_rng(8).integers(-1, 2, (2, anchors)), tf.int32),
        "boxes": tf.ones((2, anchors, 5)),
    }
    losses = {"classes": FocalLoss(), "boxes": BoxLoss()}
    rank = partial(loss_changes, batches=[(tf.constant(images()), targets)], losses=losses)
    smaller = prune_to(detector, 0.7, importance_of=rank)
    assert 0.6 < multiply_adds(smaller) / multiply_adds(detector) <= 0.7


def test_a_measured_target_is_met_with_few_measurements(detector):
    groups = prune_groups(detector)
    calls = []

    def measure(model: keras.Model) -> float:
        calls.append(model is detector)
        return 1000.0 + model.count_params()  # falls otherwise than multiply-adds do

    importance, cost = kernel_norms(detector, groups), multiply_add_cost(detector, groups)
    kept = choose_by_measurement(
        detector, groups, importance=importance, price=cost, measure=measure, target=0.6, measurements=5
    )
    share = measure(keep_channels(detector, groups, kept=kept)) / measure(detector)
    assert 0.57 < share <= 0.6
    assert calls.count(True) <= 5 + 1 and calls.count(False) <= 5 + 1


def test_a_measured_target_out_of_reach_is_refused(detector):
    with pytest.raises(InputError, match="a target of at least 1.0"):
        prune_to(detector, 0.5, importance_of=kernel_norms, measure=lambda model: 1.0)
