"""What a file computes from an image up to its backbone: run with LiteRT, cut behind the last convolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer
from edge.tflite.read_metadata import read_metadata
from keras_retina.foundation.errors import InputError

USUAL_RANGES = ((-1.0, 1.0), (0.0, 1.0), (0.0, 255.0))
NEAR = 0.03  # of a range, for 8-bit inputs, whose calibration may have seen no pure black or white


@dataclass(frozen=True)
class InputRange:
    """What an input has for black and for white, one number or one for each of red, green and blue, and how we know."""

    black: tuple[float, ...]
    white: tuple[float, ...]
    told: str = ""

    def of(self, unit: np.ndarray) -> np.ndarray:
        """Returns RGB in [-1, 1] in this range."""
        black, white = np.array(self.black, np.float32), np.array(self.white, np.float32)
        return ((white + black) / 2 + unit * ((white - black) / 2)).astype(np.float32)


class CutFile:
    """A file whose outputs are tensors inside it; `run` gives them as float32.

    Args:
        path: of the file.
        tensors: the outputs; every operator that none of them needs goes.
        size: height and width for a file whose input has any; else it keeps its own.

    Raises:
        InputError: LiteRT cannot run it, or its input is no picture.
    """

    def __init__(self, data: bytes, path: Path, *, tensors: Sequence[int], size: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.path = path
        try:
            self._interpreter: Any = Interpreter(model_content=_cut(data, tensors), num_threads=2)
            (self._input,) = self._interpreter.get_input_details()
            signature = [int(side) for side in self._input["shape_signature"]]
            if len(signature) != 4 or signature[3] != 3:
                raise ValueError(f"an input of shape {signature}")
            shape = [1, *(size if side < 0 else side for side in signature[1:3]), 3]
            self._interpreter.resize_tensor_input(self._input["index"], shape)
            self._interpreter.allocate_tensors()
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise InputError(
                f"{path}: expected a .tflite of pictures that LiteRT runs up to the backbone. "
                f"Received: {' '.join(str(error).split())[:200]}. Give a file with builtin operators alone."
            ) from error
        self.height, self.width = shape[1:3]
        details = {int(one["index"]): one for one in self._interpreter.get_output_details()}
        self._outputs = [details[tensor] for tensor in tensors]

    @property
    def is_rounded(self) -> bool:
        """Whether a convolution reads or writes integers."""
        return any(np.issubdtype(one["dtype"], np.integer) for one in self._outputs)

    def input_range(self) -> InputRange:
        """Returns what the input has for black and white: its metadata say it, or its 8-bit scale, or it is [-1, 1]."""
        metadata = read_metadata(self.path)
        if metadata.mean and metadata.std:
            mean, std = np.array(metadata.mean), np.array(metadata.std)
            return InputRange(tuple(-mean / std), tuple((255 - mean) / std), "as its metadata say")
        scale, zero = self._input["quantization"]
        if np.issubdtype(self._input["dtype"], np.integer):
            limits = np.iinfo(self._input["dtype"])
            scale = scale or 1.0  # bytes that the file turns into floats itself
            return usual(scale * (limits.min - zero), scale * (limits.max - zero), told="as its 8-bit scale says")
        return InputRange((-1.0,), (1.0,), "assumed; --input-range says otherwise")

    def run(self, image: np.ndarray, range_: InputRange) -> list[np.ndarray]:
        """Returns the tensors for RGB `[height, width, 3]` in [-1, 1], as float32 without the batch."""
        values = range_.of(image)[None]
        scale, zero = self._input["quantization"]
        dtype = self._input["dtype"]
        if np.issubdtype(dtype, np.integer):
            limits = np.iinfo(dtype)
            values = np.clip(np.round(values / (scale or 1.0) + zero), limits.min, limits.max)
        self._interpreter.set_tensor(self._input["index"], values.astype(dtype))
        self._interpreter.invoke()
        return [self._values(one) for one in self._outputs]

    def _values(self, detail: dict[str, Any]) -> np.ndarray:
        values = self._interpreter.get_tensor(detail["index"])[0]
        scale, zero = detail["quantization"]
        return ((values.astype(np.float32) - zero) * scale if scale else values).astype(np.float32)


def usual(black: float, white: float, *, told: str) -> InputRange:
    """Returns the usual range that these are, but for 8-bit rounding; else the range itself."""
    near = (one for one in USUAL_RANGES if max(abs(one[0] - black), abs(one[1] - white)) < NEAR * (one[1] - one[0]))
    black, white = next(near, (float(black), float(white)))
    return InputRange((black,), (white,), told)


def whole_pixels(unit: np.ndarray) -> np.ndarray:
    """Returns values in [-1, 1] rounded to those of the pixels 0 to 255."""
    return (np.round((unit + 1) * 127.5) / 127.5 - 1).astype(np.float32)


def range_inside(file: CutFile, outside: InputRange) -> InputRange:
    """Returns what the first output, which the stem reads, has for black and white: some files scale pixels themselves.

    Raises:
        InputError: what happens to the pixels is more than a scale and an offset for each colour.
    """
    grey = float(whole_pixels(np.zeros(1))[0])
    black, white, middle = (_middle(file, np.full(3, value), outside) for value in (-1.0, 1.0, grey))
    red = _middle(file, np.array([1, -1, -1]), outside)
    halfway = (black + white) / 2 + grey * (white - black) / 2
    error = np.abs([middle - halfway, red - np.where([True, False, False], white, black)]).max()
    span = float(np.abs(white - black).max())
    if not np.isfinite(error) or error > (NEAR if file.is_rounded else 1e-4) * span or span == 0:
        raise InputError(
            f"{file.path}: expected a scale and an offset for red, green and blue before the first convolution. "
            "Received: other work on the pixels. Give a file that begins with the backbone."
        )
    if max(np.ptp(black), np.ptp(white)) < NEAR * span and file.is_rounded:
        return usual(float(black.mean()), float(white.mean()), told=outside.told)
    return InputRange(tuple(map(float, black)), tuple(map(float, white)), outside.told)


def _middle(file: CutFile, colour: np.ndarray, outside: InputRange) -> np.ndarray:
    image = np.broadcast_to(colour.astype(np.float32), (file.height, file.width, 3))
    seen = file.run(image, outside)[0]
    return seen[seen.shape[0] // 2, seen.shape[1] // 2]


def _cut(data: bytes, tensors: Sequence[int]) -> bytes:
    """Returns a file with these outputs and the operators that they need."""
    model = read_flatbuffer(data)
    graph = model.subgraphs[0]
    needed, kept = set(tensors), []
    for operator in reversed(graph.operators):
        if needed & {int(index) for index in operator.outputs}:
            needed |= {int(index) for index in operator.inputs}
            kept.append(operator)
    graph.operators = kept[::-1]
    graph.inputs = np.array([index for index in graph.inputs if int(index) in needed], np.int32)
    graph.outputs = np.array(list(dict.fromkeys(tensors)), np.int32)
    model.signatureDefs, model.metadata = [], []
    return write_flatbuffer(model)
