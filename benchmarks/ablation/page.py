"""Makes the page of the ablations: a table for each part of the paper's table 1, plots, and figure 4.

    python benchmarks/ablation/page.py runs/ablation --pictures docs/pictures > tables.md

A row has the AP of each set, mean and range over its seeds, and the paper's beside it. Ranks are compared by Kendall's
tau-b over the rows of a table (1: the same order, 0: none, -1: the opposite). `order` counts the pairs of rows whose
order in the paper we have too, of the pairs where our seeds do not overlap; other pairs decide nothing.
"""

from __future__ import annotations

import argparse
import itertools
import math
import re
import statistics
import sys
from pathlib import Path

import matplotlib as mpl
from paper import TABLES, Row, Table
from scipy.stats import kendalltau

sys.path.insert(0, str(Path(__file__).parents[1] / "sets"))
from results import Result, read_results
from show import mean_and_range

from keras_retina.evaluate.class_balance import cumulative_loss, read_class_balance
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.run_paths import RunPaths

mpl.use("Agg")
from matplotlib import pyplot

Aps = dict[tuple[str, str], list[float]]
"""(set, setting) -> AP of each seed."""

FIGURE_4_GAMMAS = (0.0, 0.5, 1.0, 2.0)


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("out", type=Path, help="--out of run.py")
    made.add_argument("--pictures", type=Path, required=True, help="folder for ablations.png and figure_4.png")
    arguments = made.parse_args()
    aps = by_setting(read_results(arguments.out / "results.csv"))
    sets = sorted({name for name, _ in aps})
    if not sets:
        raise SystemExit(f"{arguments.out}/results.csv: expected trainings. Received: none. Run run.py first.")
    print("\n\n".join("\n".join(table_lines(table, aps, sets=sets)) for table in TABLES))
    draw_tables(aps, sets=sets, path=arguments.pictures / "ablations.png")
    try:
        draw_figure_4(arguments.out, sets=sets, path=arguments.pictures / "figure_4.png")
    except InputError as error:
        raise SystemExit(str(error)) from error


def by_setting(results: list[Result]) -> Aps:
    """Returns the AP of every seed."""
    found: Aps = {}
    for one in sorted(results, key=lambda one: one.seed):
        found.setdefault((one.set, one.setting), []).append(one.AP)
    return found


def table_lines(table: Table, aps: Aps, *, sets: list[str]) -> list[str]:
    """Returns a table as Markdown, with the comparison of the orders in its last lines."""
    lines = [
        f"### {table.letter}. {table.title}",
        "",
        f"| row | paper | {' | '.join(sets)} |",
        f"|{'---|' * (2 + len(sets))}",
    ]
    for row in table.rows:
        paper = "diverged" if row.paper is None else f"{row.paper:.1f}"
        cells = [mean_and_range(aps.get((name, row.setting), [])) for name in sets]
        lines.append(f"| {row.label} | {paper} | {' | '.join(cells)} |")
    tau, order = (
        [function(table.rows, aps, set_name=name) for name in sets] for function in (kendall_tau, decided_pairs)
    )
    lines.append(f"| tau-b with the paper | | {' | '.join('-' if one is None else f'{one:+.2f}' for one in tau)} |")
    lines.append(f"| order as in the paper | | {' | '.join(f'{same} of {all_}' for same, all_ in order)} |")
    return lines


def kendall_tau(rows: tuple[Row, ...], aps: Aps, *, set_name: str) -> float | None:
    """Returns Kendall's tau-b of our mean APs with the paper's; None where one side has no two different values."""
    pairs = [
        (row.paper if row.paper is not None else 0.0, statistics.mean(found))
        for row in rows
        if (found := aps.get((set_name, row.setting)))
    ]
    if len(pairs) < 2:
        return None
    tau = float(kendalltau(*zip(*pairs, strict=True)).statistic)
    return None if math.isnan(tau) else tau


def decided_pairs(rows: tuple[Row, ...], aps: Aps, *, set_name: str) -> tuple[int, int]:
    """Returns how many pairs of rows have the paper's order, and how many have an order here at all: the lowest AP of
    one is above the highest of the other, with two seeds or more. Rows that diverged in the paper are left out.
    """
    same = decided = 0
    known = [
        (row.paper, found) for row in rows if row.paper is not None and (found := aps.get((set_name, row.setting)))
    ]
    for (paper, ours), (other_paper, others) in itertools.combinations(known, 2):
        is_decided = min(len(ours), len(others)) > 1 and (min(ours) > max(others) or min(others) > max(ours))
        if is_decided and paper != other_paper:
            decided += 1
            same += (paper > other_paper) == (min(ours) > max(others))
    return same, decided


def draw_tables(aps: Aps, *, sets: list[str], path: Path) -> None:
    """Draws every table: the paper's AP as a dashed line on the right axis, ours with the range of its seeds."""
    figure, axes = pyplot.subplots(2, 3, figsize=(14, 7.5), layout="constrained")
    for table, axis in zip(TABLES, axes.flat, strict=False):
        positions = range(len(table.rows))
        for name, colour in zip(sets, ("#2563eb", "#e0512a"), strict=False):
            drawn = [
                (x, aps[name, row.setting])
                for x, row in zip(positions, table.rows, strict=True)
                if (name, row.setting) in aps
            ]
            xs, means = [x for x, _ in drawn], [statistics.mean(values) for _, values in drawn]
            bars = [
                [mean - min(values) for (_, values), mean in zip(drawn, means, strict=True)],
                [max(values) - mean for (_, values), mean in zip(drawn, means, strict=True)],
            ]
            axis.errorbar(
                xs,
                means,
                bars,
                color=colour,
                marker="o",
                capsize=3,
                label=name,
                linestyle="-" if table.ordered else "none",
            )
        right = axis.twinx()
        papers = [(x, row.paper) for x, row in zip(positions, table.rows, strict=True) if row.paper is not None]
        right.plot(
            *zip(*papers, strict=True),
            color="#64748b",
            marker="s",
            linestyle="--" if table.ordered else "none",
            label="paper",
        )
        right.tick_params(axis="y", colors="#64748b")
        axis.set_title(f"{table.letter}. {re.split('[,;]', table.title)[0]}", fontsize=10, loc="left")
        axis.set_xticks(list(positions), [row.label for row in table.rows], rotation=35, ha="right", fontsize=8)
        axis.set_ylabel("AP here")
        right.set_ylabel("AP in the paper", color="#64748b")
    handles = [*axes.flat[0].get_legend_handles_labels()[0]]
    axes.flat[-1].axis("off")
    axes.flat[-1].legend(handles, sets, loc="center", title="squares: the paper, right axis")
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def draw_figure_4(out: Path, *, sets: list[str], path: Path) -> None:
    """Draws the cumulative loss of objects and background of each set's base training with seed 0.

    Raises:
        InputError: a training has no counts.
    """
    figure, axes = pyplot.subplots(len(sets), 2, figsize=(9, 3.4 * len(sets)), layout="constrained", squeeze=False)
    for name, row in zip(sets, axes, strict=True):
        file = RunPaths(out / name / "recipe-0").class_balance
        balance = read_class_balance(file)
        if balance is None:
            raise InputError(f"{file}: expected the counts of a training. Received: no such file. Run run.py.")
        for title, counts, axis in zip(
            ("objects", "background"), (balance.object_errors, balance.background_errors), row, strict=True
        ):
            for gamma in FIGURE_4_GAMMAS:
                axis.plot(*cumulative_loss(counts, gamma=gamma).T, label=f"gamma {gamma:g}")
            axis.set(title=f"{name}, {title}", xlabel="share of pairs, easiest first", ylabel="share of the loss")
        row[0].legend()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
