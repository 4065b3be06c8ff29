"""The `tf.distribute` strategy that a recipe asks for."""

from __future__ import annotations

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf


def distribution_strategy(name: str, batch_size: int) -> tf.distribute.Strategy:
    """Returns the strategy for `training.strategy`.

    `auto` mirrors over all local GPUs, or over all logical CPU devices when there is no GPU and more than one of them;
    on one device it is the default strategy. `gpu` is `auto` that does not fall back on the CPU. `mirrored` insists on
    several devices, `one_device` takes the first.

    Raises:
        InputError: `gpu` on a machine without one that TensorFlow can use, `mirrored` on one with one device, or a
            batch that does not divide by the replicas.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if name == "gpu" and not gpus:
        support = "with" if tf.test.is_built_with_gpu_support() else "without"
        raise InputError(
            "training.strategy: 'gpu' needs a GPU that TensorFlow can use. "
            f"Received: none, TensorFlow {tf.__version__} built {support} support for GPUs. "
            "Install its driver and `tensorflow[and-cuda]`, or use 'auto'."
        )
    devices = gpus or tf.config.list_logical_devices("CPU")
    if name == "one_device" or (name in ("auto", "gpu") and len(devices) == 1):
        return tf.distribute.OneDeviceStrategy(devices[0].name)
    if len(devices) == 1:
        raise InputError(
            "training.strategy: 'mirrored' needs at least two devices. "
            f"Received: {len(devices)} ({devices[0].name}). Use 'auto'."
        )
    if batch_size % len(devices):
        raise InputError(
            f"training.batch_size: expected a multiple of the {len(devices)} devices. Received: {batch_size}. "
            f"Closest: {max(1, round(batch_size / len(devices))) * len(devices)}."
        )
    return tf.distribute.MirroredStrategy([device.name for device in devices])
