"""What checkpoints cost: their share of a training at the default interval, their seconds and their size.

    python benchmarks/survival/checkpoint_cost.py --out OUT [--backbones plain mobilenet_v2 resnet50] [--side 192]
        [--seconds 120]

Trains a detector of each backbone, from random weights, on drawn images for about so many seconds, and times each
checkpoint that is written. Steps and checkpoints come in one training, so both see the same machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

from keras_retina.data.builtin.builtin import write_builtin_set
from keras_retina.data.reading.folder import load_dataset
from keras_retina.foundation.interruption import Preempted
from keras_retina.recipe.recipe import recipe_from_fields
from keras_retina.train.checkpoints import save
from keras_retina.train.train import train

BATCH = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--backbones", nargs="+", default=["plain", "mobilenet_v2", "resnet50"])
    parser.add_argument("--side", type=int, default=192, help="of the network input")
    parser.add_argument("--seconds", type=float, default=120.0, help="of steps, for each backbone")
    arguments = parser.parse_args()
    data = arguments.out / "data"
    data.parent.mkdir(parents=True, exist_ok=True)
    write_builtin_set(data, 64, 8, arguments.side, arguments.side)
    sets = load_dataset(data, "train"), load_dataset(data, "val")
    print("| backbone | size, MB | one checkpoint, s | checkpoints | steps | time of steps, s | share |")
    print("|---|---|---|---|---|---|---|")
    for backbone in arguments.backbones:
        measured = Measured(arguments.seconds)
        measured.watch()
        recipe = recipe_from_fields(fields(backbone, arguments.side), "checkpoint_cost.py")
        try:
            train(recipe, sets[0], validation_set=sets[1], run_dir=arguments.out / backbone)
        except Preempted:
            print(measured.row(backbone), flush=True)


def fields(backbone: str, side: int) -> dict[str, Any]:
    """Returns a recipe of one endless epoch, with the optimiser and the average of the defaults."""
    return {
        "name": backbone,
        "model": {
            "backbone": {"name": backbone, "weights": "none", "frozen_stages": 0, "batch_norm": "trained"},
            "input": {"height": side, "width": side},
        },
        "training": {"epochs": 1, "batch_size": BATCH, "steps_per_epoch": 1_000_000},
    }


class Measured:
    """The times of the steps and of the checkpoints of one training, which it ends."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.steps, self.began, self.ended = 0, 0.0, 0.0
        self.costs: list[float] = []
        self.size = 0

    def watch(self) -> None:
        """Puts itself around the methods of the callback that saves."""
        write, end = write_checkpoint, on_train_batch_end

        def timed(*positional: Any, **named: Any) -> Path:
            started = time.perf_counter()
            path = write(*positional, **named)
            self.costs.append(time.perf_counter() - started)
            self.size = sum(file.stat().st_size for file in path.iterdir())
            return path

        def counted(callback: save.SaveCheckpoints, batch: int, logs: dict[str, float] | None = None) -> None:
            if not self.steps:
                self.began = time.perf_counter()  # the first step traces the graph
            end(callback, batch, logs)
            self.steps, self.ended = self.steps + 1, time.perf_counter()
            if self.ended - self.began > self.seconds:
                raise Preempted

        save.write_checkpoint, save.SaveCheckpoints.on_train_batch_end = timed, counted

    def row(self, backbone: str) -> str:
        whole, cost = self.ended - self.began, sum(self.costs)
        one = statistics.median(self.costs) if self.costs else 0.0
        return (
            f"| `{backbone}` | {self.size / 1e6:.1f} | {one:.3f} | {len(self.costs)} | {self.steps - 1} "
            f"| {whole - cost:.1f} | {cost / whole:.2%} |"
        )


write_checkpoint, on_train_batch_end = save.write_checkpoint, save.SaveCheckpoints.on_train_batch_end

if __name__ == "__main__":
    main()
