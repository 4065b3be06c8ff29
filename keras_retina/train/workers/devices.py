"""Where and how finely a training computes: the `tf.distribute` strategy, and float32, bfloat16 or float16."""

from __future__ import annotations

import functools
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.train.workers.cluster import Cluster, port_taken

from tf_keras.src.mixed_precision.loss_scale_optimizer import LossScaleOptimizerV3  # isort: skip


NO_SERVER = "Could not start gRPC server"
"""All that TensorFlow says in an error when it could not listen on a port."""


def distribution_strategy(name: str, batch_size: int) -> tf.distribute.Strategy:
    """Returns the strategy for `training.strategy`.

    `auto` mirrors over all local GPUs, or over all logical CPU devices when there is no GPU and more than one of them;
    on one CPU it is the default strategy. `gpu` is `auto` that does not fall back on the CPU. `mirrored` insists on
    several devices, `one_device` takes the first. `tpu` takes all cores of the TPU of this machine. `multi_worker` is
    here what one worker uses alone, after the training of all: see `multi_worker_strategy`.

    Raises:
        InputError: `gpu` or `tpu` on a machine without one that TensorFlow can use, `mirrored` on one with one device,
            or a batch that does not divide by the replicas.
    """
    if name == "tpu":
        return tpu_strategy(batch_size)
    gpus = tf.config.list_logical_devices("GPU")
    if name == "gpu" and not gpus:
        support = "with" if tf.test.is_built_with_gpu_support() else "without"
        raise InputError(
            "training.strategy: 'gpu' needs a GPU that TensorFlow can use. "
            f"Received: none, TensorFlow {tf.__version__} built {support} support for GPUs. "
            "Install its driver and `tensorflow[and-cuda]`, or use 'auto'."
        )
    devices = gpus or tf.config.list_logical_devices("CPU")
    if name == "one_device" or (name != "mirrored" and len(devices) == 1):
        # On a CPU OneDeviceStrategy would only read each batch through one more iterator. TensorFlow tunes that one in
        # a thread, and whoever deletes it may wait up to a minute for the thread.
        return tf.distribute.OneDeviceStrategy(gpus[0].name) if gpus else tf.distribute.get_strategy()
    if len(devices) == 1:
        raise InputError(
            "training.strategy: 'mirrored' needs at least two devices. "
            f"Received: {len(devices)} ({devices[0].name}). Use 'auto'."
        )
    _check_batch(batch_size, len(devices))
    return mirrored_strategy(tuple(device.name for device in devices))


@functools.cache
def mirrored_strategy(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    """Returns the one strategy of this process over these devices, for the training and for what follows it.

    Each new one would number its collective operations from the start again, and TensorFlow would take those of the
    second for those of the first: `Shape mismatch in the collective instance`.
    """
    return tf.distribute.MirroredStrategy(list(devices))


def multi_worker_strategy(cluster: Cluster, batch_size: int) -> tf.distribute.Strategy:
    """Returns the strategy over the devices of all workers. Nothing of TensorFlow may have run in the process before.

    Raises:
        InputError: a batch that does not divide by the replicas.
        PortTakenError: another program has the port of this worker.
    """
    gpus = len(tf.config.list_physical_devices("GPU"))
    _check_batch(batch_size, max(gpus, 1) * len(cluster.addresses))  # before the others are kept waiting
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": list(cluster.addresses)}),
        task_type="worker",
        task_id=cluster.index,
        num_accelerators={"GPU": gpus},
        rpc_layer="grpc",
    )
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(resolver)
    except tf.errors.UnknownError as error:
        if NO_SERVER not in str(error):
            raise
        raise port_taken(cluster) from error
    _check_batch(batch_size, strategy.num_replicas_in_sync)
    return strategy


def tpu_strategy(batch_size: int) -> tf.distribute.Strategy:
    """Returns the strategy over the cores of the TPU of this machine.

    Raises:
        InputError: there is none, or a batch that does not divide by its cores.
    """
    if not tf.config.list_physical_devices("TPU"):
        raise InputError(
            "training.strategy: 'tpu' needs a TPU that TensorFlow can use. "
            f"Received: none, TensorFlow {tf.__version__}. Run on a TPU VM with tensorflow-tpu, or use 'auto'."
        )
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
    tf.tpu.experimental.initialize_tpu_system(resolver)
    strategy = tf.distribute.TPUStrategy(resolver)
    _check_batch(batch_size, strategy.num_replicas_in_sync)
    return strategy


def _check_batch(batch_size: int, replicas: int) -> None:
    if batch_size % replicas:
        raise InputError(
            f"training.batch_size: expected a multiple of the {replicas} devices. Received: {batch_size}. "
            f"Closest: {max(1, round(batch_size / replicas)) * replicas}."
        )


# What computes faster in a precision: GPUs from this compute capability on, and processors with one of these flags.
GPU_CAPABILITY = {"bfloat16": (8, 0), "float16": (7, 0)}
CPU_FLAGS = {"bfloat16": {"amx_bf16", "avx512_bf16"}, "float16": {"amx_fp16", "avx512_fp16"}}


@dataclass(frozen=True)
class Device:
    """A device as far as precision goes: `capability` of an NVIDIA GPU, `flags` of a processor."""

    name: str
    capability: tuple[int, int] = (0, 0)
    flags: frozenset[str] = frozenset()


def training_devices() -> list[Device]:
    """Returns the local GPUs, or the processor where there is none."""
    gpus = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    if gpus:
        return [Device(gpu.get("device_name", "GPU"), gpu.get("compute_capability") or (0, 0)) for gpu in gpus]
    lines = Path("/proc/cpuinfo")
    facts = lines.read_text(encoding="utf-8").splitlines() if lines.exists() else []
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in facts)}
    name = values.get("model name") or platform.processor() or platform.machine()
    return [Device(name, flags=frozenset(values.get("flags", "").split()))]


def choose_precision(wanted: str, devices: list[Device]) -> str:
    """Resolves `training.precision`: `auto` is the first of bfloat16, float16 and float32 that all devices gain from.

    `auto` leaves processors at float32: there the gain depends on the network.

    Raises:
        InputError: a precision that one of the devices only imitates, slower than float32.
    """
    if wanted == "auto":
        lowest = min(device.capability for device in devices)
        return next((name for name, least in GPU_CAPABILITY.items() if lowest >= least), "float32")
    for device in devices:
        if wanted == "float32" or device.capability >= GPU_CAPABILITY[wanted] or device.flags & CPU_FLAGS[wanted]:
            continue
        major, minor = GPU_CAPABILITY[wanted]
        raise InputError(
            f"training.precision: {wanted} needs a GPU of compute capability {major}.{minor}, or a processor with "
            f"{' or '.join(sorted(CPU_FLAGS[wanted]))}. Received: {wanted!r} on {device.name}. "
            "Set training.precision to 'float32' or 'auto'."
        )
    return wanted


def in_precision(model: keras.Model, precision: str) -> keras.Model:
    """Returns a model of the same layers, names and weights that computes in `precision`; for float32 `model` itself.

    Its variables are its own and float32, and so are its outputs: the layers that outputs are named after keep their
    precision, and cast. The policy is that of each layer, none is left behind in Keras. `.keras` files must be written
    from the float32 model (`copy_weights`).
    """
    if precision == "float32":
        return model
    policy = keras.mixed_precision.Policy(f"mixed_{precision}")

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if layer.name not in model.output_names and not isinstance(layer, keras.layers.InputLayer):
            config["dtype"] = policy
        return type(layer).from_config(config)

    mixed = keras.models.clone_model(model, clone_function=clone)
    copy_weights(model, mixed)
    return mixed


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Gives `target` the weights of `source`, a model of the same layers."""
    target.set_weights(source.get_weights())


class LossScaling(LossScaleOptimizerV3):
    """Keras' dynamic loss scaling, in which a batch that overflows leaves nothing behind but half the scale.

    Keras counts it in `iterations` all the same, and with them moves the learning rate and the bias correction of Adam.
    """

    def apply_gradients(
        self,
        grads_and_vars: Iterable[tuple[tf.Tensor | None, tf.Variable]],
        skip_gradients_aggregation: bool = False,
    ) -> tf.Variable:
        pairs = [(gradient, variable) for gradient, variable in grads_and_vars if gradient is not None]
        if not skip_gradients_aggregation:
            pairs = self.inner_optimizer.aggregate_gradients(pairs)
        super().apply_gradients(pairs, skip_gradients_aggregation=True)
        finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient, _ in pairs])
        self.iterations.assign_sub(tf.where(finite, tf.constant(0, tf.int64), 1))
        return self.iterations


def scale_loss(optimizer: keras.optimizers.Optimizer, precision: str) -> keras.optimizers.Optimizer:
    """Returns the optimiser for `precision`: float16 gradients would vanish without loss scaling.

    A batch whose scaled gradients overflow is left out, also of `iterations`, and halves the scale, which doubles after
    2000 batches without.
    """
    return LossScaling(optimizer) if precision == "float16" else optimizer
