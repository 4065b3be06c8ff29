"""Weights out of a `.pth` of PyTorch, in the form before version 1.6, without PyTorch and without running its code."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from keras_retina.foundation.errors import InputError

MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # the first of the pickles that such a file begins with


class _Storage(NamedTuple):
    key: str
    type: np.dtype


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]  # in elements; kernels may be stored in the order of another library


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}
"""All that the pickles may name: nothing else is looked up, so nothing else can be called."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Callable[..., Any]:
        if (module, name) not in _NAMES:
            raise pickle.UnpicklingError(f"{module}.{name}")
        return _NAMES[module, name]

    def persistent_load(self, place: Any) -> _Storage:
        _, type_, key, *_ = place
        return _Storage(key, type_)


def read_tensors(data: bytes, source: str) -> dict[str, np.ndarray]:
    """Returns `{name: array}` of a state dictionary, in its order; `source` is named in errors.

    Raises:
        InputError: the file is of another form, holds anything but dense float32 and int64 tensors, or is damaged.

    Source: torch/serialization.py, `_legacy_save`.
    """
    file = io.BytesIO(data)
    try:
        magic, _, _, tensors, keys = (_Reader(file).load() for _ in range(5))
        if magic != MAGIC_NUMBER:
            raise ValueError(f"magic number {magic!r}")
        types = {tensor.storage.key: tensor.storage.type for tensor in tensors.values()}
        storages = {key: _values(file, types[key]) for key in keys}
        return {name: _array(storages[tensor.storage.key], tensor) for name, tensor in tensors.items()}
    except (pickle.UnpicklingError, ValueError, KeyError, TypeError, AttributeError, EOFError, IndexError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise InputError(
            f"{source}: expected a .pth file with a state dictionary. Received: {ascii(reason)}. Download it again."
        ) from error


def _values(file: io.BytesIO, type_: np.dtype) -> np.ndarray:
    count = int.from_bytes(file.read(8), "little")
    return np.frombuffer(file.read(count * type_.itemsize), type_, count)


def _array(values: np.ndarray, tensor: _Tensor) -> np.ndarray:
    last = tensor.offset + sum((side - 1) * step for side, step in zip(tensor.shape, tensor.strides, strict=True))
    if min(tensor.offset, *tensor.strides, 0) < 0 or min(tensor.shape, default=1) < 1 or last >= values.size:
        raise ValueError(f"a tensor that ends at element {last} of {values.size}")
    strides = [step * values.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, strides, writeable=False)
