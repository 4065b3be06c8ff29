"""What happens between epochs: early stop, best weights, checkpoints, averaged weights."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from keras_retina.data.records import Dataset, Record
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.losses import AutomatedFocalLoss, BoxLoss, EqualizedFocalLoss, FocalLoss
from keras_retina.losses.dense import ClassLoss
from keras_retina.model.saving import plain_model
from keras_retina.model.spec import DetectorSpec
from keras_retina.train import callbacks
from keras_retina.train.callbacks import (
    Checkpoint,
    EvaluateAveragePrecision,
    StopOnNaN,
    patience_is_over,
    read_state,
    restore,
    save_weights,
    swap_in_average,
    write_state,
)
from keras_retina.train.fit import _resumed

SPEC = DetectorSpec(
    class_names=("a",),
    height=64,
    width=64,
    resize="stretch",
    levels=(3, 5),
    anchor_size=3.0,
    anchor_scales=(1.0,),
    anchor_ratios=(1.0,),
    coder_weights=(10.0, 10.0, 5.0, 5.0),
)


def linear_model(average: float | None = None, rate: float = 0.1) -> keras.Model:
    """y = w x from w = 0, with two outputs so that the logs are named as a detector's."""
    x = keras.Input((1,))
    model = keras.Model(
        x,
        {
            name: keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", name=name)(x)
            for name in ("classes", "boxes")
        },
    )
    optimizer = keras.optimizers.SGD(rate, use_ema=average is not None, ema_momentum=average or 0.99)
    model.compile(optimizer, {"classes": "mse", "boxes": "mse"}, run_eagerly=True)
    optimizer.build(model.trainable_variables)
    return model


def fit(model: keras.Model, epochs: int, *hooks: keras.callbacks.Callback, initial_epoch: int = 0, target: float = 1.0):
    x = np.ones((8, 1), np.float32)
    y = np.full((8, 1), target, np.float32)
    for hook in hooks:
        if isinstance(hook, EvaluateAveragePrecision):
            hook.detector = model
    return model.fit(
        x, {"classes": y, "boxes": y}, batch_size=4, epochs=epochs, initial_epoch=initial_epoch,
        callbacks=list(hooks), verbose=0, shuffle=False,
    )  # fmt: skip


class SilentWriter:
    def as_default(self, step: int):
        return tf.summary.create_noop_writer().as_default(step)

    def flush(self) -> None:
        pass


@pytest.fixture
def one_image(tmp_path) -> Dataset:
    from PIL import Image

    path = tmp_path / "image.png"
    Image.new("RGB", (64, 64)).save(path)
    empty = (np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, bool))
    return Dataset("test", "val", ("a",), (1,), (Record(1, path, path.name, 64, 64, *empty),))


@pytest.fixture
def evaluation(monkeypatch, one_image, tmp_path):
    """`evaluation(scores, every, epochs, patience)`: the callback with its AP values written beforehand."""

    def make(scores, every: int = 1, epochs: int = 100, patience: int | None = None) -> EvaluateAveragePrecision:
        remaining = iter(scores)
        monkeypatch.setattr(callbacks, "detect_function", lambda model, spec, **_: None)
        monkeypatch.setattr(callbacks, "predict_on_all", lambda *_, **__: [])
        monkeypatch.setattr(callbacks, "coco_metrics", lambda *_, **__: {"AP": next(remaining), "AP50": None})
        detector = linear_model()  # `fit` puts the model in training in its place
        return EvaluateAveragePrecision(detector, SPEC, one_image, every, epochs, tmp_path, SilentWriter(), patience)

    return make


def epochs_of(history: keras.callbacks.History) -> int:
    return len(history.epoch)


# Not a number


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_no_number_stops_with_a_clear_error(bad: float):
    hook = StopOnNaN()
    hook.on_train_batch_end(0, {"loss": 1.0})
    with pytest.raises(InputError, match=r"the loss must stay finite\. Received: loss=.*at step 4 .*clip_norm"):
        hook.on_train_batch_end(3, {"loss": bad})


def test_the_error_names_the_section_that_has_the_learning_rate():
    with pytest.raises(InputError, match=r"Lower compress\.half\.fine_tune\.learning_rate"):
        StopOnNaN("compress.half.fine_tune").on_train_batch_end(0, {"loss": float("nan")})


def test_training_on_targets_that_are_no_number_stops_in_the_first_step():
    model = linear_model()
    with pytest.raises(InputError, match="at step 1 "):
        fit(model, 3, StopOnNaN(), target=float("nan"))


# Early stop


@pytest.mark.parametrize(
    ("scores", "every", "patience", "stops_after"),
    [
        ([10, 9, 9, 9, 9, 9], 1, 2, 3),  # best at 1, two evaluations without a rise
        ([10, 9, 11, 9, 9, 9], 1, 2, 5),
        ([10, 10, 10, 10], 1, 2, 3),  # equal is no rise
        ([10, 9, 9, 9, 9, 9], 3, 6, 9),  # two evaluations, three epochs apart
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 1, 2, 10),
        ([None, None, None], 1, 2, 3),  # no AP counts as 0
    ],
)
def test_training_stops_when_the_best_ap_is_so_many_epochs_old(evaluation, scores, every, patience, stops_after):
    history = fit(linear_model(), 10, evaluation(scores, every, 10, patience))
    assert epochs_of(history) == stops_after


def test_without_patience_training_goes_on(evaluation):
    assert epochs_of(fit(linear_model(), 6, evaluation([5, 4, 3, 2, 1, 0]))) == 6


def test_patience_goes_on_where_it_was_after_a_resume(evaluation):
    model = linear_model()
    fit(model, 2, evaluation([10, 9], patience=3))
    history = fit(model, 10, evaluation([9, 9, 9, 9], patience=3), initial_epoch=2)
    assert history.epoch == [2, 3]  # epoch 4 is three after the best, the first


def test_patience_is_over_by_the_age_of_the_best():
    assert not patience_is_over({}, 10, patience=1)
    assert not patience_is_over({"best_AP": 1.0, "best_epoch": 3}, 10, patience=None)
    assert not patience_is_over({"best_AP": 1.0, "best_epoch": 3}, 4, patience=2)
    assert patience_is_over({"best_AP": 1.0, "best_epoch": 3}, 5, patience=2)


# Best weights


def test_evaluations_come_every_so_many_epochs_and_after_the_last(evaluation):
    history = fit(linear_model(), 5, evaluation([1, 2, 3], every=2, epochs=5))
    assert history.history["AP"] == [1, 2, 3]
    assert all(seconds > 0 for seconds in history.history["evaluation_seconds"])


def test_the_weights_with_the_highest_ap_are_kept(evaluation, tmp_path):
    model, seen = linear_model(), []
    remember = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(model.get_weights()))
    fit(model, 4, evaluation([1, 7, 7, 3]), remember)
    assert read_state(tmp_path) == {"best_AP": 7, "best_epoch": 2}
    other = plain_model(linear_model())
    other.load_weights(tmp_path / "best.weights.h5")
    for best, kept, last in zip(seen[1], other.get_weights(), seen[3], strict=True):
        np.testing.assert_array_equal(best, kept)
        assert not np.array_equal(best, last)


def test_a_resumed_training_replaces_the_best_only_by_a_better_one(evaluation, tmp_path):
    model = linear_model()
    fit(model, 2, evaluation([5, 8]))
    fit(model, 4, evaluation([7, 6]), initial_epoch=2)
    assert read_state(tmp_path) == {"best_AP": 8, "best_epoch": 2}
    fit(model, 5, evaluation([9]), initial_epoch=4)
    assert read_state(tmp_path) == {"best_AP": 9, "best_epoch": 5}


def test_an_ap_of_zero_is_kept_too_so_that_there_is_always_a_best(evaluation, tmp_path):
    fit(linear_model(), 2, evaluation([0, 0]))
    assert read_state(tmp_path) == {"best_AP": 0.0, "best_epoch": 1}
    assert (tmp_path / "best.weights.h5").exists()


def test_validation_images_stay_in_memory_up_to_a_limit(evaluation, monkeypatch, one_image):
    reads = []
    monkeypatch.setattr(
        callbacks, "network_input", lambda record, spec: reads.append(1) or np.zeros((64, 64, 3), np.uint8)
    )
    hook = evaluation([])
    hook._load(one_image.records[0], SPEC), hook._load(one_image.records[0], SPEC)
    assert len(reads) == 1
    monkeypatch.setattr(callbacks, "IMAGE_CACHE_BYTES", 1000)
    hook = evaluation([])
    hook._load(one_image.records[0], SPEC), hook._load(one_image.records[0], SPEC)
    assert len(reads) == 3


# Averaged weights


def test_the_average_is_what_the_optimiser_kept_and_training_goes_on_from_the_trained_weights():
    """SGD at 0.1 on (w - 1)^2: w = 0.2, 0.36, ...; the average starts at 0 and follows with momentum 0.5."""
    model = linear_model(average=0.5)
    x = {"x": np.ones((4, 1), np.float32), "y": {name: np.ones((4, 1), np.float32) for name in ("classes", "boxes")}}
    weight, average = 0.0, 0.0
    for _ in range(3):
        model.train_on_batch(**x)
        weight += 0.2 * (1 - weight)
        average = 0.5 * average + 0.5 * weight
    trained = swap_in_average(model)
    np.testing.assert_allclose(np.ravel(model.get_weights()), average, rtol=1e-5)
    restore(model, trained)
    np.testing.assert_allclose(np.ravel(model.get_weights()), weight, rtol=1e-5)
    model.train_on_batch(**x)
    np.testing.assert_allclose(np.ravel(model.get_weights()), weight + 0.2 * (1 - weight), rtol=1e-5)


def test_without_an_average_the_weights_stay():
    model = linear_model()
    fit(model, 1)
    before = model.get_weights()
    assert swap_in_average(model) == []
    restore(model, [])
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_evaluation_sees_and_keeps_the_average_and_leaves_training_undisturbed(evaluation, monkeypatch, tmp_path):
    disturbed, undisturbed = linear_model(average=0.5), linear_model(average=0.5)
    hook, seen = evaluation([1, 2, 3]), []
    monkeypatch.setattr(
        callbacks, "predict_on_all", lambda *_, **__: seen.append(disturbed.get_weights()[0].item()) or []
    )
    trained = []
    remember = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: trained.append(disturbed.get_weights()[0].item()))
    fit(disturbed, 3, hook, remember)
    fit(undisturbed, 3)
    np.testing.assert_array_equal(disturbed.get_weights()[0], undisturbed.get_weights()[0])
    assert all(average < weight for average, weight in zip(seen, trained, strict=True))
    other = plain_model(linear_model())
    other.load_weights(tmp_path / "best.weights.h5")
    assert other.get_weights()[0].item() == seen[-1]


# Files that survive


def test_a_checkpoint_holds_model_optimiser_and_epoch(tmp_path):
    model, epoch = linear_model(average=0.5), tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer, epoch=epoch)
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=1)
    fit(model, 2, Checkpoint(manager, epoch))
    assert int(epoch) == 2
    assert len(list(tmp_path.glob("*.index"))) == 1
    other, other_epoch = linear_model(average=0.5), tf.Variable(0, dtype=tf.int64)
    tf.train.Checkpoint(model=other, optimizer=other.optimizer, epoch=other_epoch).restore(manager.latest_checkpoint)
    assert int(other_epoch) == 2
    assert int(other.optimizer.iterations) == 4
    for one, same in zip(model.optimizer.variables, other.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, same)


def test_a_checkpoint_on_a_full_disk_is_an_error_and_the_previous_one_is_whole(tmp_path):
    model, epoch = linear_model(), tf.Variable(0, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(model=model, epoch=epoch)
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path), max_to_keep=1)
    fit(model, 1, Checkpoint(manager, epoch))
    first = manager.latest_checkpoint

    resource = pytest.importorskip("resource")  # not on Windows
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8, hard))  # every file of more than 8 bytes is one too many
    try:
        with pytest.raises(InputError, match="the checkpoint could not be written.*unharmed") as error:
            fit(model, 2, Checkpoint(manager, epoch), initial_epoch=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert "\n" not in str(error.value)
    restored = tf.Variable(0, dtype=tf.int64)
    assert tf.train.latest_checkpoint(str(tmp_path)) == first
    tf.train.Checkpoint(epoch=restored).restore(first).expect_partial()
    assert int(restored) == 1


def test_best_weights_on_a_full_disk_leave_the_previous_file(tmp_path, monkeypatch):
    path = tmp_path / "best.weights.h5"
    save_weights(linear_model(), path)
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    for owner, name in ((keras.Model, "save_weights"), (os, "replace")):
        with monkeypatch.context() as patch, pytest.raises(InputError, match="No space left on device"):
            patch.setattr(owner, name, full)
            save_weights(linear_model(), path)
        assert path.read_bytes() == before
        assert [file.name for file in tmp_path.iterdir()] == ["best.weights.h5"]


def test_the_state_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    assert read_state(tmp_path) == {}
    write_state(tmp_path, {"best_AP": 1.5, "best_epoch": 2})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="No space left"):
        write_state(tmp_path, {"best_AP": 9.0, "best_epoch": 3})
    assert read_state(tmp_path) == {"best_AP": 1.5, "best_epoch": 2}
    assert [file.name for file in tmp_path.iterdir()] == ["best.json"]


# The function that detects


def test_the_function_that_was_traced_before_measures_the_ap_of_an_epoch(monkeypatch, one_image, tmp_path):
    used = []
    monkeypatch.setattr(callbacks, "predict_on_all", lambda strategy, detect, *_, **__: used.append(detect) or [])
    monkeypatch.setattr(callbacks, "coco_metrics", lambda *_, **__: {"AP": 1.0, "AP50": None})
    hook = EvaluateAveragePrecision(linear_model(), SPEC, one_image, 1, 1, tmp_path, SilentWriter(), detect=len)
    fit(linear_model(), 1, hook)
    assert used == [len]


def compiled(loss: ClassLoss) -> keras.Model:
    inputs = keras.Input((5,))
    outputs = {"classes": keras.layers.Reshape((6, 3), name="classes")(keras.layers.Dense(18)(inputs)),
               "boxes": keras.layers.Reshape((6, 4), name="boxes")(keras.layers.Dense(24)(inputs))}  # fmt: skip
    model = keras.Model(inputs, outputs)
    model.compile("adam", loss={"classes": loss, "boxes": BoxLoss()})
    model.optimizer.build(model.trainable_variables)
    return model


@pytest.mark.parametrize("make", [AutomatedFocalLoss, lambda: EqualizedFocalLoss(3), FocalLoss])
def test_a_gamma_that_follows_the_training_goes_on_where_it_was(tmp_path, make):
    first, codes = compiled(make()), np.zeros((2, 6), np.int32)
    manager, _ = _resumed(first, first, train_dir=tmp_path)
    boxes = np.zeros((2, 6, 5), np.float32)
    first.train_on_batch(np.ones((2, 5), np.float32), {"classes": codes, "boxes": boxes})
    manager.save()
    state = [variable.numpy() for variable in first.loss["classes"].state]
    second = compiled(make())
    _resumed(second, second, train_dir=tmp_path)
    for variable, saved in zip(second.loss["classes"].state, state, strict=True):
        assert np.any(saved)
        np.testing.assert_array_equal(variable, saved)
    np.testing.assert_array_equal(second.get_weights()[0], first.get_weights()[0])
