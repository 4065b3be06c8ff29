"""A plain detector without BatchNorm: each one is multiplied, once and for all, into the convolution before it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.calls import Call, Place, rebuild
from keras_retina.model.graph import calls_of, output_places

CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)


def without_batch_norm(model: keras.Model) -> keras.Model:
    """Returns a flat functional model of the same outputs whose convolutions have what its BatchNorms did.

    The statistics are those of inference. Every layer but the BatchNorms is there under its own name, as a layer of its
    own with its own weights, trainable as it was; ReLU6 stays the layer behind the convolution, where TFLite fuses it.
    A convolution that levels share and that has a BatchNorm for each becomes one convolution for each:
    `classes_0_pointwise` with the norm `classes_0_norm_1` is `classes_0_pointwise_1`.

    Raises:
        InputError: a BatchNorm that no convolution can take up, or a model that is not flat and functional.
    """
    norms = norms_of_convolutions(model)
    name_with = _names_with_norms(norms, model)
    layers: dict[str, keras.layers.Layer] = {}
    weights: dict[str, list[np.ndarray]] = {}
    for layer in model.layers:
        for norm in norms.get(layer.name, []):
            config = {**layer.get_config(), "name": name_with[norm], "use_bias": True}
            layers[name_with[norm]] = type(layer).from_config(config)
            weights[name_with[norm]] = _folded_weights(layer, model.get_layer(norm))
        if layer.name not in norms and layer.name not in name_with:
            layers[layer.name] = type(layer).from_config(layer.get_config())
            weights[layer.name] = layer.get_weights()
    inputs = {name: keras.Input(model.get_layer(name).output_shape[0][1:], name=name) for name in model.input_names}
    tensors: dict[Place, tf.Tensor] = {(name, 0): tensor for name, tensor in inputs.items()}
    rebuild(
        _split_calls(calls_of(model), name_with),
        tensors,
        layer_of=lambda name: None if name in name_with else layers[name],
    )
    heads = {name: tensors[place] for name, place in output_places(model).items()}
    result = keras.Model(list(inputs.values()), heads, name=model.name)
    for name, values in weights.items():
        if values:
            layers[name].set_weights(values)
    return result


def norms_of_convolutions(model: keras.Model) -> dict[str, list[str]]:
    """Returns {convolution: the BatchNorm behind it, or those behind the calls of a shared one, sorted by name}.

    Raises:
        InputError: a BatchNorm that is not right behind a convolution of its own or behind one call of a shared one
            whose every call has one, or a model that is not flat.
    """
    check_is_flat(model)
    calls = calls_of(model)
    readers, outputs = readers_of(calls), set(output_places(model).values())
    found: dict[str, list[str]] = {}
    for norm in sorted(_norm_names(model)):
        found.setdefault(_convolution_before(norm, model, calls=calls, readers=readers, outputs=outputs), []).append(
            norm
        )
    return found


def number_of_kernels(model: keras.Model) -> dict[str, int]:
    """Returns {convolution: how many kernels a file has of it}, several where each level has a BatchNorm of its own."""
    names = _norm_names(model)
    sources = [call.inputs[0][0] for call in calls_of(model) if call.layer in names]
    return {layer.name: max(1, sources.count(layer.name)) for layer in model.layers if type(layer) in CONVOLUTIONS}


def channel_factors(norms: Sequence[keras.layers.Layer]) -> np.ndarray:
    """Returns float64 `[channels]`: the size of what inference multiplies a channel by, a root mean square over norms.

    Several norms are those of the levels behind one shared convolution.
    """
    return np.sqrt(np.mean([np.square(_factor(norm)) for norm in norms], axis=0))


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


def _norm_names(model: keras.Model) -> set[str]:
    return {layer.name for layer in model.layers if type(layer) is keras.layers.BatchNormalization}


def _convolution_before(
    norm_name: str, model: keras.Model, *, calls: list[Call], readers: dict[Place, list[Call]], outputs: set[Place]
) -> str:
    norm, norms = model.get_layer(norm_name), _norm_names(model)
    own = [call for call in calls if call.layer == norm_name]
    source = own[0].inputs[0]
    before = model.get_layer(source[0])
    after = [readers.get((call.layer, call.number), []) for call in calls if call.layer == before.name]
    reasons = {
        "it is called more than once": len(own) > 1,
        "its axis is not the last": list(norm.axis) != [3],
        f"{before.name!r} before it is no Conv2D or DepthwiseConv2D": type(before) not in CONVOLUTIONS,
        f"{before.name!r} before it has an activation": getattr(before, "activation", None)
        not in {None, keras.activations.linear},
        f"others read {before.name!r} as well": len(readers[source]) > 1 or source in outputs,
        f"{before.name!r} before it is shared and has no BatchNormalization of its own for every call": any(
            [reader.layer in norms for reader in of_call] != [True] for of_call in after
        ),
    }
    for reason, holds in reasons.items():
        if holds:
            raise InputError(
                f"quantization: expected every BatchNormalization right behind one convolution of its own. "
                f"Received: {norm.name!r}, but {reason}. Move or remove the BatchNormalization."
            )
    return before.name


def _names_with_norms(norms: dict[str, list[str]], model: keras.Model) -> dict[str, str]:
    """Returns {BatchNorm: the convolution that takes it up}, those of a shared one with the norm's number behind."""
    names = {
        norm: convolution if len(behind) == 1 else f"{convolution}_{number}"
        for convolution, behind in norms.items()
        for number, norm in enumerate(behind)
    }
    others = {layer.name for layer in model.layers} - set(norms)
    for name in sorted(others.intersection(names.values())):
        raise InputError(
            "quantization: expected a free name for each call of a shared convolution with BatchNormalizations behind. "
            f"Received: {name!r}, which another layer has. Rename that layer."
        )
    return names


def _split_calls(calls: list[Call], name_with: dict[str, str]) -> list[Call]:
    """Returns the calls with each one before a BatchNorm as the only call of the convolution that takes this up."""
    renamed: dict[Place, Place] = {
        call.inputs[0]: (name_with[call.layer], 0) for call in calls if call.layer in name_with
    }
    return [
        Call(*renamed.get((name, number), (name, number)), [renamed.get(place, place) for place in inputs])
        for name, number, inputs in calls
    ]


def _factor(norm: keras.layers.Layer) -> np.ndarray:
    factor = 1.0 / np.sqrt(norm.moving_variance.numpy().astype(np.float64) + norm.epsilon)
    return factor * norm.gamma.numpy() if norm.scale else factor


def _folded_weights(convolution: keras.layers.Layer, norm: keras.layers.Layer) -> list[np.ndarray]:
    weights = [values.astype(np.float64) for values in convolution.get_weights()]
    factor = _factor(norm)
    offset = (norm.beta.numpy() if norm.center else 0.0) - norm.moving_mean.numpy().astype(np.float64) * factor
    if convolution.use_bias:
        offset = offset + weights[1] * factor
    kernel = weights[0]  # depthwise: [height, width, inputs, multiplier]
    if isinstance(convolution, keras.layers.DepthwiseConv2D):
        kernel = kernel * factor.reshape(kernel.shape[2:])
    else:
        kernel = kernel * factor
    return [kernel.astype(np.float32), offset.astype(np.float32)]


def set_effective_kernels(model: keras.Model) -> None:
    """Multiplies each convolution by what the BatchNorm behind it does, and makes up for it in that BatchNorm.

    A channel whose scale gamma is small then has a small kernel: magnitudes of weights can be compared over channels,
    as after folding, and BatchNorm still normalises while the detector trains. A convolution that levels share, with a
    BatchNorm for each, is multiplied by the root mean square of what these do. In place; inference gives the same
    outputs, and so does training but for the share of epsilon in the variance.

    Raises:
        InputError: a BatchNorm that is not right behind a convolution of its own, or a model that is not flat.
    """
    for convolution_name, names in norms_of_convolutions(model).items():
        convolution, norms = model.get_layer(convolution_name), [model.get_layer(name) for name in names]
        variances = [norm.moving_variance.numpy().astype(np.float64) + norm.epsilon for norm in norms]
        # By less, a variance that is left would be negative: a channel of such a gamma is as good as gone.
        least = np.max([np.sqrt(norm.epsilon / own) for norm, own in zip(norms, variances, strict=True)], axis=0)
        factor = np.maximum(channel_factors(norms), least)
        kernel, *bias = convolution.get_weights()
        channels = kernel.shape[2:] if isinstance(convolution, keras.layers.DepthwiseConv2D) else (-1,)
        convolution.set_weights([kernel * factor.reshape(channels), *(values * factor for values in bias)])
        for norm, variance in zip(norms, variances, strict=True):
            norm.moving_mean.assign(norm.moving_mean * factor)
            norm.moving_variance.assign(np.maximum(np.square(factor) * variance - norm.epsilon, 0.0))
