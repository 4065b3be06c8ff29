"""Prints the results of a queue as Markdown: AP of every setting on every set, and what is shown over all sets.

    python benchmarks/sets/show.py OUT/results.csv [--base NAME]

Differences are to the base with the same seed. A set's cell is the mean over its seeds, lowest to highest, and the
ratio of the mean AP. The rule behind the verdict is at the top of judge.py.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from judge import OnOneSet, compare, geometric_mean_ratio, mean_difference, standard_error, verdict
from results import Result, read_results

BASE = "recipe"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("--base", default=BASE)
    arguments = parser.parse_args()
    print(tables(read_results(arguments.results), base=arguments.base))


def tables(results: list[Result], *, base: str) -> str:
    """Returns both tables as Markdown."""
    return "\n".join([*accuracy_lines(results), "", *comparison_lines(results, base=base)])


def accuracy_lines(results: list[Result]) -> list[str]:
    """Returns AP, AP50 and AP75 of every setting on every set, over its seeds."""
    lines = [
        "| set | setting | split | AP | AP50 | AP75 | seeds | epochs | steps | images/s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for key in dict.fromkeys((one.set, one.setting) for one in sorted(results, key=lambda one: one.set)):
        rows = [one for one in results if (one.set, one.setting) == key]
        speeds = [one.images_per_second for one in rows if one.images_per_second is not None]
        cells = [
            *key,
            ", ".join(sorted({one.split for one in rows})),
            mean_and_range([one.AP for one in rows]),
            *(f"{statistics.mean(getattr(one, name) for one in rows):.1f}" for name in ("AP50", "AP75")),
            str(len(rows)),
            f"{statistics.mean(one.epochs for one in rows):.1f}",
            f"{statistics.mean(one.steps for one in rows):.0f}",
            f"{statistics.mean(speeds):.1f}" if speeds else "-",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def comparison_lines(results: list[Result], *, base: str) -> list[str]:
    """Returns a line for each setting against the base: the verdict, its figures, and a cell for each set."""
    aps = {one.key: one.AP for one in results}
    sets = sorted({one.set for one in results})
    lines = [
        f"| against {base} | over all sets | AP | standard error | sets better | ratio | {' | '.join(sets)} |",
        f"|{'---|' * (6 + len(sets))}",
    ]
    for setting in dict.fromkeys(one.setting for one in results):
        found = compare(aps, setting, base=base)
        if setting != base and found:
            cells = [cell(found[name]) if name in found else "-" for name in sets]
            lines.append(f"| {setting} | {' | '.join([*summary(list(found.values())), *cells])} |")
    return lines


def summary(sets: list[OnOneSet]) -> list[str]:
    """Returns the cells over all sets."""
    error, ratio = standard_error(sets), geometric_mean_ratio(sets)
    return [
        verdict(sets),
        f"{mean_difference(sets):+.1f}",
        "-" if error is None else f"{error:.1f}",
        f"{sum(one.mean > 0 for one in sets)} of {len(sets)}",
        "-" if ratio is None else f"{ratio:.3f}",
    ]


def cell(one: OnOneSet) -> str:
    """Returns the difference on one set, with an exclamation mark where it loses more than trainings differ."""
    ratio = "" if one.ratio is None else f", {one.ratio:.2f}"
    return f"{mean_and_range(one.differences, sign='+')}{ratio}{' !' if one.loses else ''}"


def mean_and_range(values: Sequence[float], *, sign: str = "") -> str:
    """Returns `52.1 (50.0 to 54.3)`, the mean alone for one value, and a dash for none."""
    if not values:
        return "-"
    mean = f"{statistics.mean(values):{sign}.1f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):{sign}.1f} to {max(values):{sign}.1f})"


if __name__ == "__main__":
    main()
