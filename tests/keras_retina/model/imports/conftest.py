"""A state dictionary with the names and shapes of torchvision's, without PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

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
