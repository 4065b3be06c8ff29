"""Every backbone gives features of strides 8, 16 and 32, and what is frozen neither moves nor asks for gradients."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.backbones import BACKBONES, backbone_features, backbone_layers, freeze
from keras_retina.model.graph import multiply_adds
from keras_retina.model.layers import LAYERS
from keras_retina.model.weights.pretrained import find_weights, load_pretrained
from keras_retina.model.weights.starts import STARTS
from keras_retina.recipe.backbones import BACKBONE_ALPHAS, BACKBONE_FACTS, BACKBONE_STARTS, BackboneName
from keras_retina.recipe.model import Backbone


def network(settings: Backbone, height: int = 64, width: int = 96) -> keras.Model:
    """Only the backbone, on a small input, frozen as the settings say."""
    image = keras.Input((height, width, 3), name="image")
    model = keras.Model(image, backbone_features(image, settings))
    freeze(model, settings)
    return model


@pytest.fixture(scope="module")
def smallest() -> keras.Model:
    """MobileNetV2 0.35; tests freeze it anew."""
    return network(Backbone(alpha=0.35, frozen_stages=0, batch_norm="trained"))


def stage_of(layer_names: list[str], stages: tuple[str, ...]) -> dict[str, int]:
    """1 for the stem, 2 for the layers from `stages[0]` on, and so on."""
    bounds = [layer_names.index(stage) for stage in stages]
    return {name: 1 + sum(index >= bound for bound in bounds) for index, name in enumerate(layer_names)}


def test_the_backbones_of_a_recipe_are_those_that_can_be_built():
    assert set(get_args(BackboneName)) == set(BACKBONE_ALPHAS) == set(BACKBONES)


def test_the_starts_of_a_recipe_are_those_that_are_described():
    named = {name: list(starts) for name, starts in BACKBONE_STARTS.items()}
    assert named == {name: [start.name for start in starts] for name, starts in STARTS.items()}
    assert set(named) == set(BACKBONES)
    for name, starts in STARTS.items():
        for start in starts:
            assert ("{alpha}" in start.file) == (len(BACKBONE_ALPHAS[name]) > 1)
            assert set(BACKBONE_STARTS[name][start.name]) <= set(BACKBONE_ALPHAS[name])
            assert start.keras_file or start.package
            assert start.package is None or start.package_alpha in BACKBONE_STARTS[name][start.name]


@pytest.mark.parametrize("name", get_args(BackboneName))
def test_every_backbone_has_strides_8_16_32_known_layers_and_stages_in_order(name: BackboneName):
    settings = Backbone(name=name, weights="none", frozen_stages=0, batch_norm="trained")
    model = network(settings)
    assert [model.output_shape[level][1:3] for level in (3, 4, 5)] == [(8, 12), (4, 6), (2, 3)]
    layers = backbone_layers(model, settings)
    assert {type(layer) for layer in layers} <= set(LAYERS)
    assert layers[-1].name == BACKBONES[name].features[-1]
    facts = BACKBONE_FACTS[name]
    assert tuple(model.output_shape[level][3] for level in (3, 4, 5)) == facts.channels
    grows = 64 * 96 / 224**2  # all but squeeze-and-excitation, which is up to a sixth here, grows with the area
    assert multiply_adds(model) / 1e6 == pytest.approx(facts.work * grows, rel=0.2)
    names = [layer.name for layer in layers]
    places = [names.index(stage) for stage in BACKBONES[name].stages]
    assert places == sorted(places) and places[0] > 0 and len(set(places)) == 4
    # Each stage begins where the stride doubles, or before the first block of a stride; C3 is not before the third.
    assert names.index(BACKBONES[name].features[0]) > places[1]
    freeze(model, settings.model_copy(update={"frozen_stages": 4}))
    trained = [layer.name for layer in layers if layer.trainable_weights]
    assert trained and set(trained) <= set(names[places[3] :])


@pytest.mark.parametrize(
    ("name", "channels", "parameters"),
    [
        # Without the classifier; Keras counts moving averages. The sums are torchvision's and those of the norms.
        ("resnet18", (128, 256, 512), 11_176_512 + 2 * 4_800),
        ("resnet34", (128, 256, 512), 21_284_672 + 2 * 8_512),
        ("resnet152", (512, 1024, 2048), 58_370_944),
        ("resnext50_32x4d", (512, 1024, 2048), 22_979_904 + 2 * 34_112),
        ("resnet50_torchvision", (512, 1024, 2048), 23_508_032 + 2 * 26_560 + 3 + 3),  # and a scaling of the pixels
        ("resnet50_model_garden", (512, 1024, 2048), 23_508_032 + 2 * 26_560),
        ("resnet50_keras_cv", (512, 1024, 2048), 23_508_032 + 2 * 26_560 + 3 + 3),
        ("mobilenet_v1", (256, 512, 1024), 3_228_864),
        ("efficientnet_lite1", (40, 112, 320), None),
        ("efficientnet_lite4", (56, 160, 448), None),
    ],
)
def test_a_backbone_is_as_wide_and_as_large_as_published(name, channels, parameters):
    model = network(Backbone(name=name, weights="none", frozen_stages=0, batch_norm="trained"))
    assert tuple(model.output_shape[level][3] for level in (3, 4, 5)) == channels
    assert parameters is None or model.count_params() == parameters


def test_a_backbone_that_does_not_exist_is_refused_and_not_taken_for_another(smallest):
    unknown = Backbone().model_copy(update={"name": "resnet5"})
    for use in (
        lambda: backbone_features(keras.Input((64, 64, 3)), unknown),
        lambda: backbone_layers(smallest, unknown),
        lambda: freeze(smallest, unknown),
        lambda: find_weights(unknown, None),
        lambda: load_pretrained(smallest, unknown, source="imagenet"),
    ):
        with pytest.raises(InputError, match="Received: name='resnet5'. Did you mean 'resnet50'"):
            use()


@pytest.mark.parametrize("alpha", [0.35, 1.0, 1.4])
def test_mobilenet_gives_features_of_strides_8_16_32_and_of_its_width(alpha: float):
    features = network(Backbone(alpha=alpha)).output_shape
    assert [features[level][1:3] for level in (3, 4, 5)] == [(8, 12), (4, 6), (2, 3)]
    full_width = {3: 32, 4: 96, 5: 320}
    for level, channels in full_width.items():
        nearest = max(8, int(channels * alpha + 4) // 8 * 8)
        assert features[level][3] == (nearest if nearest >= 0.9 * channels * alpha else nearest + 8)


def test_efficientnet_gives_features_of_strides_8_16_32_and_its_stages_begin_where_the_stride_doubles():
    settings = Backbone(name="efficientnet_lite0", frozen_stages=3, batch_norm="frozen")
    model = network(settings)
    assert model.output_shape == {3: (None, 8, 12, 40), 4: (None, 4, 6, 112), 5: (None, 2, 3, 320)}
    layers = backbone_layers(model, settings)
    assert layers[-1].name == "block7a_project_bn"
    stages = stage_of([layer.name for layer in layers], BACKBONES["efficientnet_lite0"].stages)
    expected = {"stem": 1, "block1": 1, "block2": 2, "block3": 3, "block4": 4, "block5": 4, "block6": 5, "block7": 5}
    for name, stage in stages.items():
        assert stage == expected[name.split("_")[0].rstrip("abcd")], name
    trained = {layer.name.split("_")[0].rstrip("abcd") for layer in layers if layer.trainable_weights}
    assert trained == {"block4", "block5", "block6", "block7"}
    assert {type(layer) for layer in layers} <= set(LAYERS)


def test_efficientnet_of_keras_3_is_refused_with_the_way_out(monkeypatch):
    import keras_cv.models

    monkeypatch.setattr(keras_cv.models, "EfficientNetLiteBackbone", dict)  # no model of our Keras
    with pytest.raises(InputError, match="Received: KerasCV with Keras 3.*TF_USE_LEGACY_KERAS=1"):
        network(Backbone(name="efficientnet_lite0"))


def test_the_plain_backbone_gives_features_of_strides_8_16_32_and_freezes_by_stage():
    settings = Backbone(name="plain", weights="none", frozen_stages=0, batch_norm="trained")
    model = network(settings)
    assert model.output_shape == {3: (None, 8, 12, 64), 4: (None, 4, 6, 96), 5: (None, 2, 3, 128)}
    names = [layer.name for layer in backbone_layers(model, settings)]
    assert [names.index(stage) for stage in BACKBONES["plain"].stages] == [3, 6, 12, 18]
    freeze(model, settings.model_copy(update={"frozen_stages": 2}))
    assert [layer.name for layer in model.layers if layer.trainable and layer.weights][0] == "plain_2_conv"


def test_the_backbone_of_a_detector_is_all_of_it_and_nothing_of_ours(tiny_detector, tiny_recipe):
    model, _ = tiny_detector
    inside = {layer.name for layer in backbone_layers(model, tiny_recipe.model.backbone)}
    ours = {layer.name for layer in model.layers} - inside
    assert all(name.startswith(("image", "pyramid_", "classes", "boxes")) for name in ours)
    assert not any(name.startswith(("image", "pyramid_", "classes", "boxes")) for name in inside)
    application = keras.applications.MobileNetV2(alpha=0.35, include_top=False, weights=None, input_shape=(128, 128, 3))
    names = [layer.name for layer in application.layers]
    assert inside == set(names[1 : names.index("block_16_project_BN") + 1])


@pytest.mark.parametrize("frozen_stages", range(6))
def test_frozen_stages_come_first_and_batch_norm_is_frozen_everywhere_or_behind_them(smallest, frozen_stages):
    for batch_norm in ("frozen", "trained"):
        settings = Backbone(alpha=0.35, frozen_stages=frozen_stages, batch_norm=batch_norm)
        freeze(smallest, settings)
        layers = backbone_layers(smallest, settings)
        stages = stage_of([layer.name for layer in layers], BACKBONES["mobilenet_v2"].stages)
        assert max(stages.values()) == 5
        for layer in layers:
            is_frozen_norm = isinstance(layer, keras.layers.BatchNormalization) and batch_norm == "frozen"
            assert layer.trainable == (stages[layer.name] > frozen_stages and not is_frozen_norm), layer.name
    freeze(smallest, Backbone(alpha=0.35, frozen_stages=0, batch_norm="trained"))


def test_a_resnet_gives_features_of_strides_8_16_32_and_its_stages_begin_where_the_paper_begins_them():
    settings = Backbone(name="resnet50", frozen_stages=2, batch_norm="frozen")
    model = network(settings)
    assert model.output_shape == {3: (None, 8, 12, 512), 4: (None, 4, 6, 1024), 5: (None, 2, 3, 2048)}
    assert sum(layer.name.endswith("_3_conv") for layer in model.layers) == 16
    layers = backbone_layers(model, settings)
    stages = stage_of([layer.name for layer in layers], BACKBONES["resnet50"].stages)
    for name, stage in stages.items():
        prefix = name.split("_")[0]
        assert stage == (1 if prefix in {"conv1", "pool1"} else int(prefix.removeprefix("conv"))), name
    trained = {layer.name.split("_")[0] for layer in layers if layer.trainable_weights}
    assert trained == {"conv3", "conv4", "conv5"}


def test_a_training_step_moves_no_frozen_weight_and_no_frozen_statistic(smallest):
    settings = Backbone(alpha=0.35, frozen_stages=3, batch_norm="frozen")
    freeze(smallest, settings)
    images = tf.random.stateless_uniform([2, 64, 96, 3], [0, 1], -1, 1)
    before = {variable.name: variable.numpy() for variable in smallest.variables}
    with tf.GradientTape() as tape:
        outputs = smallest(images, training=True)
        loss = tf.add_n([tf.reduce_sum(tf.square(value)) for value in outputs.values()])
    trainable = {variable.name for variable in smallest.trainable_variables}
    gradients = tape.gradient(loss, smallest.trainable_variables)
    assert {"block_6_expand/kernel:0", "block_16_project/kernel:0"} <= trainable
    assert not any(name.startswith(("Conv1", "expanded", "block_1_", "block_3_", "block_5_")) for name in trainable)
    assert not any("BN" in name for name in trainable)
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
    optimizer = keras.optimizers.Adam(0.01, epsilon=1e-30)
    optimizer.apply_gradients(zip(gradients, smallest.trainable_variables, strict=True))
    for variable in smallest.variables:
        moved = not np.array_equal(before[variable.name], variable.numpy())
        assert moved == (variable.name in trainable), variable.name
    freeze(smallest, Backbone(alpha=0.35, frozen_stages=0, batch_norm="trained"))


def test_trained_batch_norm_follows_the_images(smallest):
    freeze(smallest, Backbone(alpha=0.35, frozen_stages=0, batch_norm="trained"))
    norm = smallest.get_layer("bn_Conv1")
    before = norm.moving_mean.numpy()
    smallest(tf.ones([2, 64, 96, 3]), training=True)
    assert not np.array_equal(before, norm.moving_mean.numpy())
