"""Weight decay, clipping, and batches gathered into one update that is that of one large batch."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.losses import BoxLoss, FocalLoss
from keras_retina.recipe.recipe import Training
from keras_retina.train.callbacks.evaluation import swap_in_average
from keras_retina.train.callbacks.finite import StopOnNaN
from keras_retina.train.optimizer import build_optimizer

CHOICES = [("adamw", 1e-2), ("adamw", 0.0), ("sgd", 1e-2)]


def settings(**changes) -> Training:
    return Training(**{"epochs": 100, "learning_rate": 0.1, "warmup_steps": 4, "weight_average": 0.5} | changes)


def detector() -> keras.Model:
    """Two anchors and one class from three numbers, with weights that are the same each time."""
    x = keras.Input((3,))
    outputs = {}
    for name, values in (("classes", 1), ("boxes", 4)):
        start = keras.initializers.RandomNormal(stddev=0.3, seed=values)
        flat = keras.layers.Dense(2 * values, kernel_initializer=start, name=f"{name}_dense")(x)
        outputs[name] = keras.layers.Reshape((2, values), name=name)(flat)
    return keras.Model(x, outputs)


def compiled(optimizer: keras.optimizers.Optimizer, **options) -> keras.Model:
    model = detector()
    model.compile(optimizer, {"classes": FocalLoss(), "boxes": BoxLoss()}, **options)
    optimizer.build(model.trainable_variables)
    model.compiled_loss.build(model.output)  # as `compile_detector`: a step is traced once
    return model


def samples(count: int, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Each sample has one positive anchor and one of background."""
    generator = np.random.default_rng(seed)
    boxes = generator.normal(size=(count, 2, 5)).astype(np.float32)
    boxes[..., 4] = [1.0, 0.0]
    classes = np.tile(np.array([[0, -1]], np.int32), (count, 1))
    return generator.normal(size=(count, 3)).astype(np.float32), {"classes": classes, "boxes": boxes}


def fit(model: keras.Model, x: np.ndarray, y: dict[str, np.ndarray], batch_size: int, **options) -> None:
    model.fit(x, y, batch_size=batch_size, verbose=0, shuffle=False, **options)


def part(x: np.ndarray, y: dict[str, np.ndarray], rows: slice) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    return x[rows], {name: value[rows] for name, value in y.items()}


def assert_same_weights(one: keras.Model, other: keras.Model, tolerance: float = 0.0) -> None:
    for weight, same in zip(one.trainable_variables, other.trainable_variables, strict=True):
        np.testing.assert_allclose(weight, same, rtol=0, atol=tolerance, err_msg=weight.name)


# Decay and clipping


@pytest.mark.parametrize("name", ["adamw", "sgd"])
def test_weight_decay_shrinks_kernels_alone_by_rate_times_decay(name: str):
    settings = Training(
        optimizer=name, learning_rate=0.5, weight_decay=0.1, warmup_steps=0, weight_average=None, clip_norm=None
    )
    optimizer = build_optimizer(settings, 10)
    variables = [tf.Variable([2.0], name=part) for part in ("conv/kernel", "conv/bias", "bn/gamma", "bn/beta")]
    optimizer.build(variables)
    optimizer.apply_gradients([(tf.constant([0.0]), variable) for variable in variables])
    kernel, *others = [variable.numpy().item() for variable in variables]
    assert kernel == pytest.approx(2 * (1 - 0.5 * 0.1))
    assert others == [2, 2, 2]


def test_no_weight_decay_leaves_a_kernel_without_gradient_alone():
    settings = Training(optimizer="adamw", weight_decay=0.0, warmup_steps=0, weight_average=None, clip_norm=None)
    optimizer = build_optimizer(settings, 10)
    kernel = tf.Variable([2.0], name="conv/kernel")
    optimizer.build([kernel])
    optimizer.apply_gradients([(tf.constant([0.0]), kernel)])
    assert kernel.numpy().item() == 2.0


def test_gradients_are_clipped_by_their_common_norm():
    settings = Training(
        optimizer="sgd", learning_rate=1.0, weight_decay=0.0, warmup_steps=0, weight_average=None, clip_norm=5.0
    )
    optimizer = build_optimizer(settings, 10)
    variables = [tf.Variable([0.0]), tf.Variable([0.0])]
    optimizer.build(variables)
    optimizer.apply_gradients(zip([tf.constant([30.0]), tf.constant([40.0])], variables, strict=True))
    assert [variable.numpy().item() for variable in variables] == pytest.approx([-3, -4])


# Several batches in one update


@pytest.mark.parametrize(("name", "decay"), CHOICES)
@pytest.mark.parametrize("count", [2, 4])
def test_equal_batches_give_exactly_the_update_of_one(name: str, decay: float, count: int):
    common = {"optimizer": name, "weight_decay": decay}
    one = compiled(build_optimizer(settings(**common), 1))
    many = compiled(build_optimizer(settings(**common, accumulate_steps=count), count))
    for step in range(6):  # over the warm-up
        x, y = samples(4, seed=step)
        one.train_on_batch(x, y)
        for _ in range(count):
            many.train_on_batch(x, y)
    assert_same_weights(one, many)
    swap_in_average(one), swap_in_average(many)
    assert_same_weights(one, many)


@pytest.mark.parametrize(("name", "decay"), CHOICES)
@pytest.mark.parametrize("clip", [None, 0.05])
def test_half_batches_with_equal_positives_give_the_update_of_the_whole(name: str, decay: float, clip: float | None):
    common = {"optimizer": name, "weight_decay": decay, "clip_norm": clip, "warmup_steps": 0, "learning_rate": 0.01}
    whole = compiled(build_optimizer(settings(**common), 3))
    halves = compiled(build_optimizer(settings(**common, accumulate_steps=2), 6))
    start = [weight.numpy() for weight in whole.trainable_variables]
    x, y = samples(12)
    fit(whole, x, y, batch_size=4)
    fit(halves, x, y, batch_size=2)
    assert_same_weights(whole, halves, tolerance=1e-6)
    # `fit` ends with the average: it follows the updates, not the batches. Both have moved.
    assert max(np.abs(a - b).max() for a, b in zip(start, whole.get_weights(), strict=True)) > 1e-4


def test_only_the_mean_is_clipped_so_that_opposite_batches_cancel():
    optimizer = build_optimizer(
        settings(optimizer="sgd", weight_decay=0.0, warmup_steps=0, learning_rate=1.0, clip_norm=1.0,
                 weight_average=None, accumulate_steps=2),
        2,
    )  # fmt: skip
    weight = tf.Variable([0.0])
    for gradient in (10.0, -9.0):
        optimizer.apply_gradients([(tf.constant([gradient]), weight)])
    assert weight.numpy().item() == -0.5  # the mean 0.5, not clip(10) + clip(-9)


def test_between_updates_weights_average_and_learning_rate_stand_still():
    optimizer = build_optimizer(settings(accumulate_steps=3, warmup_steps=10), 100)
    model = compiled(optimizer)
    x, y = samples(2)
    seen, rates, updates = [model.get_weights()], [], []
    for _ in range(7):
        model.train_on_batch(x, y)
        seen.append(model.get_weights())
        rates.append(float(optimizer.learning_rate))
        updates.append(int(optimizer.iterations))
    assert updates == [0, 0, 1, 1, 1, 2, 2]
    assert rates == pytest.approx([0, 0, 0, 0, 0, 0.01, 0.01])  # a tenth of the warm-up each update, the first at 0
    changed = [any(not np.array_equal(a, b) for a, b in zip(*pair, strict=True)) for pair in itertools.pairwise(seen)]
    assert changed == [False, False, False, False, False, True, False]


def test_a_variable_without_gradient_stays_and_the_others_are_updated():
    optimizer = build_optimizer(
        settings(optimizer="sgd", weight_decay=0.0, warmup_steps=0, learning_rate=1.0, accumulate_steps=2), 2
    )
    used, unused = tf.Variable([0.0]), tf.Variable([5.0])
    for _ in range(2):
        optimizer.apply_gradients([(None, unused), (tf.constant([0.25]), used)])
    assert (used.numpy().item(), unused.numpy().item()) == (-0.25, 5.0)


@pytest.mark.parametrize("done", [1, 2, 5])
def test_a_checkpoint_between_two_updates_is_continued_exactly(tmp_path, done: int):
    x, y = samples(16)
    straight = compiled(build_optimizer(settings(accumulate_steps=3), 8), run_eagerly=True)
    broken_off = compiled(build_optimizer(settings(accumulate_steps=3), 8), run_eagerly=True)
    resumed = compiled(build_optimizer(settings(accumulate_steps=3), 8), run_eagerly=True)

    def train(model: keras.Model, steps: range) -> None:
        for step in steps:
            model.train_on_batch(*part(x, y, slice(2 * step, 2 * step + 2)))

    train(straight, range(8))
    train(broken_off, range(done))
    path = tf.train.Checkpoint(model=broken_off, optimizer=broken_off.optimizer).write(str(tmp_path / "checkpoint"))
    tf.train.Checkpoint(model=resumed, optimizer=resumed.optimizer).restore(path).expect_partial()
    assert int(resumed.optimizer.gathered) == done % 3
    train(resumed, range(done, 8))
    assert_same_weights(straight, resumed)
    swap_in_average(straight), swap_in_average(resumed)
    assert_same_weights(straight, resumed)


def test_a_loss_that_is_no_number_stops_in_the_batch_that_brought_it():
    model = compiled(build_optimizer(settings(accumulate_steps=4), 4))
    x, y = samples(8)
    y["boxes"][2:4, 0, :4] = np.nan
    with pytest.raises(InputError, match="at step 2 "):
        fit(model, x, y, batch_size=2, callbacks=[StopOnNaN()])


def test_an_optimiser_without_accumulation_is_the_plain_one():
    assert type(build_optimizer(settings(), 1)) is keras.optimizers.AdamW


def test_the_optimiser_is_made_again_from_its_configuration():
    optimizer = build_optimizer(settings(accumulate_steps=3), 1)
    again = type(optimizer).from_config(optimizer.get_config())
    assert again.accumulate_steps == 3


REPLICAS = """
import sys
from pathlib import Path
import numpy as np
from keras_retina.foundation.legacy_keras import keras, tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, sys.argv[1])
import test_optimizer as tests
from keras_retina.train.optimizer import build_optimizer
from keras_retina.train.workers.devices import scale_loss
x, y = tests.samples(28)  # 7 batches: two updates and a third of the next
for name, precision in (("sgd", "float32"), ("adamw", "float32"), ("adamw", "float16")):
    models = []
    for devices in (["/CPU:0"], ["/CPU:0", "/CPU:1"]):
        strategy = tf.distribute.MirroredStrategy(devices)
        with strategy.scope():
            settings = tests.settings(optimizer=name, accumulate_steps=3, clip_norm=0.3, warmup_steps=0)
            model = tests.compiled(scale_loss(build_optimizer(settings, 7), precision))
        data = tf.data.Dataset.from_tensor_slices((x, y)).batch(4)
        options = tf.data.Options()
        options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
        start = model.get_weights()
        model.fit(data.with_options(options), verbose=0)
        print(name, len(devices), model.optimizer.iterations.numpy())
        models.append(model)
    assert max(np.abs(a - b).max() for a, b in zip(start, models[0].get_weights())) > 1e-3
    tests.assert_same_weights(*models, tolerance=1e-6)
    inner = [getattr(model.optimizer, "inner_optimizer", model.optimizer) for model in models]
    for one, two in zip(*[optimizer.gradient_sums for optimizer in inner]):
        np.testing.assert_allclose(one.numpy(), two.numpy(), rtol=0, atol=1e-6)
        assert np.abs(one.numpy()).max() > 0
    path = tf.train.Checkpoint(optimizer=models[1].optimizer).write(sys.argv[2] + "/" + name)
    fresh = tests.compiled(build_optimizer(tests.settings(optimizer=name, accumulate_steps=3), 7)).optimizer
    tf.train.Checkpoint(optimizer=fresh).restore(path).expect_partial()
    assert int(fresh.gathered) == 1
    np.testing.assert_array_equal(fresh.gradient_sums[0].numpy(), inner[1].gradient_sums[0].numpy())
"""


def test_two_replicas_gather_and_update_like_one(tmp_path):
    command = [sys.executable, "-c", REPLICAS, str(Path(__file__).parent), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith(("sgd", "adamw"))]
    assert lines == ["sgd 1 2", "sgd 2 2", *["adamw 1 2", "adamw 2 2"] * 2]
