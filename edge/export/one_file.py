"""One `.tflite` file of a Keras detector: what a program asks for, where a recipe asks for all of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from edge.export.export import check_heads, converted, described, finished_graph
from edge.quantize.detector import check_is_finished, is_quantize_aware
from edge.quantize.own_images import calibration_images
from edge.tflite.flatbuffer import write_flatbuffer
from keras_retina.foundation.errors import InputError, closest
from keras_retina.foundation.files.writing import make_folder, write_file
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.export import Export, Quantizer
from keras_retina.recipe.formats import FORMATS, Form, FormatName, RecipeFormat

_LIKE_A_FORMAT = re.compile(r"(u?int|b?float|fp|bf)\d+|w\d+a\d+")


def export_detector(
    model: keras.Model,
    spec: DetectorSpec,
    path: str | Path,
    *,
    calibration: Iterable[Any] = (),
    format: RecipeFormat | None = None,
    head: Form = "postprocess",
    score_threshold: float = 0.01,
    iou_threshold: float = 0.5,
    max_detections: int = 100,
    nms: Literal["per_class", "fast"] = "per_class",
    quantizer: Quantizer = "tensorflow",
) -> Path:
    """Writes one `.tflite` file and returns its path.

    The file takes uint8 RGB `[1, height, width, 3]`. Labels, TFLite metadata, anchors and thresholds are inside, so
    `edge.Detector`, MediaPipe and the other clients need nothing else. `edge.evaluate_tflite` measures it.

    Args:
        model: of `retinanet`, plain or quantization-aware. The int8 file of a quantization-aware one has the ranges
            that it was trained with; every other format is made of its float weights.
        path: ends in `.tflite`; its folder is made if it is not there.
        calibration: training images with which the ranges of int8, int16 and int4 are measured, at most 300 of them:
            paths, uint8 RGB arrays `[height, width, 3]`, Pillow images, or a `tf.data.Dataset` of such arrays.
        format: by default the one that the name of the file ends with (`mine_float16.tflite`), and int8 if there is
            none in it. `dynamic` is int8 weights and float arithmetic; `int16` is int8 weights and 16-bit activations;
            `int4` is 4-bit kernels and 8-bit activations.
        head: `postprocess` ends with boxes, classes, scores and their number, by TFLite_Detection_PostProcess, which
            clients know; `builtin` does the same with built-in operators alone; `raw` ends with logits and offsets, as
            the Edge TPU needs it.
        score_threshold: lowest score that the file returns, in 0..1.
        iou_threshold: of two boxes of a class that overlap more, the file drops the lower-scored.
        max_detections: most boxes that the file returns, 1 to 1000.
        nms: `per_class`, or `fast`: boxes of all classes suppress each other.
        quantizer: `tensorflow`, with ranges and biases of this project, or `ai_edge`: the package ai-edge-quantizer.

    Raises:
        InputError: another ending than .tflite, an unknown format, also in the name, no images to calibrate on, a
            model that does not fit its description, is still in sparse training or cannot be expressed, or a file that
            cannot be written.
    """
    path = Path(path)
    if path.suffix != ".tflite":
        raise InputError(f"export_detector: expected a path that ends in .tflite. Received: {path}. Rename it.")
    kind: Any = _format_of(path) if format is None else format
    if kind not in get_args(RecipeFormat):
        hint = closest(str(kind), get_args(RecipeFormat))
        raise InputError(f"export_detector: expected a format of numbers. Received: format={kind!r}. {hint}")
    settings = Export(
        formats=(kind,),
        heads=(head,),
        score_threshold=score_threshold,
        iou_threshold=iou_threshold,
        max_detections=max_detections,
        nms=nms,
        quantizer=quantizer,
    )
    check_is_finished(model)
    check_heads(model, spec)
    full_kind: FormatName = kind
    samples = None
    if is_quantize_aware(model):
        from edge.quantize.aware.model import float_model

        if kind == "int8":
            full_kind = "int8_qat"
        else:
            model = float_model(model)
    if FORMATS[full_kind].calibrated:
        samples = calibration_images(calibration, spec).samples
    heads_only = converted(model, spec, kind=full_kind, samples=samples, settings=settings)
    graph = finished_graph(heads_only, spec, head=head, settings=settings)
    make_folder(path.parent)
    write_file(path, described(write_flatbuffer(graph), spec, kind=full_kind, head=head, settings=settings))
    return path


def _format_of(path: Path) -> str:
    """Returns the last format among the parts of a name like `mine_int8_raw.tflite`, or int8.

    Raises:
        InputError: the last part that looks like a format is none that can be written.
    """
    parts = re.split(r"[_.-]", path.stem.lower())
    found = [part for part in parts if part in get_args(RecipeFormat) or _LIKE_A_FORMAT.fullmatch(part)]
    if found and found[-1] not in get_args(RecipeFormat):
        raise InputError(
            f"export_detector: expected {', '.join(get_args(RecipeFormat))} at the end of the name. "
            f"Received: {found[-1]!r} in {path.name}. Rename it, or pass format."
        )
    return found[-1] if found else "int8"
