"""Checkpoints on the disk: each is a folder that is written whole or not at all, with the SHA-256 of all its files.

Besides the variables it holds what a training had written until then: history, best weights, the time that was spent.
Resuming puts these files back, so that what is lost of the training is lost everywhere.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.places import remote_errors
from keras_retina.foundation.files.reading import sha256_of, sha256_of_file
from keras_retina.foundation.files.writing import is_unfinished, replacing, write_json
from keras_retina.foundation.run_paths import DURATION, HISTORY

logger = logging.getLogger(__name__)

FOLDER = "checkpoints"
KEPT = 2
MANIFEST = "manifest.json"
VARIABLES = "variables"
BEST_WEIGHTS, BEST = "best.weights.h5", "best.json"
FILES_OF_TRAINING = (HISTORY, BEST, BEST_WEIGHTS, DURATION)
ADVICE = "Free disk space and repeat the command: it goes on from the checkpoint before, which is unharmed."


@dataclass(frozen=True)
class TrainingPosition:
    """Where in a training a checkpoint was taken, and what of the running epoch is no variable.

    Attributes:
        epochs: that were over. The last one that is over may lack its evaluation: see `steps`.
        steps: batches of the running epoch that were done: none, some, or all of them before its evaluation.
        total_steps: batches since the training began; checkpoints are named after it.
        seconds, waited: that the running epoch had taken, and that it had waited for batches.
        sums: of each metric of the running epoch, the values of its variables.
    """

    epochs: int
    steps: int
    total_steps: int
    seconds: float = 0.0
    waited: float = 0.0
    sums: dict[str, list[float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the folder; the names of later checkpoints are greater."""
        return f"step-{self.total_steps:09d}{'' if self.steps else '-evaluated'}"


@dataclass(frozen=True)
class Saved:
    """A checkpoint that is whole."""

    path: Path
    position: TrainingPosition

    @property
    def variables(self) -> str:
        """The prefix of the variables' files, for `tf.train.Checkpoint`."""
        return str(self.path / VARIABLES)


def write_checkpoint(train_dir: Path, position: TrainingPosition, *, write_variables: Callable[[str], object]) -> Path:
    """Writes a checkpoint, then removes all but the last `KEPT`.

    Args:
        write_variables: is given the prefix of the files that it has to write.

    Raises:
        InputError: it cannot be written; those before are unharmed.
    """
    folder = train_dir / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / position.name
    shutil.rmtree(path, ignore_errors=True)  # of an attempt that was damaged
    with replacing(path, advice=ADVICE) as unfinished:
        unfinished.mkdir()
        with remote_errors():
            write_variables(str(unfinished / VARIABLES))
        for name in FILES_OF_TRAINING:
            if (train_dir / name).exists():
                _same(train_dir / name, unfinished / name)
        written = {file.name: _fingerprint(file) for file in sorted(unfinished.iterdir())}
        facts = {**asdict(position), "files": written}
        write_json(unfinished / MANIFEST, {**facts, "sha256": _sha256_of_facts(facts)})
        for file in unfinished.iterdir():
            _flush(file)
    for old in _names(folder)[:-KEPT]:
        shutil.rmtree(folder / old, ignore_errors=True)
    return path


def newest_whole(train_dir: Path) -> Saved | None:
    """Finds the last checkpoint that is whole and puts its files of the training back; None where none was written.

    Later ones that are damaged are named in a warning and removed. Without any checkpoint the training begins anew, and
    what it wrote so far is removed, but for the epochs that were decided.

    Raises:
        InputError: there are checkpoints, but none is whole.
    """
    folder = train_dir / FOLDER
    for member in folder.iterdir() if folder.is_dir() else ():
        if is_unfinished(member):  # of a process that was killed
            shutil.rmtree(member, ignore_errors=True)
    names = _names(folder)
    damages: list[str] = []
    for name in reversed(names):
        try:
            saved = Saved(folder / name, _checked(folder / name))
        except (OSError, ValueError) as error:
            damages.append(f"{folder / name}: {error}")
            continue
        for damage in damages:
            logger.warning(f"a damaged checkpoint is skipped for the one before, {name}. {damage}")
        for damaged in names[names.index(name) + 1 :]:
            shutil.rmtree(folder / damaged, ignore_errors=True)
        _put_back(train_dir, saved.path)
        return saved
    if names:
        raise InputError(
            f"{folder}: expected a whole checkpoint to go on from. Received: none of {len(names)}; {damages[0]}. "
            "Restore it, or delete the folder to train from the beginning."
        )
    _refuse_earlier_version(folder)
    for name in (HISTORY, BEST, BEST_WEIGHTS):
        (train_dir / name).unlink(missing_ok=True)
    return None


def _names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.glob("step-*"))


def _checked(path: Path) -> TrainingPosition:
    """Returns where in the training a checkpoint that is whole was taken.

    Raises:
        OSError, ValueError: with what is wrong.
    """
    try:
        facts = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        stated = facts.pop("sha256")
        files = facts["files"]
        position = TrainingPosition(**{name: value for name, value in facts.items() if name != "files"})
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{MANIFEST} is damaged") from error
    if stated != _sha256_of_facts(facts):
        raise ValueError(f"{MANIFEST} has another checksum than it says")
    for name, expected in files.items():
        file = path / name
        if not file.is_file():
            raise ValueError(f"{name} is missing")
        if file.stat().st_size != expected["bytes"]:
            raise ValueError(f"{name} has {file.stat().st_size} bytes instead of {expected['bytes']}")
        if _fingerprint(file) != expected:
            raise ValueError(f"{name} has another checksum than {MANIFEST} says")
    return position


def _put_back(train_dir: Path, checkpoint: Path) -> None:
    for name in FILES_OF_TRAINING:
        if not (checkpoint / name).exists():
            (train_dir / name).unlink(missing_ok=True)
            continue
        with replacing(train_dir / name) as unfinished:
            _same(checkpoint / name, unfinished)


def _same(source: Path, target: Path) -> None:
    """Makes `target` a file like `source`; large weights, which are replaced but never changed, share their bytes."""
    if source.name == BEST_WEIGHTS:
        with contextlib.suppress(OSError):  # a file system without links
            os.link(source, target)
            return
    shutil.copyfile(source, target)


def _flush(path: Path) -> None:
    """Waits until a file is on the disk: else a power cut could leave both checkpoints without their last bytes."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _fingerprint(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_of_file(path)}


def _sha256_of_facts(facts: dict[str, Any]) -> str:
    return sha256_of(json.dumps(facts, sort_keys=True).encode())


def _refuse_earlier_version(folder: Path) -> None:
    found = sorted(folder.glob("ckpt-*.index")) or [path for path in [folder / "checkpoint"] if path.exists()]
    if found:
        raise InputError(
            f"{folder}: expected checkpoints of this version, folders step-NUMBER. Received: {found[-1].name}, of an "
            "earlier one. Finish the training with that version, or delete the folder to train from the beginning."
        )
