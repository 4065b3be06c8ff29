"""Before the first step, all workers are there, mean the same and see one folder; otherwise all say why not."""

from __future__ import annotations

import errno
import json
import socket
import threading
from pathlib import Path

import pytest

from keras_retina.foundation.errors import InputError, PortTakenError, WorkerLostError
from keras_retina.train.workers.addresses import split_address
from keras_retina.train.workers.cluster import Cluster, read_tf_config
from keras_retina.train.workers.launch import local_cluster
from keras_retina.train.workers.meeting import differences, meet

FACTS = {"recipe": "12ab", "TensorFlow": "2.21.0"}


def met(clusters: list[Cluster], folders: list[Path], facts: list[dict] | None = None, seconds: float = 20.0) -> list:
    """Returns what became of each worker: None, or its error."""
    results: list = ["still waiting"] * len(clusters)

    def come(place: int) -> None:
        try:
            meet(
                clusters[place],
                facts[place] if facts else FACTS,
                folder=folders[place],
                seconds=seconds,
                token_seconds=0.5,
            )
            results[place] = None
        except (InputError, WorkerLostError) as error:
            results[place] = error

    threads = [threading.Thread(target=come, args=(place,), daemon=True) for place in range(len(clusters))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    return results


def test_workers_that_agree_meet_and_leave_no_token_behind(tmp_path):
    assert met(local_cluster(3), [tmp_path] * 3) == [None] * 3
    assert list(tmp_path.iterdir()) == []


def test_workers_meet_by_ipv6_however_each_of_them_spells_the_addresses(tmp_path):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    ports = [split_address(address)[1] for address in local_cluster(2)[0].addresses]
    clusters = []
    for index, host in enumerate(("[::1]", "[0:0::0001]")):
        named = {"worker": [f"{host}:{port}" for port in ports]}
        clusters.append(read_tf_config(json.dumps({"cluster": named, "task": {"type": "worker", "index": index}})))
    assert met(clusters, [tmp_path] * 2) == [None, None]


def test_all_workers_say_which_one_has_another_recipe(tmp_path):
    clusters = local_cluster(3)
    facts = [FACTS, FACTS, FACTS | {"recipe": "34cd"}]
    (line,) = {str(error) for error in met(clusters, [tmp_path] * 3, facts)}
    assert line == (
        "workers: expected the same recipe on all of them. "
        f"Received: {clusters[2].name(2)} has recipe 34cd; {clusters[0].name(0)} has recipe 12ab. "
        "Give every worker the same command, data and version."
    )


def test_all_workers_say_who_does_not_see_the_folder_of_the_chief(tmp_path):
    clusters = local_cluster(3)
    errors = met(clusters, [tmp_path / "shared", tmp_path / "own", tmp_path / "shared"])
    assert all(isinstance(error, InputError) for error in errors)
    (line,) = {str(error) for error in errors}
    assert line.startswith("--out: expected a folder that all workers share. Received: worker 1 at ")


def test_an_index_that_two_workers_have_is_refused_by_all(tmp_path):
    clusters = local_cluster(3)
    errors = met([clusters[0], clusters[1], clusters[1]], [tmp_path] * 3)
    (line,) = {str(error) for error in errors}
    assert "expected another index for each worker. Received: index=1 twice" in line


def test_workers_of_another_list_are_refused(tmp_path):
    clusters = local_cluster(2)
    other = Cluster((clusters[0].addresses[0], "elsewhere:9"), 1)
    errors = met([clusters[0], other], [tmp_path] * 2)
    (line,) = {str(error) for error in errors}
    assert "expected the same cluster on all workers. Received: worker 1 has" in line


def test_a_port_in_use_is_named(tmp_path):
    (cluster, _) = local_cluster(2)
    port = split_address(cluster.addresses[0])[1]
    with socket.create_server(("", port)), pytest.raises(PortTakenError) as error:
        meet(cluster, FACTS, folder=tmp_path, seconds=1.0)
    assert str(error.value).startswith(
        f"workers: expected a free port of this machine for worker 0 at {cluster.addresses[0]}. "
        f"Received: {port}, it is in use."
    )


def test_a_port_that_may_not_be_used_is_bad_input(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("keras_retina.train.workers.meeting.listen", refused)
    with pytest.raises(InputError, match=r"a port of this machine .* Received: 80, Permission denied\. Choose another"):
        meet(Cluster(("a:80", "b:80"), 0), FACTS, folder=tmp_path, seconds=1.0)


def test_a_worker_that_never_comes_is_named_by_all_others(tmp_path):
    clusters = local_cluster(3)
    errors = met(clusters[:2], [tmp_path] * 2, seconds=1.0)
    assert all(isinstance(error, WorkerLostError) for error in errors)
    (line,) = {str(error) for error in errors}
    assert line.startswith(
        f"workers: worker 2 at {clusters[0].addresses[2]} did not come within training.worker_timeout"
    )


def test_a_chief_that_never_comes_is_named(tmp_path):
    clusters = local_cluster(2)
    (error,) = met(clusters[1:], [tmp_path], seconds=0.5)
    assert isinstance(error, WorkerLostError)
    assert f"the chief, worker 0 at {clusters[0].addresses[0]}, did not come" in str(error)


def test_who_says_nothing_or_nonsense_at_the_port_disturbs_nobody(tmp_path):
    clusters = local_cluster(2)
    place = split_address(clusters[0].addresses[0])
    done = threading.Event()

    def disturb() -> None:
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"[" * 1000 + b"\n", b'{"index": "x"}\n', b""):
            while not done.is_set():
                try:
                    with socket.create_connection(place, timeout=1.0) as connection:
                        connection.sendall(words)
                    break
                except OSError:
                    continue

    stranger = threading.Thread(target=disturb, daemon=True)
    stranger.start()
    results: list = []
    chief = threading.Thread(target=lambda: results.append(met(clusters[:1], [tmp_path])[0]), daemon=True)
    chief.start()
    stranger.join(20.0)
    results.append(met(clusters[1:], [tmp_path])[0])
    chief.join(30.0)
    done.set()
    assert results == [None, None]


def test_facts_that_agree_differ_in_nothing():
    cluster = Cluster(("a:1", "b:2"), 0)
    assert differences(cluster, {0: FACTS, 1: FACTS}) is None
    assert "worker 1 at b:2 has recipe none" in (differences(cluster, {0: FACTS, 1: {"TensorFlow": "2.21.0"}}) or "")


def test_a_chief_that_is_there_and_waits_for_others_is_not_said_to_be_gone(tmp_path, monkeypatch):
    monkeypatch.setattr("keras_retina.train.workers.meeting.ANSWER_SECONDS", 0.2)
    clusters = local_cluster(3)
    port = split_address(clusters[0].addresses[0])[1]
    with socket.create_server(("", port)):  # a chief that was started later waits longer
        (error,) = met(clusters[1:2], [tmp_path], seconds=0.5)
    assert isinstance(error, WorkerLostError)
    assert str(error).startswith("workers: other workers did not come within training.worker_timeout.")
