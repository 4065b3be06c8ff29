"""Workers of one machine are started, watched, started again, and none is left behind. Here they are small programs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keras_retina.foundation.errors import InputError, WorkerLostError
from keras_retina.train.workers.launch import divided_cores, go_on_alone, launch, local_cluster

HEAD = """
import json, os, pathlib, signal, sys, time
config = json.loads(os.environ["TF_CONFIG"])
index, here = config["task"]["index"], pathlib.Path(sys.argv[1])
def note(name):
    with (here / name).open("a") as file:
        file.write(f"{index}\\n")
"""


def program(text: str, tmp_path: Path) -> list[str]:
    return [sys.executable, "-c", HEAD + text, str(tmp_path)]


def notes(tmp_path: Path, name: str) -> list[str]:
    path = tmp_path / name
    return sorted(path.read_text().split()) if path.exists() else []


def test_every_worker_gets_its_index_the_same_cluster_and_its_cores(tmp_path):
    text = "(here / f'{index}.json').write_text(json.dumps([config['cluster'], sorted(os.sched_getaffinity(0))]))"
    launch(program(text, tmp_path), 2, logs=tmp_path / "logs", restarts=0)
    first, second = (json.loads((tmp_path / f"{index}.json").read_text()) for index in range(2))
    assert first[0] == second[0]
    assert len(first[0]["worker"]) == 2
    assert [first[1], second[1]] == divided_cores(2)


def test_what_workers_print_is_in_their_logs_and_the_chief_is_heard(tmp_path, capsys):
    launch(program("print('I am', index); print('loud', file=sys.stderr)", tmp_path), 2, logs=tmp_path, restarts=0)
    assert (tmp_path / "0.log").read_text() == "I am 0\nloud\n"
    assert "I am 1" in (tmp_path / "1.log").read_text()
    heard = capsys.readouterr().out
    assert "I am 0" in heard
    assert "I am 1" not in heard


@pytest.mark.parametrize("victim", [0, 1])
def test_one_that_is_killed_takes_all_into_a_restart(tmp_path, victim: int, logged, monkeypatch):
    monkeypatch.setattr("keras_retina.train.workers.launch.LAST_WORDS_SECONDS", 1.0)
    text = f"""
if index == {victim} and not (here / "killed").exists():
    while not (here / "waiting").exists():
        time.sleep(0.01)
    (here / "killed").touch()
    os.kill(os.getpid(), signal.SIGKILL)
if index != {victim} and not (here / "waiting").exists():
    (here / "waiting").touch()
    time.sleep(60)
note("done")
"""
    with logged() as lines:
        launch(program(text, tmp_path), 2, logs=tmp_path, restarts=2)
    assert notes(tmp_path, "done") == ["0", "1"]
    assert len(lines) == 1
    assert f"worker {victim} at 127.0.0.1:" in lines[0]
    assert lines[0].endswith("was ended by signal 9. All start again from the last checkpoint: restart 1 of 2")


def test_it_gives_up_after_the_last_restart(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_retina.train.workers.launch.LAST_WORDS_SECONDS", 1.0)
    text = "note('started')\nsys.exit(75) if index else time.sleep(60)"
    with pytest.raises(WorkerLostError, match=r"launch: worker 1 at .* lost another worker, after 1 restarts"):
        launch(program(text, tmp_path), 2, logs=tmp_path, restarts=1)
    assert notes(tmp_path, "started").count("1") == 2


def test_bad_input_of_one_worker_is_told_and_not_tried_again(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_retina.train.workers.launch.LAST_WORDS_SECONDS", 2.0)
    text = """
note("started")
if index == 1:
    print("keras-retina: data: expected images.", file=sys.stderr)
    sys.exit(2)
sys.exit(75)
"""
    with pytest.raises(InputError, match=r"^data: expected images\.$"):
        launch(program(text, tmp_path), 2, logs=tmp_path, restarts=3)
    assert notes(tmp_path, "started") == ["0", "1"]


def test_a_port_that_another_program_took_brings_other_ports_and_is_no_restart(tmp_path, logged):
    text = """
note("ports " + " ".join(config["cluster"]["worker"]))
if index == 1 and not (here / "taken").exists():
    (here / "taken").touch()
    sys.exit(69)
note("done")
"""
    with logged() as lines:
        launch(program(text, tmp_path), 2, logs=tmp_path, restarts=0)
    assert notes(tmp_path, "done").count("1") == 1
    used = {name.name.removeprefix("ports ") for name in tmp_path.glob("ports *")}
    assert len(used) == 2  # lists of addresses, one for each start
    (line,) = lines
    (first,) = [ports.split()[1] for ports in used if f"worker 1 at {ports.split()[1]}." in line]
    assert line == (
        f"warning: another program took the port of worker 1 at {first}. All start again on other ports: choice 1 of 5"
    )


def test_ports_that_are_taken_again_and_again_end_it(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_retina.train.workers.launch.LAST_WORDS_SECONDS", 0.5)
    text = "note('started')\nsys.exit(69) if index else time.sleep(60)"
    with pytest.raises(WorkerLostError, match=r"took the port of worker 1 at .*, after 5 choices of other ports"):
        launch(program(text, tmp_path), 2, logs=tmp_path, restarts=0)
    assert notes(tmp_path, "started").count("1") == 6


def test_a_traceback_is_not_tried_again_and_the_log_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_retina.train.workers.launch.LAST_WORDS_SECONDS", 1.0)
    with pytest.raises(WorkerLostError, match=r"ended with status 1\. What it said last is in .*/1\.log"):
        launch(program("1 / 0 if index else time.sleep(60)", tmp_path), 2, logs=tmp_path, restarts=3)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, None), (signal.SIGTERM, 75), (signal.SIGKILL, -9)])
def test_no_worker_outlives_the_launcher(tmp_path, number: int, status: int | None):
    worker = HEAD + "(here / f'{index}.pid').write_text(str(os.getpid()))\ntime.sleep(120)"
    text = (
        "import sys\nfrom pathlib import Path\nfrom keras_retina.train.workers.launch import launch\n"
        f"launch([sys.executable, '-c', {worker!r}, sys.argv[1]], 2, logs=Path(sys.argv[1]), restarts=0)"
    )
    launcher = subprocess.Popen(
        [sys.executable, "-c", text, str(tmp_path)],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell may have it ignored
    )
    files = [tmp_path / "0.pid", tmp_path / "1.pid"]
    deadline = time.monotonic() + 60
    while not all(file.exists() and file.read_text() for file in files) and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = [int(file.read_text()) for file in files]
    launcher.send_signal(number)
    code = launcher.wait(30)
    assert code == status if status is not None else code != 0
    while any(is_running(worker) for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(is_running(worker) for worker in workers)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_chief_goes_on_as_a_new_process_of_the_same_command(monkeypatch):
    called = []
    monkeypatch.setattr(os, "execv", lambda program, arguments: called.append((program, arguments)))
    go_on_alone(["run", "a.yaml", "--data", "d"])
    program = [sys.executable, "-m", "keras_retina", "run", "a.yaml", "--data", "d"]
    assert called == [(sys.executable, program)]


def test_cores_are_shared_out_without_overlap_or_doubled_where_there_are_too_few(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(7)))
    assert divided_cores(3) == [[0, 1, 2], [3, 4], [5, 6]]
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {4, 6})
    assert divided_cores(3) == [[4], [6], [4]]


def test_the_ports_of_a_local_cluster_are_free_and_different():
    clusters = local_cluster(4)
    assert len(set(clusters[0].addresses)) == 4
    assert [cluster.index for cluster in clusters] == [0, 1, 2, 3]
