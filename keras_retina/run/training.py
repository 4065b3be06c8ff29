"""The training stage of a run: its data, checked before hours are spent, the training, and what it reached."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from keras_retina.data.records import Dataset
from keras_retina.foundation.files.writing import write_json
from keras_retina.run.folder import RunFolder, load_splits, open_data, used_splits
from keras_retina.train.workers.cluster import is_left_to_chief, training_cluster, writes_files

logger = logging.getLogger(__name__)


def train_stage(run: RunFolder) -> bool:
    """Trains, or finishes an interrupted training; writes `model.keras` and `metrics.json` (validation split).

    Returns whether this process goes on with the stages that follow: it is alone, or the chief of its cluster.
    """
    if run.model.exists() and (run.metrics.exists() or not writes_files()):
        logger.info("train: done before, skipped")
        return not is_left_to_chief("the rest")
    from keras_retina.data.formats.packs.pack import check_pack_input
    from keras_retina.data.records import require_boxes
    from keras_retina.evaluate.class_balance import write_class_balance
    from keras_retina.evaluate.coco import coco_metrics
    from keras_retina.evaluate.measure_balance import measure_class_balance
    from keras_retina.evaluate.predict import detect_function, predict_dataset
    from keras_retina.model.saving import load_detector
    from keras_retina.train.train import train
    from keras_retina.train.workers.job import joined

    def checked() -> dict[str, Dataset]:  # a bad one is found before hours
        size = run.recipe.model.input
        check_pack_input(run.data_dir, run.recipe.data.train, height=size.height, width=size.width)
        datasets = _datasets(run)
        for dataset in datasets.values():
            require_boxes(dataset)
        return datasets

    cluster = None if run.model.exists() else training_cluster(run.recipe.training)
    with joined(cluster, run.recipe, run_dir=run.path) as job:
        datasets = job.agree_on_data(checked)
        train_set, validation_set = datasets[run.recipe.data.train], datasets[run.recipe.data.validation]
        if not run.model.exists():
            train(
                run.recipe,
                train_set,
                validation_set=validation_set,
                run_dir=run.path,
                data_dir=run.data_dir,
                job=job,
            )
    if not job.is_chief:
        return not is_left_to_chief("the rest")
    model, spec = load_detector(run.model)
    files = run.recipe.export
    detect = detect_function(
        model, spec, iou_threshold=files.iou_threshold, max_detections=files.max_detections, nms=files.nms
    )
    balance = measure_class_balance(model, spec, dataset=validation_set, matching=run.recipe.training.matching)
    run.train.mkdir(exist_ok=True)  # a detector may have been trained elsewhere
    write_class_balance(run.class_balance, balance)
    metrics = coco_metrics(validation_set, predict_dataset(detect, spec, dataset=validation_set))
    write_metrics(run.metrics, run.recipe.data.validation, metrics=metrics)
    logger.info(f"validation AP {_points(metrics['AP'])}, AP50 {_points(metrics['AP50'])}")
    return True


def write_metrics(path: Path, split: str, *, metrics: dict) -> None:
    """Writes `metrics.json`, the COCO metrics of the float Keras model on a split."""
    write_json(path, {"split": split, **metrics})


def _datasets(run: RunFolder) -> dict[str, Dataset]:
    """Reads every split that a run uses; those of `data.split: auto` are made once and written into the run.

    The folder is let go with all that was parsed of it, since training takes hours.
    """
    from keras_retina.data.reading.folder import describe_folder, made_splits
    from keras_retina.data.reading.split_lists import describe, write_lists

    folder = open_data(run)
    if folder.lists is None and (lists := made_splits(folder)) is not None:
        if writes_files():
            write_lists(run.splits, lists)
        logger.info(f"{describe(lists)}; the lists are in {run.splits}")
        folder = replace(folder, lists=lists)
    splits = used_splits(run.recipe)
    datasets = dict(zip(splits, load_splits(folder, splits), strict=True))
    if not run.plan.is_file():  # a plan has said it already
        logger.info(describe_folder(folder, {split: len(dataset.records) for split, dataset in datasets.items()}))
    _warn_of_other_classes(run, datasets[run.recipe.data.train])
    return datasets


def _warn_of_other_classes(run: RunFolder, dataset: Dataset) -> None:
    """Says that the anchors, the size and the length of a recipe were chosen for other objects."""
    promised = run.recipe.expected.classes if run.recipe.expected else ()
    if promised and set(promised) != set(dataset.class_names):
        logger.warning(
            f"the recipe {run.recipe.name} was made for other objects ({', '.join(promised)}). Its settings may not "
            f"fit. `keras-retina run --data {run.data_dir}` without a recipe plans one for this data."
        )


def _points(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f}"
