"""Structured pruning of a detector in rounds, each followed by a fine-tuning, resuming where it stopped."""

from __future__ import annotations

import dataclasses
import logging
import statistics
import tempfile
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edge.compress.channels.cost import multiply_add_cost, parameter_cost, time_cost
from edge.compress.channels.groups import ChannelGroup
from edge.compress.channels.prune import prune_to
from edge.compress.channels.rank import kernel_norms, loss_changes, norm_scales
from edge.compress.fine_tune import CompressTask, fine_tune, fine_tune_batches
from edge.detectors.measure import invoke_latency
from edge.export.convert import Samples, convert_heads
from edge.export.export import write_detector
from edge.runtime import Detector
from keras_retina.foundation.legacy_keras import keras
from keras_retina.foundation.run_paths import CompressedPaths
from keras_retina.losses import importance_losses
from keras_retina.model.graph import multiply_adds
from keras_retina.model.saving import load_detector, save_detector
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.compress import Channels
from keras_retina.recipe.formats import FormatName
from keras_retina.recipe.recipe import Export

logger = logging.getLogger(__name__)


def latency_on_this_machine(
    spec: DetectorSpec,
    kind: FormatName = "float32",
    *,
    samples: Samples | None = None,
    threads: int = 2,
    runs: int = 30,
) -> Callable[[keras.Model], float]:
    """Returns a function that converts a detector and returns the median milliseconds of its single-image invokes.

    A model is converted once, however often it is timed. For `int8` pass `samples` (see `convert_heads`); two are
    enough, ranges take no time.
    """
    detectors: weakref.WeakKeyDictionary[keras.Model, Detector] = weakref.WeakKeyDictionary()
    image = np.random.default_rng(0).integers(0, 256, (spec.height, spec.width, 3), np.uint8)

    def latency(model: keras.Model) -> float:
        if model not in detectors:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                path = Path(folder) / "candidate.tflite"
                write_detector(
                    path,
                    convert_heads(model, spec, kind=kind, samples=samples),
                    spec=spec,
                    kind=kind,
                    head="raw",
                    settings=Export(),
                )
                detectors[model] = Detector(path, threads)
        return statistics.median(invoke_latency(detectors[model], image, runs=runs))

    return latency


START_FILE = "pruned.keras"
TAYLOR_BATCHES = 4  # more images hardly change the order of the channels


def prune_rounds(task: CompressTask) -> keras.Model:
    """Removes channels and fine-tunes, as often as `rounds` says, and returns the last model."""
    channels = task.settings.channels or Channels()
    short = task.settings.fine_tune.model_copy(update={"epochs": channels.round_epochs, "minutes": None})
    model = task.parent
    for number in range(1, channels.rounds + 1):
        turn = task
        if number < channels.rounds:
            settings = task.settings.model_copy(update={"fine_tune": short})
            folder = CompressedPaths(task.folder.path / f"round_{number}")
            turn = dataclasses.replace(task, settings=settings, folder=folder)
            if turn.folder.model.exists():
                model, _ = load_detector(turn.folder.model)
                continue
        start = turn.folder.path / START_FILE
        if not start.exists():
            turn.folder.path.mkdir(parents=True, exist_ok=True)
            save_detector(_pruned(model, task, channels=channels), task.spec, start)
        with task.strategy.scope():
            model, _ = load_detector(start)
        share = multiply_adds(model) / multiply_adds(task.parent)
        logger.info(f"round {number} of {channels.rounds}: {share:.3f} x the multiply-adds")
        fine_tune(model, turn)
        if turn is not task:
            save_detector(model, task.spec, turn.folder.model)
    return model


def _pruned(model: keras.Model, task: CompressTask, *, channels: Channels) -> keras.Model:
    """Returns the model without the channels that one round removes."""

    def importance(model: keras.Model, groups: Sequence[ChannelGroup]) -> list[np.ndarray]:
        if channels.criterion == "taylor":
            losses = importance_losses(task.recipe.training.loss, task.spec)
            return loss_changes(model, groups, batches=fine_tune_batches(task).take(TAYLOR_BATCHES), losses=losses)
        if channels.criterion == "batch_norm":
            return norm_scales(model, groups)
        return kernel_norms(model, groups, order=1 if channels.criterion == "l1" else 2)

    cost = parameter_cost if channels.of == "parameters" else multiply_add_cost
    price = parameter_cost if channels.of == "parameters" else time_cost
    measure = latency_on_this_machine(task.spec) if channels.of == "latency" else None
    share = channels.keep ** (1 / channels.rounds)
    return prune_to(
        model,
        share,
        importance_of=importance,
        cost_of=cost,
        price_of=price,
        measure=measure,
        multiple=channels.multiple,
    )
