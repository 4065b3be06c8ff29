"""k replicas at a batch of b / k give the update of one replica at b, with the BatchNorm of a detector in training."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

UPDATES = """
import sys
from pathlib import Path
import numpy as np
from keras_retina.foundation.legacy_keras import keras, tf
replicas, data, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
from keras_retina.data.pipeline import training_batches
from keras_retina.data.reading.folder import load_dataset
from keras_retina.model.retinanet import detector_network
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.recipe import recipe_from_fields
from keras_retina.train.batch_norm import fold_frozen_batch_norm
from keras_retina.train.fit import compile_detector
from keras_retina.train.synchronized_norm import synchronized_norms
from keras_retina.train.workers.devices import distribution_strategy

recipe = recipe_from_fields({
    "name": "tiny",
    "model": {"backbone": {"name": "plain", "weights": "none", "frozen_stages": 0, "batch_norm": "trained"},
              "input": {"height": 64, "width": 64, "resize": "stretch"},
              "pyramid": {"width": 16, "levels": [3, 5]}, "head": {"width": 16, "convolutions": 1}},
    "training": {"optimizer": "sgd", "learning_rate": 1000.0, "momentum": 0.0, "warmup_steps": 0, "clip_norm": None,
                 "weight_decay": 0.0, "weight_average": None, "schedule": "cosine", "batch_size": 8},
}, "test")
keras.utils.set_random_seed(3)  # the large rate keeps the update from being rounded away in the weights
dataset = load_dataset(data, "train")
spec = detector_spec(recipe.model, dataset.class_names)
strategy = distribution_strategy("auto", 8)
assert strategy.num_replicas_in_sync == replicas
with strategy.scope():
    detector = detector_network(recipe.model, len(spec.class_names))
    model = fold_frozen_batch_norm(detector, instead=synchronized_norms(detector, replicas=replicas))
    compile_detector(model, spec, settings=recipe.training, steps_per_epoch=10**6, precision="float32")
before = [variable.numpy() for variable in model.trainable_variables]
loss = model.fit(training_batches(dataset, spec, batch_size=8), steps_per_epoch=1, verbose=0).history["loss"]
norms = [layer for layer in detector.layers if isinstance(layer, keras.layers.BatchNormalization)]
assert norms
updates = [variable.numpy() - old for variable, old in zip(model.trainable_variables, before)]
means = [norm.moving_mean.numpy() for norm in norms]
np.savez(out, loss=loss, **{f"update{i}": value for i, value in enumerate(updates)},
         **{f"mean{i}": value for i, value in enumerate(means)})
"""


@pytest.fixture(scope="module")
def updates(tmp_path_factory):
    """A function: replicas -> the loss and the change of every variable in one step, from a process of its own."""
    from keras_retina.data.builtin.builtin import write_builtin_set

    folder = tmp_path_factory.mktemp("global_batch")
    write_builtin_set(folder / "data", 16, 1, 64, 64)

    def measure(replicas: int) -> dict[str, np.ndarray]:
        out = folder / f"{replicas}.npz"
        command = [sys.executable, "-c", UPDATES, str(replicas), str(folder / "data"), str(out)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr[-3000:]
        return dict(np.load(out))

    return measure


@pytest.fixture(scope="module")
def one(updates) -> dict[str, np.ndarray]:
    return updates(1)


@pytest.mark.parametrize("replicas", [2, 4])
def test_the_update_of_several_replicas_is_the_update_of_one(updates, one, replicas: int):
    """Of each variable, within 1e-5 of its largest change: float32 sums are taken in another order."""
    several = updates(replicas)
    assert several["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert sum(name.startswith("mean") for name in one) > 3
    for name, expected in one.items():
        largest = np.abs(expected).max()
        assert largest > 0, name
        np.testing.assert_allclose(several[name], expected, rtol=0, atol=1e-5 * largest + 1e-9, err_msg=name)
