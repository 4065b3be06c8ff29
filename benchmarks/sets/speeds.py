"""How long a training is: the steps that some minutes give at the speed of its training step, measured once."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from work import environment

from keras_retina.foundation.errors import InputError
from keras_retina.recipe.recipe import Recipe, dump_recipe

MEASURE = Path(__file__).resolve().parents[1] / "training" / "step_speeds.py"
NOT_TIMED = {"weights", "resize", "prior", "anchors"}  # keys of the section `model` that leave the time alone

Step = dict[str, Any]
"""What the time of a training step depends on; two recipes with the same one have the same speed."""


def step_of(recipe: Recipe) -> Step:
    """Returns what the time of the training step depends on. The number of anchors counts, not their shapes."""
    model, training = recipe.model.model_dump(mode="json", exclude={"coder_weights", "clip_boxes"}), recipe.training
    sections = {
        name: {key: value for key, value in section.items() if key not in NOT_TIMED}
        for name, section in model.items()
        if name not in NOT_TIMED
    }
    return {
        **sections,
        "anchors_a_cell": len(recipe.model.anchors.scales) * len(recipe.model.anchors.ratios),
        "batch_size": training.batch_size,
        "precision": training.precision,
        "optimizer": training.optimizer,
        "clips": training.clip_norm is not None,
        "decays_weights": training.weight_decay > 0,
        "averages": training.weight_average is not None,
    }


FASTEST = 2  # of [median, lowest, highest]: other work only slows a round, and the median of five still jumps with it


def steps_for(minutes: float, images_per_second: float, *, batch_size: int) -> int:
    """Returns the steps that so many minutes give at this speed, at least one."""
    return max(1, round(60 * minutes * images_per_second / batch_size))


def kept_speeds(recipes: dict[str, Recipe], path: Path) -> dict[str, float]:
    """Returns images a second for each name from `path`, after measuring those whose step is missing there.

    Raises:
        InputError: a training on kept features, whose steps are not timed here.
    """
    entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    for name, recipe in recipes.items():
        if recipe.training.feature_views is not None:
            raise InputError(f"{name}: expected a training on images. Received: feature_views. Pass --steps instead.")
    steps = {name: step_of(recipe) for name, recipe in recipes.items()}
    missing: dict[str, Recipe] = {}
    known = [entry["step"] for entry in entries]
    for name, recipe in recipes.items():
        if steps[name] not in known:
            known.append(steps[name])
            missing[name] = recipe
    if missing:
        for name, rates in measured(missing).items():
            like = [other for other in recipes if steps[other] == steps[name]]
            entries.append({"images_per_second": rates, "of": like, "step": steps[name]})
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    return {
        name: next(entry["images_per_second"][FASTEST] for entry in entries if entry["step"] == step)
        for name, step in steps.items()
    }


def measured(recipes: dict[str, Recipe]) -> dict[str, list[float]]:
    """Returns median, lowest and highest images a second of each, in turns, in a process that gives its memory back."""
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / f"{number}.yaml" for number, name in enumerate(recipes)}
        for name, file in files.items():
            file.write_text(dump_recipe(recipes[name]), encoding="utf-8")
        result = Path(folder) / "speeds.json"
        command = [sys.executable, str(MEASURE), *map(str, files.values()), "--json", str(result)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
        found = json.loads(result.read_text(encoding="utf-8"))
    rates = {name: found[str(file)] for name, file in files.items()}
    for name, rate in rates.items():
        print("{}: {:.1f} images/s ({:.1f} .. {:.1f})".format(name, *rate), flush=True)
    return rates
