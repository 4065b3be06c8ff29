"""Which processes train together, and which of them this one is: read from `TF_CONFIG`, or from Slurm's variables."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_retina.foundation.errors import InputError, PortTakenError, printable
from keras_retina.train.workers.addresses import FORM, read_address, split_address

logger = logging.getLogger(__name__)

if TYPE_CHECKING:  # pydantic takes a while, and the verbs read TF_CONFIG early
    from keras_retina.recipe.training import Training

JOBS = ("chief", "master", "worker")  # of TF_CONFIG, in the order of their workers here
SLURM, SLURM_TASKS = "SLURM_STEP_NODELIST", "SLURM_STEP_NUM_TASKS"  # set where srun started this process
SLURM_PORT, SLURM_PORTS = 12_000, 20_000  # each job has its own ports, by its number
SHOWN = 200  # characters of a value in a message


@dataclass(frozen=True)
class Cluster:
    """The workers of one training, in one order everywhere, and the index of this one. The chief is worker 0.

    Attributes:
        addresses: of each worker, as `read_address` returns them.
        index: of this process.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Tells whether this worker writes the files, and goes on alone after the training."""
        return self.index == 0

    def name(self, index: int) -> str:
        """Returns what a worker is called in messages."""
        return f"worker {index} at {self.addresses[index]}"

    def tf_config(self) -> str:
        """Returns the value of TF_CONFIG for this worker."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})


def find_cluster(environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """Returns the cluster of this process, None where the environment names none.

    TF_CONFIG goes before Slurm. A cluster of one worker is none: its process works like any other.

    Raises:
        InputError: TF_CONFIG is not JSON, or describes no cluster of workers with this process in it; Slurm's variables
            do not fit together.
    """
    if environment.get("TF_CONFIG"):
        cluster = read_tf_config(environment["TF_CONFIG"])
    elif SLURM in environment and environment.get(SLURM_TASKS) != "1":
        cluster = read_slurm(environment)
    else:
        return None
    return cluster if len(cluster.addresses) > 1 else None


def port_taken(cluster: Cluster) -> PortTakenError:
    """Returns the error of a worker whose port another program has."""
    _, port = split_address(cluster.addresses[cluster.index])
    return PortTakenError(
        f"workers: expected a free port of this machine for {cluster.name(cluster.index)}. Received: {port}, it is in "
        "use. If it was an earlier worker, the same command tries again; else end that program, or choose another port."
    )


def training_cluster(settings: Training) -> Cluster | None:
    """Returns the cluster that a training runs on, None where it runs in this process alone.

    Raises:
        InputError: a strategy of several processes without a cluster, or a cluster with another strategy, whose
            processes would all write into one run folder.
    """
    if settings.strategy == "multi_worker":
        cluster = find_cluster()
        if cluster is None and not os.environ.get("TF_CONFIG") and SLURM not in os.environ:
            raise InputError(
                "training.strategy: 'multi_worker' needs a cluster. Received: no TF_CONFIG, and no job step of Slurm. "
                "Use `keras-retina launch` on one machine, or 'auto'."
            )
        return cluster
    refuse_unused_cluster(settings)
    return None


def refuse_unused_cluster(settings: Training) -> None:
    """Refuses a training by one process in each of several workers, which would all write into one run folder.

    `auto` does not mean all of them: tasks that were started together may be trainings of their own, and what only one
    process can do would be refused for a setting that nobody made.

    Raises:
        InputError: the environment names several workers, and the strategy is not that for them.
    """
    cluster = find_cluster()
    if cluster is not None and settings.strategy != "multi_worker":
        variable = naming_variable()
        raise InputError(
            f"training.strategy: {variable} names {len(cluster.addresses)} workers, and only 'multi_worker' trains on "
            f"them. Received: {settings.strategy!r}. Set training.strategy to 'multi_worker'; or unset {variable}, "
            "and give every worker an --out of its own."
        )


def require_one_process(verb: str, instead: str) -> None:
    """Refuses a verb that each of several workers would do anew.

    Args:
        instead: what to do, for the message.

    Raises:
        InputError: the environment names several workers.
    """
    cluster = find_cluster()
    if cluster is not None:
        variable = naming_variable()
        raise InputError(
            f"{verb}: expected to be started once. Received: {variable} names {len(cluster.addresses)} workers, of "
            f"which each would do it. {instead}; or unset {variable}."
        )


def naming_variable(environment: Mapping[str, str] = os.environ) -> str:
    """Returns the variable without which `find_cluster` would not find its cluster."""
    return "TF_CONFIG" if environment.get("TF_CONFIG") else SLURM


def writes_files() -> bool:
    """Tells whether this process writes the run folder: it works alone, or is the chief of its cluster."""
    cluster = find_cluster()
    return cluster is None or cluster.is_chief


def is_left_to_chief(work: str) -> bool:
    """Tells whether this process is a worker that leaves some work to the chief of its cluster, and says so.

    It does not wait for the chief: all verbs on a run folder ask this, so that nothing which comes later in the same
    task needs the result, and machines are not held while one of them works alone.
    """
    cluster = find_cluster()
    if cluster is None or cluster.is_chief:
        return False
    logger.info(
        f"{cluster.name(cluster.index)} leaves {work} to the chief, {cluster.name(0)}, and is done. For work of its "
        f"own, unset {naming_variable()}"
    )
    return True


def read_tf_config(text: str) -> Cluster:
    """Returns the cluster that a TF_CONFIG describes; a `chief`, or `master`, stands before the workers.

    Raises:
        InputError: one line that names the field.
    """
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong("JSON", text) from error
    if not isinstance(config, dict) or not isinstance(config.get("cluster"), dict):
        raise _wrong("an object with the fields cluster and task", text)
    jobs, task = config["cluster"], config.get("task")
    strange = sorted(set(jobs) - set(JOBS))
    if strange:
        raise _wrong("workers and at most one chief in cluster, and no parameter servers or evaluators", strange[0])
    addresses: list[str] = []
    first: dict[str, int] = {}  # job -> index here of its first worker
    for job in JOBS:
        first[job] = len(addresses)
        addresses += _addresses(jobs.get(job, []), job)
    if len(set(addresses)) < len(addresses):
        twice = next(one for one in addresses if addresses.count(one) > 1)
        raise _wrong("another address for each worker", twice)
    if not isinstance(task, dict) or task.get("type") not in JOBS or type(task.get("index")) is not int:
        raise _wrong(f"a task with a type of {', '.join(JOBS)} and an index", task)
    there = len(jobs.get(task["type"], []))
    if not 0 <= task["index"] < there:
        known = f"0 to {there - 1}" if there else f"none, since cluster has no {task['type']}"
        raise _wrong(f"the index of a {task['type']} of the cluster, {known}", f"task.index={task['index']}")
    return Cluster(tuple(addresses), first[task["type"]] + task["index"])


def read_slurm(environment: Mapping[str, str]) -> Cluster:
    """Returns the tasks of a Slurm job step as a cluster, on ports that follow from the number of the job.

    Raises:
        InputError: a variable is missing, or they contradict each other.
    """
    # Not SlurmClusterResolver: it sorts the hosts by name, so that n9 and n10 change places, and needs nvidia-smi.
    from tensorflow.python.distribute.cluster_resolver.slurm_cluster_resolver import (
        expand_hostlist,
        expand_tasks_per_node,
    )

    names = ("SLURM_PROCID", SLURM_TASKS, SLURM, "SLURM_STEP_TASKS_PER_NODE", "SLURM_JOB_ID")
    values = {name: environment.get(name, "") for name in names}
    try:
        hosts = expand_hostlist(values[SLURM])
        tasks = expand_tasks_per_node(values["SLURM_STEP_TASKS_PER_NODE"])
        index, count = int(values["SLURM_PROCID"]), int(values[SLURM_TASKS])
        port = SLURM_PORT + int(values["SLURM_JOB_ID"]) % SLURM_PORTS
    except ValueError as error:
        raise _wrong_slurm("numbers and lists of hosts", values) from error
    addresses = [f"{host}:{port + local}" for host, here in zip(hosts, tasks, strict=False) for local in range(here)]
    if len(hosts) != len(tasks) or len(addresses) != count or not 0 <= index < count:
        raise _wrong_slurm("as many tasks as there are hosts for, and this one among them", values)
    return Cluster(tuple(addresses), index)


def _addresses(value: Any, job: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise _wrong(f"a list of host:port in cluster.{job}", value)
    addresses = []
    for one in value:
        try:
            addresses.append(read_address(one))
        except ValueError as error:
            raise _wrong(f"{FORM} in cluster.{job}", one) from error
    return addresses


def _wrong(expected: str, received: Any) -> InputError:
    shown = printable(received)[:SHOWN]
    return InputError(f"TF_CONFIG: expected {expected}. Received: {shown}. Correct it, or unset it to train alone.")


def _wrong_slurm(expected: str, values: Mapping[str, str]) -> InputError:
    shown = printable(", ".join(f"{name}={value}" for name, value in values.items()))[: 2 * SHOWN]
    return InputError(f"Slurm: expected {expected}. Received: {shown}. Start the workers with srun inside the job.")
