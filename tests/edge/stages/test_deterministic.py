"""`training.deterministic`: two runs in processes of their own leave the same bytes behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from keras_retina.recipe.recipe import Recipe, dump_recipe

ROOT = Path(__file__).parents[3]
TIMED = {"seconds", "latency_ms"}  # fields that are measured with a clock
# What says when or how fast: the clock, the command and the folder are in it.
DATED = {"run.json", "report.html", "history.csv", "tensorboard", "checkpoints"}

MIRRORED = """
import sys
from pathlib import Path
from keras_retina.foundation.legacy_keras import tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from keras_retina.data.reading.folder import load_dataset
from keras_retina.recipe.recipe import load_recipe
from keras_retina.train.train import train
recipe, data, out = sys.argv[1:]
sets = load_dataset(data, "train"), load_dataset(data, "val")
train(load_recipe(recipe, ["training.strategy=mirrored"]), sets[0], validation_set=sets[1], run_dir=Path(out))
try:
    tf.timestamp()
except tf.errors.FailedPreconditionError:  # as every operation that is never twice the same
    sys.exit(0)
sys.exit("operations were not deterministic")
"""


@pytest.fixture(scope="module")
def recipe_file(tiny_recipe, tmp_path_factory) -> Path:
    """One epoch of the plain backbone and an int8 file: as few layers to trace as there can be."""
    fields = tiny_recipe.model_dump()
    fields["model"]["backbone"] |= {"name": "plain", "alpha": 1.0}
    fields["model"] |= {"input": {"height": 64, "width": 64}, "pyramid": {"levels": [4, 5], "width": 16}}
    fields["training"] |= {"deterministic": True, "epochs": 1, "evaluate_every": 1, "warmup_steps": 0}
    fields["export"] |= {"formats": ["float32", "int8"], "calibration_images": 4}
    path = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    path.write_text(dump_recipe(Recipe.model_validate(fields)), encoding="utf-8")
    return path


def twice(folder: Path, command: list[str]) -> list[Path]:
    """Runs a command for two folders, which it gets as its last argument; sets are ordered otherwise in the second."""
    outs = [folder / "one" / "run", folder / "other" / "run"]
    running = []
    for seed, out in enumerate(outs, 1):
        out.parent.mkdir()
        environment = os.environ | {"PYTHONHASHSEED": str(seed), "PYTHONPATH": str(ROOT)}
        running.append(subprocess.Popen([sys.executable, *command, str(out)], env=environment, stderr=subprocess.PIPE))
    for process in running:
        _, told = process.communicate()
        assert b"Traceback" not in told, told[-2000:].decode()
        assert process.returncode in (0, 1), told[-2000:].decode()  # 1: such a network misses the gate
    return outs


def without_times(value: Any) -> Any:
    """Returns a JSON value without the fields that a clock wrote."""
    if isinstance(value, dict):
        return {name: without_times(part) for name, part in value.items() if name not in TIMED}
    return [without_times(part) for part in value] if isinstance(value, list) else value


def contents(run: Path) -> dict[str, Any]:
    """Returns every file of a run folder that says nothing of the time, JSON without its times."""
    found: dict[str, Any] = {}
    for path in sorted(path for path in run.rglob("*") if path.is_file()):
        name = str(path.relative_to(run))
        if not DATED & set(Path(name).parts):
            found[name] = path.read_bytes()
            if path.suffix == ".json":
                found[name] = without_times(json.loads(found[name]))
    return found


def test_two_runs_of_every_stage_leave_the_same_bytes(recipe_file, tiny_coco, tmp_path):
    one, other = (contents(out) for out in twice(tmp_path, whole_run(recipe_file, tiny_coco)))
    assert {"model.keras", "metrics.json", "verify.json", "train/best.weights.h5"} <= set(one)
    assert {"export/tiny_float32.tflite", "export/tiny_int8.tflite", "export/tiny_int8.json"} <= set(one)
    assert [name for name in one if one[name] != other.get(name)] == []
    assert set(one) == set(other)


def test_only_what_a_clock_wrote_is_left_out():
    row = {"AP": 1.5, "latency_ms": {"median": 3.0}, "tries": [{"seconds": 2.0, "step": "ranges"}]}
    assert without_times(row) == {"AP": 1.5, "tries": [{"step": "ranges"}]}


def whole_run(recipe: Path, data: Path) -> list[str]:
    return ["-m", "keras_retina", "run", str(recipe), "--data", str(data), "--out"]


def test_two_replicas_leave_the_same_bytes_twice(recipe_file, tiny_coco, tmp_path):
    one, other = twice(tmp_path, ["-c", MIRRORED, str(recipe_file), str(tiny_coco)])
    assert (one / "model.keras").read_bytes() == (other / "model.keras").read_bytes()
