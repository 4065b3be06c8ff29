"""Weights of Keras' layers whose outputs come in another order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np


def prediction(
    values: int, order: Sequence[int] | np.ndarray, *, anchors: Sequence[int]
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
