"""The detector is flat, starts at the prior, and the paper's own model is built and trained by the same functions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.matching import targets
from keras_retina.losses import BoxLoss, FocalLoss
from keras_retina.model.retinanet import detector_network
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.backbones import BACKBONE_ALPHAS
from keras_retina.recipe.model import Backbone, Head, Input, Model, Pyramid
from keras_retina.recipe.recipe import Recipe, load_recipe
from keras_retina.train.optimizer import build_optimizer

RECIPES = Path(__file__).parents[3] / "recipes"
RANDOM = {"weights": "none", "frozen_stages": 0, "batch_norm": "trained"}
# What turns a recipe of the paper's model into one for a quick test, its layers left as they are.
SMALL_AND_RANDOM = [
    "model.backbone.weights=none",
    "model.backbone.frozen_stages=0",
    "model.backbone.batch_norm=trained",
    "model.input.height=128",
    "model.input.width=128",
    "training.warmup_steps=0",
]


@pytest.fixture(scope="module")
def papers_recipe() -> Recipe:
    return load_recipe(RECIPES / "coco" / "coco_resnet50_800.yaml", SMALL_AND_RANDOM)


@pytest.fixture(scope="module")
def papers_model(papers_recipe) -> keras.Model:
    keras.utils.set_random_seed(0)
    return detector_network(papers_recipe.model, 80)


def small(**changes) -> Model:
    defaults = {
        "backbone": Backbone(alpha=0.35, **RANDOM),
        "input": Input(height=64, width=96),
        "pyramid": Pyramid(levels=(3, 5), width=16),
        "head": Head(width=16, convolutions=1),
    }
    return Model(**{**defaults, **changes})


@pytest.mark.parametrize("alpha", BACKBONE_ALPHAS["mobilenet_v2"])
def test_every_mobilenet_width_builds_a_detector_with_a_row_for_each_anchor(alpha: float):
    settings = small(backbone=Backbone(alpha=alpha, **RANDOM))
    model = detector_network(settings, 5)
    anchors = len(detector_spec(settings, ("a", "b", "c", "d", "e")).anchors())
    assert anchors == (8 * 12 + 4 * 6 + 2 * 3) * 9
    assert model.input_shape == (None, 64, 96, 3)
    assert model.output_shape == {"classes": (None, anchors, 5), "boxes": (None, anchors, 4)}


def test_the_model_is_flat_and_made_of_layers_that_load_without_our_code(tiny_detector):
    model, _ = tiny_detector
    for layer in model.layers:
        assert not isinstance(layer, keras.Model), layer.name
        assert type(layer).__module__.startswith("tf_keras."), layer.name
        assert type(layer).__name__ not in {"Lambda", "TFOpLambda", "SlicingOpLambda", "SeparableConv2D"}, layer.name
    names = [layer.name for layer in model.layers]
    assert len(set(names)) == len(names)


def test_no_batch_norm_stands_outside_the_backbone(tiny_detector):
    model, _ = tiny_detector
    norms = [layer.name for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert not any(name.startswith(("pyramid", "classes", "boxes")) for name in norms)


@pytest.mark.parametrize("convolution", ["separable", "full"])
def test_scores_start_near_the_prior_and_deltas_near_zero(convolution: str):
    keras.utils.set_random_seed(0)
    settings = small(
        pyramid=Pyramid(levels=(3, 5), width=16, convolution=convolution),
        head=Head(width=16, convolutions=2, convolution=convolution),
    )
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 96, 3)).astype(np.float32)
    outputs = detector_network(settings, 3)(images, training=True)
    scores = tf.sigmoid(outputs["classes"]).numpy()
    assert scores.mean() == pytest.approx(0.01, rel=0.1)
    assert 0.005 < scores.min() <= scores.max() < 0.02
    assert np.abs(outputs["boxes"]).max() < 0.5
    assert abs(np.mean(outputs["boxes"])) < 0.02


def test_the_box_outputs_of_a_cell_are_its_anchors_in_order(tiny_detector):
    model = keras.models.clone_model(tiny_detector[0])
    layer = model.get_layer("boxes_prediction_pointwise")
    kernel, bias = layer.get_weights()
    layer.set_weights([np.zeros_like(kernel), np.arange(len(bias), dtype=np.float32)])
    rows = model.predict(np.zeros((1, 128, 128, 3), np.float32), verbose=0)["boxes"][0]
    np.testing.assert_allclose(rows, np.tile(np.arange(36).reshape(9, 4), (len(rows) // 9, 1)))


def test_a_change_in_the_image_shows_first_at_the_anchors_that_are_there():
    keras.utils.set_random_seed(0)
    settings = small(input=Input(height=128, width=192), backbone=Backbone(alpha=0.5, **RANDOM))
    model, spec = detector_network(settings, 2), detector_spec(settings, ("a", "b"))
    generator = np.random.default_rng(1)
    image = generator.uniform(-1, 1, (1, 128, 192, 3)).astype(np.float32)
    changed = image.copy()
    changed[:, 20:36, 132:148] = generator.uniform(-1, 1, (1, 16, 16, 3))
    # Batch statistics of each image alone keep a random network alive.
    difference = model(changed, training=True)["boxes"] - model(image, training=True)["boxes"]
    strength = np.abs(difference)[0].sum(axis=1)
    anchors = spec.anchors()
    for first, count, stride in ((0, 16 * 24 * 9, 8), (16 * 24 * 9, 8 * 12 * 9, 16)):
        level = slice(first, first + count)
        weights = strength[level] / strength[level].sum()
        centres = (anchors[level, :2] + anchors[level, 2:]) / 2
        strongest = centres[np.argmax(weights)]
        assert np.abs(strongest - [28, 140]).max() <= 2 * stride


def test_the_papers_model_has_the_papers_number_of_weights(papers_model):
    """ResNet-50 without its top, and 4 x 256 heads: every term by hand from the paper's section 4."""
    convolution = 9 * 256 * 256 + 256
    resnet = 23_587_712
    laterals = sum(channels * 256 + 256 for channels in (512, 1024, 2048))
    pyramid = laterals + 3 * convolution + (9 * 2048 * 256 + 256) + convolution
    classes = 4 * convolution + 9 * 256 * 9 * 80 + 9 * 80
    boxes = 4 * convolution + 9 * 256 * 9 * 4 + 9 * 4
    assert papers_model.count_params() == resnet + pyramid + classes + boxes


def test_torchvisions_first_version_has_as_many_parameters(papers_recipe):
    """34,068,119 with 91 classes. Keras' ResNet has biases in its convolutions besides, and counts moving averages."""
    pyramid = papers_recipe.model.pyramid.model_copy(update={"p6_from": "p5"})
    model = detector_network(papers_recipe.model.model_copy(update={"pyramid": pyramid}), 91)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    channels = sum(layer.gamma.shape[0] for layer in norms)
    assert channels == 26_560
    assert model.count_params() - 2 * channels - channels == 34_068_119


@pytest.mark.parametrize(("source", "channels"), [("c5", 2048), ("m5", 256), ("p5", 256)])
def test_level_6_is_made_from_what_the_recipe_says(papers_recipe, source: str, channels: int):
    pyramid = papers_recipe.model.pyramid.model_copy(update={"p6_from": source})
    model = detector_network(papers_recipe.model.model_copy(update={"pyramid": pyramid}), 2)
    layer = model.get_layer("pyramid_output_6")
    before = layer.inbound_nodes[0].inbound_layers.name
    assert layer.kernel.shape[2] == channels
    assert before == {"c5": "conv5_block3_out", "m5": "pyramid_lateral_5", "p5": "pyramid_output_5"}[source]


@pytest.mark.parametrize(
    ("scale", "anchors"), [(400, 49104), (500, 76725), (600, 110484), (700, 150381), (800, 196416)]
)
def test_the_papers_scales_have_nine_anchors_a_cell(scale: int, anchors: int):
    """512 px have (64 ** 2 + 32 ** 2 + 16 ** 2 + 8 ** 2 + 4 ** 2) * 9 = 49,104."""
    recipe = load_recipe(RECIPES / "coco" / f"coco_resnet50_{scale}.yaml")
    assert len(detector_spec(recipe.model, ("a",)).anchors()) == anchors


def test_the_papers_anchors_are_32_to_813_pixels_and_nine_in_a_cell():
    recipe = load_recipe(RECIPES / "coco" / "coco_resnet50_800.yaml")
    spec = detector_spec(recipe.model, tuple(str(number) for number in range(80)))
    anchors = spec.anchors()
    sides = np.sqrt((anchors[:, 2] - anchors[:, 0]) * (anchors[:, 3] - anchors[:, 1]))
    assert sides.min() == pytest.approx(32)
    assert sides.max() == pytest.approx(512 * 2 ** (2 / 3), rel=1e-4)  # 812.7
    assert len(anchors) == 9 * sum((1024 // stride) ** 2 for stride in (8, 16, 32, 64, 128))


def test_the_papers_schedule_is_90_000_steps_divided_by_10_at_60_000_and_80_000():
    recipe = load_recipe(RECIPES / "coco" / "coco_resnet50_800.yaml")
    rate = build_optimizer(recipe.training, recipe.training.steps_per_epoch)._learning_rate
    rates = [float(rate(tf.constant(step))) for step in (500, 59_999, 60_000, 79_999, 80_000, 89_999)]
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.001, 0.001, 0.0001, 0.0001], rtol=1e-5)
    assert float(rate(tf.constant(250))) == pytest.approx(0.005)


def one_batch(recipe: Recipe):
    """A noise image with one object, and its targets."""
    spec = detector_spec(recipe.model, tuple(str(number) for number in range(80)))
    pixels = np.random.default_rng(0).uniform(-1, 1, (1, spec.height, spec.width, 3)).astype(np.float32)
    boxes, classes, crowd = np.array([[30.0, 20.0, 80.0, 90.0]], np.float32), np.array([7], np.int32), np.array([False])
    labels = {"classes": classes[None], "ignored": crowd[None]}
    options = {"matching": recipe.training.matching, "coder_weights": spec.coder_weights}
    return pixels, targets(spec.grid, boxes[None], **labels, **options)


def test_the_papers_model_takes_training_steps_that_lower_its_loss(papers_model, papers_recipe):
    model, recipe, loss = papers_model, papers_recipe, papers_recipe.training.loss
    model.compile(
        build_optimizer(recipe.training, recipe.training.steps_per_epoch),
        {"classes": FocalLoss(loss.alpha, loss.gamma), "boxes": BoxLoss(loss.box_beta)},
        run_eagerly=True,
    )
    pixels, wanted = one_batch(recipe)
    losses = [model.train_on_batch(pixels, wanted, return_dict=True)["loss"] for _ in range(3)]
    assert np.isfinite(losses).all()
    assert losses == sorted(losses, reverse=True), losses
    assert losses[-1] < 0.97 * losses[0]
    assert int(model.optimizer.iterations) == 3


def test_the_deeper_model_of_the_paper_builds_with_the_same_outputs():
    recipe = load_recipe(RECIPES / "coco" / "coco_resnet101_800.yaml", SMALL_AND_RANDOM)
    model = detector_network(recipe.model, 80)
    assert model.output_shape == {"classes": (None, 3069, 80), "boxes": (None, 3069, 4)}
    assert sum(layer.name.endswith("_3_conv") for layer in model.layers) == 33
    assert model.count_params() == 57_118_836
