"""Finds what the int8 file loses, layer by layer, and which layers to leave in float: `export RUN --debug`.

Everything is measured on images of the training split: float layers that were chosen on the images a result is
reported on would flatter it.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from edge.export.convert import balanced_model, float_heads
from edge.export.int16 import take_camera_bytes
from edge.quantize.calibration import calibration_samples, choose_calibration_images
from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer
from edge.tflite.layer_names import layers_in
from edge.verify.debug.map_errors import Comparison, MapError, map_errors
from edge.verify.debug.search import CANDIDATES, Group, Search, ap_candidates, search_layers
from edge.verify.debug.trials import Trial, TrialFiles, average_precision
from keras_retina.data.records import Dataset, ImageFile
from keras_retina.foundation.files.reading import sha256_of
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.spec import DetectorSpec

logger = logging.getLogger(__name__)

ERROR_IMAGES = 8
HEAD_IMAGES = 4
AP_IMAGES = 64


def debug_quantization(
    model: keras.Model,
    spec: DetectorSpec,
    *,
    file: Path,
    calibration_images: Sequence[ImageFile],
    train_set: Dataset,
    minimum_ap_ratio: float,
) -> dict[str, Any]:
    """Compares a raw int8 file with its float parent; returns what `NAME_int8_debug.json` holds.

    `feature_maps`: the error of each, in order of execution. `layers`: what leaving one in float takes off the error
    of the heads, alone and with its readers, best first; where a gain is None, `reason` says why. `ap`: of the float
    network, of the file, and of the file with the best candidates in float. `suggested_float_layers` is empty when
    int8 reaches `minimum_ap_ratio` of the float AP, or no few layers win back half of what it misses.

    Raises:
        InputError: the file is not of this model, or an image cannot be read.
    """
    samples = partial(calibration_samples, calibration_images, spec)
    float_network = float_heads(balanced_model(model, samples), spec)
    network = file.read_bytes()
    error_images = min(ERROR_IMAGES, len(calibration_images))
    logger.info(f"debug: feature maps of {file.name} on {error_images} training images")
    errors = map_errors(float_network, network, samples=itertools.islice(samples(), ERROR_IMAGES), spec=spec)
    files = TrialFiles(network, float_network, spec=spec)
    float_heads_only = with_camera_bytes(float_network, spec)
    images = [image for (image,) in itertools.islice(samples(), HEAD_IMAGES)]
    expected = files.heads(files.write(float_heads_only), images)
    search = search_layers(files, network, expected, images=images)
    subset = training_subset(train_set, AP_IMAGES)
    ap = _average_precisions(files, float_heads_only, trials=search.singles, subset=subset)
    chosen, reason = suggestion(ap["float"], ap["int8"], trials=ap["trials"], minimum_ap_ratio=minimum_ap_ratio)
    return {
        "file": file.name,
        "sha256": sha256_of(network),
        "split": train_set.split,
        "feature_map_images": error_images,
        "feature_maps": [_map_facts(error) for error in errors],
        "head_error_images": len(images),
        "head_error": search.error,
        "layers": _ranked(search),
        "ap": ap,
        "suggested_float_layers": chosen,
        "reason": reason,
    }


def with_camera_bytes(float_network: bytes, spec: DetectorSpec) -> bytes:
    """Returns a float network of scaled pixels with camera bytes as input."""
    parent = read_flatbuffer(float_network)
    take_camera_bytes(parent, spec)
    return write_flatbuffer(parent)


def _average_precisions(
    files: TrialFiles,
    float_heads_only: bytes,
    *,
    trials: Sequence[Trial],
    subset: Dataset,
) -> dict[str, Any]:
    """Returns the AP of the float network, of the file, and of the file with the best candidates in float."""
    float_ap = average_precision(files.write(float_heads_only), subset)
    int8_ap = average_precision(files.file(()), subset)
    logger.info(f"debug: AP on {len(subset.records)} training images: float {float_ap}, int8 {int8_ap}")
    tried = []
    for layers in ap_candidates(trials, CANDIDATES):
        tried.append({"float_layers": list(layers), "AP": average_precision(files.file(layers), subset)})
        logger.info(f"debug: AP {tried[-1]['AP']} with {', '.join(layers)} in float")
    return {"images": len(subset.records), "float": float_ap, "int8": int8_ap, "trials": tried}


def _ranked(search: Search) -> list[dict[str, Any]]:
    """Returns a row for each layer: best gain first, those without any gain last, in the order of execution."""
    own = {trial.layers: trial for trial in search.alone}
    rows = {}
    for group in search.groups:
        together = group.trial
        for layer in group.layers:
            single = own.get(group.layers)  # none of a group of several layers
            rows[layer] = {
                "layer": layer,
                "gain": single.gain if single else None,
                "with_readers": list(search.readers[layer]),
                "gain_with_readers": together.gain if single else None,
                "reason": single.reason or together.reason if single else _why_untried(group),
            }
    return sorted((rows[layer] for layer in search.readers), key=lambda row: -_best_gain(row))


def _best_gain(row: Mapping[str, Any]) -> float:
    gains = [row[name] for name in ("gain", "gain_with_readers") if row[name] is not None]
    return max(gains, default=-math.inf)


def _why_untried(group: Group) -> str:
    layers, trial = group.layers, group.trial
    gain = trial.reason if trial.gain is None else f"with their readers they gain {100 * trial.gain:.1f} %"
    return f"not tried alone: one of {len(layers)} layers, {layers[0]} to {layers[-1]}; {gain}"


def training_subset(train_set: Dataset, count: int) -> Dataset:
    """Returns at most `count` images of the split in which the classes take turns, the same ones every time."""
    chosen = set(choose_calibration_images(train_set, count))
    return dataclasses.replace(
        train_set, records=tuple(record for record in train_set.records if record.path in chosen)
    )


def suggestion(
    float_ap: float | None, int8_ap: float | None, *, trials: Sequence[dict[str, Any]], minimum_ap_ratio: float
) -> tuple[list[str], str]:
    """Returns the layers to leave in float, and why these or none."""
    if not float_ap or int8_ap is None:
        return [], "the float network finds nothing on these images, so no layer can be judged"
    if int8_ap >= minimum_ap_ratio * float_ap:
        return [], f"int8 keeps {100 * int8_ap / float_ap:.1f} % of the float AP: no layer needs to stay float"
    enough = [trial for trial in trials if trial["AP"] >= minimum_ap_ratio * float_ap]
    half = [trial for trial in trials if trial["AP"] - int8_ap >= 0.5 * (float_ap - int8_ap)]
    if enough:
        chosen = min(enough, key=lambda trial: len(trial["float_layers"]))
    elif half:
        chosen = max(half, key=lambda trial: trial["AP"])
    else:
        return [], (
            f"int8 keeps {100 * int8_ap / float_ap:.1f} % of the float AP, and no few layers win back half of the "
            "rest: try int16, or train with quantization"
        )
    return list(chosen["float_layers"]), (
        f"AP {int8_ap:.2f} in int8, {chosen['AP']:.2f} with these layers in float, {float_ap:.2f} all in float"
    )


def _map_facts(error: MapError) -> dict[str, Any]:
    return {
        "layer": layers_in(error.name)[0],
        "feature_map": error.name,
        "operator": error.operator,
        "shape": list(error.shape),
        "range": [error.low, error.high],
        "scale": error.scale,
        "zero_point": error.zero_point,
        "clipped_share": error.clipped_share,
        "weights_sqnr_db": error.weights,
        "accumulated": _comparison_facts(error.accumulated),
        "local": None if error.local is None else _comparison_facts(error.local),
    }


def _comparison_facts(compared: Comparison) -> dict[str, float]:
    return {
        "sqnr_db": round(compared.sqnr, 2),
        "channel_sqnr_db": round(compared.channel_sqnr, 2),
        "cosine": round(compared.cosine, 6),
    }
