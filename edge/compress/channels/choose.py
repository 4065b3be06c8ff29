"""Which channels to remove so that a cost falls to a given share, the least important ones first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edge.compress.channels.cost import ChannelCost
from edge.compress.channels.groups import ChannelGroup
from keras_retina.foundation.errors import InputError


def choose_channels(
    groups: Sequence[ChannelGroup],
    importance: Sequence[np.ndarray],
    cost: ChannelCost,
    target: float,
    multiple: int = 8,
    largest_share: float = 1.0,
    price: ChannelCost | None = None,
) -> list[np.ndarray]:
    """Returns which channels stay, bool `[channels]` for each group, for a cost of at most `target` of the whole.

    Again and again the step that loses least importance for what it saves is taken: the least important channels of
    one group, down to the next multiple. One step fewer would miss the target.

    Args:
        importance: `[channels]` for each group, comparable between groups (`edge.compress.channels.rank`).
        price: what steps are compared by, when that is not the cost itself: with `time_cost` here and multiply-adds as
            the cost, those multiply-adds go first that take most time.
        target: share of the cost that may be left, between 0 and 1.
        multiple: groups keep a multiple of it, or all; at least one multiple.
        largest_share: the largest share of its channels that a group may lose.

    Raises:
        InputError: a setting out of range, or a target below what is left when every group is at its smallest.
    """
    check_settings(target, multiple, largest_share)
    path = removal_path(groups, importance, price or cost, multiple, largest_share)
    shares = [cost.of(counts) / cost.of(path[0]) for counts in path]
    if shares[-1] > target:
        raise unreachable(target, shares[-1])
    return most_important(
        importance, next(counts for counts, share in zip(path, shares, strict=True) if share <= target)
    )


def removal_path(
    groups: Sequence[ChannelGroup],
    importance: Sequence[np.ndarray],
    price: ChannelCost,
    multiple: int,
    largest_share: float,
) -> list[np.ndarray]:
    """Returns the channel counts, int `[groups]`, after 0, 1, 2, ... steps, until every group is at its smallest."""
    counts = np.array([group.channels for group in groups])
    smallest = np.array([max(multiple, math.ceil((1 - largest_share) * count - 1e-9)) for count in counts])
    # lost[g][n]: the importance of all but the n most important channels of group g.
    lost = [np.concatenate([np.cumsum(np.sort(values))[::-1], [0.0]]) for values in importance]
    path = [counts]
    while True:
        lower = (counts - 1) // multiple * multiple
        possible = np.flatnonzero(lower >= smallest)
        if not possible.size:
            return path
        loses = np.array([lost[group][lower[group]] - lost[group][counts[group]] for group in possible])
        group = possible[np.argmin(loses / price.saved(counts, counts - lower)[possible])]
        counts = counts.copy()
        counts[group] = lower[group]
        path.append(counts)


def most_important(importance: Sequence[np.ndarray], counts: np.ndarray) -> list[np.ndarray]:
    """Returns bool `[channels]` for each group: which channels are its `counts` most important, the first of equals."""
    kept = []
    for values, count in zip(importance, counts.tolist(), strict=True):
        marks = np.zeros(len(values), bool)
        marks[np.argsort(-values, kind="stable")[:count]] = True
        kept.append(marks)
    return kept


def check_settings(target: float, multiple: int, largest_share: float) -> None:
    """Raises InputError for a setting out of its range."""
    if not 0 < target < 1:
        raise InputError(
            "channel pruning: expected target, the share of the cost that is left, between 0 and 1. "
            f"Received: target={target}. For half the cost: 0.5."
        )
    if multiple < 1:
        raise InputError(
            f"channel pruning: expected multiple of 1 or more. Received: multiple={multiple}. Kernels like 8."
        )
    if not 0 < largest_share <= 1:
        raise InputError(
            "channel pruning: expected largest_share, what a group may lose, above 0 and at most 1. "
            f"Received: largest_share={largest_share}. For no limit: 1."
        )


def unreachable(target: float, smallest: float) -> InputError:
    """Returns the error of a target that no choice of channels meets."""
    return InputError(
        f"channel pruning: expected a target of at least {math.ceil(1000 * smallest) / 1000}, what is left when every "
        f"group is at its smallest. Received: target={target}. Raise target or largest_share, or lower multiple."
    )
