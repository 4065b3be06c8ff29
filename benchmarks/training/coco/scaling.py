"""How a training would scale over many machines, on paper: gradients, networks, hours, failures and checkpoints.

    python benchmarks/training/coco/scaling.py              # everything that is counted, and the simulations
    python benchmarks/training/coco/scaling.py --backbones  # the gradients of every backbone; builds each
    python benchmarks/training/coco/scaling.py --checkpoint FOLDER  # measures a checkpoint there

Nothing here was run on more than one machine. Bytes are those of the real networks. Step times are counted, as in
`coco_cost.py`. Networks, failures and the time of a restart are assumptions that stand in `ASSUMED`. The simulations
play through a ring and a job with failures (`ring.py`, `failures.py`), and show how far the formulas are from them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from coco_cost import CLASSES, RATES, RECIPES, image_work
from failures import daly_interval, lost_share, play_job, wall_seconds, young_interval
from ring import bytes_sent, overlapped_seconds, play_overlap, play_ring, ring_seconds

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.backbones import BACKBONES
from keras_retina.model.retinanet import detector_network
from keras_retina.recipe.model import Model
from keras_retina.recipe.recipe import load_recipe
from keras_retina.train.optimizer import build_optimizer

WORKERS = (8, 16, 32, 64, 128, 256)
GIGABITS = (10, 25, 100)
IMAGES = 118_287  # of train2017
EPOCHS = (12, 36)
COUNTED = (("V100", "float32"), ("A100", "mixed_float16"))  # of the GPUs in coco_cost.py
SHOWN = ("coco_resnet50_800", "coco_resnet101_800")
DAY = 86_400.0


@dataclass(frozen=True)
class Assumed:
    """What nobody measured here.

    Attributes:
        latency: seconds of a message between two machines over Ethernet, kernel and library included.
        link_share: of the nominal bandwidth, for the gradients themselves.
        images: on each worker, one GPU in a machine with a network of its own.
        buckets: messages that the gradients are sent in while the backward pass goes on.
        backward: share of a step: two of its three equal parts, see coco_cost.py.
        restart: seconds until a job runs again: noticed, scheduled, started, traced.
        save: seconds of a checkpoint to a shared folder; see --checkpoint for a local disk.
    """

    latency: float = 30e-6
    link_share: float = 0.9
    images: int = 8
    buckets: int = 8
    backward: float = 2 / 3
    restart: float = 300.0
    save: float = 10.0


@dataclass(frozen=True)
class Failures:
    """Unexpected interruptions of a training."""

    count: int
    gpus: int
    days: int


@dataclass(frozen=True)
class Counted:
    """A training as it is counted: bytes of the gradients of a step, multiply-adds of a step for one image."""

    name: str
    gradients: int
    work: int


ASSUMED = Assumed()
LLAMA = Failures(count=419, gpus=16_384, days=54)
"""On H100. Source: Meta, "The Llama 3 herd of models" (2024), section 3.3.4."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbones", action="store_true")
    parser.add_argument("--checkpoint", type=Path, metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=5, help="checkpoints that are measured")
    arguments = parser.parse_args()
    if arguments.backbones:
        print_backbones()
        return
    if arguments.checkpoint:
        for name in SHOWN:
            print_checkpoint(name, arguments.checkpoint, rounds=arguments.rounds)
        return
    trainings = [counted(name) for name in SHOWN]
    print_gradients(trainings)
    for one in trainings:
        print_scaling(one)
    print_failures()
    print_ring_simulation()
    print_job_simulation()


def counted(name: str) -> Counted:
    """Counts the training of a recipe in recipes/coco."""
    model = detector_network(load_recipe(str(RECIPES / f"{name}.yaml")).model, CLASSES)
    return Counted(name, gradient_bytes(model), image_work(model)[1])


def gradient_bytes(model: keras.Model) -> int:
    """Returns the bytes of the gradients of a step, which are float32 in every precision."""
    return sum(4 * int(np.prod(variable.shape)) for variable in model.trainable_variables)


def print_backbones() -> None:
    """Prints the gradients of a detector with each backbone, pyramid and heads as a recipe has them by default."""
    print("| backbone | all stages learn | pyramid and heads alone |\n|---|---|---|")
    for name in BACKBONES:
        model = detector_network(Model(backbone={"name": name, "weights": "none", "frozen_stages": 0}), CLASSES)
        heads = sum(
            4 * int(np.prod(variable.shape))
            for variable in model.trainable_variables
            if variable.name.startswith(("pyramid", "class", "box", "head"))
        )
        print(f"| `{name}` | {gradient_bytes(model) / 1e6:.1f} MB | {heads / 1e6:.1f} MB |", flush=True)
        keras.backend.clear_session()


def print_gradients(trainings: list[Counted]) -> None:
    """Prints the bytes of a step, and the time of a ring over them."""
    names = [f"{gigabits} Gb/s, {workers} workers" for gigabits in GIGABITS for workers in (8, 256)]
    print(f"| recipe | gradients of a step | sent by each of 8, 256 workers | {' | '.join(names)} |")
    print("|---" * (3 + len(names)) + "|")
    for one in trainings:
        sent = " / ".join(f"{bytes_sent(one.gradients, workers) / 1e6:.0f}" for workers in (8, 256))
        rings = [
            f"{1000 * communication(one.gradients, workers, gigabits):.0f} ms"
            for gigabits in GIGABITS
            for workers in (8, 256)
        ]
        print(f"| `{one.name}` | {one.gradients / 1e6:.1f} MB | {sent} MB | {' | '.join(rings)} |")


def communication(gradients: float, workers: int, gigabits: float) -> float:
    """Returns the seconds of a ring on a network of so many gigabits a second."""
    bandwidth = gigabits * 1e9 / 8 * ASSUMED.link_share
    return ring_seconds(gradients, workers, bandwidth=bandwidth, latency=ASSUMED.latency)


def step_range(step: float, gradients: float, *, workers: int, gigabits: float) -> tuple[float, float]:
    """Returns the seconds of a step that sends while it computes, and of one that sends afterwards."""
    sending = communication(gradients, workers, gigabits)
    forward, backward = (1 - ASSUMED.backward) * step, ASSUMED.backward * step
    return overlapped_seconds(forward, backward, communication=sending, buckets=ASSUMED.buckets), step + sending


def print_scaling(one: Counted) -> None:
    """Prints efficiency and hours of a training of COCO for each number of workers."""
    for rate in (rate for rate in RATES if (rate.gpu, rate.precision) in COUNTED):
        step = ASSUMED.images * one.work / rate.per_second
        print(f"\n`{one.name}`, {rate.gpu} {rate.precision}, {1000 * step:.0f} ms a step of {ASSUMED.images} images\n")
        heads = [f"{gigabits} Gb/s" for gigabits in GIGABITS]
        print(f"| workers | images of a step | {' | '.join(heads)} | hours, 12 epochs | hours, 36 epochs |")
        print("|---" * (4 + len(heads)) + "|")
        for workers in WORKERS:
            ranges = [step_range(step, one.gradients, workers=workers, gigabits=gigabits) for gigabits in GIGABITS]
            shares = [f"{step / slow:.2f} to {step / fast:.2f}" for fast, slow in ranges]
            steps = [epochs * IMAGES / (ASSUMED.images * workers) for epochs in EPOCHS]
            best, worst = ranges[-1][0], ranges[0][1]
            hours = [f"{count * best / 3600:.2f} to {count * worst / 3600:.2f}" for count in steps]
            print(f"| {workers} | {ASSUMED.images * workers} | {' | '.join(shares)} | {' | '.join(hours)} |")


def hours_between_failures(workers: int) -> float:
    """Returns the mean hours between two failures of a job, if each GPU fails as often as those of Llama 3."""
    return LLAMA.gpus * LLAMA.days * 24 / LLAMA.count / workers


def print_failures() -> None:
    """Prints failures a day, the interval of checkpoints and the time lost, for each number of workers."""
    print("\n| workers | failures a day | hours between two | Young | Daly | lost at Daly's | at 1 h | at 10 min |")
    print("|---" * 8 + "|")
    for workers in WORKERS:
        mean = 3600 * hours_between_failures(workers)
        young, daly = young_interval(ASSUMED.save, mean), daly_interval(ASSUMED.save, mean)
        lost = [
            f"{lost_share(interval, save=ASSUMED.save, restart=ASSUMED.restart, between_failures=mean):.3%}"
            for interval in (daly, 3600.0, 600.0)
        ]
        minutes = [f"{interval / 60:.0f} min" for interval in (young, daly)]
        print(f"| {workers} | {DAY / mean:.3f} | {mean / 3600:.0f} | {' | '.join(minutes)} | {' | '.join(lost)} |")


def print_ring_simulation() -> None:
    """Prints how far a ring that is played through is from the formula."""
    generator = np.random.default_rng(0)
    bandwidth = 10e9 / 8 * ASSUMED.link_share
    print("\n| workers | links | formula | played through | difference | bytes sent, difference | sums |")
    print("|---" * 7 + "|")
    for workers, title, links in ring_cases(bandwidth, generator):
        gradients = generator.integers(-8, 8, (workers, 256 * 1000)).astype(np.float32)  # whole: every order is exact
        sums, sent, played = play_ring(gradients, links, latency=ASSUMED.latency)
        formula = ring_seconds(gradients[0].nbytes, workers, bandwidth=min(links), latency=ASSUMED.latency)
        is_sum = bool((sums == gradients.sum(axis=0)).all())
        off = abs(sent - bytes_sent(gradients[0].nbytes, workers)).max() / sent.max()
        print(
            f"| {workers} | {title} | {1000 * formula:.3f} ms | {1000 * played:.3f} ms | {played / formula - 1:+.2%} "
            f"| {off:.2%} | {'right' if is_sum else 'WRONG'} |"
        )
    for share in (0.25, 1.0, 2.0):
        formula = overlapped_seconds(0.1, 0.2, communication=0.2 * share, buckets=ASSUMED.buckets)
        played = play_overlap(0.1, 0.2, communication=0.2 * share, buckets=ASSUMED.buckets)
        print(f"sending takes {share:g} of the backward pass: formula {formula:.4f} s, played through {played:.4f} s")


def ring_cases(bandwidth: float, generator: np.random.Generator) -> Iterator[tuple[int, str, np.ndarray]]:
    """Yields workers, what their links are like, and the bytes a second of each; the formula gets the slowest."""
    for workers in (2, 8, 64):
        yield workers, "equal", np.full(workers, bandwidth)
        one_slow = np.full(workers, bandwidth)
        one_slow[0] /= 2
        yield workers, "one at half speed", one_slow
        yield workers, "0.8 to 1 of the speed", bandwidth * generator.uniform(0.8, 1.0, workers)


def print_job_simulation(jobs: int = 10_000) -> None:
    """Prints time and failures of jobs that are played through, beside the formula."""
    print("\n| workers | work | interval | lost, formula | lost, played through | standard error | failures a job |")
    print("|---" * 7 + "|")
    generator = np.random.default_rng(0)
    for workers, save in ((8, ASSUMED.save), (256, ASSUMED.save), (256, 120.0)):
        mean = 3600 * hours_between_failures(workers)
        daly = daly_interval(save, mean)
        work = 20 * mean
        for title, interval in (("Daly / 3", daly / 3), ("Daly", daly), ("3 x Daly", 3 * daly)):
            costs = {"save": save, "restart": ASSUMED.restart, "between_failures": mean}
            played = [play_job(work, interval, **costs, generator=generator) for _ in range(jobs)]
            extra = np.array([seconds for seconds, _ in played]) / work - 1
            formula = wall_seconds(work, interval, **costs) / work - 1
            failures = statistics.mean(count for _, count in played)
            print(
                f"| {workers} | {work / 3600:.0f} h, a checkpoint {save:g} s | {title}, {interval / 60:.0f} min "
                f"| {formula:.3%} | {extra.mean():.3%} | {extra.std() / jobs**0.5:.3%} | {failures:.1f} |"
            )


def print_checkpoint(name: str, folder: Path, *, rounds: int) -> None:
    """Measures what a training writes after an epoch: model and optimiser, with its moments."""
    recipe = load_recipe(str(RECIPES / f"{name}.yaml"))
    model = detector_network(recipe.model, CLASSES)
    for optimizer in ("sgd", "adamw"):
        settings = recipe.training.model_copy(update={"optimizer": optimizer})
        built = build_optimizer(settings, 100)
        built.build(model.trainable_variables)
        target = folder / name / optimizer
        checkpoint = tf.train.Checkpoint(model=model, optimizer=built)
        manager = tf.train.CheckpointManager(checkpoint, str(target), max_to_keep=1)
        seconds = []
        for _ in range(rounds):
            started = time.perf_counter()
            manager.save()
            seconds.append(time.perf_counter() - started)
        size = sum(path.stat().st_size for path in target.glob("ckpt-*"))
        print(
            f"`{name}`, {optimizer}: {size / 2**20:.0f} MiB, {statistics.median(seconds):.2f} s "
            f"({min(seconds):.2f} to {max(seconds):.2f})",
            flush=True,
        )


if __name__ == "__main__":
    main()
