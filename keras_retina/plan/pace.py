"""How fast a planned recipe trains on this machine: its own step, timed for some seconds before anything is decided."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keras_retina.data.records import Dataset
from keras_retina.recipe.recipe import Recipe

if TYPE_CHECKING:  # loads TensorFlow, which a plan without a time does not need
    from keras_retina.train.duration import Pace


def measured_pace(recipe: Recipe, train_set: Dataset, validation_set: Dataset) -> Pace:
    """Times steps and one evaluation of the recipe's network with random weights, on its own batches."""
    from keras_retina.data.pipeline import training_batches
    from keras_retina.foundation.legacy_keras import keras
    from keras_retina.model.retinanet import detector_network
    from keras_retina.model.spec import detector_spec
    from keras_retina.train.batch_norm import fold_frozen_batch_norm
    from keras_retina.train.devices import choose_precision, distribution_strategy, training_devices
    from keras_retina.train.duration import measure_pace
    from keras_retina.train.fit import compile_detector

    settings = recipe.training
    keras.backend.clear_session()
    spec = detector_spec(recipe.model, train_set.class_names)
    with distribution_strategy(settings.strategy, settings.batch_size).scope():
        detector = detector_network(recipe.model, len(train_set.class_names))
        network = fold_frozen_batch_norm(detector)
        precision = choose_precision(settings.precision, training_devices())
        compile_detector(network, spec, settings=settings, steps_per_epoch=1, precision=precision)
    batches = training_batches(
        train_set,
        spec,
        augmentation=recipe.augmentation,
        matching=settings.matching,
        batch_size=settings.batch_size,
        seed=recipe.seed,
        first_sample=0,
        cache_mebibytes=recipe.data.cache_mebibytes,
    )
    return measure_pace(network, detector, batches=batches, spec=spec, validation_set=validation_set)
