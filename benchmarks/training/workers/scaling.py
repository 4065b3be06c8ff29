"""Two workers on loopback, one core each, against one worker on one core: images a second, AP, and where the rest goes.

Four kinds of work take turns, once for each seed:

- `one`: one process on one core, the whole batch.
- `two`: two workers as `keras-retina launch` starts them, one core each, half of the batch each.
- `half`: one process on one core, half of the batch: what a worker computes in a step, without the other one. The other
  core is busy with a second such process, as it is with two workers.
- `exchange`: the two workers sum up gradients of this network, and compute nothing.

A step of `two` is then one of `half`, the exchange, and the rest: waiting for each other, and what does not shrink with
the batch. Run it on a quiet machine:

    python benchmarks/training/workers/scaling.py demo --data runs/demo_data --out runs/scaling --set training.epochs=6
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from keras_retina.foundation.machine import machine_name

EXCHANGES, UNTIMED = 40, 5
GOAL = 1.7


def main() -> None:
    """Runs all kinds in turn and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path, required=True, help="without training.steps_per_epoch in the recipe")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--exchange", type=Path, help=argparse.SUPPRESS)  # what a worker of `exchange` is told
    options = parser.parse_args()
    if options.exchange:
        time_exchange(options.recipe, options.set, result=options.exchange)
        return
    cores = sorted(os.sched_getaffinity(0))[:2]
    os.sched_setaffinity(0, set(cores))
    rows = []
    for seed in options.seeds:
        rows.append(measure(options.recipe, options.data, out=options.out / str(seed), seed=seed, changes=options.set))
        print(json.dumps(rows[-1]), flush=True)
        (options.out / "scaling.json").write_text(json.dumps({"machine": machine_name(), "rows": rows}, indent=1))
    show(rows)


def measure(recipe: str, data: Path, *, out: Path, seed: int, changes: list[str]) -> dict[str, float]:
    """Returns the figures of one seed; seconds are those of a step."""
    from keras_retina.cli.options import load_named
    from keras_retina.data.reading.folder import load_dataset
    from keras_retina.train.workers.launch import launch

    # Evaluated in the end alone, so that an epoch is its steps.
    changes = [*changes, f"seed={seed}", "training.checkpoint=last", "training.evaluate_every=100000"]
    settings = load_named(recipe, changes)
    batch, images = settings.training.batch_size, len(load_dataset(data, settings.data.train).records)
    cores = sorted(os.sched_getaffinity(0))
    start(training(recipe, data, out=out / "one", changes=changes), core=cores[0]).wait()
    multi = training(recipe, data, out=out / "two", changes=[*changes, "training.strategy=multi_worker"])
    launch(multi, 2, logs=out / "logs", restarts=0)
    smaller = [*changes, f"training.batch_size={batch // 2}"]
    folders = [out / f"half{core}" for core in cores]
    halves = [
        start(training(recipe, data, out=folder, changes=smaller), core=core)
        for folder, core in zip(folders, cores, strict=True)
    ]
    for half in halves:
        half.wait()
    exchange = exchange_seconds(recipe, changes, out=out)
    alone, _ = step_of(out / "one", steps=images // batch)
    step, waited = step_of(out / "two", steps=images // batch)
    compute = statistics.mean(step_of(folder, steps=images // (batch // 2))[0] for folder in folders)
    return {
        "seed": seed,
        "one_images_per_second": batch / alone,
        "two_images_per_second": batch / step,
        "speedup": alone / step,
        "one_AP": ap_of(out / "one"),
        "two_AP": ap_of(out / "two"),
        "one_step": alone,
        "two_step": step,
        "compute": compute,
        "exchange": exchange,
        "input": waited,
        "rest": step - compute - exchange - waited,
    }


def training(recipe: str, data: Path, *, out: Path, changes: list[str]) -> list[str]:
    """Returns the command of a training."""
    command = [sys.executable, "-m", "keras_retina", "train", recipe, "--data", str(data), "--out", str(out)]
    return [*command, *as_options(changes)]


def start(command: list[str], *, core: int) -> subprocess.Popen:
    """Starts a process on one core."""
    return subprocess.Popen(["taskset", "-c", str(core), *command], stdout=subprocess.DEVNULL)


def as_options(changes: list[str]) -> list[str]:
    """Returns `--set` for each."""
    return [word for change in changes for word in ("--set", change)]


def step_of(run: Path, *, steps: int) -> tuple[float, float]:
    """Returns the median seconds of a step without its evaluation, and how many of them went by waiting for images."""
    with (run / "train" / "history.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[1:]  # the first epoch reads the files and traces
    seconds = statistics.median(
        (float(row["seconds"]) - float(row["evaluation_seconds"] or 0.0)) / steps for row in rows
    )
    return seconds, seconds * statistics.median(float(row["input_wait"]) for row in rows)


def ap_of(run: Path) -> float:
    """Returns the validation AP of a run."""
    return json.loads((run / "metrics.json").read_text(encoding="utf-8"))["AP"]


def exchange_seconds(recipe: str, changes: list[str], *, out: Path) -> float:
    """Returns the seconds in which two workers sum up the gradients of the network once."""
    from keras_retina.train.workers.launch import launch

    result = out / "exchange.json"
    program = [sys.executable, __file__, recipe, "--data", ".", "--out", str(out), *as_options(changes)]
    launch([*program, "--exchange", str(result)], 2, logs=out / "exchange", restarts=0)
    return json.loads(result.read_text())["seconds"]


def time_exchange(recipe: str, changes: list[str], *, result: Path) -> None:
    """Is one of the two workers: sums up tensors of the sizes of all trainable variables, again and again."""
    from keras_retina.cli.options import load_named
    from keras_retina.foundation.legacy_keras import tf
    from keras_retina.model.retinanet import detector_network
    from keras_retina.train.workers.cluster import find_cluster
    from keras_retina.train.workers.devices import multi_worker_strategy

    cluster = find_cluster()
    strategy = multi_worker_strategy(cluster, 2)
    settings = load_named(recipe, changes)
    shapes = [tuple(variable.shape) for variable in detector_network(settings.model, 2).trainable_variables]

    @tf.function
    def exchange() -> tf.Tensor:
        def all_reduce() -> tf.Tensor:
            gradients = [tf.random.uniform(shape) for shape in shapes]
            summed = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
            return tf.add_n([tf.reduce_sum(one) for one in summed])

        return strategy.run(all_reduce)

    for number in range(UNTIMED + EXCHANGES):
        if number == UNTIMED:
            started = time.perf_counter()
        exchange().numpy()
    if cluster.is_chief:
        seconds = (time.perf_counter() - started) / EXCHANGES
        result.write_text(json.dumps({"seconds": seconds, "variables": len(shapes)}))


def show(rows: list[dict[str, float]]) -> None:
    """Prints mean, lowest and highest of each figure over the seeds."""
    print(f"{machine_name()}, {len(rows)} seeds")
    for name in rows[0]:
        if name != "seed":
            values = [row[name] for row in rows]
            print(f"{name:<24} {statistics.mean(values):.4g} ({min(values):.4g} to {max(values):.4g})")
    reached = statistics.mean(row["speedup"] for row in rows) >= GOAL
    print(f"goal: {GOAL} x is {'reached' if reached else 'not reached'}")


if __name__ == "__main__":
    main()
