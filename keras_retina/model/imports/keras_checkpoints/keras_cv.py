"""KerasCV's `RetinaNet` with a ResNet-50: configuration and tensors of a `.keras` or a preset as ours.

Source: keras_cv/src/models/object_detection/retinanet, keras_cv/src/layers/object_detection/anchor_generator.py and
non_max_suppression.py, keras_cv/src/models/backbones/resnet_v1; Apache-2.0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError, printable
from keras_retina.model.backbones.kind import PIXEL_SCALING, pixel_scaling
from keras_retina.model.imports.keras_checkpoints.configuration import check, class_of, config_of, number
from keras_retina.model.imports.keras_checkpoints.files import KerasCheckpoint
from keras_retina.model.imports.keras_layers import prediction, same_variables
from keras_retina.model.imports.original import Original, Part
from keras_retina.recipe.model import Model

DETECTOR = "RetinaNet"
BLOCKS = (3, 4, 6, 3)
RESNET_50 = {
    "stackwise_filters": [64, 128, 256, 512],
    "stackwise_blocks": list(BLOCKS),
    "stackwise_strides": [1, 2, 2, 2],
    "block_type": "block",
}
LEVELS = (3, 7)  # of its FeaturePyramid
VARIANCE = [0.1, 0.1, 0.2, 0.2]  # which it decodes with, whatever the label encoder has
USUAL_SIDE = 640  # where the backbone takes images of any size


def read_keras_cv(checkpoint: KerasCheckpoint) -> Original | None:
    """Returns the detector, None where it is none of KerasCV.

    Raises:
        InputError: it has parts that our network does not have.
    """
    path = checkpoint.path
    if class_of(checkpoint.config) != DETECTOR:
        return None
    config = config_of(checkpoint.config, DETECTOR, path=path, what="the detector")
    backbone = config_of(config.get("backbone"), "ResNetBackbone", path=path, what="backbone")
    check(backbone, RESNET_50, path=path, what="the backbone")
    encoder = config_of(config.get("label_encoder"), "RetinaNetLabelEncoder", path=path, what="label_encoder")
    check(encoder, {"box_variance": VARIANCE}, path=path, what="label_encoder")
    anchors = config_of(encoder.get("anchor_generator"), "AnchorGenerator", path=path, what="anchor_generator")
    heads = {
        head: config_of(config.get(name), "PredictionHead", path=path, what=name)
        for head, name in (("boxes", "box_head"), ("classes", "classification_head"))
    }
    hidden = {head: int(number(found, "num_conv_layers", path=path, what="a head")) for head, found in heads.items()}
    if len(set(hidden.values())) != 1:
        raise InputError(f"{path}: expected heads of the same depth. Received: {hidden}. Our network has no others.")
    outputs = int(number(config, "num_classes", path=path, what="the detector"))
    scales, ratios = (len(anchors.get(key) or ()) for key in ("scales", "aspect_ratios"))
    side, told = input_of(backbone)
    divisor = 1.0 if backbone.get("include_rescaling") else 1 / 255  # what it takes for white, in shares of 255

    def parts(kept: np.ndarray, settings: Model) -> Iterator[Part]:
        yield Part(PIXEL_SCALING, (), lambda: pixel_scaling((0.0,) * 3, (divisor,) * 3))
        yield from backbone_parts()
        yield from pyramid_parts()
        order = [scale * ratios + ratio for ratio in range(ratios) for scale in range(scales)]  # ours: scales inside
        conversions = {
            "boxes": prediction(4, range(4), anchors=order),
            "classes": prediction(outputs, kept, anchors=order),
        }
        for theirs, head in zip(("prediction_head", "prediction_head_1"), heads, strict=True):  # in their order
            for index in range(hidden[head]):
                yield same_variables(f"{head}_{index}", f"layers/{theirs}/conv_layers/{numbered('conv2d', index)}", 2)
            names = tuple(f"layers/{theirs}/prediction_layer/{place}" for place in range(2))
            yield Part(f"{head}_prediction", names, conversions[head])

    return Original(
        path=path,
        tensors=checkpoint.places,
        name="KerasCV's RetinaNet",
        told=f"{outputs} outputs, {scales * ratios} anchors a cell, {told}",
        fields=recipe_fields(config, encoder, anchors, checkpoint=checkpoint, side=side, hidden=hidden["boxes"]),
        outputs=outputs,
        per_cell=scales * ratios,
        class_names=(),
        parts=parts,
        ignored=lambda name: name.startswith(("metrics/", "seed_generators", "_")) or "metric" in name.split("/")[0],
    )


def input_of(backbone: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Returns the section `input` of a recipe and a line about it."""
    shape, stride = list(backbone.get("input_shape") or ()), 2 ** LEVELS[1]
    sides = shape[:2] if len(shape) == 3 and all(isinstance(one, int) and one > 0 for one in shape[:2]) else None
    height, width = (math.ceil(one / stride) * stride for one in sides or (USUAL_SIDE, USUAL_SIDE))
    told = f"input {height}x{width}"
    if sides is None:
        told += ", since it takes images of any size"
    elif [height, width] != sides:
        told += f" instead of {sides[0]}x{sides[1]}"
    return {"height": height, "width": width, "resize": "letterbox"}, told


def recipe_fields(
    config: Mapping[str, Any],
    encoder: Mapping[str, Any],
    anchors: Mapping[str, Any],
    *,
    checkpoint: KerasCheckpoint,
    side: Mapping[str, Any],
    hidden: int,
) -> dict[str, dict[str, Any]]:
    """Returns the sections of a recipe that build this detector and treat images and boxes as KerasCV does."""
    path = checkpoint.path
    decoder = config_of(config.get("prediction_decoder"), "NonMaxSuppression", path=path, what="prediction_decoder")
    return {
        "model": {
            "backbone": {"name": "resnet50_keras_cv", "weights": "model.keras"},
            "input": dict(side),
            "anchors": {
                **_sizes(anchors, checkpoint),
                "ratios": [1 / ratio for ratio in anchors["aspect_ratios"]],  # theirs are width / height
                "clip": bool(anchors.get("clip_boxes")),
            },
            "pyramid": {
                "levels": list(LEVELS),
                "width": 256,
                "convolution": "full",
                "upsampling": "nearest",
                "p6_from": "c5",
                "padding": "same",
            },
            "head": {"convolutions": hidden, "width": 256, "convolution": "full"},
            "coder_weights": [1 / one for one in VARIANCE],
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
        },
    }


def _sizes(anchors: Mapping[str, Any], checkpoint: KerasCheckpoint) -> dict[str, Any]:
    """Returns size and scales of the anchors, which must be the same in strides on every level.

    Raises:
        InputError: they are not.
    """
    sizes, strides, scales = (anchors.get(key) for key in ("sizes", "strides", "scales"))
    expected = [2**level for level in range(LEVELS[0], LEVELS[1] + 1)]
    try:
        shares = {round(size / stride, 6) for size, stride in zip(sizes or (), expected, strict=True)}
        if list(strides or ()) != expected or len(shares) != 1 or not all(scale > 0 for scale in scales or [0]):
            raise ValueError
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{checkpoint.path}: expected anchors on strides {expected}, sizes in proportion and one list of scales. "
            f"Received: sizes={printable(sizes)[:80]}, strides={printable(strides)[:60]}. Our network has no others."
        ) from error
    return {"size": shares.pop(), "scales": list(scales or ())}


def backbone_parts() -> Iterator[Part]:
    """Yields the layers of ResNet-50 in the order of the graph: a shortcut stands before the last convolution."""
    names = ["conv1"]
    for stage, count in enumerate(BLOCKS, start=2):
        for block in range(1, count + 1):
            names += [f"conv{stage}_block{block}_{place}" for place in ((1, 2, 0, 3) if block == 1 else (1, 2, 3))]
    for index, name in enumerate(names):
        yield same_variables(f"{name}_conv", f"layers/functional/layers/{numbered('conv2d', index)}", 1)
        yield same_variables(f"{name}_bn", f"layers/functional/layers/{numbered('batch_normalization', index)}", 4)


def pyramid_parts() -> Iterator[Part]:
    """Yields the layers of the pyramid."""
    for level in range(LEVELS[0], LEVELS[1] + 1):
        if level <= 5:
            yield same_variables(f"pyramid_lateral_{level}", f"layers/feature_pyramid/conv_c{level}_1x1", 2)
        yield same_variables(f"pyramid_output_{level}", f"layers/feature_pyramid/conv_c{level}_3x3", 2)


def numbered(kind: str, index: int) -> str:
    """Returns what Keras calls the layer of this number among those of its kind."""
    return f"{kind}_{index}" if index else kind
