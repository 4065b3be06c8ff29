"""torchvision's tensors inside our layers: order of classes and coordinates, old names, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.model.backbones.kind import pixel_scaling
from keras_retina.model.imports import build, names_of_outputs
from keras_retina.model.imports.coco import CLASSES, OUTPUTS
from keras_retina.model.imports.tensors import Checkpoint
from keras_retina.model.imports.torch_layers import batch_norm
from keras_retina.model.imports.torchvision import epsilon_of, modern_names, read_torchvision
from keras_retina.recipe.model import Model

FILE = Path("checkpoint.pth")
NAMES = ("__background__", "cat", "dog")


def read(tensors, epsilon=None):
    original = read_torchvision(Checkpoint(FILE, tensors), epsilon)
    assert original is not None
    return original


def settings_of(original, **changes) -> Model:
    fields = {**original.fields["model"], "input": {"height": 128, "width": 128}}
    return Model(**{**fields, **changes})


@pytest.fixture(scope="module")
def three_outputs(state_dictionary):
    return state_dictionary(3)


@pytest.fixture(scope="module")
def imported(three_outputs):
    original = read(three_outputs)
    return build(original, settings_of(original), names=NAMES, classes=("dog", "cat"))


def test_the_classes_that_stay_keep_their_logits_at_every_anchor(imported, three_outputs):
    model, spec = imported
    assert spec.class_names == ("dog", "cat")
    kernel, bias = model.get_layer("classes_prediction").get_weights()
    theirs, biases = (three_outputs[f"head.classification_head.cls_logits.{kind}"] for kind in ("weight", "bias"))
    for anchor in range(9):
        for place, output in enumerate((2, 1)):  # dog, cat
            np.testing.assert_array_equal(
                kernel[..., anchor * 2 + place], theirs[anchor * 3 + output].transpose(1, 2, 0)
            )
            assert bias[anchor * 2 + place] == biases[anchor * 3 + output]


def test_boxes_become_y_x_height_width(imported, three_outputs):
    _, bias = imported[0].get_layer("boxes_prediction").get_weights()
    theirs = three_outputs["head.regression_head.bbox_reg.bias"]  # x, y, width, height of each anchor
    np.testing.assert_array_equal(bias[:4], theirs[[1, 0, 3, 2]])
    np.testing.assert_array_equal(bias[32:], theirs[32:][[1, 0, 3, 2]])


def test_the_parameters_are_those_of_torchvision(imported):
    """It counts 34,014,999 for the 91 outputs of COCO, without its frozen BatchNorms; two are left of them here."""
    norms, pixel_scaling = 4 * 26_560, 3 + 3
    of_an_output = 9 * (256 * 9 + 1)
    assert imported[0].count_params() - norms - pixel_scaling == 34_014_999 - (91 - 2) * of_an_output


def test_pixels_are_scaled_as_torchvision_does(imported):
    _, spec = imported
    kernel, bias = imported[0].get_layer("pixel_scaling").get_weights()
    pixels = np.array([0.0, 127.0, 255.0], np.float32)
    wanted = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(spec.scale(pixels) * kernel.ravel() + bias, wanted, atol=1e-5)
    assert [array.shape for array in pixel_scaling((0, 0, 0), (1, 1, 1))] == [(1, 1, 3, 1), (3,)]


def test_names_of_before_0_13_are_read_too(three_outputs):
    old = {}
    for name, array in three_outputs.items():
        for index in range(4):
            name = name.replace(f"_head.conv.{index}.0.", f"_head.conv.{2 * index} .")
        old[name.replace(" .", ".").replace("_blocks.0.0.", "_blocks.0.")] = array
    assert set(old) != set(three_outputs)
    assert modern_names(old).keys() == three_outputs.keys()


def test_the_epsilon_of_a_norm_becomes_ours_without_another_output():
    scale, offset, mean, variance = (np.array([value], np.float32) for value in (2.0, 1.0, 0.5, 1e-4))
    new_scale, *rest = batch_norm(0.0)(scale, offset, mean, variance)
    assert rest == [offset, mean, variance]
    wanted = 2.0 / np.sqrt(1e-4) * (3 - 0.5) + 1
    assert new_scale / np.sqrt(1e-4 + 1e-5) * (3 - 0.5) + 1 == pytest.approx(wanted, rel=1e-6)


def test_frozen_norms_with_the_classes_of_coco_have_no_epsilon(state_dictionary):
    coco = state_dictionary(91)
    assert epsilon_of(coco) == 0.0
    assert epsilon_of({**coco, "backbone.body.bn1.num_batches_tracked": np.array(3)}) == 1e-5
    assert epsilon_of(state_dictionary(4)) == 1e-5


def test_the_classes_of_coco_are_known_and_others_are_asked_for(state_dictionary, three_outputs, tmp_path):
    assert names_of_outputs(read(state_dictionary(91)), None) == OUTPUTS
    assert len(OUTPUTS) == 91 and len(CLASSES) == 80
    assert (OUTPUTS[1], OUTPUTS[13], OUTPUTS[90]) == ("person", "stop sign", "toothbrush")
    original = read(three_outputs)
    with pytest.raises(InputError, match="--labels: expected a file with the names of the 3 classes"):
        names_of_outputs(original, None)
    labels = tmp_path / "labels.txt"
    labels.write_text("__background__\ncat\ndog\n")
    assert names_of_outputs(original, labels) == NAMES
    labels.write_text("cat\ndog\n")
    with pytest.raises(InputError, match=r"expected 3 different names.*Received: 2\. A line __background__"):
        names_of_outputs(original, labels)
    labels.write_text("cat\ncat\ndog\n")
    with pytest.raises(InputError, match="Received: 3, cat twice"):
        names_of_outputs(original, labels)


def test_a_class_that_the_checkpoint_does_not_have_is_refused(three_outputs):
    original = read(three_outputs)
    with pytest.raises(InputError, match="Received: 'dgo'. Did you mean 'dog'"):
        build(original, settings_of(original), names=NAMES, classes=("dgo",))


def test_anchors_that_are_not_those_of_the_heads_are_refused(three_outputs):
    original = read(three_outputs)
    with pytest.raises(InputError, match="expected 9 anchors a cell.*Received: 1 scales and 3 ratios, 3 anchors"):
        build(original, settings_of(original, anchors={"scales": [1.0]}), names=NAMES)


def test_heads_of_different_anchors_are_refused(three_outputs):
    tensors = {**three_outputs, "head.regression_head.bbox_reg.bias": np.zeros(20, np.float32)}
    with pytest.raises(InputError, match="Received: 20 values of boxes and 27 of classes in a cell"):
        read(tensors)


def test_what_does_not_fit_is_named_with_what_fits(three_outputs):
    tensors = dict(three_outputs)
    del tensors["backbone.fpn.extra_blocks.p7.bias"]
    tensors["backbone.body.conv1.weight"] = np.zeros((64, 4, 7, 7), np.float32)
    tensors["backbone.body.layer3.6.conv1.weight"] = np.zeros((1, 1, 1, 1), np.float32)
    tensors["backbone.body.bn1.num_batches_tracked"] = np.array(7)  # a counter that nobody misses
    original = read(tensors)
    with pytest.raises(InputError) as error:
        build(original, settings_of(original), names=NAMES)
    told = str(error.value)
    assert f"expected the {len(three_outputs)} tensors" in told and f"{len(three_outputs) - 2} that fit" in told
    assert "missing: backbone.fpn.extra_blocks.p7.bias;" in told
    assert "backbone.body.conv1.weight [64, 4, 7, 7] for conv1_conv [7, 7, 3, 64]" in told
    assert "without a place: backbone.body.layer3.6.conv1.weight." in told
    assert "\n" not in told


def test_another_network_is_no_torchvision_retinanet():
    assert read_torchvision(Checkpoint(FILE, {"fc.weight": np.zeros((10, 4))}), None) is None


def test_the_second_version_is_told_by_its_group_norms(state_dictionary):
    tensors = state_dictionary(3, is_second=True)
    original = read(tensors)
    assert original.name.endswith("_v2") and "epsilon 1e-05" in original.told
    model, _ = build(original, settings_of(original), names=NAMES)
    scale, offset = model.get_layer("boxes_3_group_norm").get_weights()
    np.testing.assert_array_equal(scale, tensors["head.regression_head.conv.3.1.weight"])
    np.testing.assert_array_equal(offset, tensors["head.regression_head.conv.3.1.bias"])
    assert model.get_layer("boxes_3_group_norm").groups == 32
    assert model.get_layer("pyramid_output_6").input_shape[-1] == 2048  # from C5
