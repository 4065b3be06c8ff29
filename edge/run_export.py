"""The files of a run: written once, and looked into layer by layer when asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge.run import RunFolder, load_split
from edge.tflite.flatbuffer import write_file
from keras_retina.data.packed_image import ImageFile
from keras_retina.foundation.errors import InputError


def export_stage(run: RunFolder, report: Callable[[str], None]) -> list[Path]:
    """Writes the `.tflite` files of the recipe that are missing in `export/`, and returns all of them."""
    from edge.export.export import export_detector, exported_file, is_exported, needs_calibration, origin_of
    from edge.quantize.calibration import choose_calibration_images, images_used
    from keras_retina.model.saving import load_detector

    settings, name = run.recipe.export, run.recipe.name
    files = {
        kind: [exported_file(run.path / "export", name, kind, head) for head in settings.heads]
        for kind in settings.formats
    }
    missing = [kind for kind, forms in files.items() if not all(is_exported(file, settings) for file in forms)]
    written = [file for forms in files.values() for file in forms]
    if not missing:
        report("export: done before, skipped")
        return written
    settings = settings.model_copy(update={"formats": tuple(missing)})
    model, spec = load_detector(run.path / "model.keras")
    images: list[ImageFile] = []
    if needs_calibration(settings):
        train_set = load_split(run, run.recipe.data.train, report)
        images = choose_calibration_images(train_set, settings.calibration_images, run.recipe.seed)
        report(f"calibration: {images_used(len(images), settings.calibration_images)}")
    origin = origin_of(run.path / "recipe.yaml", run.path / "model.keras")
    export_detector(model, spec, run.path / "export", name, settings, images, report, origin=origin)
    return written


def debug_stage(run: RunFolder, report: Callable[[str], None]) -> tuple[Path, dict[str, Any]]:
    """Measures the int8 file of an exported run layer by layer; writes `export/NAME_int8_debug.json` and returns it."""
    from edge.quantize.calibration import choose_calibration_images
    from edge.verify.debug.debug import debug_quantization
    from keras_retina.model.saving import load_detector

    settings, name = run.recipe.export, run.recipe.name
    file = run.path / "export" / f"{name}_int8_raw.tflite"
    if "int8" not in settings.formats or "raw" not in settings.heads:
        raise InputError(
            "export --debug: expected int8 in export.formats and raw in export.heads, since it looks into that file. "
            f"Received: formats={list(settings.formats)}, heads={list(settings.heads)}. Add them to recipe.yaml."
        )
    model, spec = load_detector(run.path / "model.keras")
    train_set = load_split(run, run.recipe.data.train, report)
    images = choose_calibration_images(train_set, settings.calibration_images, run.recipe.seed)
    ratio = run.recipe.verification.minimum_ap_ratio
    result = debug_quantization(model, spec, file, images, train_set, ratio, report)
    path = run.path / "export" / f"{name}_int8_debug.json"
    write_file(path, json.dumps(result, indent=1).encode())
    return path, result
