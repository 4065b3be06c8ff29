"""A training of a given wall time: its pace is measured first, and the epochs that fit are decided once for the run."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_retina.data.records import Dataset
from keras_retina.evaluate.coco import coco_metrics
from keras_retina.evaluate.predict import BATCH, predict_dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.writing import write_json
from keras_retina.foundation.json_values import is_number
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.recipe import Training
from keras_retina.train.callbacks.history import evaluations_between
from keras_retina.train.checkpoints.folder import newest_whole

logger = logging.getLogger(__name__)

MARGIN = 0.05  # of the time: checkpoints, pictures and statistics are not measured
AFTER_TRACING = 1 / 4  # of the tracing before: the statistics of BatchNorm are traced too
MEASURED_STEPS = 12
UNTIMED_STEPS = 4  # of them: the first traces the graph, the next are fed from what was read meanwhile


@dataclass(frozen=True)
class Pace:
    """Seconds of one step, of tracing before the first, and of one evaluation."""

    step: float
    tracing: float
    evaluation: float


def measure_pace(
    model: keras.Model,
    detect: Callable[[np.ndarray], dict[str, np.ndarray]],
    *,
    batches: tf.data.Dataset,
    spec: DetectorSpec,
    validation_set: Dataset,
) -> Pace:
    """Times steps of a compiled model and one evaluation, and puts model, optimiser and losses back.

    The graphs of both stay: a `fit` of the model and `detect`, its `detect_function`, need not be traced again.
    """
    variables = [*model.variables, *model.optimizer.variables, *model.loss["classes"].state]
    values = [variable.numpy() for variable in variables]
    ends = [time.perf_counter()]
    tick = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_: ends.append(time.perf_counter()))
    model.fit(batches, steps_per_epoch=MEASURED_STEPS, callbacks=[tick], verbose=0)
    step = (ends[-1] - ends[UNTIMED_STEPS]) / (MEASURED_STEPS - UNTIMED_STEPS)
    predict_dataset(detect, spec, dataset=replace(validation_set, records=validation_set.records[:BATCH]))  # traces
    started = time.perf_counter()
    coco_metrics(validation_set, predict_dataset(detect, spec, dataset=validation_set))
    evaluation = time.perf_counter() - started
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return Pace(step, ends[1] - ends[0], evaluation)


def epochs_within(seconds: float, epoch: float, *, evaluation: float, evaluate_every: int, most: int) -> int:
    """Returns the most epochs, up to `most`, that end with their evaluations within `seconds`; 0 when none does."""
    fitting = (
        epochs
        for epochs in range(most, 0, -1)
        if epochs * epoch + evaluations_between(0, epochs, every=evaluate_every) * evaluation <= seconds
    )
    return next(fitting, 0)


def within_minutes(
    settings: Training,
    minutes: float,
    *,
    steps_per_epoch: int,
    path: Path,
    measure: Callable[[], Pace],
    started: float,
    section: str = "training",
) -> Training:
    """Returns the settings with the epochs that end `minutes` after `started`, a time of `time.perf_counter`.

    A resumed training has started earlier, by its `seconds_spent`.

    `section` of the recipe has the minutes, for messages.

    The decision is written to `path`. Where an interrupted training left it, nothing is measured: the seconds that its
    whole epochs took, and all before them, count as spent, and the epochs that fit in what is left follow them. Maybe
    there are none. The interrupted epoch and the time until the next call do not count.

    Raises:
        InputError: not even one epoch fits.
    """
    if path.exists():
        epochs = _epochs_of_resumed(path, settings, minutes=minutes, steps_per_epoch=steps_per_epoch, started=started)
        return settings.model_copy(update={"epochs": epochs})
    pace = measure()
    epoch = pace.step * steps_per_epoch
    left = 60 * minutes * (1 - MARGIN) - (time.perf_counter() - started) - AFTER_TRACING * pace.tracing
    epochs = epochs_within(
        left, epoch, evaluation=pace.evaluation, evaluate_every=settings.evaluate_every, most=settings.epochs
    )
    if not epochs:
        raise InputError(
            f"{section}.minutes: expected time for one epoch of {epoch:.0f} s and its evaluation of "
            f"{pace.evaluation:.0f} s. Received: {minutes}, of which {max(left, 0.0):.0f} s are left for them. "
            "Raise it, or lower training.steps_per_epoch."
        )
    facts = {"step_seconds": pace.step, "evaluation_seconds": pace.evaluation, "tracing_seconds": pace.tracing}
    write_json(path, {"epochs": epochs, **facts})
    limit = "minutes" if epochs < settings.epochs else "epochs"
    logger.info(
        f"{epochs} epochs in {minutes:g} min at {pace.step:.2f} s a step and {pace.evaluation:.1f} s an evaluation; "
        f"the limit is {section}.{limit}"
    )
    return settings.model_copy(update={"epochs": epochs})


def seconds_spent(path: Path) -> float:
    """Returns what an interrupted training of a given time spent until its last whole checkpoint; 0 without one.

    Args:
        path: where the training writes it, which gets what the checkpoint says of it.

    Raises:
        InputError: the file is damaged, or the checkpoints of which none is whole.
    """
    newest_whole(path.parent)
    return float(read_duration(path).get("spent_seconds", 0.0)) if path.exists() else 0.0


def read_duration(path: Path) -> dict[str, float]:
    """Reads what a training of a given time decided and measured: the epochs, and the seconds of their parts.

    Raises:
        InputError: the file is damaged.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(facts, dict) or not all(is_number(value) for value in facts.values()):
            raise ValueError("no object of numbers")
        if missing := {"epochs", "step_seconds", "evaluation_seconds"} - set(facts):
            raise ValueError(f"no {sorted(missing)[0]}")
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: expected the pace of the training as JSON. Received: {error}. Delete the file: the pace is "
            "measured anew, and the time counts from now."
        ) from error
    return facts


def _epochs_of_resumed(path: Path, settings: Training, *, minutes: float, steps_per_epoch: int, started: float) -> int:
    """Returns the epochs that were decided if nothing is done, else those that are done and what still fits."""
    facts = read_duration(path)
    done, steps, tracing = int(facts.get("done", 0)), facts.get("steps", 0), facts.get("tracing_seconds", 0.0)
    if not done:
        return int(facts["epochs"])
    spent = time.perf_counter() - started
    logger.info(f"{facts['spent_seconds'] / 60:.1f} of {minutes:g} min were spent before")
    left = 60 * minutes * (1 - MARGIN) - spent - (1 + AFTER_TRACING) * tracing
    return done + epochs_within(
        left + facts["step_seconds"] * steps,  # of the epoch that goes on
        facts["step_seconds"] * steps_per_epoch,
        evaluation=facts["evaluation_seconds"],
        evaluate_every=settings.evaluate_every,
        most=settings.epochs - done,
    )
