"""The same detector made small and proven: pruning, quantization, export, measurement and runtime.

The names below are imported when they are asked for: `import edge` and `import edge.runtime` load no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.compress.channels.detector import prune_channels
    from edge.compress.weights.detector import finish_sparse, sparse_model
    from edge.detectors.evaluation import evaluate_tflite
    from edge.export.keras3 import keras3_detector, write_keras3
    from edge.export.one_file import export_detector
    from edge.quantize.aware.model import float_model
    from edge.quantize.detector import quantize_aware
    from edge.runtime import Detections, Detector
    from edge.stages import verify_run

__all__ = [
    "Detections",
    "Detector",
    "evaluate_tflite",
    "export_detector",
    "finish_sparse",
    "float_model",
    "keras3_detector",
    "prune_channels",
    "quantize_aware",
    "sparse_model",
    "verify_run",
    "write_keras3",
]

_HOMES = {
    "Detections": "edge.runtime",
    "Detector": "edge.runtime",
    "evaluate_tflite": "edge.detectors.evaluation",
    "export_detector": "edge.export.one_file",
    "finish_sparse": "edge.compress.weights.detector",
    "float_model": "edge.quantize.aware.model",
    "keras3_detector": "edge.export.keras3",
    "prune_channels": "edge.compress.channels.detector",
    "quantize_aware": "edge.quantize.detector",
    "sparse_model": "edge.compress.weights.detector",
    "verify_run": "edge.stages",
    "write_keras3": "edge.export.keras3",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
