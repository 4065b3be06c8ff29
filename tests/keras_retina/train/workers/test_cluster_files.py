"""The files for clusters in the guide can be read, start what they say, and name the workers as our reader wants it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from keras_retina.train.workers.cluster import Cluster, find_cluster, read_tf_config

FILES = Path(__file__).parents[4] / "docs" / "examples" / "cluster"
COMMAND = ["keras-retina", "run"]


def manifest(name: str) -> dict:
    return yaml.safe_load((FILES / name).read_text(encoding="utf-8"))


def trains_on_workers(container: dict) -> None:
    assert container["command"][:2] == COMMAND
    assert container["args"][-2:] == ["--set", "training.strategy=multi_worker"]
    assert {"--data", "--out"} < set(container["args"])


def test_the_jobset_gives_each_pod_its_own_place_in_one_list():
    job_set = manifest("jobset.yaml")
    (replicated,) = job_set["spec"]["replicatedJobs"]
    job = replicated["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    trains_on_workers(container)
    names = [variable["name"] for variable in container["env"]]
    assert names.index("WORKER") < names.index("TF_CONFIG")  # only what stands before can be named
    text = container["env"][-1]["value"]
    port = container["ports"][0]["containerPort"]
    for index in range(job["completions"]):
        cluster = read_tf_config(text.replace("$(WORKER)", str(index)))
        pod = f"{job_set['metadata']['name']}-{replicated['name']}-0-{index}"
        assert cluster.addresses[index] == f"{pod}.{job_set['metadata']['name']}:{port}"
        assert (cluster.index, len(cluster.addresses)) == (index, job["parallelism"])


def test_the_jobset_starts_all_again_but_not_after_bad_input():
    spec = manifest("jobset.yaml")["spec"]
    job = spec["replicatedJobs"][0]["template"]["spec"]
    assert job["backoffLimit"] == 0  # else one pod alone would be started again
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [2]
    assert job["template"]["spec"]["restartPolicy"] == "Never"  # a pod failure policy wants it
    assert spec["failurePolicy"]["maxRestarts"] > 0


def test_the_tfjob_has_the_container_that_its_operator_looks_for():
    worker = manifest("tfjob.yaml")["spec"]["tfReplicaSpecs"]["Worker"]
    (container,) = worker["template"]["spec"]["containers"]
    assert container["name"] == "tensorflow"
    assert [port["name"] for port in container["ports"]] == ["tfjob-port"]
    assert worker["restartPolicy"] == "OnFailure"  # ExitCode would take 75 for the end
    trains_on_workers(container)


def lost(given: object, kept: object, place: str = "") -> list[str]:
    """Returns the places of what was given and is not kept; defaults may have been added."""
    if isinstance(given, dict) and isinstance(kept, dict):
        parts = ((given[name], kept.get(name), f"{place}.{name}") for name in given)
    elif isinstance(given, list) and isinstance(kept, list) and len(given) == len(kept):
        parts = ((one, other, f"{place}[{index}]") for index, (one, other) in enumerate(zip(given, kept, strict=True)))
    else:
        return [] if given == kept else [place]
    return [found for one, other, inside in parts for found in lost(one, other, inside)]


def test_kubernetes_and_jobset_know_every_field_and_its_type():
    """The models are generated from the definitions of both; what they do not know is gone from what they write."""
    models = pytest.importorskip(
        "kubeflow_trainer_api.models",
        reason="needs kubeflow-trainer-api, which has the models of JobSet and Kubernetes",
    )
    spec = manifest("jobset.yaml")["spec"]
    assert lost(spec, models.JobsetV1alpha2JobSetSpec.from_dict(spec).to_dict()) == []
    pods = manifest("tfjob.yaml")["spec"]["tfReplicaSpecs"]["Worker"]["template"]
    assert lost(pods, models.IoK8sApiCoreV1PodTemplateSpec.from_dict(pods).to_dict()) == []
    misspelt = {**spec, "replicatedJob": []}
    assert lost(misspelt, models.JobsetV1alpha2JobSetSpec.from_dict(misspelt).to_dict()) == [".replicatedJob"]


def test_what_the_kubeflow_operator_writes_is_read():
    """As its documentation shows it."""
    hosts = [f"retina-worker-{index}.default.svc:2222" for index in range(4)]
    text = {"cluster": {"worker": hosts}, "task": {"type": "worker", "index": 3}, "environment": "cloud"}
    assert read_tf_config(json.dumps(text)) == Cluster(tuple(hosts), 3)


def test_the_vertex_job_has_a_chief_and_workers_on_one_file_system():
    job = manifest("vertex.yaml")
    chief, workers = job["workerPoolSpecs"]
    assert (chief["replicaCount"], workers["replicaCount"]) == (1, 3)
    for pool in (chief, workers):
        trains_on_workers(pool["containerSpec"])
        (mount,) = pool["nfsMounts"]
        assert f"/mnt/nfs/{mount['mountPoint']}/" in pool["containerSpec"]["args"][3]


def test_what_vertex_ai_writes_is_read():
    """As its documentation shows it."""
    jobs = {"chief": ["cmle-training-workerpool0-0:2222"]}
    jobs["worker"] = [f"cmle-training-workerpool1-{index}:2222" for index in range(3)]
    text = {"cluster": jobs, "environment": "cloud", "job": "{}", "task": {"type": "worker", "index": 0, "trial": ""}}
    assert read_tf_config(json.dumps(text)).index == 1


@pytest.fixture
def srun(tmp_path) -> dict[str, str]:
    """A stand-in for srun that writes down its arguments and Slurm's variables, and ends as $STATUSES say."""
    program = tmp_path / "srun"
    program.write_text(
        "#!/bin/bash\n"
        f'echo "$@" >> {tmp_path}/calls\n'
        f"count=$(wc -l < {tmp_path}/calls)\n"
        "exit $(echo $STATUSES | cut -d ' ' -f $count)\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("statuses", "calls", "status"), [("0", 1, 0), ("75 69 137 0", 4, 0), ("2", 1, 2), ("75 75 75 75 75", 5, 75)]
)
def test_the_slurm_script_tries_again_until_it_is_done_or_refused(srun, tmp_path, statuses, calls, status):
    script = FILES / "slurm.sbatch"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    done = subprocess.run(["bash", script], env={**srun, "STATUSES": statuses}, check=False, capture_output=True)
    assert done.returncode == status
    lines = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert len(lines) == calls
    assert all("--kill-on-bad-exit=1 keras-retina run" in line for line in lines)
    assert all(line.endswith("--set training.strategy=multi_worker") for line in lines)


def test_the_tasks_that_the_slurm_script_asks_for_are_a_cluster():
    text = (FILES / "slurm.sbatch").read_text(encoding="utf-8")
    nodes, tasks = (int(re.search(rf"--{name}=(\d+)", text)[1]) for name in ("nodes", "ntasks-per-node"))
    assert tasks == 1
    step = {"SLURM_STEP_NUM_TASKS": str(nodes), "SLURM_STEP_NODELIST": "node[08-11]", "SLURM_JOB_ID": "7"}
    cluster = find_cluster({**step, "SLURM_PROCID": "2", "SLURM_STEP_TASKS_PER_NODE": f"{tasks}(x{nodes})"})
    assert cluster == Cluster(("node08:12007", "node09:12007", "node10:12007", "node11:12007"), 2)
