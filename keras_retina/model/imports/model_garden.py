"""Model Garden's RetinaNet (`official.vision` of tf-models-official): its checkpoint by names, anchors and coder.

What a checkpoint does not tell is taken from its configurations: a MobileNetV2 from MediaPipe Model Maker, a ResNet-50
from `retinanet_resnetfpn_coco`.

Source: tensorflow/models, official/vision: configs/retinanet.py, modeling/decoders/fpn.py, modeling/heads/
dense_prediction_heads.py, modeling/layers/detection_generator.py, ops/anchor_generator.py; Apache-2.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError, printable
from keras_retina.model.imports.coco import OUTPUTS
from keras_retina.model.imports.model_garden_parts import MOBILENET, RESNET, Heads, detector_parts
from keras_retina.model.imports.original import Original, Part
from keras_retina.model.imports.tf_checkpoints import TfCheckpoint
from keras_retina.recipe.backbones import BACKBONE_ALPHAS
from keras_retina.recipe.model import Model

EPSILON = 1e-3
RATIOS = (2.0, 1.0, 0.5)  # height / width: Model Garden gives width / height
SCALES = {9: 3, 3: 1}  # anchors of a cell -> octave scales, three ratios each

_PART = re.compile(r"(?:_?model/)*_?(backbone|decoder|head)/(.+)")
_NAMED = re.compile(r"(?:.*/)?((?:lateral|post_hoc|coarser|norm)_[3-7])/\w+")
_NUMBERED = re.compile(r"(?:.*/)?(?:\w*?)(?:conv2d|batch_normalization)(?:_(\d+))?/\w+")
_CLASSES, _BOXES = "head/_classifier", "head/_box_regressor"


def read_model_garden(checkpoint: TfCheckpoint, epsilon: float | None) -> Original | None:
    """Returns the detector in a checkpoint, None where there is no head of Model Garden's in it.

    Where an optimiser keeps the moving average of a weight, that is taken: it is what Model Garden evaluates.

    Args:
        epsilon: of the BatchNorms; None is 0.001, the default of its configurations.

    Raises:
        InputError: another backbone or pyramid, or heads that do not fit each other.
    """
    tensors, averages = _own_tensors(checkpoint)
    if f"{_CLASSES}/bias" not in tensors or f"{_BOXES}/bias" not in tensors:
        return None
    backbone, alpha = _backbone(tensors, checkpoint)
    heads = _heads(tensors, checkpoint)
    epsilon = EPSILON if epsilon is None else epsilon
    fields = recipe_fields(backbone, heads, alpha=alpha)

    def parts(kept: np.ndarray, settings: Model) -> Iterator[Part]:
        return detector_parts(heads, kept, settings=settings, epsilon=epsilon)

    return Original(
        path=checkpoint.path,
        tensors=tensors,
        name=f"Model Garden's RetinaNet with {backbone}",
        told=(
            f"{heads.outputs} outputs, {heads.per_cell} anchors a cell, {averages} moving averages, "
            f"epsilon {epsilon:g} in BatchNorm; {_assumed(fields['model'])}"
        ),
        fields=fields,
        outputs=heads.outputs,
        per_cell=heads.per_cell,
        class_names=OUTPUTS if heads.outputs == len(OUTPUTS) else (),
        parts=parts,
        ignored=lambda name: backbone == MOBILENET and name.startswith("backbone/layer_with_weights-18/"),
        has_background=True,
    )


def _assumed(model: Mapping[str, Any]) -> str:
    anchors = model["anchors"]
    scaling = "the mean and deviation of ImageNet" if model["backbone"]["pixel_scaling"] else "0.5 and 0.5"
    return (
        "not in the checkpoint, and so assumed where --set says nothing else: anchors of "
        f"{anchors['size']:g} strides, {len(anchors['scales'])} scales and the ratios {anchors['ratios']}, "
        f"activation {model['head']['activation']}, pixels by {scaling}"
    )


def _own_tensors(checkpoint: TfCheckpoint) -> tuple[dict[str, np.ndarray], int]:
    """Returns the tensors of backbone, decoder and head by names of today, and how many of them are moving averages.

    A trainer saves `backbone/...`, `save_weights` of the model `_backbone/...`. Layers of the pyramid are in the order
    of Keras; their own names tell which is which, and before 2022 the numbers in them, which rise as they were made.
    """
    own = {key: match for key in checkpoint.tensors if (match := _PART.fullmatch(key))}
    pyramid = _pyramid_names(
        {key: checkpoint.layer_names.get(key, "") for key, match in own.items() if match[1] == "decoder"}
    )
    found = {}
    for key, match in own.items():
        name = f"{match[1]}/{match[2]}"
        if key in pyramid:
            name = f"decoder/{pyramid[key]}/{key.rpartition('/')[2]}"
        found[name] = checkpoint.averages.get(key, checkpoint.tensors[key])
    return found, len(own.keys() & checkpoint.averages.keys())


def _pyramid_names(layer_names: Mapping[str, str]) -> dict[str, str]:
    """Returns `{key: name of its layer}`; keys whose layer is not known are left out, and so refused as strange."""
    named = {key: match[1] for key, name in layer_names.items() if (match := _NAMED.fullmatch(name))}
    if named:
        return named
    order: dict[str, list[tuple[int, str]]] = {"convolution": [], "norm": []}
    for key, name in layer_names.items():
        match = _NUMBERED.fullmatch(name)
        if match and key.endswith(("/bias", "/beta")):
            kind = "convolution" if key.endswith("/bias") else "norm"
            order[kind].append((int(match[1] or 0), key.rpartition("/")[0]))
    convolutions = [f"{kind}_{level}" for kind in ("lateral", "post_hoc") for level in (3, 4, 5)]
    convolutions += [f"coarser_{level}" for level in range(6, len(order["convolution"]))]
    norms = [f"norm_{level}" for level in range(3, 3 + len(order["norm"]))]
    layers: dict[str, str] = {}
    for kind, names in (("convolution", convolutions), ("norm", norms)):
        if len(order[kind]) == len(names):
            layers.update({layer: name for (_, layer), name in zip(sorted(order[kind]), names, strict=True)})
    return {key: layers[key.rpartition("/")[0]] for key in layer_names if key.rpartition("/")[0] in layers}


def _backbone(tensors: Mapping[str, np.ndarray], checkpoint: TfCheckpoint) -> tuple[str, float]:
    """Returns which backbone it is and its width; whether every tensor fits is seen when they are set."""
    places = {int(found[1]) for name in tensors if (found := re.match(r"backbone/layer_with_weights-(\d+)/", name))}
    layer = "backbone/layer_with_weights-{}/{}/kernel".format
    if len(places) == 19 and layer(0, "_conv0") in tensors and layer(18, "_conv0") in tensors:
        channels = tensors.get(layer(17, "_conv2"), np.empty(0)).shape[-1]
        alphas = {int(max(8, int(320 * alpha + 4) // 8 * 8)): alpha for alpha in BACKBONE_ALPHAS["mobilenet_v2"]}
        if channels in alphas:
            return MOBILENET, alphas[channels]
    if len(places) == 18 and layer(2, "_conv1") in tensors and layer(2, "_conv3") in tensors:
        return RESNET, 1.0
    first = next((name for name in sorted(tensors) if name.startswith("backbone/")), "no backbone")
    raise InputError(
        f"{checkpoint.path}: expected Model Garden's RetinaNet with {MOBILENET} or {RESNET}. Received: a backbone of "
        f"{len(places)} layers, {printable(first)} first. Only these two are read."
    )


def _heads(tensors: Mapping[str, np.ndarray], checkpoint: TfCheckpoint) -> Heads:
    boxes, classes = len(tensors[f"{_BOXES}/bias"]), len(tensors[f"{_CLASSES}/bias"])
    per_cell = boxes // 4
    if boxes % 4 or not per_cell or classes % per_cell or classes // per_cell < 2:
        raise InputError(
            f"{checkpoint.path}: expected heads with the same number of anchors, and a class beside the background. "
            f"Received: {boxes} values of boxes and {classes} of classes in a cell. Give one of RetinaNetModel."
        )
    convolutions = {name.split("/")[2] for name in tensors if name.startswith("head/_cls_convs/")}
    levels = {name.split("/")[2] for name in tensors if name.startswith("head/_cls_norms/")}
    hidden = tensors.get("head/_cls_convs/0/bias", np.empty(0))
    laterals = tensors.get("decoder/lateral_3/bias", np.empty(0))
    if not convolutions or not 3 <= len(levels) <= 5 or not len(laterals) or hidden.ndim != 1 or not len(hidden):
        raise InputError(
            f"{checkpoint.path}: expected a pyramid of levels 3 to 5, 6 or 7, and convolutions that its levels share. "
            f"Received: {'a' if len(laterals) else 'no'} convolution lateral_3, {len(levels)} levels and "
            f"{len(convolutions)} convolutions in the heads. Only such detectors are read."
        )
    return Heads(
        outputs=classes // per_cell,
        per_cell=per_cell,
        convolutions=len(convolutions),
        width=len(hidden),
        is_separable="head/_cls_convs/0/pointwise_kernel" in tensors,
        last_level=2 + len(levels),
        pyramid_width=len(laterals),
        is_pyramid_separable="decoder/lateral_3/pointwise_kernel" in tensors,
    )


def recipe_fields(backbone: str, heads: Heads, *, alpha: float) -> dict[str, dict[str, Any]]:
    """Returns the sections of a recipe that build this detector and treat images and boxes as Model Garden does."""
    is_mobile = backbone == MOBILENET
    scales = SCALES.get(heads.per_cell, 1)
    side = 256 if is_mobile else 640
    activation = "relu6" if is_mobile else "relu"
    return {
        "model": {
            "backbone": {
                "name": "mobilenet_v2" if is_mobile else "resnet50_model_garden",
                "alpha": alpha,
                "weights": "model.keras",
                "pixel_scaling": not is_mobile,
            },
            "input": {"height": side, "width": side, "resize": "letterbox"},
            "anchors": {
                "size": 3.0 if is_mobile else 4.0,
                "scales": [2 ** (number / scales) for number in range(scales)],
                "ratios": list(RATIOS),
            },
            "pyramid": {
                "levels": [3, heads.last_level],
                "width": heads.pyramid_width,
                "convolution": "separable" if heads.is_pyramid_separable else "full",
                "upsampling": "nearest",
                **({"p6_from": "p5"} if heads.last_level > 5 else {}),
                "activation": activation,
                "outputs": "scaled",
            },
            "head": {
                "convolutions": heads.convolutions,
                "width": heads.width,
                "convolution": "separable" if heads.is_separable else "full",
                "batch_norm": "per_level",
                "activation": activation,
            },
            "coder_weights": [1.0, 1.0, 1.0, 1.0],
            "clip_boxes": True,
        },
        "training": {
            "matching": {"positive": 0.5, "negative": 0.5, "force": True},
            # Huber's loss of 0.1, a mean over the four deltas, times 50.
            "loss": {"gamma": 1.5, "box": "smooth_l1", "box_beta": 0.1, "box_weight": 50 * 0.1 / 4},
        },
        "export": {"iou_threshold": 0.5, "max_detections": 100},
    }
