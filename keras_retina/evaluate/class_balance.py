"""How unequal objects and background are for the loss of the classes, and what the focal loss makes of it.

Everything is counted over pairs of anchor and class. The loss of a pair is a growing function of its *error*, which is
minus the logit where the class is the target and the logit elsewhere. So the counts of errors, a histogram, give the
loss for every alpha and gamma, and its order, without keeping a single logit.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, NonNegativeInt, TypeAdapter, ValidationError

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.writing import write_json
from keras_retina.foundation.json_values import read_text

LARGEST_ERROR = 20.0
"""Errors beyond it count as it: a logit of 20 is a probability that differs from 1 by 2e-9."""

BINS = 800
"""Bins of the histograms, 0.05 wide."""


Histogram = Annotated[tuple[NonNegativeInt, ...], Field(min_length=BINS, max_length=BINS)]
"""Counts in `BINS` equal bins, from -`LARGEST_ERROR` to `LARGEST_ERROR`."""


@dataclass(frozen=True)
class ClassBalance:
    """What a split asks of a trained detector.

    Attributes:
        split: the name of the split.
        images: how many of its images were looked at.
        objects: class name -> labelled objects, crowds left out.
        positives: class name -> anchors that must find it.
        ignored: anchors that take no part in the loss.
        object_errors: errors of the pairs of an anchor and the class that it must find.
        background_errors: errors of all other pairs.
    """

    split: str
    images: NonNegativeInt
    objects: dict[str, NonNegativeInt]
    positives: dict[str, NonNegativeInt]
    ignored: NonNegativeInt
    object_errors: Histogram
    background_errors: Histogram


_FILE = TypeAdapter(ClassBalance)


def count_errors(errors: np.ndarray) -> np.ndarray:
    """Returns how many errors, of any shape, are in each bin, int64 `[BINS]`."""
    edges = np.linspace(-LARGEST_ERROR, LARGEST_ERROR, BINS + 1)
    return np.histogram(np.clip(errors, -LARGEST_ERROR, LARGEST_ERROR), edges)[0].astype(np.int64)


def loss_of_bins(gamma: float) -> np.ndarray:
    """Returns the focal loss without alpha at the middle of each bin, `(1 - p_t) ** gamma * -log(p_t)`, `[BINS]`.

    Source: Focal Loss for Dense Object Detection, equation 4. `gamma` 0 is cross entropy.
    """
    width = 2 * LARGEST_ERROR / BINS
    errors = np.linspace(-LARGEST_ERROR + width / 2, LARGEST_ERROR - width / 2, BINS)
    return np.exp(gamma * -np.logaddexp(0.0, -errors)) * np.logaddexp(0.0, errors)


def background_share(balance: ClassBalance, *, gamma: float, alpha: float | None) -> float | None:
    """Returns the share of the loss that comes from background, 0 to 1; None where there is no pair at all.

    `alpha` weighs pairs of objects, `1 - alpha` the others; None weighs all alike.
    """
    losses = loss_of_bins(gamma)
    weights = (1.0, 1.0) if alpha is None else (alpha, 1.0 - alpha)
    objects, background = (
        weight * float(losses @ np.asarray(counts, np.float64))
        for weight, counts in zip(weights, (balance.object_errors, balance.background_errors), strict=True)
    )
    total = objects + background
    return background / total if total else None


def cumulative_loss(counts: tuple[int, ...], *, gamma: float) -> np.ndarray:
    """Returns float64 `[points, 2]`: share of the pairs, easiest first, and the share of the loss that they have.

    The first point is (0, 0) and the last (1, 1), with a point after each bin that has a pair; no point without pairs.

    Source: Focal Loss for Dense Object Detection, figure 4.
    """
    pairs = np.asarray(counts, np.float64)
    filled = pairs > 0
    if not filled.any():
        return np.zeros((0, 2))
    losses = pairs * loss_of_bins(gamma)
    points = np.stack([np.cumsum(one[filled]) / one.sum() for one in (pairs, losses)], axis=1)
    return np.concatenate([np.zeros((1, 2)), points])


def write_class_balance(path: Path, balance: ClassBalance) -> None:
    """Writes it as JSON."""
    write_json(path, asdict(balance))


def read_class_balance(path: Path) -> ClassBalance | None:
    """Returns what `write_class_balance` wrote, or None where there is no file.

    Raises:
        InputError: the file is damaged.
    """
    text = read_text(path)
    if text is None:
        return None
    try:
        balance = _FILE.validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{path}: expected the counts that training wrote. Received: {'.'.join(map(str, first['loc']))}: "
            f"{first['msg']}. Delete it; the report does without."
        ) from error
    if balance.objects.keys() != balance.positives.keys():
        raise InputError(
            f"{path}: expected the same classes in objects and positives. Received: {', '.join(balance.objects)} and "
            f"{', '.join(balance.positives)}. Delete it; the report does without."
        )
    return balance
