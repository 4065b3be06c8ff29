"""How the minutes of a wish are divided among the models, how fast training is here, and what fits."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_retina.data.records import Dataset
from keras_retina.plan.wishes import Wishes
from keras_retina.recipe.backbones import BACKBONE_FACTS
from keras_retina.recipe.recipe import Recipe

if TYPE_CHECKING:  # loads TensorFlow, which a plan without a time does not need
    from keras_retina.train.duration import Pace

logger = logging.getLogger(__name__)

FLOAT_SHARE = 0.6  # of the minutes: the smaller models get the rest, and their steps are cheaper
QAT_OF_SMALLER = 0.25  # of the minutes of the smaller models, where one of two is quantized
LEAST_UPDATES = 600  # for the float model: half of what the recipes for few photographs have. Not measured.
FEWEST_UPDATES = 100  # fewer are refused: one network had AP 0.2 after 40 and 6 after 120
LEAST_SHRINK = 0.6  # of the side: with less, an input would lose the objects to save time
EPOCHS_OF_MINUTES = 40  # at least so many, by shorter epochs: whole ones must fill the time
LEAST_STEPS = 4  # of a shortened epoch


@dataclass(frozen=True)
class Budget:
    """How the minutes are divided.

    Attributes:
        minutes: what was wished, for the training of all models.
        of_float, of_small, of_quantized: parts of it; 0 for a model that is not made.
    """

    minutes: float
    of_float: float
    of_small: float = 0.0
    of_quantized: float = 0.0


@dataclass(frozen=True)
class Timing:
    """What was measured and decided for a training of a given time.

    Attributes:
        budget: the minutes of each model.
        step: seconds of one step.
        updates: how many are expected to fit in the float training.
        steps: of an epoch, None for those of all images.
        evaluation: seconds of one.
    """

    budget: Budget
    step: float
    updates: int
    steps: int | None
    evaluation: float = 0.0


def divide(minutes: float, *, small: bool, quantized: bool) -> Budget:
    """Returns the minutes of each model, whole hundredths of them."""
    if not small:
        return Budget(minutes, minutes)
    of_float = round(FLOAT_SHARE * minutes, 2)
    rest = minutes - of_float
    of_quantized = round(QAT_OF_SMALLER * rest, 2) if quantized else 0.0
    return Budget(minutes, of_float, round(rest - of_quantized, 2), of_quantized)


def updates_within(minutes: float, pace: Pace) -> int:
    """Returns how many steps fit, evaluations left out."""
    from keras_retina.train.duration import AFTER_TRACING, MARGIN

    return max(0, int((60 * minutes * (1 - MARGIN) - (1 + AFTER_TRACING) * pace.tracing) / pace.step))


def minutes_for(updates: int, pace: Pace) -> float:
    """Returns the minutes in which so many steps and one evaluation fit, up to the next tenth."""
    from keras_retina.train.duration import AFTER_TRACING, MARGIN

    seconds = updates * pace.step + (1 + AFTER_TRACING) * pace.tracing + pace.evaluation
    return math.ceil(seconds / (1 - MARGIN) / 6) / 10


def shrink_for(minutes: float, pace: Pace) -> float:
    """Returns the share of the input's side with which LEAST_UPDATES fit, 1 where they fit anyway."""
    fitting = updates_within(minutes, pace)
    return min(1.0, max(LEAST_SHRINK, (fitting / LEAST_UPDATES) ** 0.5))


def shortened_epoch(minutes: float, pace: Pace, *, steps: int) -> int | None:
    """Returns the steps of an epoch, if one of all images would be too long for whole epochs to fill the time."""
    wanted = updates_within(minutes, pace) // EPOCHS_OF_MINUTES
    return max(LEAST_STEPS, wanted) if wanted < steps else None


def wants_small(wishes: Wishes) -> tuple[bool, bool]:
    """Tells whether a smaller model, and a quantization-aware one of it, belong to the wishes."""
    backbone = BACKBONE_FACTS[wishes.backbone or "mobilenet_v2"]
    for_latency = wishes.latency is not None and wishes.objective != "smallest"
    if wishes.objective == "best" or for_latency or backbone.not_pruned:
        return False, False
    return True, wishes.objective == "smallest" and not backbone.not_trained_in_int8


def measured_pace(recipe: Recipe, train_set: Dataset, validation_set: Dataset) -> Pace:
    """Times steps and one evaluation of the recipe's network with random weights, on its own batches."""
    from keras_retina.data.pipeline import training_batches
    from keras_retina.evaluate.predict import detect_function
    from keras_retina.foundation.legacy_keras import keras
    from keras_retina.losses import network_for_losses
    from keras_retina.model.retinanet import detector_network
    from keras_retina.model.spec import detector_spec
    from keras_retina.train.batch_norm import fold_frozen_batch_norm
    from keras_retina.train.duration import measure_pace
    from keras_retina.train.fit import compile_detector
    from keras_retina.train.workers.devices import choose_precision, distribution_strategy, training_devices

    settings, size = recipe.training, recipe.model.input
    logger.info(f"timing the training of a {size.height} x {size.width} px network, a minute or less")
    keras.backend.clear_session()
    spec = detector_spec(recipe.model, train_set.class_names)
    with distribution_strategy(settings.strategy, settings.batch_size).scope():
        detector = detector_network(recipe.model, len(train_set.class_names))
        network = network_for_losses(fold_frozen_batch_norm(detector), settings.loss, spec)
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
    detect = detect_function(detector, spec)
    return measure_pace(network, detect, batches=batches, spec=spec, validation_set=validation_set)
