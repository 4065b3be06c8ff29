"""How a difference of the size of a rounding grows in a training, and which spread of AP it ends in, beside seeds.

    python benchmarks/repeat/divergence.py recipes/raccoon.yaml --data DIR [--perturbed 3] [--seeds 1 2 3]
        [--perturbation 1e-7] [--as-it-is] [--set section.key=value ...]

All trainings run one after the other in one process, with deterministic operations, so that nothing else differs; or
with those of every training (`--as-it-is`), and then the first one is repeated once before anything is changed. Those
that are perturbed have the seed, the batches and the weights of the first, but for the last bit of about every weight:
each is multiplied by 1 plus or minus 1e-7, by chance. The others have a seed of their own. AP is that of the averaged
weights on the validation split, after the epochs of the recipe; BatchNorm has its moving averages.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
from repeatable import Repeatable, repeatable

from keras_retina.evaluate.coco import coco_metrics
from keras_retina.evaluate.predict import detect_function, predict_dataset
from keras_retina.foundation.determinism import enable_determinism
from keras_retina.foundation.legacy_keras import tf
from keras_retina.train.callbacks import swap_in_average

MARKS = (1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 300, 500, 1000)  # steps after which trainings are compared


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--perturbation", type=float, default=1e-7)
    parser.add_argument("--perturbed", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="*", default=[1, 2, 3])
    parser.add_argument("--as-it-is", action="store_true", help="without deterministic operations")
    parser.add_argument("--set", action="append", default=[], help="section.key=value, as in keras-retina")
    arguments = parser.parse_args()
    if not arguments.as_it_is:
        enable_determinism()
    training = repeatable(arguments.recipe, arguments.data, overrides=arguments.set)
    seed, steps = training.recipe.seed, training.recipe.training.epochs * training.steps_per_epoch
    marks = sorted({mark for mark in MARKS if mark < steps} | {steps})
    detect = detect_function(training.detector, training.spec, nms=training.recipe.export.nms)
    images = next(iter(training.batches(seed)))[0]
    logits = tf.function(lambda: training.network(images, training=False)["classes"])

    def run(of: int, perturbation: float = 0.0, direction: int = 0) -> tuple[list[np.ndarray], list[np.ndarray], float]:
        training.restart(of, perturbation=perturbation, direction=direction)
        weights, outputs = [], []
        for _, found in training.weights_after(training.batches(of), marks):
            weights.append(found)
            outputs.append(logits().numpy())
        return weights, outputs, average_precision(training, detect)

    print(f"{steps} steps each", flush=True)
    base = run(seed)
    print(f"seed {seed}: AP {base[2]:.2f}", flush=True)
    if arguments.as_it_is:
        again = run(seed)
        print(f"\nthe same again: AP {again[2]:.2f}\n")
        print_growth(marks, base, again)
    noisy = []
    for direction in range(arguments.perturbed):
        found = run(seed, arguments.perturbation, direction)
        noisy.append(found[2])
        print(f"\nperturbed by {arguments.perturbation:g}, number {direction}: AP {found[2]:.2f}\n")
        print_growth(marks, base, found)
    print_spread(f"seed {seed}, rounding alone", [base[2], *noisy])
    others = []
    for of in arguments.seeds:
        others.append(run(of)[2])
        print(f"seed {of}: AP {others[-1]:.2f}", flush=True)
    print_spread("seeds", [base[2], *others])


def average_precision(training: Repeatable, detect: Callable[[np.ndarray], dict[str, np.ndarray]]) -> float:
    """Returns the AP of the averaged weights on the validation split; the weights stay averaged."""
    swap_in_average(training.network)
    dataset = training.validation_set
    return coco_metrics(dataset, predict_dataset(detect, training.spec, dataset=dataset))["AP"] or 0.0


def print_growth(marks: list[int], base: tuple, other: tuple) -> None:
    """Prints the difference of two trainings after each of the steps."""
    print("| step | largest difference of a weight | of all weights, relative | largest of a logit, one batch |")
    print("|---|---|---|---|")
    for mark, a, b, seen, found in zip(marks, base[0], other[0], base[1], other[1], strict=True):
        whole = np.linalg.norm(a - b) / np.linalg.norm(a)
        print(f"| {mark} | {abs(a - b).max():.1e} | {whole:.1e} | {abs(seen - found).max():.1e} |", flush=True)


def print_spread(title: str, aps: list[float]) -> None:
    """Prints mean, range and deviation of some trainings."""
    deviation = statistics.stdev(aps) if len(aps) > 1 else 0.0
    print(
        f"\n{title}: {len(aps)} trainings, AP {statistics.mean(aps):.2f} ({min(aps):.2f} to {max(aps):.2f}), "
        f"standard deviation {deviation:.2f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
