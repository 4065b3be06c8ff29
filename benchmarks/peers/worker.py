"""The two modes of every worker: `steps` obeys speed.py over standard input, `train` trains for some minutes or steps.

In both a step is one update of the weights from one batch of 8 images of `--size` x `--size`. The clock of `train`
starts after the first step, which traces and compiles the graph, for all detectors alike; the detector is asked for its
learning rate by the share of the training that is over, so each schedule spans exactly the time, or the steps, that
there are.
The steps that some minutes give follow from the images a second of speed.py, so that a training may share the machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from reader import BATCH

WARM_UP = 3
REPORT_EVERY = 20


class Trainer(NamedTuple):
    """What the `train` mode needs of a detector."""

    step: Callable[[], float]
    """Makes one update with the next batch of the detector's own pipeline and returns the loss."""
    set_rate: Callable[[float], None]
    """Sets the learning rate for a share of the training, 0 to 1."""
    detect: Callable[[], list[dict[str, Any]]]
    """Returns the COCO results of the trained detector on the split to report."""
    size: int | str
    """The input: `--size`, or text such as 384x512."""


def parser(description: str | None) -> argparse.ArgumentParser:
    """Returns the command line of a worker; a worker may add options to it."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("mode", choices=["steps", "train"])
    made.add_argument("--weights", type=Path, required=True, help="mobilenet_v2_1.0_imagenet_notop.weights.h5")
    made.add_argument("--size", type=int, default=256, help="height and width of the input")
    made.add_argument("--data", type=Path, help="COCO folder with images/ and annotations/<split>.json (train mode)")
    made.add_argument("--split", default="val", help="the split to detect on (train mode)")
    length = made.add_mutually_exclusive_group()
    length.add_argument("--minutes", type=float, default=20.0, help="of training (train mode)")
    length.add_argument("--steps", type=int, help="of training, instead of minutes (train mode)")
    made.add_argument("--out", type=Path, help="JSON file for the detections (train mode)")
    made.add_argument("--seed", type=int, default=0)
    return made


def cosine(fraction: float, warm_up: float, *, end: float = 0.0) -> float:
    """Returns the factor of the learning rate: linear to 1 over the share `warm_up`, then half a cosine to `end`."""
    if fraction < warm_up:
        return fraction / warm_up
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * min(1.0, (fraction - warm_up) / (1 - warm_up))))


def run(
    arguments: argparse.Namespace,
    constant_step: Callable[[argparse.Namespace], Callable[[], float]],
    *,
    trainer: Callable[[argparse.Namespace], Trainer],
) -> None:
    """Runs the mode that the command line asked for."""
    if arguments.mode == "steps":
        with _answers() as answers:
            serve(constant_step(arguments), answers)
        return
    if arguments.data is None or arguments.out is None:
        raise SystemExit("train: expected --data and --out. Pass both.")
    write_training(arguments, train(trainer(arguments), arguments.minutes, most_steps=arguments.steps))


def serve(step: Callable[[], float], answers: TextIO) -> None:
    """Warms up, then answers each line `N` of standard input with the seconds that N steps took, until it is closed."""
    for _ in range(WARM_UP):
        loss = step()
    print(json.dumps({"loss": loss}), file=answers, flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
        print(json.dumps({"seconds": seconds, "peak_mebibytes": peak}), file=answers, flush=True)


def train(trainer: Trainer, minutes: float, *, most_steps: int | None = None) -> dict[str, Any]:
    """Trains for this time, or for so many steps however long they take, and detects.

    Returns the size of the input, steps, seconds, the mean loss of every 20 steps and the detections.
    """
    trainer.set_rate(0.0)
    start = time.perf_counter()
    trainer.step()
    print(f"first step {time.perf_counter() - start:.1f} s, not counted", file=sys.stderr)
    losses: list[float] = []
    recent: list[float] = []
    done = 0
    start = time.perf_counter()
    while True:
        elapsed = time.perf_counter() - start
        fraction = done / most_steps if most_steps else elapsed / (60 * minutes)
        if fraction >= 1:
            break
        trainer.set_rate(fraction)
        recent.append(trainer.step())
        done += 1
        if not math.isfinite(recent[-1]):
            raise SystemExit(f"train: the loss must stay finite. Received: {recent[-1]}. Lower the learning rate.")
        if len(recent) == REPORT_EVERY:
            losses.append(sum(recent) / len(recent))
            print(f"{elapsed:6.0f} s  step {done}  loss {losses[-1]:.4f}", file=sys.stderr, flush=True)
            recent = []
    seconds = time.perf_counter() - start
    trained = {"steps": done, "seconds": seconds, "losses": losses, "detections": trainer.detect()}
    return {"size": trainer.size, **trained}


def write_training(arguments: argparse.Namespace, trained: dict[str, Any]) -> None:
    """Writes what `train` returned, and what it was asked for, to `--out`."""
    length = {"minutes": None if arguments.steps else arguments.minutes}
    asked = {"data": str(arguments.data), "split": arguments.split, "batch_size": BATCH}
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    written = {"detector": Path(sys.argv[0]).stem, **asked, **length, **trained}
    unfinished = arguments.out.with_name(f"{arguments.out.name}.unfinished")
    unfinished.write_text(json.dumps(written), encoding="utf-8")
    unfinished.replace(arguments.out)  # whole or not at all: a file that is there is not made again
    count, rate = len(trained["detections"]), BATCH * trained["steps"] / trained["seconds"]
    print(f"wrote {arguments.out}: {trained['steps']} steps, {rate:.1f} images/s, {count} detections")


def _answers() -> TextIO:
    """Returns the real standard output; what libraries print goes to standard error from now on."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers
