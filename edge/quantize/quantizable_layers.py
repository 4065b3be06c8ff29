"""Which detectors can be quantized in training: every layer has an int8 form, and nothing is quantized yet."""

from __future__ import annotations

from edge.quantize.batch_norm import CONVOLUTIONS, check_is_flat
from edge.quantize.places import activation_of
from edge.quantize.quantizers import QuantizedWeights, RoundedMap
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras

SUPPORTED = (
    *CONVOLUTIONS,
    keras.layers.InputLayer,
    keras.layers.BatchNormalization,
    keras.layers.ReLU,
    keras.layers.Activation,
    keras.layers.Add,
    keras.layers.Concatenate,
    keras.layers.MaxPooling2D,
    keras.layers.Reshape,
    keras.layers.UpSampling2D,
    keras.layers.ZeroPadding2D,
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
        if type(layer) not in SUPPORTED:
            raise InputError(
                f"quantization: layer {layer.name!r} expected to be one of "
                f"{', '.join(sorted(supported.__name__ for supported in SUPPORTED))}. Received: {kind}. {_advice(kind)}"
            )
        if layer.compute_dtype != "float32":
            raise InputError(
                f"quantization: expected float32 throughout. Received: {layer.compute_dtype} in {layer.name!r}. "
                "Load the model.keras of the run, or set training.precision to 'float32'."
            )
        activation_of(layer)


def _advice(kind: str) -> str:
    if kind.startswith("Separable"):
        return "Use a DepthwiseConv2D and a 1x1 Conv2D."
    if kind in {"PruneLowMagnitude", "ClusterWeights"}:
        return "Strip pruning and clustering first."
    if kind in {"TFOpLambda", "SlicingOpLambda", "Lambda"}:
        return "Use a layer, such as Add, in place of the operator."
    return "Replace the layer."
