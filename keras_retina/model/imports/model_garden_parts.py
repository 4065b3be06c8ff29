"""What each layer of ours is made of in a checkpoint of Model Garden's RetinaNet.

Source: tensorflow/models, official/vision/modeling: layers/nn_blocks.py, backbones/mobilenet.py, backbones/resnet.py,
decoders/fpn.py, heads/dense_prediction_heads.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from keras_retina.model.backbones.kind import PIXEL_SCALING, pixel_scaling
from keras_retina.model.imports.keras_layers import prediction, unchanged
from keras_retina.model.imports.original import Part
from keras_retina.model.retinanet import scaled_levels
from keras_retina.recipe.model import Model

MOBILENET, RESNET = "MobileNetV2", "ResNet-50"
OUR_EPSILON = 1e-3  # of the BatchNorm layers that these weights get
NORM = ("gamma", "beta", "moving_mean", "moving_variance")
BLOCKS = (3, 4, 6, 3)

Convert = Callable[..., list[np.ndarray]]


@dataclass(frozen=True)
class Heads:
    """What the tensors tell of heads and pyramid.

    `outputs` are classes with the background, `per_cell` anchors; levels are 3 to `last_level`.
    """

    outputs: int
    per_cell: int
    convolutions: int
    width: int
    is_separable: bool
    last_level: int
    pyramid_width: int
    is_pyramid_separable: bool


def detector_parts(heads: Heads, kept: np.ndarray, *, settings: Model, epsilon: float) -> Iterator[Part]:
    """Yields every layer; `epsilon` is that of the BatchNorms in the checkpoint, `kept` are the outputs that stay."""
    norm = batch_norm(epsilon)
    if settings.backbone.pixel_scaling:
        yield Part(PIXEL_SCALING, (), pixel_scaling)
    yield from (_mobilenet if settings.backbone.name == "mobilenet_v2" else _resnet)(norm)
    yield from _pyramid(heads, epsilon, scaled=scaled_levels(heads.last_level, settings.pyramid.p6_from or "p5"))
    order = anchor_order(len(settings.anchors.scales), len(settings.anchors.ratios))
    yield from _head("classes", "cls", "_classifier", heads=heads, epsilon=epsilon, places=order, kept=kept)
    four = np.arange(4)  # y, x, height, width, as ours
    yield from _head("boxes", "box", "_box_regressor", heads=heads, epsilon=epsilon, places=order, kept=four)


def anchor_order(scales: int, ratios: int) -> np.ndarray:
    """Returns which anchor of a cell of Model Garden's each of ours is: there the ratio changes fastest."""
    return np.arange(scales * ratios).reshape(scales, ratios).T.ravel()


def batch_norm(epsilon: float) -> Convert:
    """Returns a function of scale, offset, mean, variance and a bias before them; `epsilon` becomes `OUR_EPSILON`.

    The scale is changed rather than the variance, which could fall below 0.
    """

    def convert(
        scale: np.ndarray, offset: np.ndarray, mean: np.ndarray, variance: np.ndarray, bias: np.ndarray | None = None
    ) -> list[np.ndarray]:
        if epsilon != OUR_EPSILON:
            wide = variance.astype(np.float64)
            scale = (scale * np.sqrt((wide + OUR_EPSILON) / (wide + epsilon))).astype(np.float32)
        return [scale, offset, mean if bias is None else mean - bias, variance]

    return convert


def scale_and_offset(epsilon: float) -> Convert:
    """Returns a function of the four of a BatchNorm that returns the same as a 1x1 depthwise convolution."""

    def convert(scale: np.ndarray, offset: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> list[np.ndarray]:
        factor = scale / np.sqrt(variance.astype(np.float64) + epsilon)
        return [factor.reshape(1, 1, -1, 1).astype(np.float32), (offset - mean * factor).astype(np.float32)]

    return convert


def folded(epsilon: float) -> Convert:
    """Returns a function of kernel and bias and the four of the BatchNorm behind them that makes one of both."""

    def convert(kernel: np.ndarray, bias: np.ndarray, *norm: np.ndarray) -> list[np.ndarray]:
        factor, offset = scale_and_offset(epsilon)(*norm)
        return [kernel * factor.ravel(), bias * factor.ravel() + offset]

    return convert


def one_by_one(depthwise: np.ndarray, pointwise: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
    """Returns a separable 1x1 convolution as a full one."""
    return [pointwise * depthwise.reshape(1, 1, -1, 1), bias]


def _names(prefix: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{prefix}/{name}" for name in names)


def _mobilenet(norm: Convert) -> Iterator[Part]:
    first = "backbone/layer_with_weights-0"
    yield Part("Conv1", _names(first, "_conv0/kernel"), unchanged)
    yield Part("bn_Conv1", _names(f"{first}/_norm0", *NORM), norm)
    for number in range(17):
        block, layer = f"backbone/layer_with_weights-{number + 1}", f"block_{number}" if number else "expanded_conv"
        names = {"expand": "kernel", "depthwise": "depthwise_kernel", "project": "kernel"}
        for place, (name, kernel) in enumerate(names.items()):
            if number or name != "expand":
                yield Part(f"{layer}_{name}", _names(f"{block}/_conv{place}", kernel), unchanged)
                yield Part(f"{layer}_{name}_BN", _names(f"{block}/_norm{place}", *NORM), norm)


def _resnet(norm: Convert) -> Iterator[Part]:
    yield Part("conv1_conv", ("backbone/layer_with_weights-0/kernel",), unchanged)
    yield Part("conv1_bn", _names("backbone/layer_with_weights-1", *NORM), norm)
    place = 2
    for stage, count in enumerate(BLOCKS, start=2):
        for number in range(1, count + 1):
            block, layer = f"backbone/layer_with_weights-{place}", f"conv{stage}_block{number}"
            for position in range(number > 1, 4):
                kernel = f"_conv{position}" if position else "_shortcut"
                yield Part(f"{layer}_{position}_conv", _names(f"{block}/{kernel}", "kernel"), unchanged)
                yield Part(f"{layer}_{position}_bn", _names(f"{block}/_norm{position}", *NORM), norm)
            place += 1


def _pyramid(heads: Heads, epsilon: float, *, scaled: list[int]) -> Iterator[Part]:
    separable = heads.is_pyramid_separable
    kernels = ("depthwise_kernel", "pointwise_kernel", "bias") if separable else ("kernel", "bias")
    for level in (3, 4, 5):
        lateral = f"decoder/lateral_{level}"
        yield Part(f"pyramid_lateral_{level}", _names(lateral, *kernels), one_by_one if separable else unchanged)
    for level in range(3, heads.last_level + 1):
        source, layer = f"decoder/{'post_hoc' if level < 6 else 'coarser'}_{level}", f"pyramid_output_{level}"
        norm = _names(f"decoder/norm_{level}", *NORM)
        if separable:
            yield Part(f"{layer}_depthwise", _names(source, "depthwise_kernel"), unchanged)
            layer = f"{layer}_pointwise"
        if level in scaled:
            yield Part(layer, _names(source, *kernels[-2:]), unchanged)
            yield Part(f"pyramid_scale_{level}", norm, scale_and_offset(epsilon))
        else:
            yield Part(layer, (*_names(source, *kernels[-2:]), *norm), folded(epsilon))


def _head(
    layer: str, net: str, last: str, *, heads: Heads, epsilon: float, places: np.ndarray, kept: np.ndarray
) -> Iterator[Part]:
    kernels = ("depthwise_kernel", "pointwise_kernel") if heads.is_separable else ("kernel",)
    ends = ("_depthwise", "_pointwise") if heads.is_separable else ("",)
    for index in range(heads.convolutions):
        source = f"head/_{net}_convs/{index}"
        for kernel, end in zip(kernels, ends, strict=True):
            yield Part(f"{layer}_{index}{end}", _names(source, kernel), unchanged)
        for number in range(heads.last_level - 2):
            norm = _names(f"head/_{net}_norms/{number}/{index}", *NORM)
            yield Part(f"{layer}_{index}_norm_{number}", (*norm, f"{source}/bias"), batch_norm(epsilon))
    values = heads.outputs if layer == "classes" else 4
    if heads.is_separable:
        yield Part(f"{layer}_prediction_depthwise", _names(f"head/{last}", kernels[0]), unchanged)
    yield Part(
        f"{layer}_prediction{ends[-1]}",
        _names(f"head/{last}", kernels[-1], "bias"),
        prediction(values, kept, anchors=places),
    )
