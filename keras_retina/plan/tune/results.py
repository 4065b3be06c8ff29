"""What a study leaves behind: a table, a plot, and a recipe that `run` takes."""

from __future__ import annotations

import csv
import io
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_retina.foundation.files.writing import replacing, write_file
from keras_retina.plan.tune.space import Parameter, apply_values
from keras_retina.recipe.recipe import Recipe, dump_recipe

if TYPE_CHECKING:
    from optuna import Study


@dataclass(frozen=True)
class TrialRow:
    """One trial.

    Attributes:
        number: in the order in which they began; 0 is the recipe as it is.
        state: `complete`, `ended early`, `failed` or `unfinished`.
        ap: validation AP in percent: the final one of a complete trial, else the last that was measured.
        values: of each parameter, None where it did not get so far.
        reason: why it failed.
        minutes: from begin to end.
    """

    number: int
    state: str
    ap: float | None
    values: dict[str, Any]
    reason: str
    minutes: float | None


def trial_rows(study: Study, space: tuple[Parameter, ...]) -> list[TrialRow]:
    """Returns every trial of a study, but for those that still wait or were gone on with as another trial."""
    from optuna.trial import TrialState

    names = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "ended early", TrialState.FAIL: "failed"}
    rows = []
    for trial in study.get_trials(deepcopy=False):
        if trial.state == TrialState.WAITING or was_continued(study, trial.number):
            continue
        state = names.get(trial.state, "unfinished")
        if state == "failed" and not trial.user_attrs.get("reason"):
            state = "unfinished"
        last = trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None
        rows.append(
            TrialRow(
                trial.number,
                state,
                trial.value if state == "complete" else last,
                {one.name: one.read(trial.params[one.name]) if one.name in trial.params else None for one in space},
                str(trial.user_attrs.get("reason", "")),
                trial.duration.total_seconds() / 60.0 if trial.duration else None,
            )
        )
    return rows


def was_continued(study: Study, number: int) -> bool:
    """Tells whether a later call goes on with an unfinished trial, under a number of its own."""
    return bool(study.user_attrs.get(f"continued {number}"))


def note_continued(study: Study, number: int) -> None:
    """Keeps what `was_continued` tells."""
    study.set_user_attr(f"continued {number}", True)


def best_row(rows: list[TrialRow]) -> TrialRow | None:
    """Returns the complete trial of highest AP, the earlier of equal ones; None where none is complete."""
    complete = [(row.ap, -row.number, row) for row in rows if row.state == "complete" and row.ap is not None]
    return max(complete)[2] if complete else None


def start_row(rows: list[TrialRow], start: dict[str, Any]) -> TrialRow | None:
    """Returns the complete trial of the recipe as it is."""
    return next((row for row in rows if row.state == "complete" and row.values == start), None)


def write_table(path: Path, rows: list[TrialRow]) -> None:
    """Writes a line for each trial as CSV."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["trial", "state", "AP", "minutes", *(rows[0].values if rows else ()), "reason"])
    for row in rows:
        minutes = None if row.minutes is None else round(row.minutes, 2)
        lines.writerow([row.number, row.state, row.ap, minutes, *row.values.values(), row.reason])
    write_file(path, text.getvalue().encode())


def write_plot(path: Path, rows: list[TrialRow]) -> None:
    """Draws AP over the trials with the best so far, and AP over each parameter."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    names = list(rows[0].values) if rows else []
    columns = min(3, 1 + len(names))
    lines = math.ceil((1 + len(names)) / columns)
    size = (4.2 * columns, 3.2 * lines)
    figure, axes = pyplot.subplots(lines, columns, figsize=size, layout="constrained", squeeze=False)
    kinds = (("complete", "#2563eb", "o"), ("ended early", "#94a3b8", "x"))
    for axis, name in zip(axes.flat, [None, *names], strict=False):
        for state, colour, marker in kinds:
            shown = [row for row in rows if row.state == state and row.ap is not None]
            xs = [row.number if name is None else row.values[name] for row in shown]
            axis.scatter(xs, [row.ap for row in shown], color=colour, marker=marker, label=state)
        axis.set(xlabel="trial" if name is None else name, ylabel="validation AP")
    complete = [(row.number, row.ap) for row in rows if row.state == "complete" and row.ap is not None]
    so_far = list(itertools.accumulate((ap for _, ap in complete), max))
    axes.flat[0].plot([number for number, _ in complete], so_far, color="#e0512a", drawstyle="steps-post", label="best")
    axes.flat[0].legend(fontsize=8)
    for axis in list(axes.flat)[1 + len(names) :]:
        axis.axis("off")
    with replacing(path) as unfinished:
        figure.savefig(unfinished, dpi=90, format="png")
    pyplot.close(figure)


def best_recipe(recipe: Recipe, space: tuple[Parameter, ...], best: TrialRow) -> Recipe:
    """Returns the recipe with the settings of a trial; its length, data and smaller models stay."""
    found = apply_values(recipe, space, best.values)
    return found.model_copy(update={"expected": None, "published": None})


def recipe_text(recipe: Recipe, *, best: TrialRow, start: TrialRow | None, tuned: str, judged: str) -> str:
    """Returns the recipe as YAML, with what was chosen and what it gained in comments.

    Args:
        tuned: the recipe that was tuned, as it was named.
        judged: the split that judged.
    """
    lines = [f"Tuned: {tuned}, trial {best.number}, AP {best.ap:.1f} on {judged} after a training of a trial's length."]
    if start is not None and start.number != best.number:
        lines.append(
            f"The recipe as it was has {start.ap:.1f} there. One seed each: differences of some points of AP are noise."
        )
        changed = [name for name, value in best.values.items() if value != start.values[name]]
        lines += [f"{name}: {_shown(best.values[name])}, was {_shown(start.values[name])}" for name in changed]
    elif start is not None:
        lines.append("No trial was better than the recipe as it was.")
    return "".join(f"# {line}\n" for line in lines) + dump_recipe(recipe)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
