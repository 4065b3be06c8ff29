"""Training with `model.fit`: strategy, optimiser, schedule, callbacks, resume and the final weights."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from keras_retina.data.pipeline import check_augmentation, images_of_batch, training_batches
from keras_retina.data.reading.order import WHOLE_BATCH, BatchShare
from keras_retina.data.records import Dataset
from keras_retina.evaluate.predict import detect_function
from keras_retina.foundation.determinism import enable_determinism
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.foundation.machine import keep_freed_memory
from keras_retina.foundation.run_paths import DURATION, RunPaths
from keras_retina.losses import network_for_losses
from keras_retina.model.batch_norm import set_batch_norm_momentum
from keras_retina.model.retinanet import detector_network
from keras_retina.model.saving import save_detector
from keras_retina.model.spec import DetectorSpec, detector_spec
from keras_retina.model.weights.pretrained import find_weights, load_pretrained
from keras_retina.recipe.recipe import Recipe, Training
from keras_retina.train.batch_norm import estimate_batch_norm, fold_frozen_batch_norm
from keras_retina.train.clock import time_keeper
from keras_retina.train.duration import measure_pace, seconds_spent, within_minutes
from keras_retina.train.feature_cache import build_feature_cache, feature_batches, images_of_views, split_at_frozen
from keras_retina.train.fit import compile_detector, fit_detector
from keras_retina.train.optimizer import set_epochs
from keras_retina.train.synchronized_norm import synchronized_norms
from keras_retina.train.unfreezing import always_frozen, starts_of_variables
from keras_retina.train.workers.collective import batch_share_of, is_cluster, on_this_worker
from keras_retina.train.workers.devices import (
    choose_precision,
    copy_weights,
    distribution_strategy,
    in_precision,
    training_devices,
)
from keras_retina.train.workers.job import ALONE, Job

logger = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    train_set: Dataset,
    *,
    validation_set: Dataset,
    run_dir: Path,
    data_dir: Path | None = None,
    job: Job = ALONE,
) -> tuple[keras.Model, DetectorSpec]:
    """Trains a detector, or finishes an interrupted training, and writes `model.keras` into the run folder.

    The run folder gets `train/` with checkpoints, `history.csv` and TensorBoard logs. After an interruption the same
    call continues at the step of the last whole checkpoint, with the batches that the uninterrupted run would have
    seen.

    Args:
        job: the part of this process in a training of several (`joined`). All must call this with the same arguments;
            the chief writes the files.

    Raises:
        Preempted, KeyboardInterrupt: it was asked to stop, and saved.
        InputError: pretrained weights that do not fit, an augmentation that hides every object, fewer batches than one
            update takes, minutes too few for an epoch, a precision that the device has not, a loss that is not a
            number, a disk that is full.
    """
    started = time.perf_counter()
    settings = recipe.training
    paths = RunPaths(run_dir)
    train_dir = job.train_dir or paths.train
    started -= seconds_spent(train_dir / DURATION)
    precision = choose_precision(settings.precision, training_devices())
    keep_freed_memory()
    if settings.deterministic:
        enable_determinism()
    keras.utils.set_random_seed(recipe.seed)
    spec = detector_spec(recipe.model, train_set.class_names)
    check_augmentation(train_set, spec, augmentation=recipe.augmentation, seed=recipe.seed)
    steps = settings.steps_per_epoch or max(1, len(train_set.records) // settings.batch_size)
    _check_updates(settings, steps)
    strategy = job.strategy or distribution_strategy(settings.strategy, settings.batch_size)
    with strategy.scope():
        replicas = strategy.num_replicas_in_sync if settings.synchronize_batch_norm else 1
        networks, source = _networks(recipe, spec, precision=precision, data_dir=data_dir, replicas=replicas)
        network, model, detector = networks.learning, networks.whole, networks.detector
        starts = starts_of_variables(model, recipe.model.backbone, settings.unfreeze_at)
        compile_detector(network, spec, settings=settings, steps_per_epoch=steps, precision=precision, starts=starts)
    job.agree_on_start(model, precision=precision)
    logger.info(f"backbone weights: {source or 'random'}; {model.count_params():,} parameters; {precision}")

    train_dir.mkdir(parents=True, exist_ok=True)

    features = Path(settings.feature_cache) if settings.feature_cache else train_dir / "features"
    if settings.feature_views:
        frozen = fold_frozen_batch_norm(networks.frozen)
        build_feature_cache(features, recipe, dataset=train_set, spec=spec, frozen=frozen, views=settings.feature_views)

    def batches(first_step: int, share: BatchShare | None = None) -> tf.data.Dataset:
        first_sample = first_step * settings.batch_size
        if settings.feature_views:
            return feature_batches(
                features,
                spec,
                matching=settings.matching,
                batch_size=settings.batch_size,
                seed=recipe.seed,
                first_sample=first_sample,
            )
        return training_batches(
            train_set,
            spec,
            augmentation=recipe.augmentation,
            matching=settings.matching,
            batch_size=settings.batch_size,
            seed=recipe.seed,
            first_sample=first_sample,
            cache_mebibytes=recipe.data.cache_mebibytes,
            share=share or batch_share_of(strategy),
        )

    def images_of(first_step: int) -> list[str]:
        number, seed = settings.batch_size, recipe.seed
        first_sample, of_train_set = first_step * number, partial(images_of_batch, train_set)
        if settings.feature_views:
            of_train_set = partial(images_of_views, train_set, views=settings.feature_views)
        return of_train_set(augmentation=recipe.augmentation, batch_size=number, seed=seed, first_sample=first_sample)

    evaluated = on_this_worker(strategy, model) if is_cluster(strategy) else model
    detect, keep_time = detect_function(evaluated, spec, nms=recipe.export.nms), None
    if settings.minutes is not None:
        most = settings.epochs
        settings = within_minutes(
            settings,
            settings.minutes,
            steps_per_epoch=steps,
            path=train_dir / DURATION,
            measure=lambda: measure_pace(network, detect, batches=batches(0), spec=spec, validation_set=validation_set),
            started=started,
        )
        _check_updates(settings, steps)
        set_epochs(network.optimizer, settings.epochs)
        keep_time = time_keeper(settings, started=started, most=most, path=train_dir / DURATION)

    fit_detector(
        network,
        model,
        spec=spec,
        settings=settings,
        steps=steps,
        batches=batches,
        validation_set=validation_set,
        train_dir=train_dir,
        detect=detect,
        keep_time=keep_time,
        images_of=images_of,
    )
    if is_cluster(strategy):
        weights = model.get_weights()  # all workers: statistics of BatchNorm are summed up while they are read
        if not job.is_chief:
            return model, spec
        detector = _detector_of(recipe, spec)
        detector.set_weights(weights)
    elif model is not detector:
        copy_weights(model, detector)
    reader = split_at_frozen(detector)[1] if settings.feature_views else detector  # of what the batches hold
    estimate_batch_norm(reader, batches(settings.epochs * steps, WHOLE_BATCH))
    save_detector(detector, spec, paths.model)
    if settings.minutes is not None:
        logger.info(f"training took {(time.perf_counter() - started) / 60:.2f} of {settings.minutes:g} min")
    return detector, spec


@dataclass(frozen=True)
class _Networks:
    """One detector in its parts, which share their variables but for those of another precision.

    Attributes:
        detector: float32, what is saved.
        whole: the same in the precision of the training.
        frozen: its layers that do not learn, where their features are computed once.
        learning: what `fit` trains, from images or from those features, with frozen BatchNorm folded.
    """

    detector: keras.Model
    whole: keras.Model
    frozen: keras.Model | None
    learning: keras.Model


def _networks(
    recipe: Recipe, spec: DetectorSpec, *, precision: str, data_dir: Path | None, replicas: int
) -> tuple[_Networks, Path | str | None]:
    """Returns the networks of a recipe with pretrained weights, and where these came from.

    Args:
        replicas: that BatchNorm takes its statistics over.
    """
    detector = _detector_of(recipe, spec)
    source = find_weights(recipe.model.backbone, data_dir)
    load_pretrained(detector, recipe.model.backbone, source=source, class_names=spec.class_names)
    whole = in_precision(detector, precision)
    frozen, learning = split_at_frozen(whole) if recipe.training.feature_views else (None, whole)
    learning = fold_frozen_batch_norm(learning, instead=synchronized_norms(learning, replicas=replicas))
    learning = network_for_losses(learning, recipe.training.loss, spec)
    return _Networks(detector, whole, frozen, learning), source


def _detector_of(recipe: Recipe, spec: DetectorSpec) -> keras.Model:
    """Returns the float32 network of a recipe, from random weights."""
    detector = detector_network(always_frozen(recipe.model, recipe.training.unfreeze_at), len(spec.class_names))
    set_batch_norm_momentum(detector)
    return detector


def _check_updates(settings: Training, steps_per_epoch: int) -> None:
    batches = settings.epochs * steps_per_epoch
    if settings.accumulate_steps > batches:
        raise InputError(
            f"training.accumulate_steps: expected at most the {batches} batches of the training. "
            f"Received: {settings.accumulate_steps}, so no update. Closest: {batches}."
        )
