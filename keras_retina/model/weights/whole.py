"""A detector that starts from another one as a whole: backbone, pyramid and heads."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.saving import load_detector

logger = logging.getLogger(__name__)

DETECTOR_SUFFIX = ".keras"
CLASS_PREDICTION = "classes_prediction"  # the layers whose names begin so know how many classes there are


def load_whole(model: keras.Model, path: str, *, class_names: Sequence[str]) -> None:
    """Copies the weights of every layer from a `model.keras`; those of the class prediction where the classes are its.

    With other classes the class prediction stays as it begins, every score at the prior.

    Raises:
        InputError: the file is no detector of ours, or has another network.
    """
    theirs, spec = load_detector(Path(path))
    same_classes = tuple(class_names) == spec.class_names
    sources = {layer.name: layer for layer in theirs.layers}
    wanted = [
        layer
        for layer in model.layers
        if layer.weights and (same_classes or not layer.name.startswith(CLASS_PREDICTION))
    ]
    misfits = [layer.name for layer in wanted if _shapes(layer) != _shapes(sources.get(layer.name))]
    if misfits:
        raise InputError(
            f"model.backbone.weights: expected a detector with the network of the recipe. Received: {path}, which "
            f"fits in {len(wanted) - len(misfits)} of {len(wanted)} layers; not in {', '.join(misfits[:4])}. Take the "
            "section model of its own recipe.yaml."
        )
    for layer in wanted:
        layer.set_weights(sources[layer.name].get_weights())
    if not same_classes:
        logger.info(f"{path} has other classes: the class prediction begins anew, all else is that of the file")


def _shapes(layer: keras.layers.Layer | None) -> list[tuple[int, ...]]:
    return [] if layer is None else [tuple(weights.shape) for weights in layer.weights]
