"""What `keras-retina tune` gains over the planned recipe, on several sets and with seeds that the study has not seen.

    python benchmarks/sets/tuned.py --data ../shared/data/bccd ../shared/data/groceries --minutes 40 --out OUT

Each set is planned, OUT/plans/<set>.yaml, and tuned for so many minutes, OUT/studies/<set>. Then compare.py trains the
plan and the winner for as many steps as a trial has, with each seed, and measures both on the test split, or on the
validation split where there is no other. A plan has the paper's gamma 2 and alpha 0.25. The same command goes on after
an interruption; a study that is done is not made again. On two cores two calls with a set each keep them busy.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from work import environment

from keras_retina.recipe.recipe import Recipe, load_recipe

HERE = Path(__file__).parent
EPOCHS = 8
STEPS = 600
TUNED = ("learning_rate", "loss")
"""What a study changes in the section `training`; the other change is `model.anchors`."""


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--data", type=Path, nargs="+", required=True, help="labelled folders with train, val and test")
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--minutes", type=float, required=True, help="of each study")
    made.add_argument("--steps", type=int, default=STEPS, help="of each training, in a study and after it")
    made.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="the study has seed 0")
    made.add_argument(
        "--set", action="append", default=[], help="section.key=value for the plans: model.input.height=192"
    )
    arguments = made.parse_args()
    out = arguments.out
    length = [f"training.epochs={EPOCHS}", f"training.steps_per_epoch={max(1, round(arguments.steps / EPOCHS))}"]
    for data in arguments.data:
        name = data.resolve().name
        plan, study = out / "plans" / f"{name}.yaml", out / "studies" / name
        if not plan.exists():
            plan.parent.mkdir(parents=True, exist_ok=True)
            keras_retina("plan", data, "--out", plan, *set_words([*length, *arguments.set]))
        if not (study / "recipe.yaml").exists():
            keras_retina("tune", plan, "--data", data, "--minutes", arguments.minutes, "--out", study)
        changes = {"recipe": [], "tuned": tuned_settings(load_recipe(plan), load_recipe(study / "recipe.yaml"))}
        settings = out / f"settings_{name}.yaml"
        settings.write_text(yaml.safe_dump(changes), encoding="utf-8")
        for split in ("val", "test"):  # the second call only measures
            words = ["--settings", settings, "--recipe-of", plan.parent, "--data", data, "--split", split]
            words += ["--steps", arguments.steps, "--seeds", *arguments.seeds, "--out", out / "trained" / name]
            run(HERE / "compare.py", *words)


def tuned_settings(plan: Recipe, tuned: Recipe) -> list[str]:
    """Returns `section.key=value` for everything that a study changed in a plan."""
    before, after = (one.model_dump(mode="json") for one in (plan, tuned))
    changed = [(f"training.{key}", before["training"][key], after["training"][key]) for key in TUNED]
    changed.append(("model.anchors", before["model"]["anchors"], after["model"]["anchors"]))
    return [f"{name}={flow(new)}" for name, old, new in changed if old != new]


def flow(value: Any) -> str:
    """Returns a value as YAML on one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).strip().removesuffix("\n...")


def set_words(overrides: list[str]) -> list[str]:
    """Returns `--set` before each."""
    return [word for override in overrides for word in ("--set", override)]


def keras_retina(*words: object) -> None:
    """Runs a verb, and ends where it fails."""
    run("-m", "keras_retina", *words)


def run(*words: object) -> None:
    """Runs this Python with these words, and ends where it fails."""
    command = [sys.executable, *map(str, words)]
    print(shlex.join(command), flush=True)
    status = subprocess.run(command, env=environment(), check=False).returncode
    if status:
        raise SystemExit(status)


if __name__ == "__main__":
    main()
