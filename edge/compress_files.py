"""The `.tflite` files of the smaller models of a run, and what `verify` needs to know of each model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from edge.compress.models import FOLDER, METRICS_FILE, MODEL_FILE, is_done, load_compressed
from edge.export.convert import Kind
from edge.export.export import export_detector, exported_file, is_exported, needs_calibration, origin_of
from edge.quantize.calibration import choose_calibration_images
from edge.run import RunFolder, load_split
from edge.verify.verify import SmallerModel
from keras_retina.data.packed_image import ImageFile
from keras_retina.recipe.compress import ancestry
from keras_retina.recipe.recipe import CompressedModel


def export_compressed(run: RunFolder, report: Callable[[str], None]) -> list[Path]:
    """Writes `export/NAME_<format>_<model>.tflite` of every smaller model that is made; returns all of their files."""
    written: list[Path] = []
    for name in run.recipe.compress:
        if not is_done(run, name):
            report(f"export {name}: the model is not made yet. Run `keras-retina compress {run.path}`.")
            continue
        files = files_of(run, name)
        written += files
        settings = run.recipe.export.model_copy(update={"formats": formats_of(run.recipe.compress[name])})
        if all(is_exported(file, settings) for file in files):
            report(f"export {name}: done before, skipped")
            continue
        images: list[ImageFile] = []
        if needs_calibration(settings):
            train_set = load_split(run, run.recipe.data.train, report)
            images = choose_calibration_images(train_set, settings.calibration_images, run.recipe.seed)
        model, spec = load_compressed(run, name)
        origin = origin_of(run.path / "recipe.yaml", run.path / FOLDER / name / MODEL_FILE)
        folder = run.path / "export"
        export_detector(model, spec, folder, run.recipe.name, settings, images, report, name, origin)
    return written


def files_of(run: RunFolder, name: str) -> list[Path]:
    """Returns the files that a smaller model has, written or not."""
    formats, heads = formats_of(run.recipe.compress[name]), run.recipe.export.heads
    return [exported_file(run.path / "export", run.recipe.name, kind, head, name) for kind in formats for head in heads]


def unmade_models(run: RunFolder) -> list[str]:
    """Returns the names of the models of the recipe that are not made yet."""
    return [name for name in run.recipe.compress if not is_done(run, name)]


def formats_of(settings: CompressedModel) -> tuple[Kind, ...]:
    """Returns the number formats of a model's files; a quantization-aware model has one, its own."""
    return settings.formats if settings.quantize is None else ("int8_qat",)


def smaller_models(run: RunFolder) -> list[SmallerModel]:
    """Loads every smaller model that is made, for `verify_run`; a file that is not exported is not run there."""
    found = []
    for name, settings in run.recipe.compress.items():
        if not is_done(run, name):
            continue
        folder = run.path / FOLDER / name
        line = ancestry(run.recipe.compress, name)
        facts = json.loads((folder / METRICS_FILE).read_text(encoding="utf-8"))
        found.append(
            SmallerModel(
                name=name,
                path=folder / MODEL_FILE,
                model=load_compressed(run, name)[0],
                files=files_of(run, name),
                multiply_adds=facts["multiply_adds"],
                parameters=facts["parameters"],
                is_quantized=settings.quantize is not None,
                minimum_ap_ratio=settings.minimum_ap_ratio,
                zeros=max((model.sparsity.amount for model in line if model.sparsity), default=0.0),
                values=next((model.clusters.number for model in line if model.clusters), None),
            )
        )
    return found
