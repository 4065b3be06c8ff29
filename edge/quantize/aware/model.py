"""Quantization-aware training of the whole detector: a Keras model that rounds where the int8 file does.

Ranges are measured before the first step and then stay. tfmot would start them at +-6 and let them follow the extremes
with a memory of a thousand steps: a short fine-tune would train and ship far too coarse steps, and lose the clipping
that gives the least error. A fine-tune moves weights by a few percent, which leaves ranges right; the weights' own
scales follow every update. Each call of a shared head has a range of its own, as each pyramid level has in the file.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import get_args

import numpy as np

from edge.quantize.aware.places import changes_nothing, check_layers, measured_ranges, owner_of_output, quantized_places
from edge.quantize.aware.quantizers import (
    PIXEL_RANGE,
    ChannelScales,
    Preserve,
    QuantizedWeights,
    RoundedBias,
    RoundedEnlargement,
    RoundedHead,
    RoundedImage,
    RoundedMap,
)
from edge.quantize.batch_norm import CONVOLUTIONS, without_batch_norm
from edge.quantize.equalize import equalized
from edge.quantize.ranges import Range
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.calls import Place, rebuild
from keras_retina.model.graph import calls_of, output_places

EQUALIZE_IMAGES = 32


def quantizable(model: keras.Model, calibration: Iterable[np.ndarray]) -> keras.Model:
    """Returns a float model of the same outputs in the form that quantizes best: no BatchNorm, balanced channels.

    Prune and cluster this form: channels that are balanced afterwards have no equal weights left.

    Raises:
        InputError: a layer that has no int8 form, mixed precision, a model that is quantized already.
    """
    check_layers(model)
    samples = ([image[None]] for batch in calibration for image in batch)
    return equalized(without_batch_norm(model), itertools.islice(samples, EQUALIZE_IMAGES))


def quantize_aware_model(
    model: keras.Model, calibration: Iterable[np.ndarray], *, preserve: Preserve = "nothing"
) -> keras.Model:
    """Returns a flat functional model of the same inputs and outputs that rounds where the int8 file of it rounds.

    It is trained with `fit` like the float one, which stays as it is; `convert_heads(kind="int8_qat")` converts it.
    Layers that are not trainable keep their weights. Weights learn by straight-through gradients.

    Args:
        calibration: float32 `[n, H, W, 3]` network inputs of the training split, in [-1, 1]; it is read twice, so no
            generator: a list, or an object with `__iter__`.
        preserve: `sparsity` keeps the zeros of every kernel through training, `clusters` the zeros and which weights
            are equal. With `clusters` the channels are not balanced (see `quantizable`).

    Raises:
        InputError: a layer that has no int8 form, mixed precision, a model that is quantized already, clusters in a
            model with BatchNorm, no calibration input.
    """
    check_layers(model)
    if preserve not in get_args(Preserve):
        raise InputError(
            f"quantization: preserve expected one of {', '.join(get_args(Preserve))}. Received: {preserve!r}."
        )
    if preserve == "clusters":
        norms = [layer.name for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        if norms:
            raise InputError(
                "quantization: expected clusters in a model without BatchNormalization, which would scale them apart. "
                f"Received: {norms[0]!r} and {len(norms) - 1} more. Cluster the model that `quantizable` returns."
            )
        balanced = without_batch_norm(model)
    else:
        balanced = quantizable(model, calibration)
    return rounding(balanced, measured_ranges(balanced, calibration), preserve=preserve)


def float_model(model: keras.Model) -> keras.Model:
    """Returns the plain float model inside a quantization-aware one: layers under their old names, current weights.

    What is preserved is exact in it: pruned weights are 0, and weights of a cluster are equal.

    Args:
        model: of `quantize_aware`.
    """
    plain = {layer.name: _plain_layer(layer) for layer in model.layers}
    inputs = {name: keras.Input(model.get_layer(name).output_shape[0][1:], name=name) for name in model.input_names}
    tensors: dict[Place, tf.Tensor] = {(name, 0): tensor for name, tensor in inputs.items()}
    rebuild(calls_of(model), tensors, layer_of=plain.__getitem__)
    outputs = {name: tensors[place] for name, place in output_places(model).items()}
    result = keras.Model(list(inputs.values()), outputs, name=model.name)
    for layer in model.layers:
        if isinstance(layer, QuantizedWeights):
            result.get_layer(layer.layer.name).set_weights(layer.plain_weights())
    return result


def ranges_of(model: keras.Model) -> dict[Place, Range]:
    """Returns the ranges of a quantization-aware model by the places of its float model; that of the image is fixed."""
    calls = {(call.layer, call.number): call for call in calls_of(model)}
    ranges: dict[Place, Range] = {}
    for call in calls.values():
        layer = model.get_layer(call.layer)
        if isinstance(layer, RoundedMap) and not isinstance(layer, RoundedImage):
            source = call.inputs[0]
            if isinstance(model.get_layer(source[0]), RoundedBias):
                source = calls[source].inputs[0]
            before = model.get_layer(source[0])
            name = before.layer.name if isinstance(before, QuantizedWeights) else before.name
            ranges[name, source[1]] = (layer.low, layer.high)
    return ranges


def preserved_by(model: keras.Model) -> Preserve:
    """Returns what a quantization-aware model was told to preserve.

    Raises:
        InputError: the model is not quantization-aware.
    """
    for layer in model.layers:
        if isinstance(layer, QuantizedWeights):
            return layer.quantize_config.quantizer.preserve
    raise InputError(
        "quantization: expected a quantization-aware model. Received: a float one. Make one with edge.quantize_aware."
    )


def model_of_file(model: keras.Model) -> keras.Model:
    """Returns a quantization-aware model as TFLite's converter wants it: ranges alone, the rounding is TFLite's."""
    preserved_by(model)
    plain = float_model(model)
    for layer in plain.layers:
        if isinstance(layer, CONVOLUTIONS) and layer.use_bias:
            kernel, bias = layer.get_weights()
            if np.ptp(bias) == 0.0:
                # TensorFlow 2.21 gives a bias that is one value the step of the first channel in all channels: the
                # class head of a detector that starts at its prior would be wrong by up to its whole bias.
                bias[0] = np.nextafter(bias[0], np.float32(np.inf))
                layer.set_weights([kernel, bias])
    return rounding(plain, ranges_of(model), preserve="nothing", for_file=True)


def rounding(
    model: keras.Model, ranges: dict[Place, Range], *, preserve: Preserve, for_file: bool = False
) -> keras.Model:
    """Returns a copy of a float model that rounds weights, biases and, to `ranges`, feature maps.

    `for_file` leaves out what only makes Keras round like TFLite, and activations that change nothing, which the
    converter would leave in float.
    """
    source = keras.models.clone_model(model)
    source.set_weights(model.get_weights())
    calls = calls_of(source)
    owner = quantized_places(source)
    heads = {owner_of_output(source, name) for name in source.output_names}
    repeated = {call.layer for call in calls if call.number}
    skipped = {call.layer for call in calls if for_file and changes_nothing(call, source)}
    layers = {layer.name: _rounding_layer(layer, preserve) for layer in source.layers} | dict.fromkeys(skipped)
    inputs = {name: keras.Input(source.get_layer(name).output_shape[0][1:], name=name) for name in source.input_names}
    image = RoundedMap if for_file else RoundedImage
    tensors: dict[Place, tf.Tensor] = {
        (name, 0): image(*PIXEL_RANGE, name=f"rounded_{name}")(tensor) for name, tensor in inputs.items()
    }
    known = {**ranges, **{place: PIXEL_RANGE for place in tensors}}  # and of what passes them on
    for call in calls:
        place = (call.layer, call.number)
        if place in tensors:
            continue
        suffix = f"{call.layer}_{call.number}" if call.layer in repeated else call.layer
        layer = layers[call.layer]
        rebuild([call], tensors, layer_of=layers.__getitem__)
        low, high = known[call.inputs[0]]
        if isinstance(layer, QuantizedWeights) and for_file:
            tensors[place] = keras.layers.Activation(layer.activation)(tensors[place])
        elif isinstance(layer, QuantizedWeights):
            tensors[place] = RoundedBias(layer, (high - low) / 255, name=f"bias_{suffix}")(tensors[place])
        if place in ranges:
            kind = RoundedHead if owner[place] in heads else RoundedMap
            if isinstance(layer, keras.layers.UpSampling2D) and not for_file:
                kind = RoundedEnlargement
            tensors[place] = kind(*ranges[place], name=f"rounded_{suffix}")(tensors[place])
        known.setdefault(place, (low, high))
    outputs = {name: tensors[place] for name, place in output_places(source).items()}
    return keras.Model(list(inputs.values()), outputs, name=source.name)


def _rounding_layer(layer: keras.layers.Layer, preserve: Preserve) -> keras.layers.Layer:
    if not isinstance(layer, CONVOLUTIONS):
        return layer
    return QuantizedWeights(layer, ChannelScales(preserve, isinstance(layer, keras.layers.DepthwiseConv2D)))


def _plain_layer(layer: keras.layers.Layer) -> keras.layers.Layer | None:
    if isinstance(layer, (RoundedMap, RoundedBias)):
        return None
    return layer.plain_layer() if isinstance(layer, QuantizedWeights) else type(layer).from_config(layer.get_config())
