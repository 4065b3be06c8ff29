"""Checkpoints on the disk: whole or not at all, damaged ones skipped, and the files of that moment put back."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.train.checkpoints.folder import Saved, TrainingPosition, newest_whole, write_checkpoint


def save(train_dir: Path, total: int, text: str = "variables", **more) -> Path:
    """Writes a checkpoint after so many steps, all of the first epoch, and what a training writes beside it."""
    for name in ("history.csv", "best.json", "best.weights.h5", "duration.json"):
        (train_dir / name).unlink(missing_ok=True)  # the best weights are replaced, never changed
        (train_dir / name).write_text(f"{name} {total}")

    def write(prefix: str) -> None:
        Path(f"{prefix}.index").write_text(f"{text} index {total}")
        Path(f"{prefix}.data-00000-of-00001").write_text(f"{text} data {total}" * 100)

    return write_checkpoint(train_dir, TrainingPosition(0, total, total, **more), write_variables=write)


def found(train_dir: Path) -> Saved:
    saved = newest_whole(train_dir)
    assert saved is not None
    return saved


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_last_two_are_kept_and_the_last_is_found_with_all_its_facts(tmp_path):
    sums = {"loss": [0.1, 3.0]}
    for total in (4, 8, 12):
        save(tmp_path, total, seconds=1.5, waited=0.25, sums=sums)
    assert names(tmp_path / "checkpoints") == ["step-000000008", "step-000000012"]
    saved = found(tmp_path)
    assert saved.position == TrainingPosition(0, 12, 12, 1.5, 0.25, sums)
    assert Path(f"{saved.variables}.index").read_text() == "variables index 12"


def test_after_an_evaluation_comes_later_than_before_it(tmp_path):
    assert TrainingPosition(0, 12, 12).name < TrainingPosition(1, 0, 12).name < TrainingPosition(1, 1, 13).name


def test_what_was_written_after_a_checkpoint_is_undone(tmp_path):
    save(tmp_path, 4)
    (tmp_path / "best.weights.h5").unlink()
    for name in ("history.csv", "best.json", "best.weights.h5", "duration.json"):
        (tmp_path / name).write_text("of a lost epoch, or damaged")
    found(tmp_path)
    for name in ("history.csv", "best.json", "best.weights.h5", "duration.json"):
        assert (tmp_path / name).read_text() == f"{name} 4"
    (tmp_path / "history.csv").write_text("appended")
    assert found(tmp_path).position.steps == 4  # the checkpoint has a copy of its own


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def other_step(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"steps": 7}))


DAMAGES = [
    (name, damage)
    for name in ("variables.data-00000-of-00001", "variables.index", "manifest.json", "history.csv", "best.weights.h5")
    for damage in (cut, flip, Path.unlink)
]


@pytest.mark.parametrize(
    ("name", "damage"), [*DAMAGES, ("manifest.json", other_step)], ids=lambda value: getattr(value, "__name__", value)
)
def test_a_damaged_checkpoint_is_skipped_for_the_one_before_with_a_warning(
    tmp_path, logged, name: str, damage: Callable[[Path], None]
):
    save(tmp_path, 4), save(tmp_path, 8)
    damage(tmp_path / "checkpoints" / "step-000000008" / name)
    with logged() as lines:
        assert found(tmp_path).position.total_steps == 4
    assert len(lines) == 1
    assert lines[0].startswith("warning: a damaged checkpoint is skipped for the one before, step-000000004. ")
    assert name in lines[0]
    assert (tmp_path / "history.csv").read_text() == "history.csv 4"
    assert names(tmp_path / "checkpoints") == ["step-000000004"]


def test_when_none_is_whole_the_training_does_not_silently_begin_anew(tmp_path):
    save(tmp_path, 4), save(tmp_path, 8)
    for step in (4, 8):
        cut(tmp_path / "checkpoints" / f"step-00000000{step}" / "variables.index")
    for _ in range(2):
        with pytest.raises(InputError, match=r"checkpoints: expected a whole .*none of 2; .*step-000000008: variables"):
            newest_whole(tmp_path)
    assert len(names(tmp_path / "checkpoints")) == 2


def test_without_a_checkpoint_the_training_begins_anew_with_the_epochs_that_were_decided(tmp_path):
    for name in ("history.csv", "best.json", "best.weights.h5", "duration.json"):
        (tmp_path / name).write_text("of an epoch without a checkpoint")
    assert newest_whole(tmp_path) is None
    assert names(tmp_path) == ["duration.json"]


@pytest.mark.parametrize("name", ["checkpoint", "ckpt-3.index"])
def test_checkpoints_of_an_earlier_version_are_refused_by_name(tmp_path, name: str):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / name).write_text("model_ch")
    with pytest.raises(InputError, match=f"Received: {name}, of an earlier one"):
        newest_whole(tmp_path)


def test_a_full_disk_leaves_the_checkpoints_before_and_nothing_else(tmp_path):
    save(tmp_path, 4), save(tmp_path, 8)

    def full(prefix: str) -> None:
        Path(f"{prefix}.index").write_text("some of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=r"No space left on device\. Free disk space and repeat the command"):
        write_checkpoint(tmp_path, TrainingPosition(0, 12, 12), write_variables=full)
    assert names(tmp_path / "checkpoints") == ["step-000000004", "step-000000008"]
    assert found(tmp_path).position.total_steps == 8


def test_what_a_killed_process_left_half_written_is_no_checkpoint(tmp_path):
    save(tmp_path, 4)
    half = tmp_path / "checkpoints" / ".step-000000008.unfinished" / "step-000000008"
    half.mkdir(parents=True)
    (half / "variables.index").write_text("half")
    assert found(tmp_path).position.total_steps == 4
    assert names(tmp_path / "checkpoints") == ["step-000000004"]


def test_a_checkpoint_replaces_a_damaged_one_of_the_same_step(tmp_path):
    save(tmp_path, 4), save(tmp_path, 8, text="first")
    cut(tmp_path / "checkpoints" / "step-000000008" / "variables.index")
    save(tmp_path, 8, text="second")
    assert Path(f"{found(tmp_path).variables}.index").read_text() == "second index 8"
