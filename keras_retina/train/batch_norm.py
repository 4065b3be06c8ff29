"""BatchNorm while training: folded where it is frozen, its statistics measured anew where it learns."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.batch_norm import trainable_batch_norms
from keras_retina.model.calls import Place, rebuild
from keras_retina.model.graph import calls_of, output_places

STEPS = 60


def estimate_batch_norm(model: keras.Model, batches: tf.data.Dataset) -> None:
    """Re-estimates the moving statistics of every trainable BatchNorm, if there is one, with the final weights.

    The moving averages of training lag behind the weights, and averaged weights have no statistics of their own.

    Args:
        batches: (inputs of the model, targets).
    """
    if not trainable_batch_norms(model):
        return

    @tf.function(autograph=False)
    def forward(inputs: tf.Tensor | dict[str, tf.Tensor]) -> None:
        model(inputs, training=True)

    for inputs, _ in batches.take(STEPS):
        forward(inputs)


ZERO_PADDING_LIKE_SAME = ((0, 1), (0, 1))  # before a 3x3 convolution with stride 2, where height and width are even


def fold_frozen_batch_norm(
    model: keras.Model, *, instead: Mapping[str, keras.layers.Layer] = MappingProxyType({})
) -> keras.Model:
    """Returns a model of the same function that shares every variable of `model`, faster in training.

    Each convolution whose only reader is an untrainable BatchNorm becomes one `FoldedConvolution`, together with a
    ZeroPadding2D before it where "same" padding does the same. Kernels get the gradients that they have in `model`.
    Save, export and count with `model` itself: both always have the same weights.

    Args:
        instead: layers that take the place of others, by the names of those.
    """
    calls = calls_of(model)
    readers: dict[str, list[str]] = {}
    for call in calls:
        for source, _ in call.inputs:
            readers.setdefault(source, []).append(call.layer)
    source_of = {call.layer: call.inputs[0][0] for call in calls if call.inputs}
    folded: dict[str, keras.layers.Layer] = {}
    skipped: set[str] = set()
    for layer in model.layers:
        reader = model.get_layer(readers[layer.name][0]) if len(readers.get(layer.name, [])) == 1 else None
        is_convolution = isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D))
        if not is_convolution or reader is None or not _is_frozen_norm(reader):
            continue
        skipped.add(reader.name)
        padding = model.get_layer(source_of[layer.name])
        is_like_same = _pads_like_same(padding, layer) and len(readers[padding.name]) == 1
        if is_like_same:
            skipped.add(padding.name)
        folded[layer.name] = FoldedConvolution(layer, reader, "same" if is_like_same else layer.padding)
    replaced = {**folded, **instead}
    if not replaced:
        return model
    inputs = {name: keras.Input(model.get_layer(name).output_shape[0][1:], name=name) for name in model.input_names}
    tensors: dict[Place, tf.Tensor] = {(name, 0): tensor for name, tensor in inputs.items()}

    def layer_of(name: str) -> keras.layers.Layer | None:
        return None if name in skipped else replaced.get(name, model.get_layer(name))

    rebuild(calls, tensors, layer_of=layer_of)
    outputs = {name: tensors[place] for name, place in output_places(model).items()}
    return keras.Model(list(inputs.values()), outputs, name=model.name)


class FoldedConvolution(keras.layers.Layer):
    """A Conv2D or DepthwiseConv2D and the frozen BatchNorm after it, as one convolution with a bias."""

    def __init__(self, convolution: keras.layers.Layer, norm: keras.layers.Layer, padding: str) -> None:
        super().__init__(name=f"{convolution.name}_folded", dtype=convolution.dtype_policy)
        self.convolution, self.norm, self.padding = convolution, norm, padding.upper()

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        convolution, norm = self.convolution, self.norm
        # In lower precision BatchNorm keeps float32 variables; only the products are rounded.
        factor = tf.math.rsqrt(norm.moving_variance + norm.epsilon)  # [channels]
        factor = factor * norm.gamma if norm.scale else factor
        offset = (norm.beta if norm.center else 0.0) - norm.moving_mean * factor
        factor = tf.cast(factor, self.compute_dtype)
        offset = tf.cast(offset, self.compute_dtype)
        if convolution.use_bias:
            offset = offset + convolution.bias * factor
        strides = [1, *convolution.strides, 1]
        if isinstance(convolution, keras.layers.DepthwiseConv2D):
            kernel = convolution.depthwise_kernel  # [height, width, inputs, multiplier]
            kernel = kernel * tf.reshape(factor, kernel.shape[2:])
            outputs = tf.nn.depthwise_conv2d(inputs, kernel, strides, self.padding, dilations=convolution.dilation_rate)
        else:
            kernel = convolution.kernel * factor  # [height, width, inputs, channels]
            outputs = tf.nn.conv2d(inputs, kernel, strides, self.padding, dilations=convolution.dilation_rate)
        return tf.nn.bias_add(outputs, offset)


def _is_frozen_norm(layer: keras.layers.Layer) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization) and not layer.trainable


def _pads_like_same(padding: keras.layers.Layer, convolution: keras.layers.Layer) -> bool:
    return (
        isinstance(padding, keras.layers.ZeroPadding2D)
        and padding.padding == ZERO_PADDING_LIKE_SAME
        and (convolution.padding, convolution.kernel_size, convolution.strides) == ("valid", (3, 3), (2, 2))
        and all(side % 2 == 0 for side in padding.input_shape[1:3])
    )
