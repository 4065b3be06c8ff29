"""Weights of Keras' layers as ours: as they are, or with outputs in another order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from keras_retina.model.imports.original import Part


def unchanged(*arrays: np.ndarray) -> list[np.ndarray]:
    """Returns the variables as they are."""
    return list(arrays)


def same_variables(layer: str, theirs: str, count: int) -> Part:
    """Returns a layer that has the same variables in the same order, which are numbered behind its name."""
    return Part(layer, tuple(f"{theirs}/{place}" for place in range(count)), unchanged)


def prediction(
    values: int, order: Sequence[int] | np.ndarray, *, anchors: Sequence[int] | np.ndarray
) -> Callable[..., list[np.ndarray]]:
    """Returns a function of kernel and bias that puts outputs in another order.

    Args:
        values: outputs of an anchor.
        order: which of them stay, in this order.
        anchors: the anchors of a cell, in this order.
    """

    def convert(kernel: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
        rows = np.arange(len(bias)).reshape(-1, values)[np.asarray(anchors)][:, np.asarray(order)].ravel()
        return [kernel[..., rows], bias[rows]]

    return convert
