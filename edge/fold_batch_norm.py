"""A plain detector without BatchNorm: each one is multiplied, once and for all, into the convolution before it."""

from __future__ import annotations

import numpy as np

from keras_retina.errors import InputError
from keras_retina.legacy_keras import keras, tf
from keras_retina.model.graph import Call, Place, calls_of, output_places, rebuild

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def without_batch_norm(model: keras.Model) -> keras.Model:
    """Returns a flat functional model of the same outputs whose convolutions have what its BatchNorms did.

    The statistics are those of inference. Every layer but the BatchNorms is there under its own name, as a layer of its
    own with its own weights, trainable as it was; ReLU6 stays the layer behind the convolution, where TFLite fuses it.

    Raises:
        InputError: a BatchNorm that no convolution can take up, or a model that is not flat and functional.
    """
    folded = norms_of_convolutions(model)
    calls, outputs = calls_of(model), output_places(model)
    layers = {layer.name: _clone(layer, layer.name in folded) for layer in model.layers}
    skipped = set(folded.values())
    inputs = {name: keras.Input(model.get_layer(name).output_shape[0][1:], name=name) for name in model.input_names}
    tensors: dict[Place, tf.Tensor] = {(name, 0): tensor for name, tensor in inputs.items()}
    rebuild(calls, tensors, lambda name: None if name in skipped else layers[name])
    heads = {name: tensors[place] for name, place in outputs.items()}
    result = keras.Model(list(inputs.values()), heads, name=model.name)
    for layer in model.layers:
        norm = folded.get(layer.name)
        if norm:
            layers[layer.name].set_weights(_folded_weights(layer, model.get_layer(norm)))
        elif layer.weights and layer.name not in skipped:
            layers[layer.name].set_weights(layer.get_weights())
    return result


def norms_of_convolutions(model: keras.Model) -> dict[str, str]:
    """Returns {convolution: the BatchNorm behind it} of a flat detector.

    Raises:
        InputError: a BatchNorm that is not right behind a convolution of its own, or a model that is not flat.
    """
    check_is_flat(model)
    calls = calls_of(model)
    readers, outputs = readers_of(calls), set(output_places(model).values())
    norms = [layer for layer in model.layers if type(layer) is keras.layers.BatchNormalization]
    return {_convolution_before(norm, model, calls, readers, outputs): norm.name for norm in norms}


def check_is_flat(model: keras.Model) -> None:
    """Raises InputError unless the model is functional, of single layers and with named outputs."""
    nested = [layer.name for layer in getattr(model, "layers", []) if isinstance(layer, keras.Model)]
    if not getattr(model, "_is_graph_network", False) or nested or not isinstance(model.output, dict):
        raise InputError(
            "quantization: expected a flat functional model with a dictionary of outputs. "
            f"Received: {type(model).__name__}{f' with the model {nested[0]!r} inside' if nested else ''}. "
            "Build it with keras_retina.model.retinanet."
        )


def readers_of(calls: list[Call]) -> dict[Place, list[Call]]:
    """Returns the calls that read each output of a layer."""
    readers: dict[Place, list[Call]] = {}
    for call in calls:
        for place in call.inputs:
            readers.setdefault(place, []).append(call)
    return readers


def _convolution_before(
    norm: keras.layers.Layer,
    model: keras.Model,
    calls: list[Call],
    readers: dict[Place, list[Call]],
    outputs: set[Place],
) -> str:
    own = [call for call in calls if call.layer == norm.name]
    source = own[0].inputs[0]
    before = model.get_layer(source[0])
    reasons = {
        "it is called more than once": len(own) > 1,
        "its axis is not the last": list(norm.axis) != [3],
        f"{before.name!r} before it is no Conv2D or DepthwiseConv2D": type(before) not in CONVOLUTIONS,
        f"{before.name!r} before it has an activation": getattr(before, "activation", None)
        not in {None, keras.activations.linear},
        f"{before.name!r} before it is shared": len([call for call in calls if call.layer == before.name]) > 1,
        f"others read {before.name!r} as well": len(readers[source]) > 1 or source in outputs,
    }
    for reason, holds in reasons.items():
        if holds:
            raise InputError(
                f"quantization: expected every BatchNormalization right behind one convolution of its own. "
                f"Received: {norm.name!r}, but {reason}. Move or remove the BatchNormalization."
            )
    return before.name


def _clone(layer: keras.layers.Layer, takes_norm: bool) -> keras.layers.Layer:
    config = layer.get_config()
    if takes_norm:
        config["use_bias"] = True
    return type(layer).from_config(config)


def _folded_weights(convolution: keras.layers.Layer, norm: keras.layers.Layer) -> list[np.ndarray]:
    weights = [values.astype(np.float64) for values in convolution.get_weights()]
    mean, variance = (values.numpy().astype(np.float64) for values in (norm.moving_mean, norm.moving_variance))
    factor = 1.0 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        factor = factor * norm.gamma.numpy()
    offset = (norm.beta.numpy() if norm.center else 0.0) - mean * factor
    if convolution.use_bias:
        offset = offset + weights[1] * factor
    kernel = weights[0]  # depthwise: [height, width, inputs, multiplier]
    if isinstance(convolution, keras.layers.DepthwiseConv2D):
        kernel = kernel * factor.reshape(kernel.shape[2:])
    else:
        kernel = kernel * factor
    return [kernel.astype(np.float32), offset.astype(np.float32)]
