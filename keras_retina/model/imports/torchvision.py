"""torchvision's `retinanet_resnet50_fpn` and its second version: tensors by name, anchors, coder and preprocessing.

Source: torchvision/models/detection/retinanet.py, anchor_utils.py, backbone_utils.py; BSD-3-Clause.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError
from keras_retina.model.backbones.kind import PIXEL_SCALING, pixel_scaling
from keras_retina.model.imports.coco import OUTPUTS
from keras_retina.model.imports.keras_layers import unchanged
from keras_retina.model.imports.original import Original, Part
from keras_retina.model.imports.tensors import Checkpoint
from keras_retina.model.imports.torch_layers import (
    NORM,
    batch_norm,
    box_prediction,
    class_prediction,
    convolution,
)
from keras_retina.recipe.model import Model

BLOCKS = (3, 4, 6, 3)
HIDDEN, GROUPS = 4, 32

CLASSES, BOXES = "head.classification_head.cls_logits", "head.regression_head.bbox_reg"
COUNTER = "num_batches_tracked"


def read_torchvision(checkpoint: Checkpoint, epsilon: float | None) -> Original | None:
    """Returns the detector of a state dictionary, None where it is none of torchvision's RetinaNets.

    Args:
        epsilon: of the BatchNorms, which a state dictionary does not tell; None is what `epsilon_of` finds.

    Raises:
        InputError: the two heads do not have the same number of anchors.
    """
    tensors = modern_names(checkpoint.tensors)
    if f"{CLASSES}.bias" not in tensors or f"{BOXES}.bias" not in tensors:
        return None
    boxes, classes = len(tensors[f"{BOXES}.bias"]), len(tensors[f"{CLASSES}.bias"])
    per_cell = boxes // 4
    if boxes % 4 or not per_cell or classes % per_cell:
        raise InputError(
            f"{checkpoint.path}: expected heads with the same number of anchors. Received: {boxes} values of boxes and "
            f"{classes} of classes in a cell. Give a checkpoint of retinanet_resnet50_fpn."
        )
    outputs = classes // per_cell
    is_second = f"{CLASSES.rpartition('.')[0]}.conv.0.1.weight" in tensors
    if epsilon is None:
        epsilon = 1e-5 if is_second else epsilon_of(tensors)

    def parts(kept: np.ndarray, settings: Model) -> Iterator[Part]:
        yield from backbone_parts("backbone.body", epsilon)
        yield from pyramid_parts("backbone.fpn")
        yield from head_parts(class_prediction(outputs, kept), has_norms=is_second)

    return Original(
        path=checkpoint.path,
        tensors=tensors,
        name=f"torchvision's retinanet_resnet50_fpn{'_v2' if is_second else ''}",
        told=f"{outputs} outputs, {per_cell} anchors a cell, epsilon {epsilon:g} in BatchNorm",
        fields=recipe_fields(is_second),
        outputs=outputs,
        per_cell=per_cell,
        class_names=OUTPUTS if outputs == len(OUTPUTS) else (),
        parts=parts,
        ignored=lambda name: name.endswith(COUNTER),
    )


def modern_names(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the tensors by the names of torchvision 0.13 and later; the published file has those of before."""
    heads = re.compile(r"(head\.(?:classification|regression)_head\.conv)\.([0246])\.(weight|bias)")
    pyramid = re.compile(r"(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)")
    found = {}
    for name, array in tensors.items():
        if old := heads.fullmatch(name):  # every other one was a ReLU
            name = f"{old[1]}.{int(old[2]) // 2}.0.{old[3]}"
        elif old := pyramid.fullmatch(name):
            name = f"{old[1]}.0.{old[2]}"
        found[name] = array
    return found


def epsilon_of(tensors: Mapping[str, np.ndarray]) -> float:
    """Returns the epsilon of the BatchNorms: 0 with COCO's classes and frozen ones, else 1e-5.

    torchvision sets it to 0 where it loads its COCO weights into frozen BatchNorms; trained ones count their batches.
    """
    is_frozen = not any(name.endswith(COUNTER) for name in tensors)
    return 0.0 if is_frozen and len(tensors[f"{CLASSES}.bias"]) % len(OUTPUTS) == 0 else 1e-5


def recipe_fields(is_second: bool) -> dict[str, dict[str, Any]]:
    """Returns the sections of a recipe that build this detector and treat images and boxes as torchvision does."""
    return {
        "model": {
            "backbone": {"name": "resnet50_torchvision", "weights": "model.keras"},
            "input": {"height": 1024, "width": 1024, "resize": "letterbox"},
            "anchors": {
                "size": 4.0,
                "scales": [1.0, 2 ** (1 / 3), 2 ** (2 / 3)],
                "ratios": [0.5, 1.0, 2.0],
                "offset": 0.0,
                "whole_pixels": True,
            },
            "pyramid": {
                "levels": [3, 7],
                "width": 256,
                "convolution": "full",
                "upsampling": "nearest",
                "p6_from": "c5" if is_second else "p5",
                "padding": "symmetric",
            },
            "head": {
                "convolutions": HIDDEN,
                "width": 256,
                "convolution": "full",
                "group_norm": GROUPS if is_second else 0,
            },
            "coder_weights": [1.0, 1.0, 1.0, 1.0],
            "clip_boxes": True,
        },
        "training": {
            "matching": {"positive": 0.5, "negative": 0.4, "force": True},
            "loss": {"box": "giou" if is_second else "smooth_l1", "box_weight": 1.0},
        },
        "export": {
            "iou_threshold": 0.5,
            "max_detections": 300,
            **({"formats": ["float32", "float16"], "heal": "off"} if is_second else {}),
        },
    }


def backbone_parts(prefix: str, epsilon: float) -> Iterator[Part]:
    """Yields the layers of ResNet-50, pixel scaling first."""
    norm = batch_norm(epsilon)

    def pair(layer: str, kernel: str, statistics: str) -> Iterator[Part]:
        yield Part(f"{layer}_conv", (f"{prefix}.{kernel}.weight",), convolution)
        yield Part(f"{layer}_bn", tuple(f"{prefix}.{statistics}.{kind}" for kind in NORM), norm)

    yield Part(PIXEL_SCALING, (), pixel_scaling)
    yield from pair("conv1", "conv1", "bn1")
    for stage, count in enumerate(BLOCKS, start=2):
        for number in range(count):
            block, name = f"layer{stage - 1}.{number}", f"conv{stage}_block{number + 1}"
            for position in (1, 2, 3):
                yield from pair(f"{name}_{position}", f"{block}.conv{position}", f"{block}.bn{position}")
            if number == 0:
                yield from pair(f"{name}_0", f"{block}.downsample.0", f"{block}.downsample.1")


def pyramid_parts(prefix: str) -> Iterator[Part]:
    """Yields the layers of the pyramid."""
    for place, level in enumerate((3, 4, 5)):
        yield with_bias(f"pyramid_lateral_{level}", f"{prefix}.inner_blocks.{place}.0")
        yield with_bias(f"pyramid_output_{level}", f"{prefix}.layer_blocks.{place}.0")
    for level in (6, 7):
        yield with_bias(f"pyramid_output_{level}", f"{prefix}.extra_blocks.p{level}")


def head_parts(class_conversion: Callable[..., list[np.ndarray]], *, has_norms: bool) -> Iterator[Part]:
    """Yields the layers of both heads; a convolution before a GroupNorm has no bias."""
    heads = {"classes": (CLASSES, class_conversion), "boxes": (BOXES, box_prediction)}
    for head, (prediction, conversion) in heads.items():
        for index in range(HIDDEN):
            block = f"{prediction.rpartition('.')[0]}.conv.{index}"
            if has_norms:
                yield Part(f"{head}_{index}", (f"{block}.0.weight",), convolution)
                yield Part(f"{head}_{index}_group_norm", (f"{block}.1.weight", f"{block}.1.bias"), unchanged)
            else:
                yield with_bias(f"{head}_{index}", f"{block}.0")
        yield with_bias(f"{head}_prediction", prediction, conversion)


def with_bias(layer: str, name: str, convert: Callable[..., list[np.ndarray]] = convolution) -> Part:
    """Returns a convolution that has a bias."""
    return Part(layer, (f"{name}.weight", f"{name}.bias"), convert)
