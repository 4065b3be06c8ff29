"""KerasCV's tensors inside our layers, its configuration as a recipe, and what is refused in one line."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.model.imports import build, names_of_outputs, read_original
from keras_retina.recipe.model import Model
from keras_retina.recipe.recipe import recipe_from_fields

RESNET = {
    "stackwise_filters": [64, 128, 256, 512],
    "stackwise_blocks": [3, 4, 6, 3],
    "stackwise_strides": [1, 2, 2, 2],
    "block_type": "block",
    "include_rescaling": True,
    "input_shape": [200, 256, 3],
}
ANCHORS = {
    "sizes": [32.0, 64.0, 128.0, 256.0, 512.0],
    "aspect_ratios": [0.5, 1.0, 2.0],
    "scales": [1, 1.5],
    "strides": [8, 16, 32, 64, 128],
    "clip_boxes": True,
}
PER_CELL = 6


def saved(name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": name, "config": config, "registered_name": f"keras_cv>{name}"}


def detector(**changes: Any) -> dict[str, Any]:
    encoder = saved(
        "RetinaNetLabelEncoder",
        anchor_generator=saved("AnchorGenerator", **ANCHORS),
        positive_threshold=0.5,
        negative_threshold=0.4,
        box_variance=[0.1, 0.1, 0.2, 0.2],
    )
    parts = {
        "num_classes": 2,
        "backbone": saved("ResNetBackbone", **RESNET),
        "label_encoder": encoder,
        "prediction_decoder": saved("NonMaxSuppression", iou_threshold=0.45, max_detections=60),
        "classification_head": saved("PredictionHead", num_conv_layers=3),
        "box_head": saved("PredictionHead", num_conv_layers=3),
    }
    return saved("RetinaNet", **{**parts, **changes})


def shapes() -> dict[str, tuple[int, ...]]:
    """Places and shapes of the variables, as Keras 2 writes them."""
    found: dict[str, tuple[int, ...]] = {}
    convolutions = [(7, 7, 3, 64)]
    inputs = 64
    for width, count in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(count):
            shortcut = [(1, 1, inputs, 4 * width)] if block == 0 else []
            convolutions += [(1, 1, inputs, width), (3, 3, width, width), *shortcut, (1, 1, width, 4 * width)]
            inputs = 4 * width
    for number, shape in enumerate(convolutions):
        digits = f"_{number}" if number else ""
        found[f"layers/functional/layers/conv2d{digits}/vars/0"] = shape
        for place in range(4):
            found[f"layers/functional/layers/batch_normalization{digits}/vars/{place}"] = shape[-1:]
    kernels = {f"layers/feature_pyramid/conv_c{level}_1x1": (1, 1, 64 * 2**level, 256) for level in (3, 4, 5)}
    for level in range(3, 8):
        kernels[f"layers/feature_pyramid/conv_c{level}_3x3"] = (3, 3, 2048 if level == 6 else 256, 256)
    for head, values in (("prediction_head", 4), ("prediction_head_1", 2)):
        for digits in ("", "_1", "_2"):
            kernels[f"layers/{head}/conv_layers/conv2d{digits}"] = (3, 3, 256, 256)
        kernels[f"layers/{head}/prediction_layer"] = (3, 3, 256, PER_CELL * values)
    for place, shape in kernels.items():
        found |= {f"{place}/vars/0": shape, f"{place}/vars/1": shape[-1:]}
    return {**found, "metrics/matched_boxes_metric/vars/0": ()}


@pytest.fixture(scope="module")
def h5_bytes() -> bytes:
    generator, content = np.random.default_rng(0), io.BytesIO()
    with h5py.File(content, "w") as file:
        for place, shape in shapes().items():
            values = generator.random(shape, np.float32) if "prediction" in place else np.full(shape, 0.5)
            file.create_dataset(place, data=np.asarray(values, np.float16))
    return content.getvalue()


@pytest.fixture
def keras_file(tmp_path, h5_bytes):
    """`keras_file(configuration)`: the path of a `.keras` with it."""

    def write(config: dict[str, Any]) -> Path:
        path = tmp_path / "detector.keras"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", json.dumps(config))
            archive.writestr("model.weights.h5", h5_bytes)
        return path

    return write


def recipe_of(original):
    return recipe_from_fields({"name": "cv", **copy.deepcopy(dict(original.fields))}, "import")


def test_the_recipe_is_that_of_the_configuration(keras_file):
    original = read_original(keras_file(detector()))
    recipe = recipe_of(original)
    anchors = recipe.model.anchors
    assert (recipe.model.input.height, recipe.model.input.width) == (256, 256)
    assert "input 256x256 instead of 200x256" in original.told
    assert (anchors.size, anchors.scales, anchors.ratios) == (4.0, (1.0, 1.5), (2.0, 1.0, 0.5))  # height / width
    assert anchors.clip and anchors.offset == 0.5 and not anchors.whole_pixels
    assert recipe.model.coder_weights == (10.0, 10.0, 5.0, 5.0)
    assert (recipe.export.nms, recipe.export.iou_threshold, recipe.export.max_detections) == ("fast", 0.45, 60)
    with pytest.raises(InputError, match="--labels: expected a file with the names of the 2 classes"):
        names_of_outputs(original, None)


def test_every_tensor_has_its_place_and_the_scales_of_a_ratio_come_together(keras_file):
    original = read_original(keras_file(detector()))
    settings = recipe_of(original).model
    settings = settings.model_copy(update={"input": settings.input.model_copy(update={"height": 128, "width": 128})})
    model, spec = build(original, settings, names=("cat", "dog"), classes=("dog", "cat"))
    _, bias = model.get_layer("classes_prediction").get_weights()
    theirs = original.tensors["layers/prediction_head_1/prediction_layer/1"].reshape(2, 3, 2)  # scale, ratio, class
    np.testing.assert_array_equal(bias.reshape(3, 2, 2), theirs.transpose(1, 0, 2)[..., ::-1])
    kernel, _ = model.get_layer("boxes_prediction").get_weights()
    theirs = original.tensors["layers/prediction_head/prediction_layer/0"].reshape(3, 3, 256, 2, 3, 4)
    np.testing.assert_array_equal(kernel.reshape(3, 3, 256, 3, 2, 4), theirs.transpose(0, 1, 2, 4, 3, 5))
    scale, offset = model.get_layer("pixel_scaling").get_weights()
    np.testing.assert_allclose(spec.scale(np.array([0.0, 255.0])) * scale.ravel()[0] + offset[0], [0, 1], atol=1e-6)
    assert spec.anchors().min() == 0 and spec.anchors().max() == 128


def test_a_preset_and_pixels_up_to_255_are_read_too(tmp_path, h5_bytes):
    (tmp_path / "model.weights.h5").write_bytes(h5_bytes)
    config = detector(backbone=saved("ResNetBackbone", **{**RESNET, "include_rescaling": False, "input_shape": None}))
    (tmp_path / "config.json").write_text(json.dumps(config))
    for path in (tmp_path, tmp_path / "model.weights.h5"):
        original = read_original(path)
        assert "input 640x640, since it takes images of any size" in original.told
    (scaling, *_) = original.parts(np.arange(2), Model())
    scale, offset = scaling.convert()
    np.testing.assert_allclose(scale.ravel() + offset, 255.0)


def test_missing_tensors_are_named(keras_file):
    heads = {name: saved("PredictionHead", num_conv_layers=4) for name in ("classification_head", "box_head")}
    original = read_original(keras_file(detector(**heads)))
    with pytest.raises(InputError, match=r"missing: layers/prediction_head/conv_layers/conv2d_3/0.*") as error:
        build(original, recipe_of(original).model, names=("cat", "dog"))
    assert "\n" not in str(error.value)


def encoder_with(**changes: Any) -> dict[str, Any]:
    found = detector()["config"]["label_encoder"]
    return {**found, "config": {**found["config"], **changes}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"backbone": saved("YOLOV8Backbone")}, "expected ResNetBackbone as backbone. Received: YOLOV8Backbone"),
        ({"backbone": saved("ResNetBackbone", **{**RESNET, "block_type": "basic_block"})}, "expected block_type block"),
        ({"label_encoder": encoder_with(box_variance=[1, 1, 1, 1])}, "expected box_variance"),
        (
            {"label_encoder": encoder_with(anchor_generator=saved("AnchorGenerator", **{**ANCHORS, "sizes": [1] * 5}))},
            "expected anchors on strides",
        ),
        ({"box_head": saved("PredictionHead", num_conv_layers=2)}, "expected heads of the same depth"),
        ({"box_head": saved("MyHead")}, "expected PredictionHead as box_head. Received: MyHead"),
        ({"prediction_decoder": saved("MultiClassNonMaxSuppression")}, "expected NonMaxSuppression"),
        ({"num_classes": 0}, "expected a number above 0 as num_classes"),
    ],
)
def test_what_our_network_does_not_have_is_refused_by_name(keras_file, changes, expected):
    path = keras_file(detector(**changes))
    with pytest.raises(InputError, match=expected) as error:
        recipe_of(read_original(path))
    assert "\n" not in str(error.value) and str(path) in str(error.value)
