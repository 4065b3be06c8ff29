"""What each criterion of channel pruning leaves of the AP: half of the multiply-adds removed, then the same training.

    python benchmarks/runs/pruning_criteria.py RUN --out OUT [--keep 0.5] [--epochs 8] [--criteria taylor l1]

RUN is a trained run folder; its recipe and its float model are copied to `--out`, where one smaller model a criterion
is made by `keras-retina compress`. The AP is that of the validation split, before the fine-tuning and after its last
epoch, so that nothing is chosen among epochs. What is there is not made again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path

from keras_retina.evaluate.coco import coco_metrics
from keras_retina.evaluate.predict import detect_function, predict_dataset
from keras_retina.model.saving import load_detector
from keras_retina.recipe.recipe import dump_recipe, load_recipe
from keras_retina.run.folder import load_split, open_run

CRITERIA = ("taylor", "l1", "l2", "batch_norm")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--keep", type=float, default=0.5)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--criteria", nargs="+", choices=CRITERIA, default=CRITERIA)
    arguments = parser.parse_args()
    copy_parent(arguments.run, arguments.out)
    compress(arguments)
    print(f"parent: AP {json.loads((arguments.out / 'metrics.json').read_text(encoding='utf-8'))['AP']}")
    print(f"{'criterion':<12} {'multiply-adds':>14} {'AP before':>10} {'AP after':>9} {'AP50 after':>11}")
    for name in arguments.criteria:
        folder = arguments.out / "compress" / name
        facts = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        share = facts["multiply_adds"] / facts["parent"]["multiply_adds"]
        before = validation_ap(arguments.out, folder / "pruned.keras")
        print(f"{name:<12} {share:14.3f} {before:10.1f} {facts['AP']:9.1f} {facts['AP50']:11.1f}")


def copy_parent(run: Path, out: Path) -> None:
    """Copies what a trained run is, without the smaller models that it may have."""
    if (out / "recipe.yaml").exists():
        return
    out.mkdir(parents=True, exist_ok=True)
    for name in ("run.json", "model.keras", "metrics.json"):
        shutil.copy2(run / name, out / name)
    recipe = load_recipe(run / "recipe.yaml").model_copy(update={"compress": {}})
    (out / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")


def compress(arguments: argparse.Namespace) -> None:
    """Makes the smaller models that are missing."""
    command = [sys.executable, "-m", "keras_retina", "compress", str(arguments.out)]
    for name in arguments.criteria:
        section = f"compress.{name}"
        command += ["--set", f"{section}.channels.keep={arguments.keep}"]
        command += ["--set", f"{section}.channels.criterion={name}"]
        command += ["--set", f"{section}.fine_tune.epochs={arguments.epochs}"]
        command += ["--set", f"{section}.fine_tune.evaluate_every={arguments.epochs}"]
    subprocess.run(command, check=True, stdout=sys.stderr)


def validation_ap(run_folder: Path, model_file: Path) -> float:
    """Returns the AP of a model of a run on its validation split."""
    run = open_run(run_folder)
    validation_set = load_split(run, run.recipe.data.validation)
    model, spec = load_detector(model_file)
    return coco_metrics(validation_set, predict_dataset(detect_function(model, spec), spec, dataset=validation_set))[
        "AP"
    ]


if __name__ == "__main__":
    main()
