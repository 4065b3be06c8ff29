"""What rounds to int8 in quantization-aware training, weights, feature maps and camera bytes."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import tensorflow_model_optimization as tfmot

from edge.quantize.equalize import cluster_indices, is_clustered
from edge.quantize.ranges import Range
from keras_retina.foundation.legacy_keras import keras, tf

Preserve = Literal["nothing", "sparsity", "clusters"]

SMALLEST_LARGEST_WEIGHT = 1e-4
"""A channel of smaller weights gets the step of this one: with ever finer steps its bias would leave int32."""

TIE = 1e-3  # steps: far below what a quarter of a pixel changes, far above the rounding of float32


class ChannelWeights(tfmot.quantization.keras.quantizers.Quantizer):
    """Rounds a kernel to int8 [-127, 127] with one scale per output channel, that of its largest weight now.

    tfmot's own quantizer of convolutions knows the largest weight of the last step, one update too late, and its
    configuration of DepthwiseConv2D has one scale for all channels.

    `preserve` keeps what a kernel has at the start: `sparsity` its zeros, `clusters` also which weights are equal.
    Equal weights are replaced by their mean: they get the same gradient, and stay equal.
    """

    def __init__(self, preserve: Preserve, depthwise: bool) -> None:
        self.preserve = preserve
        self.depthwise = depthwise

    def build(self, tensor_shape: tf.TensorShape, name: str, layer: QuantizedWeights) -> dict[str, Any]:
        kernel = layer.master_kernel.numpy()
        if self.preserve == "nothing":
            return {}
        if self.preserve == "clusters" and is_clustered(kernel):
            clusters, number = cluster_indices(kernel)
            constant = keras.initializers.Constant(clusters)
            indices = layer.add_weight(f"{name}_clusters", kernel.shape, tf.int32, constant, trainable=False)
            return {"clusters": indices, "number": number}
        constant = keras.initializers.Constant((kernel != 0).astype(np.float32))
        return {"mask": layer.add_weight(f"{name}_mask", kernel.shape, tf.float32, constant, trainable=False)}

    def __call__(self, inputs: tf.Tensor, training: bool, weights: dict[str, Any], **kwargs: Any) -> tf.Tensor:
        shape = inputs.shape
        kernel = self.by_channel(kept(inputs, weights))
        largest = _largest_weights(kernel)
        rounded = tf.quantization.fake_quant_with_min_max_vars_per_channel(kernel, -largest, largest, narrow_range=True)
        return tf.reshape(rounded, shape)

    def by_channel(self, kernel: tf.Tensor) -> tf.Tensor:
        """Returns a kernel with its output channels as last axis."""
        if not self.depthwise:  # else [height, width, inputs, multiplier]
            return kernel
        return tf.reshape(kernel, [*kernel.shape[:2], 1, kernel.shape[2] * kernel.shape[3]])

    def get_config(self) -> dict[str, Any]:
        return {"preserve": self.preserve, "depthwise": self.depthwise}


def _largest_weights(kernel: tf.Tensor) -> tf.Tensor:
    largest = tf.stop_gradient(tf.reduce_max(tf.abs(kernel), axis=[0, 1, 2]))
    return tf.maximum(largest, SMALLEST_LARGEST_WEIGHT)


def kept(kernel: tf.Tensor, weights: dict[str, Any]) -> tf.Tensor:
    """Returns the kernel with its zeros, or with its zeros and equal weights, put back.

    Args:
        weights: `mask`, 0 or 1 in the shape of the kernel, or `clusters` in that shape, the group of each weight below
            `number`, group 0 being the zeros, or neither.
    """
    if "mask" in weights:
        return kernel * weights["mask"]
    if "clusters" in weights:
        indices = tf.convert_to_tensor(weights["clusters"])
        means = tf.math.unsorted_segment_mean(kernel, indices, weights["number"])
        return tf.gather(tf.concat([[0.0], means[1:]], axis=0), indices)
    return tf.convert_to_tensor(kernel)


class ChannelScales(tfmot.quantization.keras.QuantizeConfig):
    """Rounds the kernel of a convolution; feature maps have layers of their own, one for each call."""

    def __init__(self, preserve: Preserve, depthwise: bool) -> None:
        self.quantizer = ChannelWeights(preserve, depthwise)

    def get_weights_and_quantizers(self, layer: keras.layers.Layer) -> list[tuple[tf.Variable, ChannelWeights]]:
        return [(_kernel(layer), self.quantizer)]

    def set_quantize_weights(self, layer: keras.layers.Layer, quantize_weights: list[tf.Tensor]) -> None:
        setattr(layer, "depthwise_kernel" if self.quantizer.depthwise else "kernel", quantize_weights[0])

    def get_activations_and_quantizers(self, layer: keras.layers.Layer) -> list:
        return []

    def set_quantize_activations(self, layer: keras.layers.Layer, quantize_activations: list) -> None:
        pass

    def get_output_quantizers(self, layer: keras.layers.Layer) -> list:
        return []

    def get_config(self) -> dict[str, Any]:
        return self.quantizer.get_config()


class QuantizedWeights(tfmot.quantization.keras.QuantizeWrapperV2):
    """A convolution without its activation that computes with rounded weights and learns the float ones.

    A frozen one learns nothing; in tfmot's wrapper its kernel does.
    """

    def __init__(self, layer: keras.layers.Layer, quantize_config: ChannelScales, **kwargs: Any) -> None:
        self.activation = layer.activation
        layer.activation = keras.activations.linear
        super().__init__(layer, quantize_config, **kwargs)

    def build(self, input_shape: Any) -> None:
        if not self.layer.built:
            self.layer.build(input_shape)
        self.master_kernel = _kernel(self.layer)
        self.master_bias = self.layer.bias
        super().build(input_shape)

    @property
    def _learned(self) -> list[tf.Variable]:
        return [self.master_kernel] + ([] if self.master_bias is None else [self.master_bias])

    @property
    def trainable_weights(self) -> list[tf.Variable]:
        return self._learned if self.built and self.trainable else []

    @property
    def non_trainable_weights(self) -> list[tf.Variable]:
        return ([] if not self.built or self.trainable else self._learned) + self._non_trainable_weights

    def kept_kernel(self) -> tf.Tensor:
        """Returns the kernel before rounding, with what is preserved in it."""
        (_, _, preserved) = self._weight_vars[0]
        return kept(self.master_kernel, preserved)

    def steps(self) -> tf.Tensor:
        """Returns the scale of each output channel's weights."""
        return _largest_weights(self.quantize_config.quantizer.by_channel(self.kept_kernel())) / 127.0

    def plain_layer(self) -> keras.layers.Layer:
        """Returns the convolution as it was before, without weights."""
        config = {**self.layer.get_config(), "activation": keras.activations.serialize(self.activation)}
        return type(self.layer).from_config(config)

    def plain_weights(self) -> list[np.ndarray]:
        """Returns the weights of `plain_layer`."""
        return [self.kept_kernel().numpy(), *([] if self.master_bias is None else [self.master_bias.numpy()])]


class RoundedBias(keras.layers.Layer):
    """Rounds the bias of one call of a convolution to int32 and applies the activation of the convolution.

    The step is that of the input times that of the weights, too coarse to be left out: without it, one value in a
    thousand of each feature map is another than in the file, and after fifty layers most are.
    """

    def __init__(self, convolution: QuantizedWeights, input_step: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.convolution, self.input_step = convolution, input_step

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        bias = self.convolution.master_bias
        if bias is not None:
            step = self.input_step * self.convolution.steps()
            inputs = inputs + tf.stop_gradient(tf.round(bias / step) * step - bias)
        return self.convolution.activation(inputs)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "input_step": self.input_step}


class RoundedMap(keras.layers.Layer):
    """Rounds a feature map to the 256 steps of a fixed range; no gradient passes where a value is clipped."""

    def __init__(self, low: float, high: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.low, self.high = low, high

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "low": self.low, "high": self.high}


class RoundedEnlargement(RoundedMap):
    """Rounds a bilinearly enlarged map: a sixteenth of its values lie half way between steps, which go up in TFLite."""

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return super().call(inputs + TIE * (self.high - self.low) / 255)


class RoundedHead(RoundedMap):
    """Rounds a head and lets every gradient pass: an object whose logit is below the range must be able to rise."""

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        rounded = super().call(inputs)
        return inputs + tf.stop_gradient(rounded - inputs) if training else rounded


class RoundedImage(RoundedMap):
    """Rounds the image so that byte b becomes step b of the range, as in the file, where no pixel is scaled.

    (b - 127.5) / 127.5 has its zero half way between two steps: the network sees half a grey level less.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        return super().call(inputs - (self.high - self.low) / 255 / 2)


PIXEL_RANGE: Range = (-128 / 127.5, 127 / 127.5)
"""Bytes 0 and 255 as the int8 network sees them, with byte 128 at 0."""


def _kernel(layer: keras.layers.Layer) -> tf.Variable:
    return layer.depthwise_kernel if isinstance(layer, keras.layers.DepthwiseConv2D) else layer.kernel
