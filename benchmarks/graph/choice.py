"""Which graph a detector should have, measured on files: upsampling, sigmoid, joined heads, anchors of a cell.

    python benchmarks/graph/choice.py train   --out OUT recipes/bccd.yaml --data DIR [--trainings NAME ...]
    python benchmarks/graph/choice.py measure --out OUT
    python benchmarks/graph/choice.py measure --out OUT --run RUN        (the ends of the graph of an exported run)
    python benchmarks/graph/choice.py latency --out OUT --image PHOTO    (run nothing else beside it)
    python benchmarks/graph/choice.py table   --out OUT                  (prints Markdown)

`train` makes five trainings a seed, alike but for one thing (`training.TRAININGS`), the anchors fitted at the
input size for each number of them. `measure` writes a float32 and an int8 file of each variant below, and finds the
operators that XNNPACK takes, the prediction for the Edge TPU, and the AP on the validation split, decoded alike for
all; variants of one training have the same weights. `latency` times the files of one seed in turns. All but `latency`
goes on where it was interrupted. Results are in OUT/choice.json.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import forms
from measure import Row, Source, load_splits, measured_rows, run_source, training_source
from table import latency_table, measure_table
from training import TRAININGS, WEIGHTS, train_variant

from edge.benchmark.comparison import against_first, latency_statistics
from edge.benchmark.interleave import interleaved_latency
from keras_retina.foundation.machine import machine_name
from keras_retina.recipe.recipe import load_recipe
from keras_retina.run.folder import open_run

EPOCHS = 20
INPUT = "model.input={height: 320, width: 320, resize: stretch}"


@dataclass(frozen=True)
class Variant:
    """A training, and how its graph ends."""

    training: str
    end: forms.End = forms.joined


RUN_TRAINING = "bilinear"  # of a run folder only the variants with the weights of this training can be made
VARIANTS = {
    "bilinear, logits, joined, 9 anchors": Variant("bilinear"),
    "nearest": Variant("nearest"),
    "transposed convolution": Variant("transposed"),
    "sigmoid inside": Variant("bilinear", forms.joined_probabilities),
    "one output a level": Variant("bilinear", forms.one_output_a_level),
    "6 anchors a cell": Variant("anchors_6"),
    "3 anchors a cell": Variant("anchors_3"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("train", "measure", "latency", "table"))
    parser.add_argument("recipe", nargs="?", help="for `train`")
    parser.add_argument("--data", type=Path, help="for `train`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trainings", nargs="+", help="of those of the table; all when none is given")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--set", action="append", default=[], help=f"over {INPUT} and training.epochs={EPOCHS}")
    parser.add_argument("--run", type=Path, help="for `measure`: an exported run folder instead of own trainings")
    parser.add_argument("--image", type=Path, help="for `latency`: what the files see")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    if arguments.stage == "train" and (arguments.recipe is None or arguments.data is None):
        parser.error("train: expected a recipe and --data")
    stages = {"train": train, "measure": measure, "latency": latency, "table": table}
    stages[arguments.stage](arguments)


def train(arguments: argparse.Namespace) -> None:
    """Trains what is missing; one folder a training and seed."""
    last = ["training.checkpoint=last", f"training.epochs={EPOCHS}", f"training.evaluate_every={EPOCHS}"]
    for seed in arguments.seeds:
        base = load_recipe(arguments.recipe, [INPUT, *last, *arguments.set, f"seed={seed}"])
        datasets = load_splits(base, arguments.data)
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "data.txt").write_text(str(arguments.data.resolve()), encoding="utf-8")
        for name in arguments.trainings or TRAININGS:
            folder = arguments.out / f"{name}-{seed}"
            print(f"{folder.name}: {datetime.datetime.now():%H:%M:%S}", flush=True)
            train_variant(base, TRAININGS[name], *datasets, folder, arguments.data, partial(print, flush=True))


def measure(arguments: argparse.Namespace) -> None:
    """Writes and measures the files of every training that is done, or of a run folder."""
    if arguments.run:
        run = open_run(arguments.run)
        for name, variant in VARIANTS.items():
            if variant.training == RUN_TRAINING:
                measure_variant(
                    name, variant, source=run_source(run, arguments.out), data_dir=run.data_dir, out=arguments.out
                )
        return
    data_dir = Path((arguments.out / "data.txt").read_text(encoding="utf-8"))
    wanted = arguments.trainings or TRAININGS
    for name, variant in VARIANTS.items():
        for folder in sorted(arguments.out.glob(f"{variant.training}-*/")) if variant.training in wanted else ():
            if (folder / WEIGHTS).exists():
                measure_variant(
                    name,
                    variant,
                    source=training_source(folder, TRAININGS[variant.training]),
                    data_dir=data_dir,
                    out=arguments.out,
                )


def measure_variant(name: str, variant: Variant, *, source: Source, data_dir: Path, out: Path) -> None:
    """Adds the rows of a variant to the results, unless they are there."""
    seed = source.recipe.seed
    if any((row["variant"], row["seed"]) == (name, seed) for row in read_result(out)["rows"]):
        return
    rows = measured_rows(name, variant.end, source, data_dir)
    result = read_result(out)  # again: another training may have been measured meanwhile
    result["rows"] += [{"variant": name, "seed": seed, **row} for row in rows]
    write_result(out, result)
    for row in rows:
        print(f"{name}, seed {seed}, {row['kind']}: AP {row['AP']:.2f}", flush=True)


def latency(arguments: argparse.Namespace) -> None:
    """Times all files of the first seed in turns, each held against the first variant in its format."""
    result = read_result(arguments.out)
    seed = arguments.seeds[0]
    files = [row for row in in_order(result["rows"]) if row["seed"] == seed]
    rows: list[Row] = []
    for threads in (1, 2):
        paths = [Path(row["file"]) for row in files]
        times = interleaved_latency(paths, threads, rounds=arguments.rounds, image=arguments.image)
        first: dict[str, list[list[float]]] = {}  # the first file of each format
        for row, mine in zip(files, times, strict=True):
            first.setdefault(row["kind"], mine)
            own = {"variant": row["variant"], "kind": row["kind"], "threads": threads}
            rows.append({**own, **latency_statistics(mine), **against_first(first[row["kind"]], mine)})
    facts = {"machine": machine_name(), "date": datetime.date.today().isoformat(), "rounds": arguments.rounds}
    result["latency"] = {**facts, "rows": rows}
    write_result(arguments.out, result)
    print(latency_table(result["latency"]))


def table(arguments: argparse.Namespace) -> None:
    """Prints what there is as Markdown, in the order of the variants."""
    result = read_result(arguments.out)
    print(measure_table(in_order(result["rows"])))
    if "latency" in result:
        print(latency_table(result["latency"]))


def in_order(rows: list[Row]) -> list[Row]:
    """Sorts rows as the variants are, the one that others are held against first."""
    return sorted(rows, key=lambda row: (list(VARIANTS).index(row["variant"]), row["seed"], row["kind"]))


def read_result(out: Path) -> dict[str, Any]:
    path = out / "choice.json"
    if path.exists():
        return dict(json.loads(path.read_text(encoding="utf-8")))
    litert = importlib.metadata.version("ai-edge-litert")
    return {"machine": machine_name(), "date": datetime.date.today().isoformat(), "litert": litert, "rows": []}


def write_result(out: Path, result: dict[str, Any]) -> None:
    (out / "choice.json").write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
