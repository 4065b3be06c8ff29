"""Three processes on this machine train one detector, two of them die on the way, and the result is as if alone."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from keras_retina.data.builtin.builtin import write_builtin_set
from keras_retina.data.reading.folder import load_dataset
from keras_retina.recipe.recipe import Recipe, dump_recipe, recipe_from_fields
from keras_retina.train.train import train

WORKERS = 3


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("workers") / "data"
    write_builtin_set(folder, 30, 7, 64, 64)
    return folder


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Plain SGD, so that the weights tell the size of the gradients; epochs of many steps, to be killed within one."""
    fields = {
        "name": "tiny",
        "seed": 5,
        "model": {
            "backbone": {"name": "plain", "weights": "none", "frozen_stages": 0, "batch_norm": "trained"},
            "input": {"height": 64, "width": 64, "resize": "stretch"},
            "pyramid": {"width": 16, "levels": [3, 5]},
            "head": {"width": 16, "convolutions": 1},
        },
        "training": {
            "epochs": 3,
            "batch_size": 6,
            "steps_per_epoch": 20,
            "optimizer": "sgd",
            "learning_rate": 0.001,
            "warmup_steps": 0,
            "evaluate_every": 3,
            "checkpoint": "last",
            "checkpoint_steps": 10,
        },
    }
    return recipe_from_fields(fields, "test")


@pytest.fixture(scope="module")
def alone(recipe, data, tmp_path_factory) -> Path:
    """The run folder of one undisturbed process."""
    run_dir = tmp_path_factory.mktemp("alone") / "run"
    train(recipe, load_dataset(data, "train"), validation_set=load_dataset(data, "val"), run_dir=run_dir)
    return run_dir


@pytest.fixture(scope="module")
def disturbed(recipe, data, tmp_path_factory) -> Path:
    """The run folder of three workers: worker 1 and the chief are killed behind a checkpoint inside of an epoch."""
    folder = tmp_path_factory.mktemp("disturbed")
    (folder / "tiny.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    program = [sys.executable, "-c", LAUNCH, str(folder / "tiny.yaml"), str(data), str(folder / "run")]
    with (folder / "lines.txt").open("w") as lines:
        launcher = subprocess.Popen(program, stdout=lines, stderr=subprocess.STDOUT)
    try:
        wait_for_checkpoint(folder / "run" / "train" / "checkpoints", launcher)
        time.sleep(0.3)  # into the steps that follow
        for victim in (1, 0):
            os.kill(worker_process(launcher.pid, victim), signal.SIGKILL)
        assert launcher.wait(1200) == 0, (folder / "lines.txt").read_text()[-3000:]
    finally:
        launcher.terminate()
        launcher.wait(60)
    return folder / "run"


LAUNCH = """
import sys
from pathlib import Path
from keras_retina.cli.output import show_log
from keras_retina.recipe.recipe import load_recipe
from keras_retina.run.folder import start_run
from keras_retina.train.workers.launch import launch
recipe, data, out = sys.argv[1:]
show_log()
settings = load_recipe(Path(recipe), ["training.strategy=multi_worker"])
run = start_run(Path(out), settings, data_dir=Path(data), command="test", overwrite=False)
program = [sys.executable, "-m", "keras_retina", "train", str(run.recipe_file), "--data", data, "--out", out]
launch(program, 3, logs=run.workers, restarts=2)
"""


def wait_for_checkpoint(folder: Path, launcher: subprocess.Popen) -> None:
    deadline = time.monotonic() + 1200
    while time.monotonic() < deadline and launcher.poll() is None:
        if list(folder.glob("step-*")):
            return
        time.sleep(0.01)
    pytest.fail("there is no checkpoint")


def worker_process(launcher: int, index: int) -> int:
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for child in children:
        variables = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        config = next(json.loads(one.removeprefix(b"TF_CONFIG=")) for one in variables if one.startswith(b"TF_CONFIG="))
        if config["task"]["index"] == index:
            return int(child)
    raise AssertionError(f"worker {index} is not among {children}")


def weights_of(model: Path) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(model) as members:
        name = next(one for one in members.namelist() if one.endswith(".h5"))
        with h5py.File(io.BytesIO(members.read(name))) as file:
            file.visititems(
                lambda key, value: arrays.update({key: np.array(value)}) if isinstance(value, h5py.Dataset) else None
            )
    return arrays


def history_of(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "train" / "history.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_three_workers_of_which_two_died_end_with_the_weights_of_one_process(alone, disturbed):
    """They differ only in the order in which float32 sums are taken: one of 6 images, against three of 2.

    A sum is off by some 1e-7 of its size, and 60 steps carry that on: 1e-4 of the largest weight of a variable. The
    1e-5 beside it are for variables that stay near 0, since their gradient is nothing but rounding (a bias before
    BatchNorm). Training moves the weights a thousand times as far.
    """
    one, three = weights_of(alone / "model.keras"), weights_of(disturbed / "model.keras")
    assert one.keys() == three.keys()
    for name, expected in one.items():
        atol = 1e-5 + 1e-4 * np.abs(expected).max()
        np.testing.assert_allclose(three[name], expected, rtol=0, atol=atol, err_msg=name)


def test_the_job_went_on_from_the_last_checkpoint(disturbed):
    chief = (disturbed / "train" / "workers" / "0.log").read_text(encoding="utf-8")
    assert chief.count("all 3 workers are there") == 2
    (resumed,) = [line for line in chief.splitlines() if line.startswith("resuming after ")]
    assert "epoch 1" in resumed
    lines = (disturbed.parent / "lines.txt").read_text(encoding="utf-8")
    assert "was ended by signal 9. All start again from the last checkpoint: restart 1 of 2" in lines


def test_evaluation_is_shared_and_joined_and_the_history_is_that_of_one_process(alone, disturbed):
    for one, three in zip(history_of(alone), history_of(disturbed), strict=True):
        assert float(three["loss"]) == pytest.approx(float(one["loss"]), rel=1e-3)
        assert bool(three["AP"]) == bool(one["AP"])
    assert float(three["AP"]) == pytest.approx(float(one["AP"]), abs=0.2)
    metrics = json.loads((disturbed / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["split"] == "val"


def test_the_chief_alone_writes_and_each_worker_has_a_log(disturbed):
    train_dir = disturbed / "train"
    assert {path.name for path in (train_dir / "workers").iterdir()} == {"0.log", "1.log", "2.log"}
    assert list((train_dir / "checkpoints").rglob("*.index"))
    for index in (1, 2):
        log = (train_dir / "workers" / f"{index}.log").read_text(encoding="utf-8")
        assert "leaves the rest to the chief, worker 0 at " in log
        assert "wrote" not in log
