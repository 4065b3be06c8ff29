"""Settings of a training compared by validation AP after the same time of training steps, over several seeds.

    python benchmarks/training/settings.py recipes/raccoon.yaml --data DIR --minutes 4 --seeds 0 1 2 --out OUT

Every setting of the table below is the recipe with one thing changed. The steps of all of them are timed first, in
turns, and each is trained for the epochs that take `--minutes` at its speed: a faster setting gets more epochs. The
speeds are kept in `--out`, so only this first part needs a quiet machine; the trainings may share it. Each training is
a folder under `--out` and is not repeated when it is there; the table is printed from all of them. Use another `--out`
for another recipe, `--set` or `--minutes`. What is timed is the step alone, with the default losses. Only the
validation split is looked at.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROUNDS, STEPS = 5, 8  # in which a setting's speed is measured

SMOOTH_L1 = "training.loss={box: smooth_l1, box_beta: 1.0, box_weight: 0.125}"
USUAL_ANCHORS = "model.anchors={size: 4.0, scales: [1.0, 1.26, 1.587], ratios: [0.5, 1.0, 2.0]}"  # of the paper

SETTINGS: dict[str, list[str]] = {
    "recipe": [],
    "rate_half": ["training.learning_rate=5.0e-4"],
    "rate_double": ["training.learning_rate=2.0e-3"],
    "sgd": ["training.optimizer=sgd", "training.learning_rate=2.0e-2", "training.clip_norm=1.0"],
    "steps": ["training.schedule=step", "training.decay_at=[0.6, 0.85]"],
    "clip_1": ["training.clip_norm=1.0"],
    "no_clip": ["training.clip_norm=null"],
    "no_average": ["training.weight_average=null"],
    "average_0.998": ["training.weight_average=0.998"],
    "box_weight_0.1": ["training.loss.box_weight=0.1"],
    "box_weight_0.5": ["training.loss.box_weight=0.5"],
    "gamma_1.5": ["training.loss.gamma=1.5"],
    "smooth_l1": [SMOOTH_L1],
    "giou": ["training.loss={box: giou, box_weight: 1.0}"],
    "match_0.5": ["training.matching={positive: 0.5, negative: 0.5}"],
    "usual_anchors": [USUAL_ANCHORS],
    "frozen_0": ["model.backbone.frozen_stages=0"],
    "frozen_2": ["model.backbone.frozen_stages=2"],
    "frozen_4": ["model.backbone.frozen_stages=4"],
    "batch_norm_trained": ["model.backbone.batch_norm=trained"],
    "batch_norm_frozen": ["model.backbone.batch_norm=frozen"],
    "width_64": ["model.pyramid.width=64", "model.head.width=64"],
    "two_convolutions": ["model.head.convolutions=2"],
    "letterbox": ["model.input.resize=letterbox"],
    "stretch": ["model.input.resize=stretch"],
    "scale_0.5_2": ["augmentation.scale=[0.5, 2.0]"],
    "no_colour": ["augmentation.brightness=0", "augmentation.contrast=0", "augmentation.saturation=0"],
    "batch_4": ["training.batch_size=4"],
    "batch_16": ["training.batch_size=16"],
    "mosaic_0.5": ["augmentation.mosaic=0.5"],
    "cutout_0.5": ["augmentation.cutout=0.5"],
    "rand_augment_2": ["augmentation.rand_augment=2"],
    "bfloat16": ["training.precision=bfloat16"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SETTINGS)}; all when none is given")
    parser.add_argument("--data", required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], help="for all of them, for instance another input size")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in SETTINGS]
    if unknown:
        parser.error(f"expected names of the table. Received: {', '.join(unknown)}. Use {', '.join(SETTINGS)}")
    names = arguments.names or list(SETTINGS)
    speeds = kept_speeds(arguments.recipe, arguments.set, names=names, path=arguments.out / "speeds.json")
    images = number_of_training_images(arguments.recipe, arguments.data)
    for seed in arguments.seeds:
        for name in names:
            folder = arguments.out / f"{name}-{seed}"
            if not (folder / "metrics.json").exists():
                epochs = max(round(60 * arguments.minutes * speeds[name] / images), 1)
                overrides = [*arguments.set, *SETTINGS[name], f"seed={seed}"]
                train(arguments.recipe, arguments.data, folder=folder, overrides=overrides, epochs=epochs)
    print_table(arguments.out, names, speeds=speeds)


def kept_speeds(recipe: str, overrides: list[str], *, names: list[str], path: Path) -> dict[str, float]:
    """Returns images a second for each name from `path`, after measuring those that are missing there."""
    speeds = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    missing = [name for name in names if name not in speeds]
    if missing:
        speeds |= measured_speeds(recipe, overrides, names=missing)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(speeds, indent=1) + "\n", encoding="utf-8")
    return speeds


def measured_speeds(recipe: str, overrides: list[str], *, names: list[str]) -> dict[str, float]:
    """Returns images a second of the training step alone, the median of rounds that take turns."""
    from random_step import random_step

    from keras_retina.recipe.recipe import load_recipe

    steps, sizes = {}, {}
    for name in names:
        settings = load_recipe(recipe, [*overrides, *SETTINGS[name]])
        precision = "bfloat16" if settings.training.precision == "bfloat16" else "float32"
        steps[name] = random_step(settings, precision=precision)
        sizes[name] = STEPS * settings.training.batch_size
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(STEPS):
                step()
            found[name].append(sizes[name] / (time.perf_counter() - start))
    for name, rates in found.items():
        print(f"{name}: {statistics.median(rates):.1f} images/s ({min(rates):.1f} .. {max(rates):.1f})", flush=True)
    return {name: statistics.median(rates) for name, rates in found.items()}


def number_of_training_images(recipe: str, data: str) -> int:
    """Returns how many images an epoch has."""
    from keras_retina.data.reading.folder import load_dataset
    from keras_retina.recipe.recipe import load_recipe

    settings = load_recipe(recipe).data
    return len(load_dataset(data, settings.train, format=settings.format, classes=settings.classes).records)


def train(recipe: str, data: str, *, folder: Path, overrides: list[str], epochs: int) -> None:
    """Trains one setting; AP is measured once, at its end, with the averaged weights of the last step."""
    common = [f"training.epochs={epochs}", f"training.evaluate_every={epochs}", "training.checkpoint=last"]
    command = [sys.executable, "-m", "keras_retina", "train", recipe, "--data", data, "--out", str(folder)]
    for override in (*common, *overrides):
        command += ["--set", override]
    print(" ".join(command), flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def print_table(out: Path, names: list[str], *, speeds: dict[str, float]) -> None:
    """Prints mean, lowest and highest AP of every setting that has been trained, its epochs and images a second."""
    print(f"{'setting':<18} {'AP':>5} {'lowest .. highest':>18} {'AP50':>6} {'epochs':>7} {'images/s':>8} {'seeds':>6}")
    for name in names:
        runs = [path.parent for path in sorted(out.glob(f"{name}-*/metrics.json"))]
        metrics = [json.loads((run / "metrics.json").read_text(encoding="utf-8")) for run in runs]
        if not metrics:
            continue
        found, found50 = [one["AP"] for one in metrics], [one["AP50"] for one in metrics]
        epochs = [last_epoch(run / "train" / "history.csv") for run in runs]
        print(
            f"{name:<18} {statistics.mean(found):5.1f} {min(found):8.1f} .. {max(found):5.1f}  "
            f"{statistics.mean(found50):5.1f} {statistics.mean(epochs):7.1f} {speeds[name]:8.1f} {len(found):6}"
        )


def last_epoch(history: Path) -> int:
    """Returns how many epochs a run made."""
    with history.open(newline="", encoding="utf-8") as file:
        return int(list(csv.DictReader(file))[-1]["epoch"])


if __name__ == "__main__":
    main()
