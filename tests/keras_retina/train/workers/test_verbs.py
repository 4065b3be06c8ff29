"""Every verb as the tasks of a cluster job start it: which of them work, and what the others say."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from keras_retina.cli.app import main
from keras_retina.recipe.recipe import dump_recipe, recipe_from_fields
from keras_retina.train.workers.cluster import Cluster

CLUSTER = ("a:1", "b:2")
SLURM = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "a,b", "SLURM_STEP_TASKS_PER_NODE": "1(x2)"}


@pytest.fixture
def task(monkeypatch, tmp_path, capsys):
    """A function: the index of a task, its command -> its exit status, its output and its errors."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("SLURM_") or name == "TF_CONFIG"]:
        monkeypatch.delenv(name)

    def run(index: int, command: str, *, by_slurm: bool = False) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["keras-retina", *command.split()])
        named = {"TF_CONFIG": Cluster(CLUSTER, index).tf_config()}
        if by_slurm:
            named = {**SLURM, "SLURM_PROCID": str(index), "SLURM_JOB_ID": "7"}
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            for name, value in named.items():
                patch.setenv(name, value)
            main()
        output = capsys.readouterr()
        return ended.value.code, output.out, output.err

    return run


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(dump_recipe(recipe_from_fields({"name": "mine"}, "test")), encoding="utf-8")
    return path


ON_A_RUN = ("compress run", "export run --keras3", "verify run", "report run", "review run", "import x.pth --out run")


@pytest.mark.parametrize("command", ON_A_RUN)
def test_the_chief_alone_works_on_a_run_and_the_others_end_at_once(task, tmp_path, command):
    """The chief gets as far as to find no run here."""
    verb = command.split()[0]
    status, lines, _ = task(1, command)
    assert status == 0
    assert lines == (
        f"worker 1 at b:2 leaves {verb} to the chief, worker 0 at a:1, and is done. "
        "For work of its own, unset TF_CONFIG\n"
    )
    assert list(tmp_path.iterdir()) == []
    status, lines, errors = task(0, command)
    assert status == 2
    assert "leaves" not in lines
    assert "expected" in errors


@pytest.mark.parametrize("strategy", ["auto", "multi_worker"])
@pytest.mark.parametrize("verb", ["train", "run"])
def test_after_the_training_the_chief_alone_goes_on(task, recipe, tmp_path, verb, strategy):
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.keras").touch()
    status, lines, _ = task(1, f"{verb} mine.yaml --data . --out run --set training.strategy={strategy}")
    assert status == 0
    assert [line.split(",")[0] for line in lines.splitlines()] == [
        "train: done before",
        "worker 1 at b:2 leaves the rest to the chief",
    ]
    assert [path.name for path in run.iterdir()] == ["model.keras"]


@pytest.mark.parametrize("by_slurm", [False, True])
@pytest.mark.parametrize("verb", ["train", "run"])
@pytest.mark.parametrize("index", [0, 1])
def test_no_task_trains_alone_into_the_folder_of_all(task, recipe, tmp_path, verb, index, by_slurm):
    status, _, errors = task(index, f"{verb} mine.yaml --data . --out run", by_slurm=by_slurm)
    assert status == 2
    variable = "SLURM_STEP_NODELIST" if by_slurm else "TF_CONFIG"
    assert errors.startswith(f"keras-retina: training.strategy: {variable} names 2 workers, and only 'multi_worker'")
    assert len(errors.splitlines()) == 1
    assert list(tmp_path.iterdir()) == [recipe]  # nothing was begun


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("more", ["", " --overwrite"])
def test_tasks_do_not_plan_each_for_itself(task, tmp_path, index, more):
    status, _, errors = task(index, f"run --data . --out run --set training.strategy=multi_worker{more}")
    assert status == 2
    assert errors == (
        "keras-retina: run without a recipe: expected to be started once. Received: TF_CONFIG names 2 workers, of "
        "which each would do it. Plan first, with `keras-retina plan DIR --out mine.yaml`, and run that recipe; "
        "or unset TF_CONFIG.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_all_tasks_take_the_plan_that_is_in_the_run_folder(task, recipe, tmp_path):
    """It was made before, in one process. Here the training is done too, so that this task only reads the plan."""
    run = tmp_path / "run"
    run.mkdir()
    text = f"# wishes: none\n{recipe.read_text(encoding='utf-8')}"
    for name in ("recipe.yaml", "plan.yaml"):
        (run / name).write_text(text, encoding="utf-8")
    (run / "model.keras").touch()
    status, lines, _ = task(1, "run --data . --out run --set training.strategy=multi_worker")
    assert status == 0
    assert lines.splitlines()[0] == "going on with the plan that is there: run/plan.yaml"
    assert (run / "plan.yaml").read_text(encoding="utf-8") == text


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("command", ["demo --out run", "launch mine.yaml --data . --workers 2 --out run"])
def test_what_each_task_would_do_anew_is_refused(task, recipe, tmp_path, index, command):
    status, _, errors = task(index, command)
    assert status == 2
    assert errors.startswith(f"keras-retina: {command.split()[0]}: expected to be started once. Received: TF_CONFIG")
    assert list(tmp_path.iterdir()) == [recipe]
