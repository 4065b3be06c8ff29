"""Weights with the names and shapes of torchvision's, without PyTorch, and of Model Garden's, without Model Garden."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from keras_retina.foundation.legacy_keras import keras, tf

Shapes = Iterator[tuple[str, tuple[int, ...]]]


def _convolution(name: str, shape: tuple[int, ...]) -> Shapes:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


def _norm(name: str, channels: int) -> Shapes:
    for kind in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{kind}", (channels,)


def _backbone() -> Shapes:
    yield "backbone.body.conv1.weight", (64, 3, 7, 7)
    yield from _norm("backbone.body.bn1", 64)
    inputs = 64
    for stage, count in enumerate((3, 4, 6, 3), start=1):
        width = 32 * 2**stage
        for number in range(count):
            block = f"backbone.body.layer{stage}.{number}"
            for place, shape in enumerate(((width, inputs, 1, 1), (width, width, 3, 3), (4 * width, width, 1, 1)), 1):
                yield f"{block}.conv{place}.weight", shape
                yield from _norm(f"{block}.bn{place}", shape[0])
            if number == 0:
                yield f"{block}.downsample.0.weight", (4 * width, inputs, 1, 1)
                yield from _norm(f"{block}.downsample.1", 4 * width)
            inputs = 4 * width


def torchvision_shapes(outputs: int, per_cell: int = 9, *, is_second: bool = False) -> Shapes:
    """Yields names and shapes of `retinanet_resnet50_fpn` or `_v2`, as torchvision 0.13 and later write them."""
    yield from _backbone()
    for place, channels in enumerate((512, 1024, 2048)):
        yield from _convolution(f"backbone.fpn.inner_blocks.{place}.0", (256, channels, 1, 1))
        yield from _convolution(f"backbone.fpn.layer_blocks.{place}.0", (256, 256, 3, 3))
    for level in (6, 7):
        inputs = 2048 if is_second and level == 6 else 256
        yield from _convolution(f"backbone.fpn.extra_blocks.p{level}", (256, inputs, 3, 3))
    predictions = {"classification_head": ("cls_logits", outputs), "regression_head": ("bbox_reg", 4)}
    for head, (prediction, values) in predictions.items():
        for index in range(4):
            if is_second:
                yield f"head.{head}.conv.{index}.0.weight", (256, 256, 3, 3)
                yield from _convolution(f"head.{head}.conv.{index}.1", (256,))
            else:
                yield from _convolution(f"head.{head}.conv.{index}.0", (256, 256, 3, 3))
        yield from _convolution(f"head.{head}.{prediction}", (per_cell * values, 256, 3, 3))


@pytest.fixture(scope="session")
def state_dictionary() -> Callable[..., dict[str, np.ndarray]]:
    """`state_dictionary(outputs, is_second=False)`: every tensor of ones, but random numbers in the heads."""

    def make(outputs: int, **options: bool) -> dict[str, np.ndarray]:
        generator = np.random.default_rng(0)
        return {
            name: generator.random(shape, np.float32) if name.startswith("head.") else np.ones(shape, np.float32)
            for name, shape in torchvision_shapes(outputs, **options)
        }

    return make


PYRAMID, HEAD, CONVOLUTIONS, LEVELS = 16, 8, 1, (3, 4, 5, 6, 7)
ALPHA = 0.35
CHANNELS = (16, 8, 8, 8, 16, 16, 16, 24, 24, 24, 24, 32, 32, 32, 56, 56, 56, 112)  # stem, then 17 blocks at ALPHA
ORDER = ("lateral_5", "lateral_4", "post_hoc_5", "lateral_3", "coarser_6", "post_hoc_3", "post_hoc_4", "coarser_7")
"""The convolutions of the pyramid in the order in which Keras sorts them."""


def _garden_norm(name: str, channels: int) -> Shapes:
    for kind in ("gamma", "beta", "moving_mean", "moving_variance"):
        yield f"{name}/{kind}", (channels,)


def _separable(name: str, size: int, inputs: int, outputs: int) -> Shapes:
    yield f"{name}/depthwise_kernel", (size, size, inputs, 1)
    yield f"{name}/pointwise_kernel", (1, 1, inputs, outputs)
    yield f"{name}/bias", (outputs,)


def _narrow_mobilenet() -> Shapes:
    layer = "backbone/layer_with_weights-{}".format
    yield f"{layer(0)}/_conv0/kernel", (3, 3, 3, CHANNELS[0])
    yield from _garden_norm(f"{layer(0)}/_norm0", CHANNELS[0])
    for number in range(1, 18):
        inputs, outputs = CHANNELS[number - 1 : number + 1]
        inner = inputs if number == 1 else 6 * inputs
        if number > 1:
            yield f"{layer(number)}/_conv0/kernel", (1, 1, inputs, inner)
            yield from _garden_norm(f"{layer(number)}/_norm0", inner)
        yield f"{layer(number)}/_conv1/depthwise_kernel", (3, 3, inner, 1)
        yield from _garden_norm(f"{layer(number)}/_norm1", inner)
        yield f"{layer(number)}/_conv2/kernel", (1, 1, inner, outputs)
        yield from _garden_norm(f"{layer(number)}/_norm2", outputs)
    yield f"{layer(18)}/_conv0/kernel", (1, 1, CHANNELS[-1], 1280)
    yield from _garden_norm(f"{layer(18)}/_norm0", 1280)


def garden_shapes(outputs: int) -> Shapes:
    """Yields names and shapes, layers of the pyramid by their own names."""
    yield from _narrow_mobilenet()
    features = {3: CHANNELS[6], 4: CHANNELS[13], 5: CHANNELS[17]}
    for name in ORDER:
        is_lateral = name.startswith("lateral")
        inputs = features[int(name[-1])] if is_lateral else PYRAMID
        yield from _separable(f"decoder/{name}", 1 if is_lateral else 3, inputs, PYRAMID)
    for level in LEVELS:
        yield from _garden_norm(f"decoder/norm_{level}", PYRAMID)
    for net, last, values in (("cls", "_classifier", outputs), ("box", "_box_regressor", 4)):
        for index in range(CONVOLUTIONS):
            yield from _separable(f"head/_{net}_convs/{index}", 3, HEAD if index else PYRAMID, HEAD)
            for place in range(len(LEVELS)):
                yield from _garden_norm(f"head/_{net}_norms/{place}/{index}", HEAD)
        yield from _separable(f"head/{last}", 3, HEAD, 9 * values)


def random_tensors(outputs: int) -> dict[str, np.ndarray]:
    """Returns random tensors of these names: small kernels, and norms of their own."""
    generator = np.random.default_rng(0)
    found = {}
    for name, shape in garden_shapes(outputs):
        values = generator.normal(0, 1 / np.sqrt(max(1, np.prod(shape[:-1]))), shape)
        if name.endswith(("gamma", "moving_variance")):
            values = generator.uniform(0.5, 1.5, shape)
        found[name] = values.astype(np.float32)
    return found


def write_checkpoint(
    path: Path, tensors: Mapping[str, np.ndarray], *, root: str = "", is_named: bool = True, has_averages: bool = False
) -> Path:
    """Writes a checkpoint of these tensors and returns its path, without the ending.

    The layers of the pyramid become numbers, as in Model Garden; `is_named` gives their variables the names of today,
    otherwise the numbers of before 2022. `has_averages` adds those of an optimiser, each larger by 1.
    """
    layers = [*ORDER, *(f"norm_{level}" for level in LEVELS)]
    made = [*(f"lateral_{n}" for n in (3, 4, 5)), *(f"post_hoc_{n}" for n in (3, 4, 5)), "coarser_6", "coarser_7"]
    numbers = {name: f"separable_conv2d_{place}" if place else "separable_conv2d" for place, name in enumerate(made)}
    numbers |= {f"norm_{level}": f"sync_batch_normalization_{level + 50}" for level in LEVELS}
    tree = tf.train.Checkpoint(global_step=tf.Variable(3, dtype=tf.int64))
    optimizer = keras.optimizers.legacy.SGD()
    for name, values in tensors.items():
        key, full_name = name, name.replace("/_", "/")
        part, layer, *rest = name.split("/")
        if part == "decoder" and layer in layers:
            key = "/".join([part, f"layer_with_weights-{layers.index(layer)}", *rest])
            full_name = "/".join([layer if is_named else numbers[layer], *rest])
        variable = tf.Variable(values, name=full_name)
        if has_averages and "moving" not in name:
            optimizer.add_slot(variable, "average", initializer=tf.constant_initializer(values + 1))
        _place(tree, f"{root}{key}".split("/"), variable)
    tree.optimizer = optimizer
    return Path(tree.write(str(path)))


def _place(tree: tf.train.Checkpoint, names: list[str], variable: tf.Variable) -> None:
    for name in names[:-1]:
        if not hasattr(tree, name):
            setattr(tree, name, tf.train.Checkpoint())
        tree = getattr(tree, name)
    setattr(tree, names[-1], variable)


@pytest.fixture(scope="session")
def garden_tensors() -> Callable[[int], dict[str, np.ndarray]]:
    """`garden_tensors(outputs)`: random tensors of Model Garden's RetinaNet, layers of the pyramid by their names."""
    return random_tensors


@pytest.fixture(scope="session")
def write_garden() -> Callable[..., Path]:
    """`write_garden(path, tensors, ...)` writes them as Model Garden's trainer does, and returns the path."""
    return write_checkpoint
