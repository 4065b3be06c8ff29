"""Model Garden's tensors inside our layers: the same function, order of anchors and classes, and what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.imports import build, names_of_outputs, read_original
from keras_retina.model.imports.coco import BACKGROUND, OUTPUTS
from keras_retina.model.imports.model_garden_parts import anchor_order, batch_norm, folded, scale_and_offset
from keras_retina.recipe.model import Model

NAMES = (BACKGROUND, "cat", "dog")
EPSILON = 1e-3


@pytest.fixture(scope="module")
def tensors(garden_tensors):
    return garden_tensors(3)


@pytest.fixture(scope="module")
def original(tensors, write_garden, tmp_path_factory):
    return read_original(write_garden(tmp_path_factory.mktemp("garden") / "ckpt-3", tensors))


@pytest.fixture(scope="module")
def imported(original):
    return build(original, settings_of(original), names=NAMES)


def settings_of(original, **changes) -> Model:
    fields = {**original.fields["model"], "input": {"height": 128, "width": 128, "resize": "letterbox"}}
    return Model(**{**fields, **changes})


def separable(tensors, name, maps, strides=1):
    depthwise, pointwise, bias = (
        tensors[f"{name}/{kind}"] for kind in ("depthwise_kernel", "pointwise_kernel", "bias")
    )
    return tf.nn.separable_conv2d(maps, depthwise, pointwise, [1, strides, strides, 1], "SAME") + bias


def normalised(tensors, name, maps):
    scale, offset, mean, variance = (
        tensors[f"{name}/{kind}"] for kind in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    return (maps - mean) / np.sqrt(variance + EPSILON) * scale + offset


def levels_of(tensors, features):
    """Model Garden's pyramid, as `official/vision/modeling/decoders/fpn.py` has it."""
    lateral = {level: separable(tensors, f"decoder/lateral_{level}", features[level]) for level in (3, 4, 5)}
    merged = {5: lateral[5]}
    for level in (4, 3):
        merged[level] = lateral[level] + np.repeat(np.repeat(merged[level + 1], 2, axis=1), 2, axis=2)
    maps = {level: separable(tensors, f"decoder/post_hoc_{level}", merged[level]) for level in (3, 4, 5)}
    maps[6] = separable(tensors, "decoder/coarser_6", maps[5], 2)
    maps[7] = separable(tensors, "decoder/coarser_7", tf.nn.relu6(maps[6]), 2)
    return [normalised(tensors, f"decoder/norm_{level}", values) for level, values in maps.items()]


def head_of(tensors, levels, net, last):
    found = []
    for place, maps in enumerate(levels):
        maps = separable(tensors, f"head/_{net}_convs/0", maps)
        maps = tf.nn.relu6(normalised(tensors, f"head/_{net}_norms/{place}/0", maps))
        found.append(separable(tensors, f"head/{last}", maps).numpy())
    return found


def test_pyramid_and_heads_compute_what_model_garden_s_do(original, tensors):
    model, spec = build(original, settings_of(original), names=NAMES, classes=("dog", "cat"))
    assert spec.class_names == ("dog", "cat")
    image = np.random.default_rng(1).uniform(-1, 1, (1, 128, 128, 3)).astype(np.float32)
    places = [model.get_layer(name).output for name in ("block_5_add", "block_12_add", "block_16_project_BN")]
    *features, outputs = keras.Model(model.input, [*places, model.output])(image)
    levels = levels_of(tensors, dict(zip((3, 4, 5), features, strict=True)))
    for name, net, last, kept in (
        ("classes", "cls", "_classifier", [2, 1]),
        ("boxes", "box", "_box_regressor", range(4)),
    ):
        rows = []
        for maps in head_of(tensors, levels, net, last):
            cells = maps.reshape(-1, 3, 3, maps.shape[-1] // 9)[..., list(kept)]  # scale, ratio
            rows.append(cells.swapaxes(1, 2).reshape(-1, len(kept)))
        np.testing.assert_allclose(outputs[name][0], np.concatenate(rows), atol=1e-4)


def test_the_backbone_is_that_of_the_checkpoint(imported, original, tensors):
    model, _ = imported
    block = "backbone/layer_with_weights-17"
    np.testing.assert_array_equal(
        model.get_layer("block_16_depthwise").get_weights()[0], tensors[f"{block}/_conv1/depthwise_kernel"]
    )
    variance = model.get_layer("block_16_project_BN").get_weights()[3]
    np.testing.assert_array_equal(variance, tensors[f"{block}/_norm2/moving_variance"])
    assert original.fields["model"]["backbone"]["alpha"] == 0.35
    assert "pixel_scaling" not in [layer.name for layer in model.layers]


def test_anchors_are_model_garden_s(imported):
    """`ops/anchor_generator.py`: of a cell all ratios (width / height) of a scale come first."""
    _, spec = imported
    first = spec.anchors()[:9]
    sides, ratios = [24 * 2 ** (number / 3) for number in range(3)], (0.5, 1.0, 2.0)
    theirs = [(side / ratio**0.5, side * ratio**0.5) for side in sides for ratio in ratios]
    sizes = first[:, 2:] - first[:, :2]
    np.testing.assert_allclose(sizes, np.array(theirs)[anchor_order(3, 3)], rtol=1e-6)
    np.testing.assert_allclose(first[:, :2] + first[:, 2:], 8, rtol=1e-6)  # around the middle of a cell of 8 pixels


def test_other_scales_and_ratios_change_the_order():
    assert anchor_order(1, 3).tolist() == [0, 1, 2]
    assert anchor_order(2, 3).tolist() == [0, 3, 1, 4, 2, 5]


def test_a_batch_norm_becomes_a_scale_or_part_of_a_convolution():
    norm = [np.array([value], np.float32) for value in (2.0, 1.0, 0.5, 0.24)]
    kernel, bias = np.full((1, 1, 1, 1), 3.0, np.float32), np.array([4.0], np.float32)
    wanted = 2.0 * (3 * 7 + 4 - 0.5) / 0.5 + 1  # of 7, with an epsilon of 0.01
    own_kernel, own_bias = folded(0.01)(kernel, bias, *norm)
    assert own_kernel * 7 + own_bias == pytest.approx(wanted, rel=1e-6)
    scale, offset = scale_and_offset(0.01)(*norm)
    assert scale.shape == (1, 1, 1, 1) and scale * (3 * 7 + 4) + offset == pytest.approx(wanted, rel=1e-6)
    gamma, beta, mean, variance = batch_norm(0.01)(*norm, bias)
    assert gamma * (3 * 7 - mean) / np.sqrt(variance + 1e-3) + beta == pytest.approx(wanted, rel=1e-6)


def test_pixels_can_be_scaled_by_imagenet_s_mean_and_deviation(original):
    backbone = {**original.fields["model"]["backbone"], "pixel_scaling": True}
    model, spec = build(original, settings_of(original, backbone=backbone), names=NAMES)
    pixels = np.full((1, 128, 128, 3), 100, np.float32)
    layer = model.get_layer("pixel_scaling")
    wanted = (100 / 255 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(layer(spec.scale(pixels))[0, 0, 0], wanted, atol=1e-5)


def test_settings_that_are_not_in_a_checkpoint_are_told(original):
    for told in (
        "3 outputs, 9 anchors",
        "0 moving averages",
        "epsilon 0.001",
        "anchors of 3 strides",
        "activation relu6",
        "0.5 and 0.5",
    ):
        assert told in original.told


def test_labels_may_leave_the_background_out_and_are_counted(original, garden_tensors, write_garden, tmp_path):
    labels = tmp_path / "labels.txt"
    for text in ("cat\ndog\n", "background\ncat\ndog\n", f"{BACKGROUND}\ncat\ndog\n"):
        labels.write_text(text)
        assert names_of_outputs(original, labels) == NAMES
    labels.write_text("person\ncat\ndog\n")
    with pytest.raises(
        InputError, match=r"expected 3 different names.*Received: 3\. The first output is the background"
    ):
        names_of_outputs(original, labels)
    with pytest.raises(InputError, match=r"--labels: expected .* the 3 classes.*leave it out"):
        names_of_outputs(original, None)
    coco = read_original(write_garden(tmp_path / "coco", garden_tensors(91)))
    assert names_of_outputs(coco, None) == OUTPUTS


def test_names_of_other_savers_are_read_too(original, tensors, write_garden, tmp_path):
    for number, options in enumerate(({"root": "_model/_"}, {"root": "_"}, {"root": "model/"}, {"is_named": False})):
        found = read_original(write_garden(tmp_path / str(number), tensors, **options)).tensors
        assert found.keys() == original.tensors.keys()
        assert all(np.array_equal(found[name], original.tensors[name]) for name in found)


def test_moving_averages_are_taken_of_the_weights_that_have_one(tensors, write_garden, tmp_path):
    """Model Garden's optimiser has none of the statistics of a BatchNorm."""
    averaged = read_original(write_garden(tmp_path / "a", tensors, has_averages=True))
    name, statistic = "decoder/post_hoc_5/bias", "decoder/norm_5/moving_mean"
    np.testing.assert_array_equal(averaged.tensors[name], tensors[name] + 1)
    np.testing.assert_array_equal(averaged.tensors[statistic], tensors[statistic])
    assert f"{sum('moving' not in name for name in tensors)} moving averages" in averaged.told


def test_what_does_not_fit_is_named(original, tensors, write_garden, tmp_path):
    changed = dict(tensors)
    del changed["decoder/norm_7/beta"]
    changed["head/_att_convs/age/0/bias"] = np.zeros(3, np.float32)
    changed["head/_box_convs/0/pointwise_kernel"] = np.zeros((1, 1, 16, 9), np.float32)
    other = read_original(write_garden(tmp_path / "a", changed))
    with pytest.raises(InputError) as error:
        build(other, settings_of(other), names=NAMES)
    told = str(error.value)
    assert "missing: decoder/norm_7/beta;" in told and "without a place: head/_att_convs/age/0/bias." in told
    assert "head/_box_convs/0/pointwise_kernel [1, 1, 16, 9] for boxes_0_pointwise [1, 1, 16, 8]" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("backbone", r"with MobileNetV2 or ResNet-50\. Received: a backbone of 18 layers"),
        ("boxes", "Received: 35 values of boxes and 27 of classes in a cell"),
        ("pyramid", "Received: no convolution lateral_3, 5 levels and 1 convolutions"),
        ("heads", "3 tensors of another network, backbone/layer_with_weights-0/_conv0/kernel, decoder"),
    ],
)
def test_other_architectures_are_refused_in_one_line(tensors, write_garden, tmp_path, change, message):
    changed = dict(tensors)
    if change == "backbone":
        changed = {name: values for name, values in tensors.items() if "weights-18/" not in name}
    elif change == "boxes":
        changed["head/_box_regressor/bias"] = np.zeros(35, np.float32)
    elif change == "pyramid":
        changed = {name: values for name, values in tensors.items() if "lateral_3" not in name}
    else:
        kept = ("backbone/layer_with_weights-0/_conv0/kernel", "decoder/norm_3/beta")
        changed = {name: tensors[name] for name in kept}
    with pytest.raises(InputError, match=message) as error:
        read_original(write_garden(tmp_path / "a", changed))
    assert "\n" not in str(error.value)


def test_settings_of_another_network_are_refused(original):
    head = {**original.fields["model"]["head"], "convolutions": 2}
    with pytest.raises(InputError, match=r"model\.head\.convolutions: expected 1, as .*Received: convolutions=2"):
        build(original, settings_of(original, head=head), names=NAMES)
