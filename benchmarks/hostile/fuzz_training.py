"""The surfaces of what trains: `train`, `run`, `launch`, `tune` and `compress`, and trainings that are to be resumed.

An input that is accepted trains the smallest network for a step or two, so these surfaces have limits of their own.
What makes a training long or large on purpose stays as it is: 65,536 epochs are no defect. That such values are counted
before anything is made is for the surfaces that do not train.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz_commands import special
from fuzz_files import changed_photo
from fuzz_results import Limits
from fuzz_sound import changed_bytes, coco_labels, sound_coco
from fuzz_values import Generator, chance, damaged_json, damaged_text, pick, token, written

TINY: dict[str, Any] = {
    "name": "tiny",
    "seed": 1,
    "model": {
        "backbone": {"name": "plain", "weights": "none", "frozen_stages": 0, "batch_norm": "trained"},
        "input": {"height": 64, "width": 64, "resize": "stretch"},
        "anchors": {"size": 3.0, "scales": [1.0], "ratios": [1.0], "offset": 0.5},
        "pyramid": {"levels": [3, 5], "width": 8, "convolution": "separable", "upsampling": "bilinear"},
        "head": {"convolutions": 1, "width": 8, "prior": 0.01, "group_norm": 0, "batch_norm": "none"},
        "coder_weights": [10, 10, 5, 5],
    },
    "data": {
        "format": "auto",
        "train": "train",
        "validation": "val",
        "classes": ["cat", "dog"],
        "bad_images": "refuse",
    },
    "augmentation": {"scale": [0.7, 1.4], "aspect": 1.1, "mosaic": 0.5, "cutout": 0.2, "rand_augment": 2},
    "training": {
        "epochs": 1,
        "steps_per_epoch": 2,
        "batch_size": 2,
        "accumulate_steps": 1,
        "optimizer": "adamw",
        "learning_rate": 0.01,
        "warmup_steps": 1,
        "weight_decay": 0.0001,
        "clip_norm": 10.0,
        "weight_average": 0.9,
        "matching": {"positive": 0.5, "negative": 0.4, "force": True},
        "loss": {"classes": "focal", "gamma": 2.0, "alpha": 0.25, "box": "smooth_l1", "box_beta": 0.1},
        "evaluate_every": 1,
        "checkpoint": "best",
        "checkpoint_steps": 1,
        "precision": "float32",
    },
    "export": {"formats": ["float32"], "calibration_images": 2},
    "verification": {"threads": 1, "latency_runs": 1},
}
SPARSE = {"sparse": {"sparsity": {"amount": 0.5, "spread": "even"}, "fine_tune": {"epochs": 1, "warmup_steps": 0}}}
AS_SMALL = (
    *("training.epochs=1", "training.steps_per_epoch=2", "training.batch_size=2", "verification.latency_runs=1"),
    *("model.input.height=64", "model.input.width=64", "model.pyramid.width=8", "model.head.width=8"),
)
"""What a recipe says of length and size, after everything else was made hostile."""


@functools.cache
def sound_runs() -> Path:
    """Returns a folder with `data`, `whole`, a trained run, and `half`, one that was killed; made the first time."""
    folder = Path(tempfile.mkdtemp(prefix="runs-"))
    sound_coco(folder / "data")
    (folder / "tiny.yaml").write_text(json.dumps(TINY), encoding="utf-8")
    words = ["train", str(folder / "tiny.yaml"), "--data", str(folder / "data"), "--out", str(folder / "whole")]
    subprocess.run([sys.executable, "-m", "keras_retina", *words], check=True, capture_output=True)
    shutil.copytree(folder / "whole", folder / "half")
    for name in ("model.keras", "metrics.json"):
        (folder / "half" / name).unlink()
    longer = copy.deepcopy(TINY)
    longer["training"]["epochs"] = 2  # so that it goes on behind the last checkpoint
    for file in (folder / "half" / "recipe.yaml", folder / "longer.yaml"):
        file.write_text(json.dumps(longer), encoding="utf-8")
    (folder / "whole" / "recipe.yaml").write_text(json.dumps({**TINY, "compress": SPARSE}), encoding="utf-8")
    return folder


def training(rng: Generator, folder: Path) -> list[str]:
    """A tiny recipe with hostile values."""
    written(rng, folder / "r.yaml", damaged_json(rng, TINY))
    return _trained(rng, folder / "r.yaml", sound_coco(folder / "data"))


def training_data(rng: Generator, folder: Path) -> list[str]:
    """A tiny recipe as it should be, and a hostile photo or hostile labels."""
    data, file = sound_coco(folder / "data"), folder / "r.yaml"
    file.write_text(json.dumps(TINY), encoding="utf-8")
    split = pick(rng, ("train", "train", "val"))
    if chance(rng, 0.5):
        (data / "images" / f"{split}_0.png").write_bytes(changed_photo(rng)[1])
    else:
        written(rng, data / "annotations" / f"{split}.json", damaged_json(rng, coco_labels(split)))
    return [*_trained(rng, file, data), "--set", f"data.bad_images={pick(rng, ('refuse', 'skip'))}"]


def _trained(rng: Generator, recipe: Path, data: Path) -> list[str]:
    """Returns the words that train; those verbs that start other processes are rare, since these take their time."""
    verbs: tuple[list[str], ...] = (
        ["train"],
        ["run"],
        ["launch", "--workers", "2", "--restarts", "0"],
        ["tune", "--minutes", "0.05"],
    )
    verb, *options = verbs[int(rng.choice(4, p=[0.85, 0.09, 0.03, 0.03]))]
    small = [word for change in AS_SMALL for word in ("--set", change)]
    return [verb, str(recipe), "--data", str(data), "--out", str(recipe.parent / "run"), *options, *small]


def resuming(rng: Generator, folder: Path) -> list[str]:
    """The run folder of a training that was killed, with one or two damaged files."""
    sound, run = sound_runs(), folder / "run"
    shutil.copytree(sound / "half", run)
    _damage_some(rng, [file for file in run.rglob("*") if "tensorboard" not in file.parts], at_most=2)
    verb = pick(rng, ("train", "train", "train", "run"))
    return [verb, str(sound / "longer.yaml"), "--data", str(sound / "data"), "--out", str(run)]


def compressing(rng: Generator, folder: Path) -> list[str]:
    """A trained run with a hostile section `compress`, or with a damaged file."""
    sound, run = sound_runs(), folder / "run"
    shutil.copytree(sound / "whole", run)
    words = ["compress", str(run), "--set", "compress.sparse.fine_tune.epochs=1"]
    way = int(rng.integers(3))
    if way == 0:
        written(rng, run / "recipe.yaml", damaged_json(rng, {**TINY, "compress": SPARSE}))
    elif way == 1:
        keys = ("sparsity.amount", "sparsity.until", "sparsity.pattern", "clusters.number", "channels.keep", "parent")
        value = token(rng)[:50_000].replace("\0", "")
        words += ["--set", f"compress.{pick(rng, ('sparse', 'other'))}.{pick(rng, keys)}={value}"]
    else:
        names = ("model.keras", "metrics.json", "recipe.yaml", "run.json")
        _damage_some(rng, [run / name for name in names], at_most=1)
    return words


def _damage_some(rng: Generator, files: list[Path], *, at_most: int) -> None:
    left = sorted(file for file in files if file.is_file())
    for _ in range(int(rng.integers(1, at_most + 1))):
        damage(rng, left.pop(int(rng.integers(len(left)))))


def damage(rng: Generator, file: Path) -> None:
    """Removes or changes a file, its values or its bytes; the manifest of a checkpoint may get a new checksum."""
    way = int(rng.integers(6))
    if way == 0:
        file.unlink()
    elif way == 1:
        special(rng, file)
    elif way < 4 and file.suffix == ".json":
        written(rng, file, _signed_again(damaged_json(rng, json.loads(file.read_text(encoding="utf-8")))))
    elif way < 4 and file.suffix in (".csv", ".yaml"):
        written(rng, file, damaged_text(rng, file.read_text(encoding="utf-8")))
    else:
        file.write_bytes(changed_bytes(rng, file.read_bytes()))


def _signed_again(text: str) -> str:
    """Returns the facts of a checkpoint with the checksum that belongs to them; any other text as it is."""
    try:
        facts = json.loads(text)
        facts.pop("sha256")
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return text
    return json.dumps({**facts, "sha256": digest})


def surfaces() -> dict[str, Callable[[Generator, Path], list[str]]]:
    """Returns every surface by its name."""
    return {one.__name__: one for one in (training, training_data, resuming, compressing)}


LIMITS = dict.fromkeys(surfaces(), Limits(seconds=120.0, most_seconds=600.0, mebibytes=2048.0))
"""A training is many seconds of tracing; one that went on took 354 MiB more than at its start."""
