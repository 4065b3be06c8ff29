"""What happens between epochs: early stop, best weights, averaged weights."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest

from keras_retina.data.records import Dataset, Record
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.saving import plain_model
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.model import Model
from keras_retina.train.callbacks import evaluation as callbacks
from keras_retina.train.callbacks.evaluation import (
    EvaluateAveragePrecision,
    patience_is_over,
    read_state,
    restore,
    save_weights,
    swap_in_average,
    write_state,
)

SPEC = detector_spec(
    Model(input={"height": 64, "width": 64}, pyramid={"levels": (3, 5)}, anchors={"scales": (1.0,), "ratios": (1.0,)}),
    ("a",),
)


@pytest.fixture
def one_image(tmp_path) -> Dataset:
    from PIL import Image

    path = tmp_path / "image.png"
    Image.new("RGB", (64, 64)).save(path)
    empty = (np.zeros((0, 4), np.float32), np.zeros(0, np.int32), np.zeros(0, bool))
    return Dataset("test", "val", ("a",), (1,), (Record(1, path, path.name, 64, 64, *empty),))


@pytest.fixture
def evaluation(monkeypatch, one_image, tmp_path, linear_model, writer):
    """`evaluation(scores, every, epochs, patience)`: the callback with its AP values written beforehand."""

    def make(scores, every: int = 1, epochs: int = 100, patience: int | None = None) -> EvaluateAveragePrecision:
        remaining = iter(scores)
        monkeypatch.setattr(callbacks, "detect_function", lambda model, spec, **_: None)
        monkeypatch.setattr(callbacks, "predict_on_all", lambda *_, **__: [])
        monkeypatch.setattr(callbacks, "coco_metrics", lambda *_, **__: {"AP": next(remaining), "AP50": None})
        detector = linear_model()  # `fit` puts the model in training in its place
        return EvaluateAveragePrecision(
            detector, SPEC, dataset=one_image, every=every, epochs=epochs, train_dir=tmp_path, writer=writer,
            patience=patience,
        )  # fmt: skip

    return make


def epochs_of(history: keras.callbacks.History) -> int:
    return len(history.epoch)


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
def test_training_stops_when_the_best_ap_is_so_many_epochs_old(
    evaluation, scores, every, patience, stops_after, linear_model, fit
):
    history = fit(linear_model(), 10, evaluation(scores, every, 10, patience))
    assert epochs_of(history) == stops_after


def test_without_patience_training_goes_on(evaluation, linear_model, fit):
    assert epochs_of(fit(linear_model(), 6, evaluation([5, 4, 3, 2, 1, 0]))) == 6


def test_patience_goes_on_where_it_was_after_a_resume(evaluation, linear_model, fit):
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


def test_evaluations_come_every_so_many_epochs_and_after_the_last(evaluation, linear_model, fit):
    history = fit(linear_model(), 5, evaluation([1, 2, 3], every=2, epochs=5))
    assert history.history["AP"] == [1, 2, 3]
    assert all(seconds > 0 for seconds in history.history["evaluation_seconds"])


def test_the_weights_with_the_highest_ap_are_kept(evaluation, tmp_path, linear_model, fit):
    model, seen = linear_model(), []
    remember = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(model.get_weights()))
    fit(model, 4, evaluation([1, 7, 7, 3]), remember)
    assert read_state(tmp_path) == {"best_AP": 7, "best_epoch": 2}
    other = plain_model(linear_model())
    other.load_weights(tmp_path / "best.weights.h5")
    for best, kept, last in zip(seen[1], other.get_weights(), seen[3], strict=True):
        np.testing.assert_array_equal(best, kept)
        assert not np.array_equal(best, last)


def test_a_resumed_training_replaces_the_best_only_by_a_better_one(evaluation, tmp_path, linear_model, fit):
    model = linear_model()
    fit(model, 2, evaluation([5, 8]))
    fit(model, 4, evaluation([7, 6]), initial_epoch=2)
    assert read_state(tmp_path) == {"best_AP": 8, "best_epoch": 2}
    fit(model, 5, evaluation([9]), initial_epoch=4)
    assert read_state(tmp_path) == {"best_AP": 9, "best_epoch": 5}


def test_an_ap_of_zero_is_kept_too_so_that_there_is_always_a_best(evaluation, tmp_path, linear_model, fit):
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


def test_the_average_is_what_the_optimiser_kept_and_training_goes_on_from_the_trained_weights(linear_model):
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


def test_without_an_average_the_weights_stay(linear_model, fit):
    model = linear_model()
    fit(model, 1)
    before = model.get_weights()
    assert swap_in_average(model) == []
    restore(model, [])
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_evaluation_sees_and_keeps_the_average_and_leaves_training_undisturbed(
    evaluation, monkeypatch, tmp_path, linear_model, fit
):
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


def test_best_weights_on_a_full_disk_leave_the_previous_file(tmp_path, monkeypatch, linear_model):
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


def test_a_damaged_state_is_refused_by_name(tmp_path):
    for text in ('{"best_AP": 1', "[1, 2]", "\udcff"):
        (tmp_path / "best.json").write_text(text, encoding="utf-8", errors="surrogateescape")
        with pytest.raises(InputError, match=r"best\.json: expected"):
            read_state(tmp_path)


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


def test_the_function_that_was_traced_before_measures_the_ap_of_an_epoch(
    monkeypatch, one_image, tmp_path, linear_model, fit, writer
):
    used = []
    monkeypatch.setattr(callbacks, "predict_on_all", lambda strategy, detect, *_, **__: used.append(detect) or [])
    monkeypatch.setattr(callbacks, "coco_metrics", lambda *_, **__: {"AP": 1.0, "AP50": None})
    once = {"dataset": one_image, "every": 1, "epochs": 1, "train_dir": tmp_path, "writer": writer}
    hook = EvaluateAveragePrecision(linear_model(), SPEC, **once, detect=len)
    fit(linear_model(), 1, hook)
    assert used == [len]
