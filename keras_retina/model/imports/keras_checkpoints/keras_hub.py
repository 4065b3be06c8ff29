"""KerasHub's `RetinaNetObjectDetector` with a ResNet-50: a preset's configuration and tensors as ours.

Source: keras_hub/src/models/retinanet, keras_hub/src/layers/modeling/anchor_generator.py and non_max_supression.py;
Apache-2.0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError, printable
from keras_retina.model.backbones.kind import PIXEL_SCALING, pixel_scaling
from keras_retina.model.imports.coco import OUTPUTS
from keras_retina.model.imports.keras_checkpoints.configuration import check, class_of, config_of, number
from keras_retina.model.imports.keras_checkpoints.files import KerasCheckpoint
from keras_retina.model.imports.keras_layers import prediction, same_variables
from keras_retina.model.imports.original import Original, Part
from keras_retina.recipe.model import Model

DETECTOR, BACKBONE = "RetinaNetObjectDetector", "RetinaNetBackbone"
BLOCKS = (3, 4, 6, 3)
RESNET_50 = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 128, 256, 512],
    "stackwise_num_blocks": list(BLOCKS),
    "stackwise_num_strides": [1, 2, 2, 2],
    "block_type": "bottleneck_block",
    "use_pre_activation": False,
}
USUAL_SIDE = 1024  # where the preset takes images of any size
GROUPS, GROUP_EPSILON = 32, 1e-3


def read_keras_hub(checkpoint: KerasCheckpoint) -> Original | None:
    """Returns the detector of a preset, None where it is none of KerasHub.

    Raises:
        InputError: it has parts that our network does not have.
    """
    path = checkpoint.path
    if class_of(checkpoint.config) == BACKBONE:
        raise InputError(
            f"{path}: expected a detector. Received: {BACKBONE} alone, without task.json. Save the preset of the whole "
            f"{DETECTOR}."
        )
    if class_of(checkpoint.config) != DETECTOR:
        return None
    config = config_of(checkpoint.config, DETECTOR, path=path, what="the detector")
    backbone = config_of(config.get("backbone"), BACKBONE, path=path, what="backbone")
    encoder = config_of(
        backbone.get("image_encoder"), "ResNetBackbone", path=path, what="image_encoder of the backbone"
    )
    check(encoder, RESNET_50, path=path, what="image_encoder")
    check(backbone, {"use_fpn_batch_norm": False}, path=path, what="the backbone")
    anchors = config_of(config.get("anchor_generator"), "AnchorGenerator", path=path, what="anchor_generator")
    levels = [int(number(backbone, key, path=path, what="the backbone")) for key in ("min_level", "max_level")]
    if [anchors.get("min_level"), anchors.get("max_level")] != levels:
        raise InputError(
            f"{path}: expected anchors on the levels of the pyramid, {levels}. "
            f"Received: {anchors.get('min_level')} to {anchors.get('max_level')}. Save it again."
        )
    outputs = number(config, "num_classes", path=path, what="the detector")
    scales = number(anchors, "num_scales", path=path, what="anchor_generator")
    per_cell = scales * len(anchors.get("aspect_ratios") or ())
    mean, deviation, side, told = preprocessing_of(checkpoint)

    def parts(kept: np.ndarray, settings: Model) -> Iterator[Part]:
        yield Part(PIXEL_SCALING, (), lambda: pixel_scaling(mean, deviation))
        yield from backbone_parts()
        yield from pyramid_parts(levels)
        order = range(per_cell)
        conversions = {
            "classes": prediction(outputs, kept, anchors=order),
            "boxes": prediction(4, [1, 0, 3, 2], anchors=order),  # x, y, width, height
        }
        heads = {"classes": "classification_head", "boxes": "box_head"}
        for head, theirs in heads.items():
            for index in range(config["pre_logits_num_conv_layers"]):
                yield same_variables(
                    f"{head}_{index}", f"{theirs}/conv2d_{index}", 1 if config["use_prediction_head_norm"] else 2
                )
                if config["use_prediction_head_norm"]:
                    yield same_variables(f"{head}_{index}_group_norm", f"{theirs}/group_norm_{index}", 2)
            names = tuple(f"{theirs}/logits_layer/{place}" for place in range(2))
            yield Part(f"{head}_prediction", names, conversions[head])

    return Original(
        path=path,
        tensors=names_inside(checkpoint.tensors),
        name=f"KerasHub's {DETECTOR}",
        told=f"{outputs} outputs, {per_cell} anchors a cell, {told}",
        fields=recipe_fields(config, levels, side=side, path=path),
        outputs=outputs,
        per_cell=per_cell,
        class_names=OUTPUTS if outputs == len(OUTPUTS) else (),
        parts=parts,
        ignored=lambda name: False,
    )


def names_inside(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the tensors by the names of a preset, whether they come from one or from the detector as a whole.

    A file of an older Keras 3 does not say the names of layers, only their order of each kind.
    """
    if any(name.startswith("layers/") for name in tensors):
        tensors = {_by_order(name): array for name, array in tensors.items()}
    whole = "retina_net_backbone/"
    return {
        name.removeprefix("retina_net_object_detector/").removeprefix(whole): array for name, array in tensors.items()
    }


def _convolution_names() -> list[str]:
    """Returns the layers of the ResNet in the order of the graph: a shortcut stands before the last convolution."""
    names = ["conv1"]
    for stack, count in enumerate(BLOCKS):
        for block in range(count):
            places = (1, 2, 0, 3) if block == 0 else (1, 2, 3)
            names += [f"stack{stack}_block{block}_{place}" for place in places]
    return names


_LISTS = {
    "lateral_conv_layers": tuple(f"fpn/lateral_conv_P{level}" for level in (3, 4, 5)),
    "output_conv_layers": (*(f"fpn/output_conv_P{level}" for level in (3, 4, 5)), "fpn/coarser_P6", "fpn/coarser_P7"),
}
_HEADS = ("box_head", "classification_head")


def _by_order(place: str) -> str:
    """Returns the name of a variable whose layer is known by its kind and its number alone."""
    *groups, variable = place.split("/")
    kind, _, digits = groups[-1].rpartition("_")
    kind, index = (kind, int(digits)) if digits.isdigit() else (groups[-1], 0)
    try:
        if "functional" in groups[-3:]:
            ending = {"conv2d": "conv", "batch_normalization": "bn"}[kind]
            return f"backbone/{_convolution_names()[index]}_{ending}/{variable}"
        if groups[-2] in _LISTS:
            return f"{_LISTS[groups[-2]][index]}/{variable}"
        head = next(one for one in groups if one.startswith("prediction_head"))
        owner = _HEADS[int(head.removeprefix("prediction_head").lstrip("_") or 0)]
        inner = {"conv_layers": f"conv2d_{index}", "group_norm_layers": f"group_norm_{index}"}.get(groups[-2])
        return f"{owner}/{inner or 'logits_layer'}/{variable}"
    except (KeyError, IndexError, StopIteration, ValueError):
        return place


def preprocessing_of(checkpoint: KerasCheckpoint) -> tuple[tuple[float, ...], tuple[float, ...], dict[str, Any], str]:
    """Returns mean and deviation of RGB in [0, 1], the section `input` of a recipe, and a line about it.

    Raises:
        InputError: the scale is not that of three colours.
    """
    saved = checkpoint.preprocessing or checkpoint.config.get("config", {}).get("preprocessor") or {}
    converter = (saved.get("config") or {}).get("image_converter") or {}
    config = converter.get("config") or {}
    scale, offset = config.get("scale"), config.get("offset")
    try:
        scales = np.broadcast_to(np.array(1.0 if scale is None else scale, np.float64).ravel(), 3)
        offsets = np.broadcast_to(np.array(0.0 if offset is None else offset, np.float64).ravel(), 3)
        if not np.all(np.isfinite(scales) & np.isfinite(offsets) & (scales > 0)):
            raise ValueError
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{checkpoint.path}: expected scale and offset of one or three colours. "
            f"Received: scale={printable(scale)[:60]}, offset={printable(offset)[:60]}. Save the preset again."
        ) from error
    deviation = 1 / (255 * scales)
    sides = config.get("image_size") or [USUAL_SIDE, USUAL_SIDE]
    stride = 2 ** int(checkpoint.config["config"]["backbone"]["config"].get("max_level", 7))
    height, width = (max(stride, math.ceil(one / stride) * stride) for one in sides)
    is_stretched = bool(config) and not config.get("pad_to_aspect_ratio") and not config.get("crop_to_aspect_ratio")
    told = "its own scale of pixels" if config else "no preprocessor: pixels from 0 to 255"
    if [height, width] != list(sides):
        told += f", input {height}x{width} instead of {sides[0]}x{sides[1]}"
    fields = {"height": height, "width": width, "resize": "stretch" if is_stretched else "letterbox"}
    return tuple(-offsets * deviation), tuple(deviation), fields, told


def recipe_fields(
    config: Mapping[str, Any], levels: list[int], *, side: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    """Returns the sections of a recipe that build this detector and treat images and boxes as KerasHub does."""
    anchors, encoder = config["anchor_generator"]["config"], (config.get("label_encoder") or {}).get("config") or {}
    decoder = config_of(config.get("prediction_decoder"), "NonMaxSuppression", path=path, what="prediction_decoder")
    has_norm = bool(config.get("use_prediction_head_norm"))
    count = int(anchors["num_scales"])
    return {
        "model": {
            "backbone": {"name": "resnet50_torchvision", "weights": "model.keras"},
            "input": dict(side),
            "anchors": {
                "size": float(anchors["anchor_size"]),
                "scales": [2 ** (place / count) for place in range(count)],
                "ratios": list(anchors["aspect_ratios"]),
                "offset": 0.0,
                "whole_pixels": True,
            },
            "pyramid": {
                "levels": levels,
                "width": 256,
                "convolution": "full",
                "upsampling": "nearest",
                "p6_from": "c5" if config["backbone"]["config"].get("use_p5") else "p5",
                "padding": "same",
            },
            "head": {
                "convolutions": config["pre_logits_num_conv_layers"],
                "width": 256,
                "convolution": "full",
                "group_norm": GROUPS if has_norm else 0,
                **({"group_norm_epsilon": GROUP_EPSILON} if has_norm else {}),
            },
            "coder_weights": [1.0, 1.0, 1.0, 1.0],
        },
        "training": {
            "matching": {
                "positive": encoder.get("positive_threshold", 0.5),
                "negative": encoder.get("negative_threshold", 0.4),
                "force": True,
            },
            "loss": {"box": "smooth_l1", "box_weight": 1.0},
        },
        "export": {
            "iou_threshold": number(decoder, "iou_threshold", path=path, what="prediction_decoder"),
            "max_detections": number(decoder, "max_detections", path=path, what="prediction_decoder"),
            "nms": "fast",
            **({"formats": ["float32", "float16"], "heal": "off"} if has_norm else {}),
        },
    }


def backbone_parts() -> Iterator[Part]:
    """Yields the layers of ResNet-50."""
    yield same_variables("conv1_conv", "backbone/conv1_conv", 1)
    yield same_variables("conv1_bn", "backbone/conv1_bn", 4)
    for name in _convolution_names()[1:]:
        stack, block, place = (part.removeprefix("stack").removeprefix("block") for part in name.split("_"))
        ours = f"conv{int(stack) + 2}_block{int(block) + 1}_{place}"
        yield same_variables(f"{ours}_conv", f"backbone/{name}_conv", 1)
        yield same_variables(f"{ours}_bn", f"backbone/{name}_bn", 4)


def pyramid_parts(levels: list[int]) -> Iterator[Part]:
    """Yields the layers of the pyramid."""
    for level in range(levels[0], levels[1] + 1):
        if level <= 5:
            yield same_variables(f"pyramid_lateral_{level}", f"fpn/lateral_conv_P{level}", 2)
        yield same_variables(f"pyramid_output_{level}", f"fpn/{'output_conv' if level <= 5 else 'coarser'}_P{level}", 2)
