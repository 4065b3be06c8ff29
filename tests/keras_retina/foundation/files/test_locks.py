"""Who makes the same file waits for the others, and not for one that was killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from keras_retina.foundation.files import locks
from keras_retina.foundation.files.locks import one_at_a_time

HOLD = """
import sys, time
from pathlib import Path
from keras_retina.foundation.files.locks import one_at_a_time
with one_at_a_time(Path(sys.argv[1])):
    print("inside", flush=True)
    time.sleep(120)
"""


def enter(path: Path, inside: list[str], name: str) -> threading.Thread:
    """Starts a thread that enters the block; a lock belongs to who opened its file, not to the process."""

    def make() -> None:
        with one_at_a_time(path):
            inside.append(f"{name} begins")
            time.sleep(0.2)
            inside.append(f"{name} ends")

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    return thread


def test_one_after_the_other_is_inside_and_another_file_is_not_waited_for(tmp_path, logged):
    inside: list[str] = []
    with logged() as lines:
        with one_at_a_time(tmp_path / "same"), one_at_a_time(tmp_path / "other"):
            threads = [enter(tmp_path / "same", inside, str(number)) for number in range(3)]
            give_up = time.monotonic() + 30
            while len(lines) < 3 and time.monotonic() < give_up:
                time.sleep(0.01)
            assert inside == []
        for thread in threads:
            thread.join(30)
    assert len(inside) == 6
    assert all(one.replace("begins", "ends") == two for one, two in zip(inside[::2], inside[1::2], strict=True))
    assert set(lines) == {f"another process makes {tmp_path / 'same'}: waiting for it"}


def test_a_process_that_is_killed_lets_go(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "file")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "inside\n"
    inside: list[str] = []
    thread = enter(tmp_path / "file", inside, "next")
    thread.join(0.3)
    assert inside == []
    process.send_signal(signal.SIGKILL)
    process.wait()
    thread.join(30)
    assert inside == ["next begins", "next ends"]


def test_where_there_are_no_locks_nobody_waits(tmp_path, monkeypatch):
    def no_locks(*_):
        raise OSError(95, "Operation not supported")

    for patch in (
        lambda: monkeypatch.setattr(locks.fcntl, "flock", no_locks),
        lambda: monkeypatch.setattr(locks, "fcntl", None),
    ):
        patch()
        with one_at_a_time(tmp_path / "file"), one_at_a_time(tmp_path / "file"):
            pass


def test_an_error_inside_is_not_taken_for_one_of_the_lock(tmp_path):
    with pytest.raises(OSError, match="of the block"), one_at_a_time(tmp_path / "file"):
        raise OSError("of the block")
    with one_at_a_time(tmp_path / "file"):
        pass
