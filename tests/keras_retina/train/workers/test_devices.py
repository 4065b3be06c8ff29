"""The strategy is the one the recipe asks for, and what cannot be is refused with the field."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf
from keras_retina.train.workers.addresses import listen
from keras_retina.train.workers.devices import distribution_strategy, mirrored_strategy


@pytest.fixture
def cpus(monkeypatch):
    """Pretends that the machine has so many CPU and GPU devices, and records what is mirrored over."""
    mirrored = []

    def pretend(cpus: int, gpus: int = 0) -> list:
        counts = {"CPU": cpus, "GPU": gpus}
        monkeypatch.setattr(
            tf.config,
            "list_logical_devices",
            lambda kind: [SimpleNamespace(name=f"/device:{kind}:{index}") for index in range(counts[kind])],
        )
        monkeypatch.setattr(tf.distribute, "OneDeviceStrategy", lambda device: device)
        monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda devices: mirrored.append(devices) or "mirrored")
        mirrored_strategy.cache_clear()
        return mirrored

    yield pretend
    mirrored_strategy.cache_clear()


TAKEN = """
import sys
from keras_retina.foundation.errors import PortTakenError
from keras_retina.train.workers.cluster import Cluster
from keras_retina.train.workers.addresses import listen
from keras_retina.train.workers.devices import multi_worker_strategy
try:
    multi_worker_strategy(Cluster((sys.argv[1], "127.0.0.1:1"), 0), 2)
except PortTakenError as error:
    print(error)
"""


def test_a_port_that_is_taken_when_tensorflow_listens_is_said_to_be():
    """In a process of its own: TensorFlow connects workers once. It fails when another TensorFlow says it otherwise."""
    with listen(0) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        command = [sys.executable, "-c", TAKEN, address]
        run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    assert f"expected a free port of this machine for worker 0 at {address}." in run.stdout


@pytest.mark.parametrize("name", ["auto", "one_device"])
def test_one_device_is_used_as_it_is(name: str):
    if len(tf.config.list_logical_devices("CPU")) > 1 or tf.config.list_logical_devices("GPU"):
        pytest.skip("the machine has more than one CPU device, or a GPU")
    strategy = distribution_strategy(name, 3)
    assert strategy is tf.distribute.get_strategy()
    assert strategy.num_replicas_in_sync == 1


@pytest.mark.parametrize("name", ["auto", "one_device", "gpu"])
def test_of_several_kinds_of_devices_the_only_gpu_is_taken(cpus, name: str):
    cpus(2, gpus=1)
    assert distribution_strategy(name, 3) == "/device:GPU:0"


def test_auto_mirrors_over_all_gpus_and_over_cpus_only_without_a_gpu(cpus):
    mirrored = cpus(2, gpus=2)
    assert distribution_strategy("auto", 8) == "mirrored"
    assert mirrored == [["/device:GPU:0", "/device:GPU:1"]]
    mirrored = cpus(4)
    assert distribution_strategy("mirrored", 8) == "mirrored"
    assert mirrored[-1] == [f"/device:CPU:{index}" for index in range(4)]


def test_all_of_a_process_share_one_strategy_over_the_same_devices(cpus):
    """Collective operations of two would be taken for each other's."""
    mirrored = cpus(4)
    assert distribution_strategy("auto", 8) is distribution_strategy("mirrored", 4)
    assert len(mirrored) == 1


def test_gpu_takes_all_gpus_and_is_refused_without_one(cpus):
    mirrored = cpus(2, gpus=2)
    assert distribution_strategy("gpu", 8) == "mirrored"
    assert mirrored == [["/device:GPU:0", "/device:GPU:1"]]
    cpus(1, gpus=1)
    assert distribution_strategy("gpu", 3) == "/device:GPU:0"
    cpus(4)
    with pytest.raises(InputError, match=r"^training\.strategy: 'gpu' needs a GPU .* Received: none, .* use 'auto'\.$"):
        distribution_strategy("gpu", 8)


def test_mirrored_on_one_device_is_refused(cpus):
    cpus(1)
    with pytest.raises(InputError, match=r"training\.strategy: 'mirrored' needs at least two devices\. Received: 1 "):
        distribution_strategy("mirrored", 8)


@pytest.mark.parametrize(("devices", "batch", "closest"), [(3, 8, 9), (4, 2, 4), (2, 7, 8), (8, 1, 8)])
def test_a_batch_that_does_not_divide_is_refused_with_the_closest(cpus, devices: int, batch: int, closest: int):
    cpus(devices)
    with pytest.raises(InputError, match=rf"training\.batch_size.*Received: {batch}\. Closest: {closest}\."):
        distribution_strategy("auto", batch)
    distribution_strategy("auto", closest)
