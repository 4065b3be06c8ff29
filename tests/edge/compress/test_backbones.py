"""What a backbone forbids is refused in one line that names the layer; what it allows keeps the count of its work."""

from __future__ import annotations

import numpy as np
import pytest

from edge.compress.channels.cost import multiply_add_cost
from edge.compress.channels.groups import prune_groups
from edge.compress.channels.prune import keep_channels, prune_to
from edge.compress.channels.rank import kernel_norms
from edge.compress.weights.sparsity import prunable_layers
from edge.export.convert import convert_heads
from edge.quantize.aware.model import quantizable
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.graph import multiply_adds
from keras_retina.model.retinanet import detector_network
from keras_retina.model.spec import DetectorSpec, detector_spec
from keras_retina.recipe.backbones import BackboneName
from keras_retina.recipe.model import Backbone, Head, Input, Model, Pyramid


def detector(name: BackboneName) -> tuple[keras.Model, DetectorSpec]:
    settings = Model(
        backbone=Backbone(name=name, weights="none", frozen_stages=0, batch_norm="trained"),
        input=Input(height=64, width=64),
        pyramid=Pyramid(levels=(3, 5), width=16),
        head=Head(width=16, convolutions=1),
    )
    return detector_network(settings, 2), detector_spec(settings, ("a", "b"))


@pytest.fixture(scope="module")
def weighted() -> tuple[keras.Model, DetectorSpec]:
    """Hard-swish and squeeze-and-excitation."""
    return detector("mobilenet_v3_small")


@pytest.fixture(scope="module")
def attentive() -> tuple[keras.Model, DetectorSpec]:
    return detector("mit_b0")


def test_channels_that_are_weighted_by_their_mean_are_pruned_with_their_weights(weighted):
    model, _ = weighted
    groups = prune_groups(model)
    assert multiply_add_cost(model, groups).of(np.array([group.channels for group in groups])) == multiply_adds(model)
    smaller = prune_to(model, 0.5, importance_of=kernel_norms)
    assert 0.4 < multiply_adds(smaller) / multiply_adds(model) <= 0.5
    gate = smaller.get_layer("expanded_conv_4_squeeze_excite_Mul")
    assert [shape[1:3] for shape in gate.input_shape] == [(4, 4), (1, 1)]
    assert len({shape[-1] for shape in gate.input_shape}) == 1
    assert gate.output_shape[-1] < model.get_layer(gate.name).output_shape[-1]
    outputs = smaller(np.zeros((1, 64, 64, 3), np.float32))
    assert all(np.isfinite(values).all() for values in outputs.values())


def test_a_mean_that_is_reshaped_keeps_to_the_channels_that_it_weights():
    """As keras.applications builds EfficientNetV2: the mean has no height and width until it is reshaped."""
    layers = keras.layers
    image = keras.Input((16, 16, 3), name="image")
    wide = layers.Conv2D(32, 3, padding="same", activation="swish", name="wide")(image)
    mean = layers.Reshape((1, 1, 32), name="reshaped")(layers.GlobalAveragePooling2D(name="mean")(wide))
    gate = layers.Conv2D(8, 1, activation="swish", name="reduce")(mean)
    gate = layers.Conv2D(32, 1, activation="sigmoid", name="expand")(gate)
    weighted = layers.Multiply(name="weighted")([wide, gate])
    model = keras.Model(image, {"classes": layers.Conv2D(2, 1, name="classes")(weighted)})
    (both,) = (group for group in prune_groups(model) if group.name == "wide")
    assert set(both.producers) == {"wide", "expand"} and set(both.consumers) == {"reduce", "classes"}
    smaller = keep_channels(model, [both], kept=[np.arange(32) % 2 == 0])
    assert smaller.get_layer("reshaped").target_shape == (1, 1, 16)
    pixels = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype(np.float32)
    cut = [values.copy() for values in model.get_layer("reduce").get_weights()]
    cut[0][:, :, 1::2] = 0.0
    model.get_layer("reduce").set_weights(cut)
    cut = [values.copy() for values in model.get_layer("classes").get_weights()]
    cut[0][:, :, 1::2] = 0.0
    model.get_layer("classes").set_weights(cut)
    np.testing.assert_allclose(smaller(pixels)["classes"], model(pixels)["classes"], rtol=1e-4, atol=1e-5)


def test_grouped_convolutions_and_layer_normalization_are_not_pruned(attentive):
    with pytest.raises(InputError, match="layer 'stage1_patch_norm' of kind LayerNormalization"):
        prune_groups(attentive[0])
    image = keras.Input((16, 16, 8), name="image")
    tensor = keras.layers.Conv2D(8, 3, padding="same", groups=4, name="grouped")(image)
    model = keras.Model(image, {"classes": keras.layers.Conv2D(2, 1, name="classes")(tensor)})
    with pytest.raises(InputError, match="layer 'grouped' of kind Conv2D with groups=4"):
        prune_groups(model)


def test_training_in_int8_and_clusters_are_refused_with_a_backbone_that_can(weighted, attentive):
    images = [np.zeros((1, 64, 64, 3), np.float32)]
    for (model, _), layer in ((weighted, "Conv_hard_swish_plus_3.*Rescaling"), (attentive, "LayerNormalization")):
        with pytest.raises(InputError, match=f"{layer}.*Choose a backbone without it, such as mobilenet_v2") as error:
            quantizable(model, images)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mobilenet_v3_small", "HARD_SWISH .*of layer 'Conv_hard_swish'"),
        ("mit_b0", "SQUARED_DIFFERENCE .*of layer 'stage1_patch_norm'"),
    ],
)
def test_what_has_no_16_bit_kernel_is_refused_before_it_ends_the_process(weighted, attentive, name, message):
    model, spec = weighted if name == "mobilenet_v3_small" else attentive
    image = np.zeros((1, 64, 64, 3), np.float32)
    with pytest.raises(InputError, match=f"int16 export.*{message}"):
        convert_heads(model, spec, kind="int16", samples=lambda: iter([[image]]))


def test_kernels_of_every_kind_of_block_may_be_sparse(weighted, attentive):
    assert "expanded_conv_squeeze_excite_Conv" in prunable_layers(weighted[0])
    assert {"stage1_block1_head0_query", "stage1_block1_reduce"} <= set(prunable_layers(attentive[0]))
