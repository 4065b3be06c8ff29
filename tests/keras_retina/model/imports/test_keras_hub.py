"""KerasHub's tensors inside our layers, its configuration as a recipe, and what is refused in one line."""

from __future__ import annotations

import copy
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.model.imports import build, names_of_outputs, read_original
from keras_retina.model.imports.keras_checkpoints.files import read_keras
from keras_retina.model.imports.keras_checkpoints.keras_hub import names_inside
from keras_retina.recipe.recipe import recipe_from_fields

NAMES = ("cat", "dog", "__background__")
RESNET = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 128, 256, 512],
    "stackwise_num_blocks": [3, 4, 6, 3],
    "stackwise_num_strides": [1, 2, 2, 2],
    "block_type": "bottleneck_block",
    "use_pre_activation": False,
}


def saved(name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": name, "config": config, "registered_name": f"keras_hub>{name}"}


def task(outputs: int = 3, *, is_second: bool = False) -> dict[str, Any]:
    encoder = saved("ResNetBackbone", **RESNET)
    backbone = saved(
        "RetinaNetBackbone",
        image_encoder=encoder,
        min_level=3,
        max_level=7,
        use_p5=is_second,
        use_fpn_batch_norm=False,
    )
    anchors = saved(
        "AnchorGenerator", min_level=3, max_level=7, num_scales=3, aspect_ratios=[0.5, 1.0, 2.0], anchor_size=4
    )
    return saved(
        "RetinaNetObjectDetector",
        backbone=backbone,
        num_classes=outputs,
        use_prediction_head_norm=is_second,
        pre_logits_num_conv_layers=4,
        anchor_generator=anchors,
        label_encoder=saved("RetinaNetLabelEncoder", positive_threshold=0.6, negative_threshold=0.4),
        prediction_decoder=saved("NonMaxSuppression", iou_threshold=0.55, max_detections=70),
    )


def converter(**config: Any) -> dict[str, Any]:
    return saved("Preprocessor", image_converter=saved("RetinaNetImageConverter", **config))


Layers = list[tuple[str, str, list[tuple[int, ...]]]]
"""Place in the file, name, shapes of the variables."""


def backbone_layers() -> Layers:
    """The layers of the ResNet in the order of Keras: the shortcut of a first block before its last convolution."""
    found: Layers = []

    def add(name: str, kernel: tuple[int, ...]) -> None:
        number = len(found) // 2
        digits = f"_{number}" if number else ""
        found.append((f"layers/functional/layers/conv2d{digits}", f"{name}_conv", [kernel]))
        found.append((f"layers/functional/layers/batch_normalization{digits}", f"{name}_bn", [kernel[-1:]] * 4))

    add("conv1", (7, 7, 3, 64))
    inputs = 64
    for stack, count in enumerate((3, 4, 6, 3)):
        width = 64 * 2**stack
        for block in range(count):
            name = f"stack{stack}_block{block}"
            add(f"{name}_1", (1, 1, inputs, width))
            add(f"{name}_2", (3, 3, width, width))
            if block == 0:
                add(f"{name}_0", (1, 1, inputs, 4 * width))
            add(f"{name}_3", (1, 1, width, 4 * width))
            inputs = 4 * width
    return found


def pyramid_layers() -> Layers:
    root = "layers/feature_pyramid"
    found: Layers = []
    for number, channels in enumerate((512, 1024, 2048)):
        digits = f"_{number}" if number else ""
        lateral = [(1, 1, channels, 256), (256,)]
        found.append((f"{root}/lateral_conv_layers/conv2d{digits}", f"lateral_conv_P{number + 3}", lateral))
    for number in range(5):
        name = f"{'output_conv' if number < 3 else 'coarser'}_P{number + 3}"
        place = f"{root}/output_conv_layers/conv2d{f'_{number}' if number else ''}"
        found.append((place, name, [(3, 3, 256, 256), (256,)]))
    return found


def head_layers(outputs: int) -> Layers:
    found: Layers = []
    for digits, values in (("", 4), ("_1", outputs)):
        root = f"layers/prediction_head{digits}"
        for number in range(4):
            place = f"{root}/conv_layers/conv2d{f'_{number}' if number else ''}"
            found.append((place, f"conv2d_{number}", [(3, 3, 256, 256), (256,)]))
        found.append((f"{root}/prediction_layer", "logits_layer", [(3, 3, 256, 9 * values), (9 * values,)]))
    return found


OUTER = {
    "layers/functional": "backbone",
    "layers/feature_pyramid": "fpn",
    "layers/prediction_head": "box_head",
    "layers/prediction_head_1": "classification_head",
}


def write_weights(path: Path, layers: Layers, *, has_names: bool = True) -> None:
    generator = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        for place, name in OUTER.items():
            if any(layer.startswith(f"{place}/") for layer, *_ in layers):
                group = file.create_group(f"{place}/vars")
                group.attrs.update({"name": name} if has_names else {})
        for place, name, shapes in layers:
            group = file.create_group(f"{place}/vars")
            group.attrs.update({"name": name} if has_names else {})
            for number, shape in enumerate(shapes):
                is_prediction = name == "logits_layer"
                values = generator.random(shape, np.float32) if is_prediction else np.full(shape, 0.5)
                group.create_dataset(str(number), data=values.astype(np.float16))


def write_preset(folder: Path, *, has_names: bool = True) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(task()["config"]["backbone"]))
    (folder / "task.json").write_text(json.dumps(task()))
    scales = {"scale": [1 / 255 / 0.2] * 3, "offset": [-2.0, -1.5, -1.0]}
    preprocessing = converter(image_size=[800, 640], pad_to_aspect_ratio=False, crop_to_aspect_ratio=False, **scales)
    (folder / "preprocessor.json").write_text(json.dumps(preprocessing))
    write_weights(folder / "model.weights.h5", backbone_layers() + pyramid_layers(), has_names=has_names)
    write_weights(folder / "task.weights.h5", head_layers(3), has_names=has_names)
    return folder


@pytest.fixture(scope="module")
def preset(tmp_path_factory) -> Path:
    return write_preset(tmp_path_factory.mktemp("hub") / "preset")


def changed(preset: Path, folder: Path, **files: Any) -> Path:
    """A copy with other JSON files; weights are links."""
    folder.mkdir()
    for path in preset.iterdir():
        (folder / path.name).symlink_to(path)
    for name, content in files.items():
        path = folder / f"{name}.json"
        path.unlink()
        path.write_text(json.dumps(content))
    return folder


def test_the_recipe_is_that_of_the_configuration(preset):
    original = read_original(preset)
    recipe = recipe_from_fields({"name": "hub", **copy.deepcopy(dict(original.fields))}, "import")
    model = recipe.model
    assert (model.input.height, model.input.width, model.input.resize) == (896, 640, "stretch")
    assert "input 896x640 instead of 800x640" in original.told
    assert model.anchors.size == 4.0 and model.anchors.offset == 0.0 and model.anchors.whole_pixels
    assert model.anchors.scales == (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    assert (model.pyramid.p6_from, model.pyramid.padding) == ("p5", "same")
    assert model.coder_weights == (1.0, 1.0, 1.0, 1.0) and not model.clip_boxes
    assert (recipe.export.nms, recipe.export.iou_threshold, recipe.export.max_detections) == ("fast", 0.55, 70)
    assert recipe.training.matching.positive == 0.6


def test_every_tensor_has_its_place_and_outputs_their_order(preset):
    original = read_original(preset)
    settings = recipe_from_fields({"name": "hub", **copy.deepcopy(dict(original.fields))}, "import").model
    settings = settings.model_copy(update={"input": settings.input.model_copy(update={"height": 128, "width": 128})})
    model, spec = build(original, settings, names=NAMES, classes=("dog", "cat"))
    assert spec.class_names == ("dog", "cat")
    kernel, bias = model.get_layer("classes_prediction").get_weights()
    theirs = original.tensors["classification_head/logits_layer/0"]
    for anchor in range(9):
        np.testing.assert_array_equal(kernel[..., 2 * anchor], theirs[..., 3 * anchor + 1])
        np.testing.assert_array_equal(kernel[..., 2 * anchor + 1], theirs[..., 3 * anchor])
    _, bias = model.get_layer("boxes_prediction").get_weights()
    boxes = original.tensors["box_head/logits_layer/1"]  # x, y, width, height
    np.testing.assert_array_equal(bias[:8], boxes[[1, 0, 3, 2, 5, 4, 7, 6]])
    scale, offset = model.get_layer("pixel_scaling").get_weights()
    white = spec.scale(np.full(3, 255.0)) * scale.ravel() + offset
    np.testing.assert_allclose(white, 255 * np.array([1 / 255 / 0.2] * 3) + [-2.0, -1.5, -1.0], atol=1e-5)


def test_files_without_names_of_layers_are_read_by_their_order(preset, tmp_path):
    unnamed = read_keras(write_preset(tmp_path / "unnamed", has_names=False)).tensors
    assert "layers/functional/layers/conv2d_3/0" in unnamed
    assert names_inside(unnamed).keys() == names_inside(read_keras(preset).tensors).keys()


def test_a_keras_file_of_the_detector_is_read_too(preset, tmp_path):
    path = tmp_path / "detector.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(task()))
        archive.write(preset / "model.weights.h5", "model.weights.h5")
    assert read_original(path).outputs == 3


def test_the_second_version_has_norms_and_level_6_from_c5(preset, tmp_path):
    original = read_original(changed(preset, tmp_path / "v2", task=task(91, is_second=True)))
    assert original.fields["model"]["pyramid"]["p6_from"] == "c5"
    assert (
        original.fields["model"]["head"] | {"group_norm": 32, "group_norm_epsilon": 1e-3}
        == (original.fields["model"]["head"])
    )
    assert len(names_of_outputs(original, None)) == 91


def test_missing_tensors_and_another_number_of_classes_are_named(preset, tmp_path):
    original = read_original(changed(preset, tmp_path / "five", task=task(5)))
    settings = recipe_from_fields({"name": "hub", **copy.deepcopy(dict(original.fields))}, "import").model
    with pytest.raises(InputError, match=r"of another shape: classification_head/logits_layer/0 \[3, 3, 256, 27\]"):
        build(original, settings, names=("a", "b", "c", "d", "e"))
    backbone = tmp_path / "backbone"
    changed(preset, backbone)
    (backbone / "task.weights.h5").unlink()
    original = read_original(backbone)
    settings = recipe_from_fields({"name": "hub", **copy.deepcopy(dict(original.fields))}, "import").model
    with pytest.raises(InputError, match=r"missing: classification_head/conv2d_0/0.* and 16 more"):
        build(original, settings, names=NAMES)


def with_value(value: Any, *keys: str) -> dict[str, Any]:
    """The configuration of a task with another value at a place."""
    found = task()
    inner = found
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = value
    return found


BACKBONE = ("config", "backbone", "config")


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            with_value([3, 4, 23, 3], *BACKBONE, "image_encoder", "config", "stackwise_num_blocks"),
            "stackwise_num_blocks",
        ),
        (
            with_value(saved("MiTBackbone"), *BACKBONE, "image_encoder"),
            "expected ResNetBackbone.*Received: MiTBackbone",
        ),
        (with_value(True, *BACKBONE, "use_fpn_batch_norm"), "expected use_fpn_batch_norm False"),
        (with_value(None, "config", "num_classes"), "expected a number above 0 as num_classes"),
        (
            with_value(4, "config", "anchor_generator", "config", "min_level"),
            r"expected anchors on the levels.*\[3, 7\]",
        ),
        (with_value(saved("Own"), "config", "prediction_decoder"), "expected NonMaxSuppression as prediction_decoder"),
        (task()["config"]["backbone"], "expected a detector. Received: RetinaNetBackbone alone"),
        (saved("YOLOV8Detector"), "expected a RetinaNet.* Received: YOLOV8Detector"),
        ({}, "Received: no name of a class"),
        ([1], "expected a configuration in JSON. Received: ValueError: a list"),
    ],
)
def test_another_architecture_is_refused_with_its_name(preset, tmp_path, config, expected):
    with pytest.raises(InputError, match=expected) as error:
        read_original(changed(preset, tmp_path / "other", task=config))
    assert "\n" not in str(error.value)


def test_a_scale_that_is_no_colour_is_refused(preset, tmp_path):
    for number, scale in enumerate(([1, 2], 0, "x")):
        other = changed(preset, tmp_path / str(number), preprocessor=converter(scale=scale))
        with pytest.raises(InputError, match="expected scale and offset of one or three colours"):
            read_original(other)


def test_folders_and_files_that_are_not_whole_are_refused(preset, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"expected a folder with config\.json .* Received: neither"):
        read_original(tmp_path / "empty")
    with pytest.raises(InputError, match="no such file"):
        read_original(tmp_path / "none.keras" / "model.weights.h5")
    (tmp_path / "alone.weights.h5").write_bytes(b"x")
    with pytest.raises(InputError, match="Received: weights alone"):
        read_original(tmp_path / "alone.weights.h5")
    (tmp_path / "a.keras").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"expected a \.keras file .* Received: BadZipFile"):
        read_original(tmp_path / "a.keras")
    damaged = changed(preset, tmp_path / "damaged")
    (damaged / "model.weights.h5").unlink()
    (damaged / "model.weights.h5").write_bytes((preset / "model.weights.h5").read_bytes()[:5000])
    with pytest.raises(InputError, match=r"model\.weights\.h5: expected weights of Keras in HDF5") as error:
        read_original(damaged)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="weights --make"):
        read_original(tmp_path / "model.tflite")
