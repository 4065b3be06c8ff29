"""Zeros in the weights of a detector in two calls: one before `fit` and one after it."""

from __future__ import annotations

from edge.compress.weights.sparsity import Pattern, even_amounts, strip, wrapped_for_sparsity
from edge.quantize.batch_norm import set_effective_kernels
from edge.quantize.detector import check_is_finished, is_quantize_aware
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras


def sparse_model(
    model: keras.Model, *, steps: int, amount: float = 0.7, pattern: Pattern = "unstructured"
) -> tuple[keras.Model, list[keras.callbacks.Callback]]:
    """Returns a copy of a detector whose `fit` sets its smallest weights to zero, and the callbacks that `fit` needs.

    The file keeps its size and speed, but compresses better. Compile the copy, fit it with the callbacks for longer
    than `steps`, and call `finish_sparse`. `model` stays as it is.

    Args:
        model: a trained detector, in float.
        steps: training steps in which the share of zeros grows to `amount`; half of all steps is a good choice.
        amount: share of zeros in the kernel of each convolution, from 0 to below 1. The first convolution, depthwise
            ones and the two that predict keep their weights.
        pattern: `2_of_4` leaves at most two weights of every four input channels; `amount` must be 0.5 then.

    Raises:
        InputError: an amount out of range or not that of the pattern, no step, or a model that is quantized already or
            in sparse training already.

    Source: Zhu and Gupta, To Prune, or Not to Prune, section 3.
    """
    check_is_finished(model)
    if is_quantize_aware(model):
        raise InputError(
            "sparse_model: expected a float model. Received: a quantization-aware one. Make it sparse first, and then "
            'quantize_aware(..., preserve="sparsity").'
        )
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    set_effective_kernels(copy)
    return wrapped_for_sparsity(copy, even_amounts(copy, amount), begin_step=0, end_step=steps, pattern=pattern)


def finish_sparse(model: keras.Model) -> keras.Model:
    """Returns the plain detector of a trained `sparse_model`: the layers that it was made of, with the zeros.

    `save_detector`, `export_detector` and `quantize_aware` take this one.

    Raises:
        InputError: the model is not one of `sparse_model`.
    """
    if not any(type(layer).__name__ == "PruneLowMagnitude" for layer in model.layers):
        raise InputError(
            "finish_sparse: expected a model of edge.sparse_model. Received: a plain one. It needs no finishing."
        )
    return strip(model)
