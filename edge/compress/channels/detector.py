"""Channel pruning of a detector in one call, by what its own loss says on training batches."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from edge.compress.channels.prune import prune_to
from edge.compress.channels.rank import Batches, loss_changes
from edge.quantize.detector import check_is_finished, is_quantize_aware
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.losses import importance_losses
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.training import Loss

BATCHES = 4  # more images hardly change the order of the channels


def prune_channels(
    model: keras.Model, spec: DetectorSpec, batches: Batches, *, keep: float = 0.5, multiple: int = 8
) -> keras.Model:
    """Returns a copy of a detector with fewer channels and about `keep` of its multiply-adds.

    Removed are the channels without which the loss on a few images would change least for the time that they take.
    Layers keep their names, settings and `trainable` flags. Compile the copy and fit it: without training its AP is
    low. `model` stays as it is.

    Args:
        model: a trained detector, in float.
        batches: training batches of `detector_batches` or `training_batches`; the first four are looked at.
        keep: share of the multiply-adds that is left, between 0 and 1.
        multiple: channels of a layer stay a multiple of it, or all. Arithmetic on devices likes 8.

    Raises:
        InputError: `keep` out of range or not to be reached, no batch, other data than batches, or a model that is
            quantized already or still in sparse training.

    Source: Molchanov et al., Importance Estimation for Neural Network Pruning, equation 8.
    """
    if not 0 < keep < 1:
        raise InputError(
            "prune_channels: expected keep, the share of the multiply-adds that is left, between 0 and 1. "
            f"Received: keep={keep}. For half of them: 0.5."
        )
    check_is_finished(model)
    if is_quantize_aware(model):
        raise InputError(
            "prune_channels: expected a float model. Received: a quantization-aware one. Prune before quantize_aware."
        )
    few = list(itertools.islice(batches, BATCHES)) if isinstance(batches, Iterable) else [batches]
    if few and not _is_batch(few[0]):
        raise InputError(
            f"batches: batches of kr.detector_batches were expected. Received: {_described(few[0])}. "
            "Pass the data through kr.detector_batches."
        )
    losses = importance_losses(Loss(), spec)
    importance = functools.partial(loss_changes, batches=few, losses=losses)
    return prune_to(model, keep, importance_of=importance, multiple=multiple)


def _is_batch(element: Any) -> bool:
    """Tells whether it is (images in float, {"classes": `[batch, anchors]`, "boxes": `[batch, anchors, 5]`})."""
    if not (isinstance(element, tuple) and len(element) == 2 and isinstance(element[1], Mapping)):
        return False
    parts = (element[0], element[1].get("classes"), element[1].get("boxes"))
    shapes: list[Any] = [getattr(part, "shape", ()) for part in parts]
    return [len(shape) for shape in shapes] == [4, 2, 3] and shapes[2][-1] == 5


def _described(element: Any) -> str:
    first = element[0] if isinstance(element, tuple) and element else element
    if not hasattr(first, "shape"):
        return type(first).__name__
    shape = "[" + ", ".join(map(str, first.shape)) + "]"
    return f"an image of shape {shape}" if len(first.shape) == 3 else f"an array of shape {shape} without such targets"
