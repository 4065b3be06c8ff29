"""Writes the files of one variant of a detector and measures them without a clock: for `choice.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import forms
from training import Training, load_variant

from edge.detectors.open_file import opened
from edge.edgetpu.predict import predict
from edge.export.artifact import Artifact
from edge.export.convert import Samples, convert_heads
from edge.quantize.calibration import calibration_samples, choose_calibration_images
from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer
from edge.tflite.graph import graph_work, read_graphs
from keras_retina.data.checks.fit_anchors import best_ious, input_boxes
from keras_retina.data.reading.folder import load_dataset
from keras_retina.data.records import Dataset
from keras_retina.evaluate.coco import coco_metrics
from keras_retina.evaluate.predict import predict_dataset
from keras_retina.foundation.files.writing import write_file
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.saving import load_detector
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.formats import FORMATS, FormatName
from keras_retina.recipe.recipe import Recipe, load_recipe
from keras_retina.run.folder import RunFolder

KINDS: tuple[FormatName, ...] = ("float32", "int8")

Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """A trained detector: its recipe, where variants are written, and functions that load and convert it."""

    recipe: Recipe
    folder: Path
    load: Callable[[tuple[str, ...]], tuple[keras.Model, DetectorSpec]]
    heads: Callable[[keras.Model, DetectorSpec, FormatName, Samples], bytes]


def training_source(folder: Path, training: Training) -> Source:
    """Opens one training; its heads are converted once for all its variants."""
    recipe = load_recipe(folder / "recipe.yaml")

    def heads(model: keras.Model, spec: DetectorSpec, kind: FormatName, samples: Samples) -> bytes:
        path = folder / f"heads_{kind}.tflite"
        if not path.exists():
            write_file(path, convert_heads(model, spec, kind=kind, samples=samples))
        return path.read_bytes()

    return Source(recipe, folder, partial(load_variant, folder, training), heads)


def run_source(run: RunFolder, out: Path) -> Source:
    """Opens a run folder; its raw files are the heads."""

    def heads(model: keras.Model, spec: DetectorSpec, kind: FormatName, samples: Samples) -> bytes:
        return Artifact(run.recipe.name, FORMATS[kind], form="raw").path(run.export).read_bytes()

    out.mkdir(parents=True, exist_ok=True)
    return Source(run.recipe, out, lambda class_names: load_detector(run.model), heads)


def measured_rows(name: str, end: forms.End, *, source: Source, data_dir: Path) -> list[Row]:
    """Writes one variant of a detector in both formats and returns what is measured without a clock."""
    recipe = source.recipe
    train_set, validation_set = load_splits(recipe, data_dir)
    model, spec = source.load(train_set.class_names)
    images = choose_calibration_images(train_set, recipe.export.calibration_images, seed=recipe.seed)
    samples = partial(calibration_samples, images, spec)
    ranges = forms.level_ranges(model, samples()) if end is forms.one_output_a_level else {}
    facts = {
        "anchors": recipe.model.anchors.model_dump(mode="json"),
        "anchor_iou": float(best_ious(input_boxes(validation_set, recipe.model)[0], recipe.model).mean()),
        "epochs": recipe.training.epochs,
    }
    rows = []
    for kind in KINDS:
        graph = read_flatbuffer(source.heads(model, spec, kind, samples))
        end(graph, ranges)
        path = source.folder / file_name(name, kind)
        write_file(path, write_flatbuffer(graph))
        measured = {**file_facts(path), **precision_of(path, spec, validation_set=validation_set)}
        rows.append({"kind": kind, "file": str(path), **measured, **facts})
    return rows


def file_facts(path: Path) -> Row:
    """Returns size, multiply-adds, what XNNPACK takes and what the Edge TPU's compiler would."""
    found, prediction = opened(path), predict(path)
    return {
        "size_bytes": path.stat().st_size,
        "multiply_adds": graph_work(read_graphs(path)[0]).total,
        **{name: found[name] for name in ("operators", "partitions", "left")},
        "delegated": len(found["delegated"]),
        "edgetpu": {
            "verdict": prediction.verdict,
            "problem": prediction.problem,
            "mapped": sum(operator.status == "mapped" for operator in prediction.operators),
            "operators": len(prediction.operators),
            "subgraphs": prediction.subgraphs,
            "parameter_bytes": prediction.parameter_bytes,
            "largest_activation_bytes": prediction.largest_activation_bytes,
        },
    }


def precision_of(path: Path, spec: DetectorSpec, *, validation_set: Dataset) -> Row:
    """Returns the AP fields of a file on a split."""
    found = predict_dataset(forms.detect_function_of_file(path, spec), spec, dataset=validation_set)
    return coco_metrics(validation_set, found)


def load_splits(recipe: Recipe, data_dir: Path) -> tuple[Dataset, Dataset]:
    """Reads the training and the validation split."""
    read = partial(load_dataset, data_dir, format=recipe.data.format, classes=recipe.data.classes)
    return read(split=recipe.data.train), read(split=recipe.data.validation)


def file_name(variant: str, kind: str) -> str:
    """Returns `sigmoid_inside_int8.tflite` and the like."""
    words = variant.replace(",", "").split()
    return f"{'_'.join(words)}_{kind}.tflite"
