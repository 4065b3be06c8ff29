"""How long the training of the last step is."""

from __future__ import annotations

import pytest

from edge.verify.heal import training
from edge.verify.heal.steps import StepNotPossibleError
from edge.verify.heal.training import EPOCHS, begun_epochs, counted_epochs, fine_tuning, fitting_epochs, trained_in_int8
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.foundation.run_paths import CompressedPaths
from keras_retina.recipe.recipe import recipe_from_fields
from keras_retina.run.folder import RunFolder


@pytest.fixture
def run(tmp_path):
    """40 epochs of 15 s: ten minutes; a third of them are 200 s, and an epoch of the last step takes 45 s."""
    recipe = recipe_from_fields({"name": "one", "model": {"backbone": {"frozen_stages": 2}}}, "here")
    run = RunFolder(tmp_path, recipe, tmp_path)
    run.train.mkdir()
    run.history.write_text("epoch,seconds\n" + "".join(f"{number},15\n" for number in range(40)))
    return run


@pytest.mark.parametrize(("spent", "epochs"), [(0.0, 4), (19.0, 4), (21.0, 3), (108.0, 2), (154.0, 1)])
def test_it_lasts_for_the_epochs_that_fit_behind_the_other_steps(run, spent, epochs):
    assert fitting_epochs(run, spent) == epochs
    settings = fine_tuning(run, epochs)
    assert (settings.epochs, settings.evaluate_every, settings.frozen_stages) == (epochs, epochs, 2)
    assert settings.distillation == 1.0 and settings.minutes is None


def test_no_time_for_an_epoch_is_told_with_the_times(run):
    with pytest.raises(StepNotPossibleError, match=r"a third of the training time, 3\.3 min, of which .* took 2\.6"):
        fitting_epochs(run, 156.0)
    run.history.write_text("epoch,seconds\n")
    with pytest.raises(StepNotPossibleError, match=r"training time, 0\.0 min"):
        fitting_epochs(run, 0.0)


@pytest.mark.parametrize(("trained", "epochs"), [(40, 4), (18, 2), (17, 1), (9, 1)])
def test_without_a_clock_it_lasts_for_a_ninth_of_the_epochs(run, trained, epochs):
    run.history.write_text("epoch,seconds\n" + "".join(f"{number},{number}\n" for number in range(trained)))
    assert counted_epochs(run) == epochs


def test_without_a_clock_too_short_a_training_is_told(run):
    run.history.write_text("epoch,seconds\n" + "1,9\n" * 8)
    with pytest.raises(StepNotPossibleError, match="a third of the training of 8 epochs"):
        counted_epochs(run)


def test_an_interrupted_training_goes_on_with_the_epochs_that_it_began_with(tmp_path):
    folder = CompressedPaths(tmp_path)
    assert begun_epochs(folder) is None
    (tmp_path / EPOCHS).write_text('{"epochs": 3}')
    assert begun_epochs(folder) == 3
    (tmp_path / EPOCHS).write_text('{"epochs": "3"}')
    with pytest.raises(InputError, match="expected a number or null"):
        begun_epochs(folder)


def test_a_layer_that_no_training_rounds_like_is_a_step_that_is_not_possible(run, tmp_path, monkeypatch):
    image = keras.Input((8, 8, 3), name="image")
    swish = keras.layers.Activation("swish", name="stem_swish")(keras.layers.Conv2D(4, 1)(image))
    model = keras.Model(image, {"classes": keras.layers.Conv2D(2, 1, name="classes")(swish)})
    monkeypatch.setattr(training, "begun_epochs", lambda folder: 1)
    monkeypatch.setattr(training, "load_detector", lambda path: (model, None))
    folder = CompressedPaths(tmp_path / "heal")
    tries = trained_in_int8(run, None, folder=folder, train_set=None, validation_set=None, spent=0.0)
    with pytest.raises(StepNotPossibleError, match="'stem_swish' expected the activation"):
        next(tries)
    assert not folder.path.exists()
