"""Weights of PyTorch's layers as those of Keras."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

KERNEL_AXES = (2, 3, 1, 0)  # from [outputs, inputs, height, width]
NORM = ("weight", "bias", "running_mean", "running_var")
KERAS_EPSILON = 1e-5  # of the BatchNorm layers that imported weights get


def convolution(kernel: np.ndarray, *bias: np.ndarray) -> list[np.ndarray]:
    """Returns kernel, and bias where there is one."""
    return [kernel.transpose(KERNEL_AXES), *bias]


def batch_norm(epsilon: float) -> Callable[..., list[np.ndarray]]:
    """Returns a function of scale, offset, mean and variance whose `epsilon` becomes `KERAS_EPSILON`.

    The scale is changed rather than the variance, which could fall below 0.
    """

    def convert(scale: np.ndarray, offset: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> list[np.ndarray]:
        if epsilon != KERAS_EPSILON:
            wide = variance.astype(np.float64)
            scale = (scale * np.sqrt((wide + KERAS_EPSILON) / (wide + epsilon))).astype(np.float32)
        return [scale, offset, mean, variance]

    return convert


def box_prediction(kernel: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
    """Returns the convolution whose outputs `(x, y, w, h)` of each anchor come as `(y, x, h, w)`."""
    order = np.arange(len(bias)).reshape(-1, 4)[:, [1, 0, 3, 2]].ravel()
    return convolution(kernel[order], bias[order])


def class_prediction(outputs: int, kept: np.ndarray) -> Callable[..., list[np.ndarray]]:
    """Returns a function that leaves of each anchor's `outputs` those of the classes in `kept`."""

    def convert(kernel: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
        rows = np.arange(len(bias)).reshape(-1, outputs)[:, kept].ravel()
        return convolution(kernel[rows], bias[rows])

    return convert
