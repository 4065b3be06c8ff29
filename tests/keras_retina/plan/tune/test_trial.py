"""A trial reads what a training wrote, whole lines alone, and ends with its AP, its reason, or in time."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from keras_retina.foundation.interruption import Preempted
from keras_retina.foundation.run_paths import RunPaths
from keras_retina.plan.tune import trial
from keras_retina.plan.tune.trial import (
    OutOfTimeError,
    TrialFailedError,
    evaluated_epochs,
    remove_weights,
    train_trial,
    trial_folder,
)

TRAINING = """
import json, sys, time
from pathlib import Path
folder = Path(sys.argv[sys.argv.index("--out") + 1])
(folder / "train" / "checkpoints").mkdir(parents=True, exist_ok=True)
aps = {aps}
for epoch, ap in enumerate(aps, 1):
    with (folder / "train" / "history.csv").open("a") as file:
        if epoch == 1:
            file.write("epoch,loss,AP\\n")
        file.write(f"{{epoch}},1.0,{{ap}}\\n")
    time.sleep({seconds})
{end}
(folder / "model.keras").write_text("weights")
(folder / "metrics.json").write_text(json.dumps({{"AP": aps[-1]}}))
"""


@pytest.fixture
def training(tmp_path, monkeypatch):
    """Puts a small program in the place of `keras-retina train`: it writes APs and ends."""

    def put(aps: list[float | str], *, seconds: float = 0.05, end: str = "") -> None:
        program = tmp_path / "program.py"
        program.write_text(TRAINING.format(aps=aps, seconds=seconds, end=end), encoding="utf-8")
        real = trial.subprocess.Popen

        def popen(command, **options):
            assert command[1:4] == ["-m", "keras_retina", "train"]
            return real([sys.executable, str(program), *command[4:]], **options)

        monkeypatch.setattr(trial.subprocess, "Popen", popen)
        monkeypatch.setattr(trial, "POLL_SECONDS", 0.01)

    return put


def run_trial(recipe, folder: Path, *, seconds: float = 60.0, falls_behind=lambda epoch, ap: False) -> float | None:
    return train_trial(
        recipe, folder, folder=folder, threads=1, deadline=time.monotonic() + seconds, falls_behind=falls_behind
    )


def test_a_training_that_ends_gives_its_ap_and_leaves_no_weights(training, tiny_recipe, tmp_path):
    training([1.0, 7.5])
    told = []
    folder = tmp_path / "trial"
    assert run_trial(tiny_recipe, folder, falls_behind=lambda epoch, ap: told.append((epoch, ap))) == 7.5
    assert told == [(1, 1.0), (2, 7.5)]
    paths = RunPaths(folder)
    assert paths.history.exists()
    assert not paths.model.exists()
    assert not (paths.train / "checkpoints").exists()


def test_a_finished_trial_is_not_trained_again(training, tiny_recipe, tmp_path):
    training([3.0])
    assert run_trial(tiny_recipe, tmp_path / "trial") == 3.0
    training([99.0])
    assert run_trial(tiny_recipe, tmp_path / "trial") == 3.0


def test_a_trial_that_falls_behind_is_ended(training, tiny_recipe, tmp_path):
    training([1.0, 2.0, 3.0], seconds=600)
    started = time.monotonic()
    assert run_trial(tiny_recipe, tmp_path / "trial", falls_behind=lambda epoch, ap: True) is None
    assert time.monotonic() - started < 300  # it would have taken half an hour


def test_a_training_that_ends_with_an_error_names_its_last_line(training, tiny_recipe, tmp_path):
    training([1.0], end="sys.exit('keras-retina: the loss is not a number. Lower the learning rate.')")
    with pytest.raises(TrialFailedError, match=r"^the loss is not a number"):
        run_trial(tiny_recipe, tmp_path / "trial")


def test_a_killed_training_names_the_signal(training, tiny_recipe, tmp_path):
    training([1.0], end="import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(TrialFailedError, match="signal 9"):
        run_trial(tiny_recipe, tmp_path / "trial")


def test_the_deadline_ends_a_training_and_keeps_what_it_needs_to_go_on(training, tiny_recipe, tmp_path):
    training([1.0], seconds=20)
    with pytest.raises(OutOfTimeError):
        run_trial(tiny_recipe, tmp_path / "trial", seconds=0.5)
    assert (RunPaths(tmp_path / "trial").train / "checkpoints").exists()


def test_a_split_without_an_object_is_a_failed_trial(training, tiny_recipe, tmp_path):
    folder = tmp_path / "trial"
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps({"AP": None}), encoding="utf-8")
    with pytest.raises(TrialFailedError, match="no object"):
        run_trial(tiny_recipe, folder)


@pytest.mark.parametrize(
    ("text", "epochs"),
    [
        ("", {}),
        ("epoch,loss,AP\n", {}),
        ("epoch,loss,AP\n1,2.0,\n2,1.0,12.5\n", {2: 12.5}),
        ("epoch,loss,AP\n1,2.0,3.5\n2,1.0,12", {1: 3.5}),
    ],
)
def test_only_whole_lines_with_an_ap_count(tmp_path, text, epochs):
    path = tmp_path / "history.csv"
    path.write_text(text, encoding="utf-8")
    assert evaluated_epochs(path) == epochs


def test_no_history_has_no_epoch(tmp_path):
    assert evaluated_epochs(tmp_path / "absent.csv") == {}


def test_the_same_settings_have_the_same_folder_and_others_another(tiny_recipe, tmp_path):
    other = tiny_recipe.model_copy(update={"seed": 6})
    assert trial_folder(tmp_path, tiny_recipe) == trial_folder(tmp_path, tiny_recipe.model_copy())
    assert trial_folder(tmp_path, tiny_recipe) != trial_folder(tmp_path, other)


def test_removing_weights_of_a_folder_that_never_trained_does_nothing(tmp_path):
    remove_weights(RunPaths(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_trial_whose_machine_is_taken_away_is_no_failed_one(training, tiny_recipe, tmp_path):
    training([1.0], end="sys.exit(75)")
    with pytest.raises(Preempted):
        run_trial(tiny_recipe, tmp_path / "trial")
