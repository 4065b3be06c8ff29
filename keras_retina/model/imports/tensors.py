"""The tensors of a checkpoint by their names, as NumPy arrays: nothing that a file says is run as code."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError, printable
from keras_retina.model.saved.hdf5 import SMALL, UNPACKED

NESTED = ("model", "state_dict", "model_state_dict")
"""Where training scripts keep the weights, beside an optimiser."""

PARALLEL = "module."
"""What DataParallel puts before every name."""


@dataclass(frozen=True)
class Checkpoint:
    """`{name: array}` of a file; those of floating point are float32."""

    path: Path
    tensors: Mapping[str, np.ndarray]


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a `.pth` or `.pt` with PyTorch, or a `.safetensors`, for which PyTorch need not be installed.

    Raises:
        InputError: the file is missing, damaged or of another kind, holds more than tensors, or PyTorch is missing.
    """
    path = Path(path)
    if not path.is_file():
        received = "a folder without a file called checkpoint" if path.is_dir() else "no such file"
        raise InputError(f"{path}: expected a checkpoint. Received: {received}. Correct the path.")
    if path.suffix == ".safetensors":
        return Checkpoint(path, _without_prefix(_read_safetensors(path)))
    if path.suffix in {".pth", ".pt"}:
        return Checkpoint(path, _without_prefix(_read_torch(path)))
    raise InputError(
        f"{path}: expected a checkpoint that ends in .pth, .pt or .safetensors, or one of TensorFlow with its .index. "
        f"Received: {path.suffix or 'no ending'}. Give the file that the detector's own library saved."
    )


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return {name: _plain(array) for name, array in load_file(path).items()}
    except (SafetensorError, KeyError, TypeError, ValueError, OverflowError, OSError, MemoryError) as error:
        raise InputError(
            f"{path}: expected a complete .safetensors file. Received: {_one_line(error)}. Save it again, in float32."
        ) from error


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ImportError as error:
        raise InputError(
            f"{path}: PyTorch was expected, to read a {path.suffix}. Received: it is not installed. "
            "Run: pip install 'keras-retina[torch]', or save the tensors as .safetensors where PyTorch is."
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles that torch.save did not write; the error says it
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged pickle or archive leads PyTorch into
        raise InputError(
            f"{path}: expected tensors by their names, which need no code to be read. Received: {_reason(error)}. "
            "Save model.state_dict() with torch.save, where you trust the file."
        ) from error
    state = _state(loaded, path)
    needed, length = sum(4 * tensor.numel() for tensor in state.values()), path.stat().st_size
    if needed > max(SMALL, UNPACKED * length):  # a tensor may repeat one number without end
        raise InputError(
            f"{path}: expected as many numbers as the file has room for. Received: {needed} bytes of tensors in a file "
            f"of {length} bytes. Save model.state_dict() again."
        )
    return {name: _plain(tensor.detach().float().numpy()) for name, tensor in state.items()}


def _state(loaded: Any, path: Path) -> dict[str, Any]:
    """Returns the dictionary of tensors in what `torch.load` returned."""
    import torch

    for key in NESTED:
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    found = loaded if isinstance(loaded, dict) else {}
    others = [f"{name}: {type(value).__name__}" for name, value in found.items() if not torch.is_tensor(value)]
    if not found or others:
        received = ", ".join(others[:3]) if others else f"a {type(loaded).__name__}"
        raise InputError(
            f"{path}: expected a dictionary of tensors. Received: {printable(received)}. Save model.state_dict()."
        )
    return {str(name): value for name, value in found.items()}


def _without_prefix(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    if tensors and all(name.startswith(PARALLEL) for name in tensors):
        return {name.removeprefix(PARALLEL): array for name, array in tensors.items()}
    return tensors


def _plain(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if np.issubdtype(array.dtype, np.floating) else array


def _reason(error: BaseException) -> str:
    """Returns what `torch.load` objects to, without its paragraphs on how to switch the check off."""
    text = _one_line(error).partition(" Check the documentation")[0]
    return next((text[text.index(mark) :][:160] for mark in ("Unsupported ", "GLOBAL ") if mark in text), text[:160])


def _one_line(error: BaseException) -> str:
    return printable(" ".join(f"{type(error).__name__}: {error}".split()))[:600]
