"""What a measured file must reach to count as verified: pure functions on AP values and scores."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from edge.verify.rows import Row
from keras_retina.recipe.recipe import Verification

DISTINCT_SCORES = 10
"""Fewer different scores over a whole split come from a network that no longer looks at the image."""


def rule_text(settings: Verification, ratios: Mapping[str, float]) -> str:
    """Returns the gate as one sentence; `ratios` are those of the smaller models, {name: minimum_ap_ratio}."""
    own = [f"{name} {ratio:g} x" for name, ratio in ratios.items() if ratio != settings.minimum_ap_ratio]
    exceptions = f" ({', '.join(own)})" if own else ""
    return (
        f"raw heads of the float32 file within {settings.parity:g} of Keras; AP of every file >= "
        f"{settings.minimum_ap_ratio:g} x{exceptions} "
        "the AP of the float Keras model; no class loses more than "
        f"{settings.maximum_class_drop:g} AP points beyond that; scores not degenerate"
    )


def degenerate_scores(scores: Sequence[float], images: int) -> str | None:
    """Returns what is wrong with all scores of a split, or None.

    A dead file gives no detections, or the same score to all, or values that are no probabilities. A split of few
    images needs as many different scores as it has images, at least 2.
    """
    if not scores:
        return "no detections at all"
    if not all(math.isfinite(score) and 0 <= score <= 1 for score in scores):
        return "scores that are not between 0 and 1"
    if max(scores) == 0:
        return "all scores are 0"
    distinct, needed = len(set(scores)), max(2, min(DISTINCT_SCORES, images))
    if distinct < needed:
        return f"only {distinct} different scores in {len(scores)} detections, expected at least {needed}"
    return None


def shortfalls(row: Row, parent: Row, *, settings: Verification) -> list[str]:
    """Returns one sentence for each limit that the AP of a row misses against its float parent, all in percent.

    Classes and sizes that the split does not show (None) are left out.
    """
    reasons = []
    ratio = settings.minimum_ap_ratio
    ap, wanted = row.ap["AP"] or 0.0, parent.ap["AP"] or 0.0
    if _less(ap, ratio * wanted):
        reasons.append(f"AP {ap:.2f} is under {ratio:g} x {wanted:.2f} = {ratio * wanted:.2f}")
    for name, parent_ap in parent.per_class.items():
        class_ap = row.per_class[name]
        if parent_ap is None or class_ap is None:
            continue
        least = ratio * parent_ap - settings.maximum_class_drop
        if _less(class_ap, least):
            reasons.append(f"AP of class {name!r} fell from {parent_ap:.2f} to {class_ap:.2f}, under {least:.2f}")
    return reasons


def _less(value: float, limit: float) -> bool:
    return value < limit - 1e-6  # AP is rounded to thousandths; an equal value must not fail by a rounding
