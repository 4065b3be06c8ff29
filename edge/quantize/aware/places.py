"""Which feature maps of a float detector become int8, which of them share a scale, and the range of each.

The rules are those by which TFLite makes its operators, so that quantization-aware training rounds exactly where the
file does: once behind every convolution and sum, with its ReLU, for each call of a shared layer apart.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edge.quantize.aware.quantizers import QuantizedWeights, RoundedMap
from edge.quantize.batch_norm import check_is_flat, readers_of
from edge.quantize.ranges import Histogram, Range, best_range, class_range
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.calls import Call, Place
from keras_retina.model.graph import calls_of, output_places
from keras_retina.model.layers import LAYERS, role_of

FUSED = {"relu", "relu6"}
SMALLEST_RANGE = 1e-4


def activation_of(layer: keras.layers.Layer) -> str | None:
    """Returns `linear`, `relu` or `relu6` for a convolution or an activation layer, None for other layers.

    Raises:
        InputError: another activation, which TFLite does not fuse into an int8 operator.
    """
    if type(layer) is keras.layers.ReLU:
        if (layer.max_value, layer.negative_slope, layer.threshold) == (None, 0, 0):
            return "relu"
        if (layer.max_value, layer.negative_slope, layer.threshold) == (6, 0, 0):
            return "relu6"
        raise _activation_error(layer, "a ReLU with other limits")
    if type(layer) not in (keras.layers.Activation, keras.layers.Conv2D, keras.layers.DepthwiseConv2D):
        return None
    name = getattr(layer.activation, "__name__", str(layer.activation))
    if name not in {"linear", "relu", "relu6"}:
        raise _activation_error(layer, name)
    return name


def quantized_places(model: keras.Model) -> dict[Place, Place]:
    """Returns the outputs that are rounded to int8, each with a representative of those that share its scale.

    The image is among them. An output that an activation alone reads is not: TFLite computes both in one operator.
    """
    calls = calls_of(model)
    readers = readers_of(calls)
    outputs = set(output_places(model).values())
    owner: dict[Place, Place] = {}
    rounded: list[Place] = []
    for call in calls:
        place = (call.layer, call.number)
        layer = model.get_layer(call.layer)
        owner[place] = place
        passes = role_of(layer).int8 == "passing" or changes_nothing(call, model)
        if passes:
            together = {owner[source] for source in call.inputs} | {place}
            first = owner[call.inputs[0]]
            owner = {other: first if mine in together else mine for other, mine in owner.items()}
        if not passes or _interpolates(layer):
            after = [model.get_layer(reader.layer) for reader in readers.get(place, [])]
            is_alone = len(after) == 1 and place not in outputs
            if not (is_alone and _is_activation(after[0]) and not _is_activation(layer)):
                rounded.append(place)
    return {place: owner[place] for place in rounded}


def measured_ranges(model: keras.Model, calibration: Iterable[np.ndarray]) -> dict[Place, Range]:
    """Returns the range of every place of `quantized_places` but the image, measured on calibration inputs.

    The choice is made as in `edge.quantize.ranges`: least square error, and what matters to a detection for the class
    logits.
    Each range is moved by less than a step so that 0 is a step of it, as int8 demands.

    Args:
        model: float, without BatchNorm and freshly made: no other model may share its layers.
        calibration: float32 `[n, H, W, 3]`, scaled as for training.

    Raises:
        InputError: no calibration input.
    """
    owner = quantized_places(model)
    images = {(name, 0) for name in model.input_names}
    watched = [place for place in owner if place not in images]
    histograms = {place: Histogram() for place in watched}
    outputs = [model.get_layer(name).get_output_at(number) for name, number in watched]
    probe = tf.function(keras.Model(model.input, outputs), reduce_retracing=True)
    seen = 0
    for batch in calibration:
        for histogram, values in zip(histograms.values(), probe(tf.constant(batch), training=False), strict=True):
            histogram.add(values.numpy())
        seen += len(batch)
    if not seen:
        raise InputError(
            "quantization: expected images of the training split to measure ranges on. Received: none. Pass --data."
        )
    logits = owner_of_output(model, "classes")
    ranges: dict[Place, Range] = {}
    for place in watched:
        is_logits = logits is not None and owner[place] == logits
        low, high = class_range(histograms[place]) if is_logits else best_range(histograms[place])
        before = ranges.get(owner[place], (0.0, 0.0))
        ranges[owner[place]] = (min(low, before[0]), max(high, before[1]))
    return {place: with_zero_step(*ranges[owner[place]]) for place in watched}


def owner_of_output(model: keras.Model, output: str) -> Place | None:
    """Returns the representative of the scale of an output, None if the model has no such output."""
    place = output_places(model).get(output)
    owner = quantized_places(model)
    calls = {(call.layer, call.number): call for call in calls_of(model)}
    while place is not None and place not in owner:
        place = calls[place].inputs[0]
    return None if place is None else owner[place]


def changes_nothing(call: Call, model: keras.Model) -> bool:
    """Tells whether a call is a linear Activation, or a ReLU6 of what is a ReLU6 already (the pyramid's P6)."""
    layer = model.get_layer(call.layer)
    if role_of(layer).int8 != "activation":
        return False
    kind = activation_of(layer)
    return kind == "linear" or kind == activation_of(model.get_layer(call.inputs[0][0]))


def with_zero_step(low: float, high: float) -> Range:
    """Returns a range of the same 255 steps, one of which is 0; empty ranges get a width."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, SMALLEST_RANGE) / 255
    below = int(np.clip(round(-low / scale), 0, 255))
    return -below * scale, (255 - below) * scale


def _is_activation(layer: keras.layers.Layer) -> bool:
    return role_of(layer).int8 == "activation" and activation_of(layer) in FUSED


def _interpolates(layer: keras.layers.Layer) -> bool:
    return type(layer) is keras.layers.UpSampling2D and layer.interpolation != "nearest"


def _activation_error(layer: keras.layers.Layer, received: str) -> InputError:
    return InputError(
        f"quantization: layer {layer.name!r} expected the activation linear, relu or relu6. Received: {received}. "
        "Use ReLU6, which TFLite computes inside the int8 convolution."
    )


def check_layers(model: keras.Model) -> None:
    """Raises InputError, naming the layer and what to change, unless every layer of the model has an int8 form."""
    check_is_flat(model)
    for layer in model.layers:
        kind = type(layer).__name__
        if isinstance(layer, (RoundedMap, QuantizedWeights)) or "quantiz" in type(layer).__module__:
            raise InputError(
                f"quantization: expected a float model. Received: {layer.name!r}, which is quantized already. "
                "Use the model it was made from."
            )
        if role_of(layer).int8 is None:
            kinds = ", ".join(sorted(known.__name__ for known, role in LAYERS.items() if role.int8 is not None))
            raise InputError(
                f"quantization: layer {layer.name!r} expected to be one of {kinds}. Received: {kind}. {_advice(layer)}"
            )
        if layer.compute_dtype != "float32":
            raise InputError(
                f"quantization: expected float32 throughout. Received: {layer.compute_dtype} in {layer.name!r}. "
                "Load the model.keras of the run, or set training.precision to 'float32'."
            )
        activation_of(layer)


def _advice(layer: keras.layers.Layer) -> str:
    kind = type(layer).__name__
    if type(layer) in LAYERS:  # of swish, squeeze-and-excitation and attention
        return "Choose a backbone without it, such as mobilenet_v2; an int8 file without such training is possible."
    if kind.startswith("Separable"):
        return "Use a DepthwiseConv2D and a 1x1 Conv2D."
    if kind in {"PruneLowMagnitude", "ClusterWeights"}:
        return "Strip pruning and clustering first."
    if kind in {"TFOpLambda", "SlicingOpLambda", "Lambda"}:
        return "Use a layer, such as Add, in place of the operator."
    return "Replace the layer."
