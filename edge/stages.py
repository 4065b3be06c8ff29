"""The stages of a run after its training, in this order: compress, export, heal, debug, verify, report.

A stage whose result is there is skipped.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.compress.models import check_settings, compress_model, is_done, load_compressed
from edge.export.artifact import Artifact
from edge.export.export import export_files, is_exported, needs_calibration, origin_of
from edge.quantize.calibration import choose_calibration_images, images_used
from edge.verify.heal.healing import Healing
from edge.verify.result import VerifyResult
from edge.verify.verify import SmallerModel
from keras_retina.data.records import ImageFile
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.writing import write_file, write_json
from keras_retina.foundation.json_values import read_mapping
from keras_retina.recipe.compress import ancestry
from keras_retina.recipe.formats import FORMATS, FormatName
from keras_retina.recipe.recipe import CompressedModel, dump_recipe, load_recipe
from keras_retina.run.folder import (
    RunFolder,
    load_split,
    load_splits,
    open_data,
    open_run,
    read_split,
    run_facts,
    verification_split,
)

if TYPE_CHECKING:
    from edge.detectors.reading import ReadingOptions

logger = logging.getLogger(__name__)


def compress_stage(run: RunFolder) -> None:
    """Makes every model of `compress:` that is not there yet: `compress/NAME/model.keras` and `metrics.json`.

    Raises:
        InputError: the run is not trained, a model of other settings is there, a target that cannot be reached, or a
            fine-tuning that failed; what was saved before is kept, and the same call goes on from there.
    """
    if not run.recipe.compress:
        return
    for name in run.recipe.compress:
        check_settings(run.compressed(name), run.recipe, name=name)
    missing = [name for name in run.recipe.compress if not is_done(run, name)]
    if not missing:
        logger.info("compress: done before, skipped")
        return
    if not run.model.exists():
        raise InputError(f"{run.path}: expected a trained {run.model.name}. Received: none. Run `keras-retina train`.")
    train_set, validation_set = load_splits(open_data(run), (run.recipe.data.train, run.recipe.data.validation))
    for name in missing:
        logger.info(f"compress {name}:")
        compress_model(run, name, train_set=train_set, validation_set=validation_set)


def add_compressed(run: RunFolder, overrides: list[str]) -> RunFolder:
    """Returns the run with `compress.NAME...=value` in its recipe, which is written into the folder.

    Raises:
        InputError: another section, a value that the section does not take, or a model that was begun with others.
    """
    for override in overrides:
        if not override.strip().startswith("compress."):
            raise InputError(
                f"--set: expected a key of the section compress, since the run is trained. Received: {override!r}. "
                "Example: compress.half.channels.keep=0.5"
            )
    recipe = load_recipe(run.recipe_file, overrides)
    for name in recipe.compress:
        check_settings(run.compressed(name), recipe, name=name)
    write_file(run.recipe_file, dump_recipe(recipe).encode())
    return RunFolder(run.path, recipe, run.data_dir)


def export_stage(run: RunFolder) -> list[Path]:
    """Writes the `.tflite` files of the recipe that are missing in `export/`, and returns all of them."""
    from keras_retina.model.saving import load_detector

    settings, name = run.recipe.export, run.recipe.name
    files = {
        kind: [Artifact(name, FORMATS[kind], form=form).path(run.export) for form in settings.heads]
        for kind in settings.formats
    }
    missing = [kind for kind, forms in files.items() if not all(is_exported(file, settings) for file in forms)]
    written = [file for forms in files.values() for file in forms]
    if not missing:
        logger.info("export: done before, skipped")
        return written
    settings = settings.model_copy(update={"formats": tuple(missing)})
    model, spec = load_detector(run.model)
    images: list[ImageFile] = []
    if needs_calibration(settings):
        train_set = load_split(run, run.recipe.data.train)
        images = choose_calibration_images(train_set, settings.calibration_images, seed=run.recipe.seed)
        logger.info(f"calibration: {images_used(len(images), settings.calibration_images)}")
    origin = origin_of(run.recipe_file, run.model)
    export_files(
        model, spec, out_dir=run.export, name=name, settings=settings, calibration_images=images, origin=origin
    )
    return written


def heal_stage(run: RunFolder) -> list[Healing]:
    """Judges every int8 file on the validation split, and replaces one that misses its gate by a better one."""
    from edge.verify.heal.heal import heal_run

    return heal_run(run)


def debug_stage(run: RunFolder) -> tuple[Path, dict[str, Any]]:
    """Measures the int8 file of an exported run layer by layer; writes `export/NAME_int8_debug.json` and returns it."""
    from edge.verify.debug.debug import debug_quantization
    from keras_retina.model.saving import load_detector

    settings, name = run.recipe.export, run.recipe.name
    file = Artifact(name, FORMATS["int8"], form="raw").path(run.export)
    if "int8" not in settings.formats or "raw" not in settings.heads:
        raise InputError(
            "export --debug: expected int8 in export.formats and raw in export.heads, since it looks into that file. "
            f"Received: formats={list(settings.formats)}, heads={list(settings.heads)}. Add them to recipe.yaml."
        )
    model, spec = load_detector(run.model)
    train_set = load_split(run, run.recipe.data.train)
    images = choose_calibration_images(train_set, settings.calibration_images, seed=run.recipe.seed)
    ratio = run.recipe.verification.minimum_ap_ratio
    result = debug_quantization(
        model, spec, file=file, calibration_images=images, train_set=train_set, minimum_ap_ratio=ratio
    )
    path = run.export / f"{Artifact(name, FORMATS['int8']).path(run.export).stem}_debug.json"
    write_json(path, result)
    return path, result


def verify_stage(
    run: RunFolder,
    also: Sequence[Path] = (),
    *,
    options: ReadingOptions | None = None,
) -> VerifyResult:
    """Measures every exported file on the verification split and writes `verify.json`.

    Files of other models (`also`) follow, read as `options` say; they are never part of the gate. One that was made
    from the model of the run is held to it like the exported ones.
    """
    from edge.detectors.reading import ReadingOptions
    from edge.verify.heal.heal import healings_of
    from edge.verify.others import add_other_files, files_of_run, read_others, require_files
    from edge.verify.verify import verify_files
    from keras_retina.model.saving import load_detector

    require_files(also)
    model, spec = load_detector(run.model)
    dataset = load_split(run, verification_split(run.recipe))
    smaller = smaller_models(run)
    theirs = {file.path(run.export) for one in smaller for file in one.files}
    files = sorted(set(run.export.glob("*.tflite")) - theirs)
    if not files:
        raise InputError(f"{run.export}: expected .tflite files. Received: none. Run `keras-retina export`.")
    settings, unmade = run.recipe.verification, unmade_models(run)
    taken = {path.stem for path in (*files, *theirs)}
    own = files_of_run(also, run, taken=taken)
    taken |= {path.stem for path in own}
    others = read_others(
        [path for path in also if path not in own], dataset, options=options or ReadingOptions(), taken=taken
    )
    result = verify_files(
        run.path,
        model,
        spec=spec,
        dataset=dataset,
        settings=settings,
        files=[*files, *own],
        smaller=smaller,
        unmade=unmade,
        healing=healings_of(run),
    )
    return add_other_files(run, result, others=others, dataset=dataset, settings=settings) if others else result


def verify_run(run_dir: str | Path, *, data_dir: str | Path | None = None) -> dict[str, Any]:
    """Measures every exported file of a run folder on its verification split and writes `verify.json` into it.

    It is what `keras-retina verify` does: the Keras model and each file run on images read from disk, pycocotools
    computes AP, and the gate compares each file with its float parent.

    Args:
        run_dir: a folder that `keras-retina run` or `keras-retina export` wrote.
        data_dir: the labelled images, if they are not where they were in training.

    Returns:
        What `verify.json` holds: `dataset`, `gate` (`passed` is true when all files passed), `parity` and `rows`, one
        for each file. AP values are in percent, 0 to 100.

    Raises:
        InputError: no run folder, no exported file, other classes than the data, or an image that cannot be read.
    """
    return verify_stage(open_run(Path(run_dir), Path(data_dir) if data_dir else None)).to_json()


def report_stage(run: RunFolder) -> Path:
    """Writes `report.html`."""
    from edge.report.report import write_report

    dataset = read_split(run, verification_split(run.recipe))
    return write_report(run.path, dataset, command=run_facts(run.path).get("command"))


def export_compressed(run: RunFolder) -> list[Path]:
    """Writes `export/NAME_<format>_<model>.tflite` of every smaller model that is made; returns all of their files."""
    written: list[Path] = []
    for name in run.recipe.compress:
        if not is_done(run, name):
            logger.info(f"export {name}: the model is not made yet. Run `keras-retina compress {run.path}`.")
            continue
        files = [file.path(run.export) for file in files_of(run, name)]
        written += files
        settings = run.recipe.export.model_copy(update={"formats": formats_of(run.recipe.compress[name])})
        if all(is_exported(file, settings) for file in files):
            logger.info(f"export {name}: done before, skipped")
            continue
        images: list[ImageFile] = []
        if needs_calibration(settings):
            train_set = load_split(run, run.recipe.data.train)
            images = choose_calibration_images(train_set, settings.calibration_images, seed=run.recipe.seed)
        model, spec = load_compressed(run, name)
        origin = origin_of(run.recipe_file, run.compressed(name).model)
        export_files(
            model,
            spec,
            out_dir=run.export,
            name=run.recipe.name,
            settings=settings,
            calibration_images=images,
            model_name=name,
            origin=origin,
        )
    return written


def files_of(run: RunFolder, name: str) -> list[Artifact]:
    """Returns the files that a smaller model has, written or not."""
    formats, forms = formats_of(run.recipe.compress[name]), run.recipe.export.heads
    return [Artifact(run.recipe.name, FORMATS[kind], name, form) for kind in formats for form in forms]


def unmade_models(run: RunFolder) -> list[str]:
    """Returns the names of the models of the recipe that are not made yet."""
    return [name for name in run.recipe.compress if not is_done(run, name)]


def formats_of(settings: CompressedModel) -> tuple[FormatName, ...]:
    """Returns the number formats of a model's files; a quantization-aware model has one, its own."""
    return settings.formats if settings.quantize is None else ("int8_qat",)


def smaller_models(run: RunFolder) -> list[SmallerModel]:
    """Loads every smaller model that is made, for `verify_files`; a file that is not exported is not run there."""
    found = []
    for name, settings in run.recipe.compress.items():
        if not is_done(run, name):
            continue
        line = ancestry(run.recipe.compress, name)
        facts = read_mapping(run.compressed(name).metrics) or {}
        found.append(
            SmallerModel(
                name=name,
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
