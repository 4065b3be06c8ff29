"""The queue itself: what is done stays done, what fails is named, and the test splits wait until asked for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import compare
import pytest
import results
import trainings
import work

from keras_retina.recipe.recipe import dump_recipe, load_recipe

RECIPE = Path(__file__).parents[3] / "recipes" / "raccoon.yaml"
AP = {"recipe": 40.0, "giou": 42.0, "sgd": 30.0}


def option(command: list[str], name: str) -> list[str]:
    return [word for before, word in zip(command, command[1:], strict=False) if before == name]


@pytest.fixture
def commands(monkeypatch):
    """The command lines that the queue starts; a stand-in for training writes the metrics, but `sgd` fails."""
    started = []

    def succeeded(command, *, log, locks, environment):
        started.append(command)
        if "evaluate" in command:
            Path(option(command, "--json")[0]).write_text(json.dumps(metrics(20.0)), encoding="utf-8")
            return True
        folder = Path(option(command, "--out")[0])
        setting, seed = folder.name.rsplit("-", 1)
        if setting != "sgd":
            folder.mkdir(parents=True)
            recipe = load_recipe(RECIPE, option(command, "--set"))
            (folder / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
            (folder / "metrics.json").write_text(json.dumps(metrics(AP[setting] + int(seed))), encoding="utf-8")
        return setting != "sgd"

    monkeypatch.setattr(trainings, "succeeded", succeeded)
    return started


def metrics(ap: float) -> dict[str, float]:
    return {"AP": ap, "AP50": 90.0, "AP75": 30.0}


def run(monkeypatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["compare.py", *map(str, words)])
    compare.main()


@pytest.fixture
def words(tiny_coco, tmp_path):
    return ["--data", tiny_coco, "--recipe", RECIPE, "--steps", 20, "--seeds", 0, 1, "--out", tmp_path / "out"]


def test_every_training_has_a_line_and_is_not_repeated(monkeypatch, commands, words, tmp_path, capsys):
    run(monkeypatch, "giou", *words)
    assert [Path(option(command, "--out")[0]).name for command in commands] == [
        "recipe-0", "giou-0", "recipe-1", "giou-1",
    ]  # fmt: skip
    rows = results.read_results(tmp_path / "out" / "results.csv")
    # 20 steps of 8 images are 16 passes over the 10 training images.
    assert [(row.setting, row.seed, row.AP, row.steps, row.epochs) for row in rows] == [
        ("recipe", 0, 40.0, 20, 16.0), ("giou", 0, 42.0, 20, 16.0),
        ("recipe", 1, 41.0, 20, 16.0), ("giou", 1, 43.0, 20, 16.0),
    ]  # fmt: skip
    assert "| giou | not shown | +2.0 |" in capsys.readouterr().out
    run(monkeypatch, "giou", *words)
    assert len(commands) == 4


def test_two_shares_train_each_job_once(monkeypatch, commands, words, tmp_path):
    run(monkeypatch, "giou", *words, "--share", "1/2")
    assert [Path(option(command, "--out")[0]).name for command in commands] == ["recipe-0", "recipe-1"]
    run(monkeypatch, "giou", *words, "--share", "2/2")
    assert [Path(option(command, "--out")[0]).name for command in commands[2:]] == ["giou-0", "giou-1"]
    assert len(results.read_results(tmp_path / "out" / "results.csv")) == 4


@pytest.mark.parametrize("share", ["0/2", "3/2", "half", "1/0"])
def test_what_is_no_share_is_refused(monkeypatch, words, share, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "giou", *words, "--share", share)
    assert "expected a share such as 1/2" in capsys.readouterr().err


def test_shares_of_one_queue_run_beside_each_other_and_not_beside_the_whole(tmp_path):
    first, second = work.Share(1, 2), work.Share(2, 2)
    with work.alone_in(tmp_path, first), work.alone_in(tmp_path, second):
        for taken in (first, work.WHOLE):
            with pytest.raises(SystemExit, match="another --out"), work.alone_in(tmp_path, taken):
                pass
    with work.alone_in(tmp_path), pytest.raises(SystemExit, match="another --out"), work.alone_in(tmp_path, first):
        pass


def test_a_training_that_fails_is_named_and_the_others_go_on(monkeypatch, commands, words):
    with pytest.raises(SystemExit, match="sgd-0, .*sgd-1"):
        run(monkeypatch, "sgd", "giou", *words)
    assert len(commands) == 6


def test_a_finished_training_of_another_length_is_refused(monkeypatch, commands, words):
    run(monkeypatch, "giou", *words)
    with pytest.raises(SystemExit, match="Use another --out"):
        run(monkeypatch, "giou", *[30 if word == 20 else word for word in words])


def test_the_test_split_is_measured_only_when_asked_for_and_only_where_there_is_one(
    monkeypatch, commands, words, tiny_coco, tmp_path
):
    with_test = tmp_path / "with_test"
    (with_test / "annotations").mkdir(parents=True)
    (with_test / "images").symlink_to(tiny_coco / "images")
    for split, source in (("train", "train"), ("val", "val"), ("test", "val")):
        text = (tiny_coco / "annotations" / f"{source}.json").read_text(encoding="utf-8")
        (with_test / "annotations" / f"{split}.json").write_text(text, encoding="utf-8")
    words.insert(2, with_test)
    run(monkeypatch, "giou", *words)
    assert not any("evaluate" in command for command in commands)
    del commands[:]
    run(monkeypatch, "giou", *words, "--split", "test")
    assert len(commands) == 4
    rows = results.read_results(tmp_path / "out" / "results_test.csv")
    assert {(row.set, row.split, row.AP) for row in rows} == {("with_test", "test", 20.0)}
    assert {row.split for row in results.read_results(tmp_path / "out" / "results.csv")} == {"val"}


SLEEPER = """
import sys
sys.path.insert(0, {sets!r})
from pathlib import Path
import work
with work.alone_in(Path({out!r})) as locks:
    child = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
    work.succeeded(child, log=Path({out!r}) / "log", locks=locks, environment=work.environment())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_second_queue_starts_beside_a_training(tmp_path, number):
    """SIGTERM ends the training with its queue. SIGKILL cannot be caught: the training goes on and holds the folder."""
    program = SLEEPER.format(sets=str(Path(work.__file__).parent), out=str(tmp_path))
    queue = subprocess.Popen([sys.executable, "-c", program], env=work.environment(), stdout=subprocess.DEVNULL)
    log = tmp_path / "log"
    while not (log.exists() and log.read_text().endswith("\n")):
        assert queue.poll() is None
        time.sleep(0.05)
    with pytest.raises(SystemExit, match="another --out"), work.alone_in(tmp_path):
        pass
    queue.send_signal(number)
    queue.wait()
    child = int(log.read_text())
    if number == signal.SIGKILL:
        with pytest.raises(SystemExit, match="another --out"), work.alone_in(tmp_path):
            pass
        os.kill(child, signal.SIGKILL)
        while Path(f"/proc/{child}").exists() and "Z" not in Path(f"/proc/{child}/stat").read_text().split()[2]:
            time.sleep(0.05)
    with work.alone_in(tmp_path):
        pass
