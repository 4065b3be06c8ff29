"""Runs a file on noise, for what shapes alone do not tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.detectors.heads.head import Output, Seen
from edge.runtime import ModelFileError, dequantized
from edge.tflite.read_metadata import FileMetadata

PIXEL_TYPES = ("uint8", "int8", "float32")
CHANNELS = (1, 3)


@dataclass(frozen=True)
class InputForm:
    """LiteRT's `detail` of the input, its size, whether channels come before rows (NCHW), and whether it is grey."""

    detail: dict[str, Any]
    height: int
    width: int
    nchw: bool
    grey: bool = False

    def told(self) -> str:
        """Returns `float32`, or `float32 NCHW [1, 3, 640, 640]`: what is usual needs no words."""
        kind = np.dtype(self.detail["dtype"]).name + (" grey" if self.grey else "")
        return f"{kind} NCHW {self.detail['shape'].tolist()}" if self.nchw else kind


def input_form(path: Path, details: Sequence[dict[str, Any]]) -> InputForm:
    """Returns what the only input takes.

    Raises:
        ModelFileError: several inputs, or one that takes no RGB or grey image.
    """
    received = [(detail["shape"].tolist(), np.dtype(detail["dtype"]).name) for detail in details]
    shape, kind = received[0] if len(received) == 1 else ([], "")
    nchw = len(shape) == 4 and shape[1] in CHANNELS and shape[3] not in CHANNELS
    channels = shape[1 if nchw else 3] if len(shape) == 4 else 0
    if channels not in CHANNELS or shape[0] != 1 or kind not in PIXEL_TYPES:
        state = " More than one input is a network with a memory, such as an LSTM." if len(received) > 1 else ""
        raise ModelFileError(
            f"{path}: expected one input [1, height, width, 3] or [1, 3, height, width], or 1 for 3, of "
            f"{', '.join(PIXEL_TYPES)}. Received: {received}. It is no detector of single images.{state}"
        )
    height, width = shape[2:] if nchw else shape[1:3]
    return InputForm(dict(details[0]), int(height), int(width), nchw, channels == 1)


def output_values(interpreter: Any, details: Sequence[dict[str, Any]]) -> list[np.ndarray]:
    """Returns what the last invoke left in the outputs, quantized ones as float32."""
    found = []
    for detail in details:
        values = interpreter.get_tensor(detail["index"])
        found.append(dequantized(values, detail) if detail["quantization"][0] else values.astype(np.float32))
    return found


def look(
    interpreter: Any,
    form: InputForm,
    *,
    model: schema.ModelT,
    metadata: FileMetadata,
    classes: int | None = None,
    asked: str | None = None,
    units: str | None = None,
    anchors: Sequence[Sequence[float]] | None = None,
) -> Seen:
    """Runs an open file twice on a picture of noise, always the same, and returns what the second run shows.

    The first run of some files with 8-bit weights gives other numbers than all later ones, or NaN.

    Raises:
        RuntimeError: LiteRT could not run it.
    """
    kind = np.dtype(form.detail["dtype"])
    generator, shape = np.random.default_rng(0), form.detail["shape"]
    if kind == np.float32:
        noise = generator.random(shape, np.float32)
    else:
        noise = generator.integers(np.iinfo(kind).min, np.iinfo(kind).max, shape, kind, endpoint=True)
    runs = []
    for _ in range(2):
        interpreter.set_tensor(form.detail["index"], noise)
        interpreter.invoke()
        details = interpreter.get_output_details()
        runs.append(output_values(interpreter, details))
    steady = all(np.array_equal(one, other) for one, other in zip(*runs, strict=True))
    outputs = tuple(
        Output(str(detail["name"]), np.dtype(detail["dtype"]).name, values)
        for detail, values in zip(details, runs[-1], strict=True)
    )
    known = classes if classes is not None else (None if metadata.labels is None else len(metadata.labels))
    return Seen(form.height, form.width, outputs, model, metadata, known, asked, units, steady, anchors)
