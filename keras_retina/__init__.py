"""RetinaNet in Keras: described by settings, trained with `model.fit`, made small and proven by the `edge` package.

The names below are imported when they are asked for: `import keras_retina` alone loads no TensorFlow.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.quantize.detector import load_keras_file as load_detector
    from edge.quantize.detector import save_keras_file as save_detector
    from keras_retina.data.own import detector_batches
    from keras_retina.data.pipeline import training_batches
    from keras_retina.data.reading.folder import load_dataset
    from keras_retina.evaluate.detector import CocoAP, evaluate_detector
    from keras_retina.foundation.errors import InputError
    from keras_retina.losses import (
        AutomatedFocalLoss,
        BoxLoss,
        CIoULoss,
        CrossEntropyLoss,
        DIoULoss,
        EqualizedFocalLoss,
        FocalLoss,
        FocalStarLoss,
        GIoULoss,
        OHEMLoss,
        QualityFocalLoss,
        VarifocalLoss,
        with_box_quality,
    )
    from keras_retina.model.detector import retinanet
    from keras_retina.model.spec import DetectorSpec
    from keras_retina.recipe.data import Augmentation
    from keras_retina.recipe.model import Model
    from keras_retina.recipe.recipe import Recipe, load_recipe

    __version__: str

__all__ = [
    "Augmentation",
    "AutomatedFocalLoss",
    "BoxLoss",
    "CIoULoss",
    "CocoAP",
    "CrossEntropyLoss",
    "DIoULoss",
    "DetectorSpec",
    "EqualizedFocalLoss",
    "FocalLoss",
    "FocalStarLoss",
    "GIoULoss",
    "InputError",
    "Model",
    "OHEMLoss",
    "QualityFocalLoss",
    "Recipe",
    "VarifocalLoss",
    "__version__",
    "detector_batches",
    "evaluate_detector",
    "load_dataset",
    "load_detector",
    "load_recipe",
    "retinanet",
    "save_detector",
    "training_batches",
    "with_box_quality",
]

_HOMES = {
    "Augmentation": "keras_retina.recipe.data:Augmentation",
    "AutomatedFocalLoss": "keras_retina.losses:AutomatedFocalLoss",
    "BoxLoss": "keras_retina.losses:BoxLoss",
    "CIoULoss": "keras_retina.losses:CIoULoss",
    "CocoAP": "keras_retina.evaluate.detector:CocoAP",
    "CrossEntropyLoss": "keras_retina.losses:CrossEntropyLoss",
    "DIoULoss": "keras_retina.losses:DIoULoss",
    "DetectorSpec": "keras_retina.model.spec:DetectorSpec",
    "EqualizedFocalLoss": "keras_retina.losses:EqualizedFocalLoss",
    "FocalLoss": "keras_retina.losses:FocalLoss",
    "FocalStarLoss": "keras_retina.losses:FocalStarLoss",
    "GIoULoss": "keras_retina.losses:GIoULoss",
    "InputError": "keras_retina.foundation.errors:InputError",
    "Model": "keras_retina.recipe.model:Model",
    "OHEMLoss": "keras_retina.losses:OHEMLoss",
    "QualityFocalLoss": "keras_retina.losses:QualityFocalLoss",
    "Recipe": "keras_retina.recipe.recipe:Recipe",
    "VarifocalLoss": "keras_retina.losses:VarifocalLoss",
    "detector_batches": "keras_retina.data.own:detector_batches",
    "evaluate_detector": "keras_retina.evaluate.detector:evaluate_detector",
    "load_dataset": "keras_retina.data.reading.folder:load_dataset",
    # Of plain and of quantization-aware models, which only `edge` knows.
    "load_detector": "edge.quantize.detector:load_keras_file",
    "load_recipe": "keras_retina.recipe.recipe:load_recipe",
    "retinanet": "keras_retina.model.detector:retinanet",
    "save_detector": "edge.quantize.detector:save_keras_file",
    "training_batches": "keras_retina.data.pipeline:training_batches",
    "with_box_quality": "keras_retina.losses:with_box_quality",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("keras_retina.foundation.machine").package_version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
