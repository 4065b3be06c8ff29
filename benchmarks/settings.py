"""Settings of a training compared by validation AP after the same wall time, over several seeds.

    python benchmarks/settings.py recipes/raccoon.yaml [NAME ...] --data DIR --minutes 4 --seeds 0 1 2 --out OUT

Every setting of the table below is the recipe with one thing changed, trained for `--minutes` from start to end; a
faster setting therefore gets more epochs. Runs take turns by seed, so that a slow hour hits all settings alike. Each is
a folder under `--out` and is not repeated when it is there; the table is printed from all of them. Only the validation
split is looked at. Run nothing else beside it.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

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
    for seed in arguments.seeds:
        for name in names:
            folder = arguments.out / f"{name}-{seed}"
            if not (folder / "metrics.json").exists():
                overrides = [*arguments.set, *SETTINGS[name], f"seed={seed}", f"training.minutes={arguments.minutes}"]
                train(arguments.recipe, arguments.data, folder, overrides)
    print_table(arguments.out, names)


def train(recipe: str, data: str, folder: Path, overrides: list[str]) -> None:
    """Trains one setting; AP is measured once, at its end, with the averaged weights of the last step."""
    common = ["training.epochs=100000", "training.evaluate_every=100000", "training.checkpoint=last"]
    command = [sys.executable, "-m", "keras_retina", "train", recipe, "--data", data, "--out", str(folder)]
    for override in (*common, *overrides):
        command += ["--set", override]
    print(" ".join(command), flush=True)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def print_table(out: Path, names: list[str]) -> None:
    """Prints mean, lowest and highest AP of every setting that has been trained, and its epochs."""
    print(f"{'setting':<18} {'AP':>5} {'lowest .. highest':>18} {'AP50':>6} {'epochs':>7} {'seeds':>6}")
    for name in names:
        runs = [path.parent for path in sorted(out.glob(f"{name}-*/metrics.json"))]
        metrics = [json.loads((run / "metrics.json").read_text(encoding="utf-8")) for run in runs]
        if not metrics:
            continue
        found, found50 = [one["AP"] for one in metrics], [one["AP50"] for one in metrics]
        epochs = [last_epoch(run / "train" / "history.csv") for run in runs]
        print(
            f"{name:<18} {statistics.mean(found):5.1f} {min(found):8.1f} .. {max(found):5.1f}  "
            f"{statistics.mean(found50):5.1f} {statistics.mean(epochs):7.1f} {len(found):6}"
        )


def last_epoch(history: Path) -> int:
    """Returns how many epochs a run made."""
    with history.open(newline="", encoding="utf-8") as file:
        return int(list(csv.DictReader(file))[-1]["epoch"])


if __name__ == "__main__":
    main()
