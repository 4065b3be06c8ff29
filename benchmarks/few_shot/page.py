"""Makes the table and the plot of the few-shot trainings.

    python benchmarks/few_shot/page.py runs/few_shot --picture few_shot.png > table.md

AP is of the test split where the set has one, else of val; mean and range over the seeds, each with other images.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

import matplotlib as mpl

sys.path.insert(0, str(Path(__file__).parents[1] / "sets"))
from results import Result, read_results
from show import mean_and_range

mpl.use("Agg")
from matplotlib import pyplot

Aps = dict[tuple[str, str, int], list[float]]
"""(set, kind of training, images) -> AP of each seed."""


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("out", type=Path, help="--out of run.py")
    made.add_argument("--picture", type=Path, required=True)
    arguments = made.parse_args()
    aps = by_images(reported(*(read_results(arguments.out / name) for name in ("results.csv", "results_test.csv"))))
    if not aps:
        raise SystemExit(f"{arguments.out}/results.csv: expected trainings. Received: none. Run run.py first.")
    print("\n".join(table_lines(aps)))
    draw(aps, arguments.picture)


def reported(validation: list[Result], test: list[Result]) -> list[Result]:
    """Returns the results of the test split, and of the validation split for sets without one."""
    tested = {one.set for one in test}
    return [*test, *(one for one in validation if one.set not in tested)]


def by_images(results: list[Result]) -> Aps:
    """Returns the AP of every seed by set, kind and number of images: `focal_30` is the kind focal with 30 images."""
    found: Aps = {}
    for one in sorted(results, key=lambda one: one.seed):
        kind, _, images = one.setting.rpartition("_")
        if images.isdecimal():
            found.setdefault((one.set, kind, int(images)), []).append(one.AP)
    return found


def table_lines(aps: Aps) -> list[str]:
    """Returns a line for each set and kind, a column for each number of images, as Markdown."""
    counts = sorted({images for _, _, images in aps})
    lines = [
        f"| set | training | {' | '.join(f'{count} images' for count in counts)} |",
        f"|{'---|' * (2 + len(counts))}",
    ]
    for name, kind in dict.fromkeys((name, kind) for name, kind, _ in aps):
        cells = [mean_and_range(aps.get((name, kind, count), [])) for count in counts]
        lines.append(f"| {name} | {kind.replace('_', ' ')} | {' | '.join(cells)} |")
    return lines


def draw(aps: Aps, path: Path) -> None:
    """Draws AP over the number of images, a panel for each set, with the range of the seeds."""
    sets = list(dict.fromkeys(name for name, _, _ in aps))
    figure, axes = pyplot.subplots(1, len(sets), figsize=(4.4 * len(sets), 3.8), layout="constrained", squeeze=False)
    for name, axis in zip(sets, axes[0], strict=True):
        for kind in dict.fromkeys(kind for one, kind, _ in aps if one == name):
            drawn = sorted(
                (images, values) for (one, other, images), values in aps.items() if (one, other) == (name, kind)
            )
            means = [statistics.mean(values) for _, values in drawn]
            below = [mean - min(values) for (_, values), mean in zip(drawn, means, strict=True)]
            above = [max(values) - mean for (_, values), mean in zip(drawn, means, strict=True)]
            axis.errorbar(
                [images for images, _ in drawn],
                means,
                [below, above],
                marker="o",
                capsize=3,
                label=kind.replace("_", " "),
            )
        axis.set(title=name, xlabel="labelled images", ylabel="AP", xscale="log")
        axis.set_xticks([10, 30, 100], ["10", "30", "100"])
        axis.minorticks_off()
    axes[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
