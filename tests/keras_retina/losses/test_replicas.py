"""One replica and two must train alike, whatever the loss keeps between batches."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

CLASS_LOSSES = ("focal", "automated_focal", "equalized_focal", "quality_focal")

FIT_ON_ONE_AND_TWO_REPLICAS = """
import json
import sys
import numpy as np
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.losses import BoxLoss, with_box_quality
from keras_retina.losses.choose import CLASS_LOSSES
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.training import Loss

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

anchors, class_count, images = 6, 3, 8
spec = DetectorSpec(class_names=("a", "b", "c"), height=32, width=64, resize="stretch", levels=(5, 5), anchor_size=3.0,
                    anchor_scales=(1.0, 1.3, 1.6), anchor_ratios=(1.0,), coder_weights=(10.0, 10.0, 5.0, 5.0))
generator = np.random.default_rng(0)
features = generator.normal(size=(images, 5)).astype("float32")
classes = np.full((images, anchors), -1, "int32")
classes[0] = [0, 1, 2, 2, 0, -2]   # five positives for the first replica,
classes[1, 3] = 1                  # one more,
classes[2, 1] = -2                 # none for the second replica, and none in the second batch
flags = (classes >= 0).astype("float32")[..., None]
boxes = np.concatenate([generator.normal(size=(images, anchors, 4)) * flags, flags], axis=-1).astype("float32")
# Two batches of four images; of each, the first two go to the first replica.
dataset = tf.data.Dataset.from_tensor_slices((features, {"classes": classes, "boxes": boxes})).batch(4)


def fit(strategy, class_loss):
    with strategy.scope():
        inputs = keras.Input((5,))
        heads = {}
        for name, width in (("classes", class_count), ("boxes", 4)):
            initializer = keras.initializers.RandomNormal(stddev=0.5, seed=len(name))
            dense = keras.layers.Dense(anchors * width, kernel_initializer=initializer)(inputs)
            heads[name] = keras.layers.Reshape((anchors, width), name=name)(dense)
        model = keras.Model(inputs, heads)
        if class_loss == "quality_focal":
            model = with_box_quality(model)
        loss = {"classes": CLASS_LOSSES[class_loss](Loss(classes=class_loss), spec), "boxes": BoxLoss(weight=2.0)}
        model.compile(optimizer=keras.optimizers.SGD(0.1, momentum=0.9), loss=loss)
    history = model.fit(dataset, validation_data=dataset, epochs=2, shuffle=False, verbose=0).history
    weights = [weight.tolist() for weight in model.get_weights()]
    state = [value.numpy().tolist() for value in loss["classes"].state]
    return {"replicas": strategy.num_replicas_in_sync, "history": history, "weights": weights, "state": state}


strategies = [tf.distribute.MirroredStrategy(devices) for devices in (["CPU:0"], ["CPU:0", "CPU:1"])]
print(json.dumps({name: [fit(strategy, name) for strategy in strategies] for name in sys.argv[1:]}))
"""


@pytest.fixture(scope="module")
def fitted() -> dict[str, list[dict]]:
    """By class loss: what a fit on one replica and on two gave, in a process whose devices are set up before others."""
    command = [sys.executable, "-c", FIT_ON_ONE_AND_TWO_REPLICAS, *CLASS_LOSSES]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.splitlines()[-1])


@pytest.mark.parametrize("class_loss", CLASS_LOSSES)
def test_one_replica_and_two_give_the_same_loss_and_the_same_update_in_fit(class_loss, fitted):
    one, two = fitted[class_loss]
    assert (one["replicas"], two["replicas"]) == (1, 2)
    assert set(one["history"]) >= {"loss", "classes_loss", "boxes_loss", "val_loss"}
    for name, values in one["history"].items():
        assert two["history"][name] == pytest.approx(values, rel=1e-5), name
    assert one["history"]["loss"][0] > one["history"]["loss"][1] > 0
    for a, b in zip(one["weights"] + one["state"], two["weights"] + two["state"], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert bool(one["state"]) == (class_loss in ("automated_focal", "equalized_focal"))
    assert all(np.any(value) for value in one["state"])
