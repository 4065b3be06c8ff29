"""From the Keras detector to a flatbuffer that takes camera bytes and ends at the two heads, once per number format."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.export.float16 import halve_kernels
from edge.export.float_layers import chosen_operators, leave_in_float
from edge.export.int4 import take_four_bit_kernels
from edge.export.int16 import join_scales, own_biases, refuse_without_int16, take_camera_bytes
from edge.quantize.bias import correct_biases
from edge.quantize.equalize import equalized, has_clusters
from edge.quantize.ranges import (
    Histogram,
    Range,
    best_range,
    class_logits,
    class_range,
    observed_values,
    set_ranges,
    wide_range,
)
from edge.tflite.flatbuffer import (
    operator_name,
    read_flatbuffer,
    tensor_quantization,
    tensor_type,
    write_flatbuffer,
)
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.foundation.native_notes import native_notes_hidden
from keras_retina.model.layers import role_of
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.formats import FORMATS, FormatName

Samples = Callable[[], Iterable[list[np.ndarray]]]

EQUALIZE_IMAGES = 32
BIAS_IMAGES = 8  # of each, thousands of values of every channel
FIRST_RANGES_IMAGES = 4  # TensorFlow's own ranges are replaced, so few images are enough for them

OPERATOR_SETS = {  # by what flows between the operators
    "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
    "int16": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
}

# What a batch size or a variable that was not frozen leaves behind; delegates and compilers stop at them.
LEFTOVERS = {"SHAPE", "STRIDED_SLICE", "PACK", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"}


def convert_heads(
    model: keras.Model,
    spec: DetectorSpec,
    *,
    kind: FormatName,
    samples: Samples | None = None,
    float_layers: Sequence[str] = (),
) -> bytes:
    """Converts the detector; input `image` is uint8 `[1, H, W, 3]`, outputs `boxes` and `classes` are float32.

    In the float kinds, `dynamic` among them, the pixel scaling is part of the graph. In `int8` it is the quantization
    of the input, everything is int8 up to one DEQUANTIZE per head, and convolutions have a scale per channel. `int16`
    has 16-bit activations between a float pixel scaling and the DEQUANTIZEs. `int4` is `int8` with 4-bit kernels.
    `int8_qat` is the int8 of a model that `edge.quantize.aware.model` made, which brings its ranges.

    Args:
        samples: for `int8`, `int16` and `int4`: returns the calibration inputs, each `[float32 [1, H, W, 3]]` scaled as
            for training.
        float_layers: Keras layers that stay float in such a network.

    Raises:
        InputError: an operator is left that a device cannot run, a part of the quantized network stayed float, or a
            float layer is not known.
        ValueError: one of those three without samples.
    """
    if kind == "int8_qat":
        return _convert_quantize_aware(model, spec)
    if FORMATS[kind].calibrated:
        _refuse_float_layers(model, kind)
        if samples is None:
            raise ValueError(f"{kind} export: expected calibration inputs. Received: samples=None. Pass a function.")
        balanced = balanced_model(model, samples)
        return quantize_heads(balanced, spec, kind=kind, samples=samples, float_layers=float_layers)
    converter = _converter(model, spec, camera_bytes=True)
    if kind == "dynamic":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    network = read_flatbuffer(_converted(converter))
    if kind == "float16":
        halve_kernels(network)
    check_operators(network, kind)
    return write_flatbuffer(network)


def _refuse_float_layers(model: keras.Model, kind: FormatName) -> None:
    layer = next((layer for layer in model.layers if not role_of(layer).has_integer_form), None)
    if layer is not None:
        raise InputError(
            f"{kind} export: expected layers that have an integer form. Received: {layer.name}, "
            f"{type(layer).__name__}. Remove {kind} from export.formats."
        )


def balanced_model(model: keras.Model, samples: Samples) -> keras.Model:
    """Returns the model with equalized channels that is quantized; in float it computes the same.

    One with clustered kernels stays as it is: scaled channels would have no equal weights left.
    """
    if has_clusters(model):
        return model
    return equalized(model, itertools.islice(samples(), EQUALIZE_IMAGES))


def float_heads(model: keras.Model, spec: DetectorSpec) -> bytes:
    """Converts the detector to a float network that takes pixels scaled as for training, float32 `[1, H, W, 3]`."""
    return _converted(_converter(model, spec, camera_bytes=False))


def quantize_heads(
    model: keras.Model, spec: DetectorSpec, *, kind: str, samples: Samples, float_layers: Sequence[str] = ()
) -> bytes:
    """Quantizes a model as it is, with better ranges than those that TensorFlow measures, and corrected biases."""
    network, float_network = rounded_heads(model, spec, kind=kind, samples=samples, float_layers=float_layers)
    if kind == "int4":
        take_four_bit_kernels(network, read_flatbuffer(float_network))
    if kind in ("int8", "int4"):
        correct_biases(network, float_network, samples=itertools.islice(samples(), BIAS_IMAGES), spec=spec)
    if float_layers:
        leave_in_float(network, read_flatbuffer(float_network), layers=float_layers)
        check_operators(network, kind, float_layers=float_layers)
    if kind == "int16":
        take_camera_bytes(network, spec)
    return write_flatbuffer(network)


def rounded_heads(
    model: keras.Model, spec: DetectorSpec, *, kind: str, samples: Samples, float_layers: Sequence[str] = ()
) -> tuple[schema.ModelT, bytes]:
    """Returns a quantized network whose biases are rounded only, all of it in `kind`, and the float one.

    The operators and the speed are those of `quantize_heads`. `float_layers` are only checked here.
    """
    float_network = float_heads(model, spec)
    if kind == "int16":
        refuse_without_int16(read_flatbuffer(float_network))
    network = first_quantization(model, spec, kind=kind, samples=samples)
    chosen_operators(network, float_layers)  # an unknown name is told before minutes of calibration
    values = observed_values(float_network, samples())
    if kind != "int16":
        set_int8_ranges(network, values)
    else:
        join_scales(network)
        set_ranges(network, {name: wide_range(seen) for name, seen in values.items()})
        own_biases(network, read_flatbuffer(float_network))
    return network, float_network


def set_int8_ranges(
    network: schema.ModelT,
    values: Mapping[bytes, Histogram],
    *,
    choose: Callable[[Histogram], Range] = best_range,
) -> None:
    """Gives every feature map of an int8 network the range that `choose` finds; logits have a rule of their own.

    Args:
        network: of `first_quantization`, changed in place.
        values: what `observed_values` saw in the float network.
    """
    logits = class_logits(network)
    set_ranges(network, {name: (class_range if name in logits else choose)(seen) for name, seen in values.items()})


def first_quantization(model: keras.Model, spec: DetectorSpec, *, kind: str, samples: Samples) -> schema.ModelT:
    """Returns the quantized network as TensorFlow makes it, all operators checked, with ranges of a few images."""
    converter = _converter(model, spec, camera_bytes=False)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [OPERATOR_SETS[FORMATS[kind].activations]]
    converter.representative_dataset = lambda: itertools.islice(samples(), FIRST_RANGES_IMAGES)
    if kind != "int16":
        converter.inference_input_type = tf.uint8
    network = read_flatbuffer(_converted(converter))
    check_operators(network, kind)
    if kind != "int16":
        check_input_quantization(network, spec)
    return network


def _convert_quantize_aware(model: keras.Model, spec: DetectorSpec) -> bytes:
    """Converts a model that carries its own ranges; no calibration input is looked at."""
    from edge.quantize.aware.model import model_of_file  # loads tfmot, which no other format needs

    converter = _converter(model_of_file(model), spec, camera_bytes=False)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = tf.uint8
    network = read_flatbuffer(_converted(converter))
    check_operators(network, "int8_qat")
    check_input_quantization(network, spec)
    return write_flatbuffer(network)


def _converted(converter: tf.lite.TFLiteConverter) -> bytes:
    with native_notes_hidden():  # quantization prints its types at every log level
        return converter.convert()


def _converter(model: keras.Model, spec: DetectorSpec, *, camera_bytes: bool) -> tf.lite.TFLiteConverter:
    """Returns a converter of the model on uint8 pixels, or on float pixels that are scaled already."""

    def heads(image: tf.Tensor) -> dict[str, tf.Tensor]:
        if camera_bytes:
            image = spec.scale(tf.cast(image, tf.float32))
        return dict(model(image, training=False))

    pixels = tf.TensorSpec([1, spec.height, spec.width, 3], tf.uint8 if camera_bytes else tf.float32, name="image")
    function = tf.function(heads, input_signature=[pixels])
    # The module tracks the variables rather than the model: saving a Keras model would trace every layer, for minutes.
    module = tf.Module()
    module.detector_variables = model.variables
    module.heads = function
    return tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], module)


def check_operators(model: schema.ModelT, kind: str, *, float_layers: Sequence[str] = ()) -> None:
    """Raises InputError when an operator is left that a device would not run, or is float inside a quantized network.

    Only the operators of `float_layers` may be float, and all of them must be.
    """
    graph = model.subgraphs[0]
    in_float = chosen_operators(model, float_layers)
    for operator in graph.operators:
        name = operator_name(model, operator)
        where = graph.tensors[operator.outputs[0]].name.decode(errors="replace")
        if name in LEFTOVERS or name.startswith("Flex"):
            raise InputError(
                f"{kind} export: expected static shapes and frozen weights. Received: operator {name} at {where!r}. "
                "Build the model from the layers of keras_retina.model."
            )
        if not FORMATS[kind].quantized or name in ("QUANTIZE", "DEQUANTIZE"):
            continue
        tensors = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
        is_float = any(tensor_type(tensor).startswith("float") for tensor in tensors)
        if is_float != (id(operator) in in_float):
            raise InputError(
                f"{kind} export: expected {kind} up to the heads, but for float_layers={list(float_layers)}. Received: "
                f"{'float' if is_float else kind} operator {name} at {where!r}. "
                "Replace the layer by one that TFLite quantizes."
            )
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D") and not is_float:
            _check_channel_scales(graph.tensors[operator.inputs[1]], name)


def check_input_quantization(model: schema.ModelT, spec: DetectorSpec) -> None:
    """Raises InputError unless every camera byte reaches the network within half a grey level of its true value.

    A scale of 1/127.5 has its zero point at 127.5, which an integer can only miss by half a level.
    """
    tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    scale, zero_point = tensor_quantization(tensor) or (0.0, 0)
    pixels = np.arange(256)
    errors = np.abs(scale * (pixels - zero_point) - spec.scale(pixels))
    if tensor_type(tensor) != "uint8" or errors.max() > 0.501 / spec.pixel_scale:
        raise InputError(
            "int8 export: expected uint8 pixels quantized within half a grey level. Received: "
            f"{tensor_type(tensor)}, scale={scale}, zero_point={zero_point}. Calibrate on 8-bit photographs."
        )


def _check_channel_scales(weights: schema.TensorT, name: str) -> None:
    channels = weights.shape[3] if name == "DEPTHWISE_CONV_2D" else weights.shape[0]
    if len(weights.quantization.scale) != channels:
        raise InputError(
            f"quantized export: expected a scale per channel. Received: {len(weights.quantization.scale)} scales for "
            f"{channels} channels of {weights.name.decode(errors='replace')!r}. Use Conv2D and DepthwiseConv2D layers."
        )
