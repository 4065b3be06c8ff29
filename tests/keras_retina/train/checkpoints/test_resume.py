"""A training that was interrupted at any step, or in an evaluation, ends bit-equal to an undisturbed one.

The network is a small one and runs eagerly, so that every step can be tried. As a program, this file is that training.
"""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from keras_retina.data.records import Dataset
from keras_retina.foundation.errors import TRY_AGAIN, InputError
from keras_retina.foundation.interruption import Preempted
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.model import Model
from keras_retina.recipe.recipe import Training
from keras_retina.train import fit
from keras_retina.train.callbacks import evaluation
from keras_retina.train.checkpoints.resume import starting_at
from keras_retina.train.fit import compile_detector, fit_detector

SPEC = detector_spec(
    Model(input={"height": 64, "width": 64}, pyramid={"levels": (3, 5)}, anchors={"scales": (1.0,), "ratios": (1.0,)}),
    ("a",),
)
STEPS, ANCHORS = 3, 6
SETTINGS = {
    "epochs": 2, "batch_size": 2, "warmup_steps": 2, "evaluate_every": 2, "checkpoint_steps": 1, "learning_rate": 0.1,
    "loss": {"classes": "automated_focal"},
}  # fmt: skip
KINDS = {
    "adamw with an average": {},
    "accumulated": {"accumulate_steps": 4, "checkpoint": "last", "evaluate_every": 1},
    "float16": {"weight_average": None, "optimizer": "sgd"},
    "unfreezing": {"unfreeze_at": [0.5]},
}


class LostError(Exception):
    """Stands for a power cut: nothing of the training runs after it."""


def batches(first_step: int) -> tf.data.Dataset:
    """Batches that depend on their number alone; after step 4 one has no positive anchor."""

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        seed = tf.stack([step, 1])
        codes = tf.random.stateless_uniform((2, ANCHORS), seed, -1, 1 if step != 5 else 0, tf.int32)
        flags = tf.cast(codes >= 0, tf.float32)[..., None]
        boxes = tf.concat([tf.random.stateless_normal((2, ANCHORS, 4), seed), flags], axis=-1)
        return tf.random.stateless_normal((2, 5), seed), {"classes": codes, "boxes": boxes}

    return tf.data.Dataset.range(first_step, 1000).map(batch)


def network() -> keras.Model:
    keras.utils.set_random_seed(7)
    inputs = keras.Input((5,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(8, name="first")(inputs))
    outputs = {
        name: keras.layers.Reshape((ANCHORS, size), name=name)(keras.layers.Dense(ANCHORS * size)(hidden))
        for name, size in (("classes", 1), ("boxes", 4))
    }
    return keras.Model(inputs, outputs)


def fit_small(
    train_dir: Path,
    settings: Training,
    precision: str = "float32",
    callback: keras.callbacks.Callback | None = None,
    images_of: Callable[[int], list[str]] | None = None,
    steps: int = STEPS,
) -> keras.Model:
    """Trains, or goes on with, the small network; returns it."""
    train_dir.mkdir(exist_ok=True)
    model = network()
    starts = [(variable, 0.5) for variable in model.get_layer("first").variables] if settings.unfreeze_at else ()
    compile_detector(model, SPEC, settings=settings, steps_per_epoch=steps, precision=precision, starts=starts)
    fit_detector(
        model,
        model,
        spec=SPEC,
        settings=settings,
        steps=steps,
        batches=batches,
        validation_set=Dataset("small", "val", ("a",), (1,), ()),
        train_dir=train_dir,
        callbacks=[callback] if callback else [],
        detect=lambda images: {},
        images_of=images_of,
    )
    return model


def without_pictures() -> None:
    """Puts small things in the place of those that need a detector and images."""
    fit.Diagnostics = lambda *_, **__: keras.callbacks.Callback()
    evaluation.EvaluateAveragePrecision._write_pictures = lambda *_: None
    evaluation.predict_on_all = lambda *_, **__: []
    evaluation.coco_metrics = lambda *_, **__: {"AP": 10.0, "AP50": None}


@pytest.fixture(autouse=True)
def small(monkeypatch) -> Iterator[None]:
    for owner, name in (
        (fit, "Diagnostics"),
        (evaluation.EvaluateAveragePrecision, "_write_pictures"),
        (evaluation, "predict_on_all"),
        (evaluation, "coco_metrics"),
    ):
        monkeypatch.setattr(owner, name, getattr(owner, name))  # put back afterwards
    without_pictures()
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


def settings_of(**changes) -> Training:
    return Training.model_validate(SETTINGS | changes)


def everything_of(model: keras.Model) -> list[np.ndarray]:
    variables = [*model.variables, *model.optimizer.variables, *model.loss["classes"].state]
    return [variable.numpy() for variable in variables]


def history_of(train_dir: Path) -> list[dict[str, str]]:
    with (train_dir / "history.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    timed = ("seconds", "input_wait", "evaluation_seconds")
    return [{name: value for name, value in row.items() if name not in timed} for row in rows]


def at_step(number: int, act: Callable[[], None]) -> keras.callbacks.Callback:
    """Acts after so many steps, before the checkpoint of that step is written."""
    done = [0]

    def count(*_) -> None:
        done[0] += 1
        if done[0] == number:
            act()

    return keras.callbacks.LambdaCallback(on_train_batch_end=count)


def lose() -> None:
    raise LostError


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_is_lost_after_each_of_its_steps_ends_bit_equal_to_an_undisturbed_one(tmp_path, kind: str):
    """Every call trains two steps; the second is lost, so that the next call goes on after each step in turn."""
    settings, precision = settings_of(**KINDS[kind]), "float16" if kind == "float16" else "float32"
    straight = fit_small(tmp_path / "straight", settings, precision)
    for done in range(1, 2 * STEPS):
        with pytest.raises(LostError):
            fit_small(tmp_path / "lost", settings, precision, at_step(2, lose))
        newest = max(path.name for path in (tmp_path / "lost" / "checkpoints").iterdir())
        assert newest.startswith(f"step-{done:09d}")
    resumed = fit_small(tmp_path / "lost", settings, precision)
    for one, same in zip(everything_of(straight), everything_of(resumed), strict=True):
        np.testing.assert_array_equal(one, same)
    assert history_of(tmp_path / "lost") == history_of(tmp_path / "straight")


def test_steps_since_the_last_checkpoint_are_trained_again(tmp_path, logged):
    settings = settings_of(checkpoint_steps=2)
    straight = fit_small(tmp_path / "straight", settings)
    with pytest.raises(LostError):
        fit_small(tmp_path / "lost", settings, callback=at_step(6, lose))
    with logged() as lines:
        resumed = fit_small(tmp_path / "lost", settings)
    assert "resuming after step 1 of epoch 2" in lines
    for one, same in zip(everything_of(straight), everything_of(resumed), strict=True):
        np.testing.assert_array_equal(one, same)
    assert history_of(tmp_path / "lost") == history_of(tmp_path / "straight")


def test_the_first_step_after_a_resume_is_the_next_one_and_the_epoch_has_its_time(tmp_path, logged):
    settings, seen = settings_of(), []
    with pytest.raises(LostError):
        fit_small(tmp_path, settings, callback=at_step(5, lose))
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, _: seen.append(batch))
    manifest = tmp_path / "checkpoints" / "step-000000004" / "manifest.json"
    before = json.loads(manifest.read_text())["seconds"]
    with logged() as lines:
        fit_small(tmp_path, settings, callback=note)
    assert "resuming after step 1 of epoch 2" in lines
    assert seen == [1, 2]
    with (tmp_path / "history.csv").open(newline="") as file:
        assert float(list(csv.DictReader(file))[1]["seconds"]) > before > 0


def test_keras_begins_its_first_epoch_at_the_step_and_the_next_one_at_its_beginning():
    """It fails when another tf_keras has renamed what `starting_at` uses of it."""
    model, seen = keras.Sequential([keras.layers.Dense(1)]), []
    model.compile("sgd", "mse")
    data = tf.data.Dataset.from_tensors((tf.ones((1, 1)), tf.ones((1, 1)))).repeat()
    note = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, _: seen.append(batch))
    with starting_at(model, 3):
        model.fit(data, epochs=2, steps_per_epoch=5, callbacks=[note], verbose=0)
    assert seen == [3, 4, 0, 1, 2, 3, 4]
    seen.clear()
    model.fit(data, epochs=1, steps_per_epoch=5, callbacks=[note], verbose=0)  # nothing of it stays in the model
    assert seen == [0, 1, 2, 3, 4]


def test_a_keras_that_cannot_begin_inside_an_epoch_is_refused_before_it_repeats_steps():
    refused = pytest.raises(InputError, match=r"^tf_keras: expected a version .* Received: \d+\.\d+")
    with refused, starting_at(object(), 3):
        pytest.fail("the training began")
    with starting_at(object(), 0):
        pass


# The evaluation


def test_an_evaluation_that_is_lost_is_repeated_with_the_weights_of_its_epoch(tmp_path, monkeypatch):
    settings = settings_of()
    straight = fit_small(tmp_path / "straight", settings)
    monkeypatch.setattr(evaluation, "coco_metrics", lambda *_, **__: lose())
    with pytest.raises(LostError):
        fit_small(tmp_path / "lost", settings)
    monkeypatch.setattr(evaluation, "coco_metrics", lambda *_, **__: {"AP": 10.0, "AP50": None})
    resumed = fit_small(tmp_path / "lost", settings)
    for one, same in zip(everything_of(straight), everything_of(resumed), strict=True):
        np.testing.assert_array_equal(one, same)
    assert history_of(tmp_path / "lost") == history_of(tmp_path / "straight")


def test_an_evaluation_is_interrupted_at_once_and_its_epoch_is_saved(tmp_path, monkeypatch):
    settings = settings_of(checkpoint_steps=1000)
    straight = fit_small(tmp_path / "straight", settings)

    def terminated(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the evaluation went on")

    monkeypatch.setattr(evaluation, "coco_metrics", terminated)
    with pytest.raises(Preempted):
        fit_small(tmp_path / "stopped", settings)
    assert [path.name for path in (tmp_path / "stopped" / "checkpoints").iterdir()] == ["step-000000006"]
    monkeypatch.setattr(evaluation, "coco_metrics", lambda *_, **__: {"AP": 10.0, "AP50": None})
    resumed = fit_small(tmp_path / "stopped", settings)
    for one, same in zip(everything_of(straight), everything_of(resumed), strict=True):
        np.testing.assert_array_equal(one, same)


def test_an_evaluation_that_is_interrupted_again_leaves_the_checkpoint_of_its_epoch(tmp_path, monkeypatch):
    settings = settings_of(checkpoint_steps=1000)
    monkeypatch.setattr(evaluation, "coco_metrics", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    for _ in range(2):
        with pytest.raises(Preempted):
            fit_small(tmp_path, settings)
        assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000006"]


@pytest.mark.parametrize("moment", ["swap_in_average", "restore", "save_weights"])
def test_a_request_while_the_average_is_in_the_model_saves_the_weights_in_training(tmp_path, monkeypatch, moment: str):
    settings = settings_of(checkpoint_steps=1000, evaluate_every=1)
    straight = fit_small(tmp_path / "straight", settings)
    original = getattr(evaluation, moment)

    def asked_to_stop_before(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return original(*arguments)

    with monkeypatch.context() as patch, pytest.raises(Preempted):
        patch.setattr(evaluation, moment, asked_to_stop_before)
        fit_small(tmp_path / "stopped", settings)
    resumed = fit_small(tmp_path / "stopped", settings)
    for one, same in zip(everything_of(straight), everything_of(resumed), strict=True):
        np.testing.assert_array_equal(one, same)


def test_patience_counts_on_from_the_best_of_before(tmp_path, monkeypatch):
    settings = settings_of(epochs=9, evaluate_every=1, early_stop={"patience": 2}, checkpoint_steps=1)
    with pytest.raises(LostError):
        fit_small(tmp_path, settings, callback=at_step(STEPS + 2, lose))
    fit_small(tmp_path, settings)  # the AP of epoch 1 is the best for ever
    assert [row["epoch"] for row in history_of(tmp_path)] == ["1", "2", "3"]


# Signals


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGTERM, Preempted), (signal.SIGINT, KeyboardInterrupt)])
def test_a_request_to_stop_saves_after_the_step(tmp_path, number, raised, logged):
    settings, before = settings_of(checkpoint_steps=1000), signal.getsignal(number)
    straight = fit_small(tmp_path / "straight", settings)
    with pytest.raises(raised), logged() as lines:
        fit_small(tmp_path / "stopped", settings, callback=at_step(5, lambda: os.kill(os.getpid(), number)))
    assert lines[-1].startswith("asked to stop: saving after this step")
    assert [path.name for path in (tmp_path / "stopped" / "checkpoints").iterdir()] == ["step-000000005"]
    assert signal.getsignal(number) == before
    resumed = fit_small(tmp_path / "stopped", settings)
    for one, same in zip(everything_of(straight), everything_of(resumed), strict=True):
        np.testing.assert_array_equal(one, same)


def test_a_second_signal_stops_without_saving(tmp_path):
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        fit_small(tmp_path, settings_of(checkpoint_steps=1000), callback=at_step(2, twice))
    assert not (tmp_path / "checkpoints").exists()


def wait_for(train_dir: Path, step: int, process: subprocess.Popen) -> None:
    for _ in range(3000):
        if (train_dir / "checkpoints" / f"step-{step:09d}").exists() or process.poll() is not None:
            return
        time.sleep(0.1)


def test_killed_and_preempted_processes_are_gone_on_with(tmp_path):
    """SIGKILL, SIGTERM and an undisturbed end, each a process of its own; steps take a fifth of a second."""
    ends = []
    for number, step in ((signal.SIGKILL, 3), (signal.SIGTERM, 9)):
        process = subprocess.Popen([sys.executable, __file__, str(tmp_path / "killed")], stderr=subprocess.PIPE)
        wait_for(tmp_path / "killed", step, process)
        process.send_signal(number)
        process.communicate()
        ends.append(process.returncode)
    assert ends == [-signal.SIGKILL, TRY_AGAIN]
    settings = settings_of(epochs=6)
    resumed, straight = fit_small(tmp_path / "killed", settings), fit_small(tmp_path / "straight", settings)
    for one, same in zip(everything_of(straight), everything_of(resumed), strict=True):
        np.testing.assert_array_equal(one, same)
    assert history_of(tmp_path / "killed") == history_of(tmp_path / "straight")


# Errors


def test_a_loss_that_is_no_number_names_the_images_of_its_batch(tmp_path):
    def poisoned(step: int) -> list[str]:
        return [f"image_{step}_{number}.jpg" for number in range(10)]

    def poison(*_) -> None:
        model_of.model.get_layer("first").bias.assign(np.full(8, np.nan))

    model_of = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, _: batch == 1 and poison())
    told = r"at step 2 of epoch 1, on the images image_1_0.jpg, .*image_1_7.jpg and 2 more"
    with pytest.raises(InputError, match=told):
        fit_small(tmp_path, settings_of(), callback=model_of, images_of=poisoned)


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    """The update of step 2 breaks them; only the loss of step 3 shows it."""
    broken = keras.callbacks.LambdaCallback()

    def breaks(batch: int, _) -> None:
        if batch == 1:
            broken.model.get_layer("first").bias.assign(np.full(8, np.inf))

    broken.on_train_batch_end = breaks
    with pytest.raises(InputError, match="at step 3 of epoch 1"):
        fit_small(tmp_path, settings_of(), callback=broken)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000001"]


def test_final_weights_that_are_no_numbers_are_no_detector(tmp_path):
    """The update of the last step breaks them, and no loss follows that would show it."""
    broken = keras.callbacks.LambdaCallback()
    broken.on_epoch_end = lambda epoch, _: broken.model.get_layer("first").bias.assign(np.full(8, np.inf))
    with pytest.raises(InputError, match="the weights must stay finite. Received: .* after the last step"):
        fit_small(tmp_path, settings_of(epochs=1, checkpoint="last", weight_average=None), callback=broken)


def test_a_checkpoint_of_another_optimiser_is_refused_by_name(tmp_path):
    with pytest.raises(LostError):
        fit_small(tmp_path, settings_of(), callback=at_step(2, lose))
    with pytest.raises(InputError, match=r"step-000000001: expected the variables of this training\. Received: .*"):
        fit_small(tmp_path, settings_of(accumulate_steps=2))


def test_a_checkpoint_that_does_not_fit_on_the_disk_leaves_the_last_one(tmp_path):
    settings = settings_of()
    straight = fit_small(tmp_path / "straight", settings)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))  # every file of more than 8 bytes is one too many

    try:
        with pytest.raises(InputError, match="could not be written.*unharmed") as error:
            fit_small(tmp_path / "full", settings, callback=at_step(5, fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert "\n" not in str(error.value)
    resumed = fit_small(tmp_path / "full", settings)
    for one, same in zip(everything_of(straight), everything_of(resumed), strict=True):
        np.testing.assert_array_equal(one, same)


if __name__ == "__main__":
    tf.config.run_functions_eagerly(True)
    without_pictures()
    slow = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_: time.sleep(0.2))
    fit_small(Path(sys.argv[1]), Training.model_validate(SETTINGS | {"epochs": 6}), callback=slow)
