"""The section of the report on objects against background: what cross entropy and the focal loss learn from."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from edge.report.charts import Series, line_chart
from edge.report.run import Run
from keras_retina.evaluate.class_balance import (
    ClassBalance,
    background_share,
    cumulative_loss,
    read_class_balance,
)
from keras_retina.foundation.json_values import number

PAPER_GAMMA, PAPER_ALPHA = 2.0, 0.25
GAMMAS = ((0.0, 8), (0.5, 11), (1.0, 9), (2.0, 10))
"""The curves of the paper's figure 4 and their colours."""


def balance_section(run: Run) -> dict[str, Any]:
    """Returns the counts of each class, the share of background in each loss, and the curves of the paper's figure 4.

    Raises:
        InputError: train/class_balance.json is damaged.
    """
    balance = read_class_balance(run.paths.class_balance)
    if balance is None:
        absent = "train/class_balance.json is missing: this run was not trained here, or by an older version."
        return {"balance_line": "", "balance_classes": [], "balance_losses": [], "balance_charts": []} | {
            "balance_missing": absent
        }
    matched, others = sum(balance.object_errors), sum(balance.background_errors)
    line = (
        f"{balance.images} images of {balance.split}, not augmented. {matched:,} times an anchor must find a class, "
        f"and {others:,} times it must not"
        + (f": {others / matched:,.0f} times background for each object." if matched else ".")
    )
    return {
        "balance_line": line,
        "balance_classes": _classes(balance),
        "balance_losses": _losses(balance, run.recipe),
        "balance_charts": [chart for chart in (_chart(balance, of_objects=True), _chart(balance)) if chart],
        "balance_missing": "" if matched else f"No anchor was matched with an object of {balance.split}.",
    }


def _classes(balance: ClassBalance) -> list[dict[str, Any]]:
    all_positives = sum(balance.positives.values())
    names = sorted(balance.objects, key=lambda name: -balance.objects[name])
    return [
        {
            "name": name,
            "objects": balance.objects[name],
            "positives": balance.positives[name],
            "share": balance.positives[name] / all_positives if all_positives else None,
        }
        for name in names
    ]


def _losses(balance: ClassBalance, recipe: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns a row for cross entropy, one for the paper's focal loss, and one for the recipe's if it has another."""
    named = [("cross entropy", 0.0, None), *_focal(PAPER_GAMMA, PAPER_ALPHA)]
    own = _own_focal(recipe)
    if own is not None and own != (PAPER_GAMMA, PAPER_ALPHA):
        named += _focal(*own)
    rows = []
    for name, gamma, alpha in named:
        share = background_share(balance, gamma=gamma, alpha=alpha)
        rows.append({"name": name, "background": share, "objects": None if share is None else 1.0 - share})
    return rows


def _focal(gamma: float, alpha: float | None) -> list[tuple[str, float, float | None]]:
    balanced = f", alpha {alpha:g}" if alpha is not None else ", no alpha"
    return [(f"focal loss, gamma {gamma:g}{balanced}", gamma, alpha)]


def _own_focal(recipe: dict[str, Any]) -> tuple[float, float | None] | None:
    """Returns gamma and alpha of the recipe, None where it has another loss."""
    training = recipe.get("training")
    loss = training.get("loss") if isinstance(training, dict) else None
    if not isinstance(loss, dict) or loss.get("classes", "focal") != "focal":
        return None
    gamma = number(loss.get("gamma"))
    return None if gamma is None else (gamma, number(loss.get("alpha")))


def _chart(balance: ClassBalance, *, of_objects: bool = False) -> Markup | None:
    counts = balance.object_errors if of_objects else balance.background_errors
    drawn = [(gamma, slot, cumulative_loss(counts, gamma=gamma)) for gamma, slot in GAMMAS]
    if any(not len(points) for _, _, points in drawn):
        return None
    told = []
    for gamma, _, points in drawn:
        hardest = 1.0 - float(points[points[:, 0] <= 0.9][-1, 1])
        told.append(f"gamma {gamma:g}: the hardest tenth has {100 * hardest:.0f} % of the loss")
    return line_chart(
        "balance_objects" if of_objects else "balance_background",
        "Objects" if of_objects else "Background",
        description="; ".join(told),
        series=[
            Series(f"γ {gamma:g}", slot, [(float(x), float(y)) for x, y in points]) for gamma, slot, points in drawn
        ],
        x_label="share of pairs, easiest first",
        x_range=(0.0, 1.0),
        y_range=(0.0, 1.0),
        size=(360, 240),
        y_label="share of the loss",
    )
