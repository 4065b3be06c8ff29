"""TF_CONFIG and Slurm's variables become one list of workers, and what is wrong with them is one line."""

from __future__ import annotations

import json

import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.recipe.training import Training
from keras_retina.train.workers.cluster import (
    Cluster,
    find_cluster,
    is_left_to_chief,
    read_slurm,
    read_tf_config,
    refuse_unused_cluster,
    require_one_process,
    training_cluster,
    writes_files,
)

TWO = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


def with_changes(**changes) -> str:
    return json.dumps(TWO | changes)


def test_workers_keep_their_order_and_the_first_is_the_chief():
    cluster = read_tf_config(json.dumps(TWO))
    assert cluster == Cluster(("a:1", "b:2"), 1)
    assert not cluster.is_chief
    assert read_tf_config(with_changes(task={"type": "worker", "index": 0})).is_chief


@pytest.mark.parametrize("chief", ["chief", "master"])
def test_a_chief_stands_before_the_workers(chief: str):
    jobs = {"worker": ["b:2", "c:3"], chief: ["a:1"]}
    assert read_tf_config(json.dumps({"cluster": jobs, "task": {"type": chief, "index": 0}})).index == 0
    last = read_tf_config(json.dumps({"cluster": jobs, "task": {"type": "worker", "index": 1}}))
    assert last == Cluster(("a:1", "b:2", "c:3"), 2)


def test_what_a_cluster_writes_is_read_as_the_same_cluster():
    cluster = Cluster(("a:1", "b:2", "c:3"), 2)
    assert read_tf_config(cluster.tf_config()) == cluster


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("{", "expected JSON"),
        ("[" * 5000, "expected JSON"),
        ("[]", "an object with the fields cluster and task"),
        ('{"cluster": 3}', "an object with the fields cluster and task"),
        (with_changes(cluster={"worker": ["a:1"], "ps": ["p:1"]}), "no parameter servers or evaluators. Received: ps"),
        (with_changes(cluster={"worker": "a:1"}), "a list of host:port in cluster.worker"),
        (with_changes(cluster={"worker": ["a", "b:2"]}), "as in [::1]:2222, in cluster.worker. Received: a."),
        (with_changes(cluster={"worker": ["::1:5", "b:2"]}), "an IPv6 address in brackets"),
        (with_changes(cluster={"worker": ["a:0", "b:2"]}), "Received: a:0."),
        (with_changes(cluster={"worker": ["a:70000", "b:2"]}), "Received: a:70000."),
        (with_changes(cluster={"worker": ["a:1", "a:1"]}), "another address for each worker. Received: a:1."),
        (
            with_changes(cluster={"worker": ["[::1]:1", "[0::1]:1"]}),
            "another address for each worker. Received: [::1]:1.",
        ),
        (with_changes(task=None), "a task with a type"),
        (with_changes(task={"type": "worker", "index": "1"}), "a task with a type"),
        (with_changes(task={"type": "worker", "index": 2}), "0 to 1. Received: task.index=2."),
        (with_changes(task={"type": "worker", "index": -1}), "0 to 1. Received: task.index=-1."),
        (with_changes(task={"type": "chief", "index": 0}), "none, since cluster has no chief"),
        ("\x1b[2J" * 500, r"Received: \x1b[2J"),
    ],
)
def test_a_wrong_tf_config_is_one_short_line_that_says_what_was_expected(text: str, line: str):
    with pytest.raises(InputError) as error:
        read_tf_config(text)
    message = str(error.value)
    assert message.startswith("TF_CONFIG: expected ")
    assert line in message
    assert message.isprintable() and len(message) < 500


def slurm(**changes) -> dict[str, str]:
    return {
        "SLURM_PROCID": "3",
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_NODELIST": "n[9-10],login",
        "SLURM_STEP_TASKS_PER_NODE": "2,1(x2)",
        "SLURM_JOB_ID": "40007",
    } | changes


def test_tasks_of_a_slurm_step_are_numbered_in_the_order_of_its_hosts():
    """n9 comes before n10, as Slurm numbers its tasks; sorted by name it would not."""
    assert read_slurm(slurm()) == Cluster(("n9:12007", "n9:12008", "n10:12007", "login:12007"), 3)


@pytest.mark.parametrize(
    "changes",
    [
        {"SLURM_PROCID": "4"},
        {"SLURM_PROCID": ""},
        {"SLURM_STEP_NUM_TASKS": "5"},
        {"SLURM_STEP_TASKS_PER_NODE": "2,2"},
        {"SLURM_STEP_TASKS_PER_NODE": "x"},
        {"SLURM_STEP_NODELIST": "n[9-"},
    ],
)
def test_slurm_variables_that_do_not_fit_together_are_one_line(changes):
    with pytest.raises(InputError, match=r"^Slurm: expected .* Received: SLURM_PROCID=.* Start the workers with srun"):
        read_slurm(slurm(**changes))


def test_tf_config_goes_before_slurm_and_one_worker_is_no_cluster():
    assert find_cluster({}) is None
    assert find_cluster(slurm()).index == 3
    assert find_cluster(slurm(TF_CONFIG=json.dumps(TWO))).index == 1
    one = {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}
    assert find_cluster({"TF_CONFIG": json.dumps(one)}) is None


@pytest.fixture
def environment(monkeypatch):
    """A function that sets the variables that name workers, and takes away all others."""

    def set_to(values: dict[str, str]) -> None:
        for name in ("TF_CONFIG", *slurm()):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    set_to({})
    return set_to


BY_TF_CONFIG, BY_SLURM = {"TF_CONFIG": json.dumps(TWO)}, slurm()
ALONE_IN_SLURM = {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NODELIST": "n[9-"}


def test_multi_worker_trains_on_a_cluster_and_needs_one(environment):
    multi = Training(strategy="multi_worker")
    with pytest.raises(
        InputError, match=r"^training\.strategy: 'multi_worker' needs a cluster\. Received: no TF_CONFIG"
    ):
        training_cluster(multi)
    environment(BY_TF_CONFIG)
    assert training_cluster(multi).index == 1
    environment(BY_SLURM)
    assert training_cluster(multi).index == 3
    environment(ALONE_IN_SLURM)  # a job step of one task trains alone, and its hosts are not read
    assert training_cluster(multi) is None


@pytest.mark.parametrize("strategy", ["auto", "gpu", "one_device", "mirrored", "tpu"])
@pytest.mark.parametrize(
    ("values", "variable", "count"), [(BY_TF_CONFIG, "TF_CONFIG", 2), (BY_SLURM, "SLURM_STEP_NODELIST", 4)]
)
def test_other_strategies_train_alone_and_are_refused_on_a_cluster(environment, strategy, values, variable, count):
    settings = Training(strategy=strategy)
    for alone in ({}, ALONE_IN_SLURM):
        environment(alone)
        assert training_cluster(settings) is None
        refuse_unused_cluster(settings)
    environment(values)
    for act in (training_cluster, refuse_unused_cluster):
        with pytest.raises(InputError) as error:
            act(settings)
        assert str(error.value) == (
            f"training.strategy: {variable} names {count} workers, and only 'multi_worker' trains on them. "
            f"Received: '{strategy}'. Set training.strategy to 'multi_worker'; or unset {variable}, and give every "
            "worker an --out of its own."
        )


def test_what_each_worker_would_do_anew_is_refused(environment):
    require_one_process("launch", "Use run")
    environment(BY_SLURM)
    with pytest.raises(
        InputError, match=r"^launch: expected to be started once\. Received: SLURM_STEP_NODELIST names 4"
    ):
        require_one_process("launch", "Use run")


def test_the_chief_alone_works_and_the_others_say_so_in_one_line(environment, logged):
    chief = json.dumps(TWO | {"task": {"type": "worker", "index": 0}})
    with logged() as lines:
        for values in ({}, ALONE_IN_SLURM, {"TF_CONFIG": chief}, slurm(SLURM_PROCID="0")):
            environment(values)
            assert writes_files()
            assert not is_left_to_chief("export")
    assert lines == []
    environment(BY_TF_CONFIG)
    with logged() as lines:
        assert not writes_files()
        assert is_left_to_chief("export")
    told = (
        "worker 1 at b:2 leaves export to the chief, worker 0 at a:1, and is done. For work of its own, unset TF_CONFIG"
    )
    assert lines == [told]
    environment(BY_SLURM)
    with logged() as lines:
        assert is_left_to_chief("export")
    assert lines[0].endswith("unset SLURM_STEP_NODELIST")


@pytest.mark.parametrize("setting", ["minutes", "feature_views"])
def test_what_one_process_alone_can_do_is_refused_for_several(setting: str):
    with pytest.raises(ValueError, match=rf"{setting} is for one process"):
        Training(strategy="multi_worker", **{setting: 3})
