"""Backbones, built flat on our own input, and their features by pyramid level."""

from __future__ import annotations

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.recipe.recipe import Backbone

# Names of the layers whose outputs are C3, C4 and C5 (strides 8, 16, 32).
MOBILENET_V2_FEATURES = ("block_5_add", "block_12_add", "block_16_project_BN")
RESNET50_FEATURES = ("conv3_block4_out", "conv4_block6_out", "conv5_block3_out")
RESNET101_FEATURES = ("conv3_block4_out", "conv4_block23_out", "conv5_block3_out")
PLAIN_FEATURES = ("plain_3_relu6", "plain_5_relu6", "plain_7_relu6")

# First layer of each stage after the stem, in order: freezing n stages freezes the stem and n - 1 of these.
MOBILENET_V2_STAGES = ("block_1_expand", "block_3_expand", "block_6_expand", "block_13_expand")
PLAIN_STAGES = ("plain_1_conv", "plain_2_conv", "plain_4_conv", "plain_6_conv")
RESNET_STAGES = ("conv2_block1_1_conv", "conv3_block1_1_conv", "conv4_block1_1_conv", "conv5_block1_1_conv")

# Filters and stride of each convolution of the plain backbone. One more at stride 4 would be a fifth of all the time.
PLAIN_LAYERS = ((16, 2), (32, 2), (64, 2), (64, 1), (96, 2), (96, 1), (128, 2), (128, 1))


def backbone_features(image: tf.Tensor, settings: Backbone) -> dict[int, tf.Tensor]:
    """Builds the backbone on `image` with random weights and returns {3: C3, 4: C4, 5: C5}.

    C3 is `[batch, H/8, W/8, channels]` and so on. The layers keep the names that `tf_keras.applications` gives them,
    so that ImageNet files load by topology and `frozen_layers` finds the stages.
    """
    if settings.name == "plain":
        return _plain_features(image)
    common = {"input_tensor": image, "include_top": False, "weights": None}
    if settings.name == "mobilenet_v2":
        network = keras.applications.MobileNetV2(alpha=settings.alpha, **common)
        names = MOBILENET_V2_FEATURES
    elif settings.name == "resnet50":
        network = keras.applications.ResNet50(**common)
        names = RESNET50_FEATURES
    else:
        network = keras.applications.ResNet101(**common)
        names = RESNET101_FEATURES
    return {level: network.get_layer(name).output for level, name in zip((3, 4, 5), names, strict=True)}


def backbone_layers(model: keras.Model, settings: Backbone) -> list[keras.layers.Layer]:
    """Returns the layers of the backbone inside a detector, in graph order, the input layer left out."""
    last = {
        "mobilenet_v2": MOBILENET_V2_FEATURES[-1],
        "resnet50": RESNET50_FEATURES[-1],
        "resnet101": RESNET101_FEATURES[-1],
        "plain": PLAIN_FEATURES[-1],
    }[settings.name]
    names = [layer.name for layer in model.layers]
    # Layers of pyramid and heads may stand between them in topological order; theirs start with our prefixes.
    inside = model.layers[: names.index(last) + 1]
    ours = ("image", "pyramid_", "classes", "boxes")
    return [layer for layer in inside if not layer.name.startswith(ours)]


def freeze(model: keras.Model, settings: Backbone) -> None:
    """Makes the first `frozen_stages` stages untrainable, and every BatchNorm for `batch_norm: frozen`.

    An untrainable BatchNorm runs in inference mode in Keras, also during `fit`. Gradients are not propagated through
    stages that hold no trainable weight, which is what makes frozen early stages cheap.
    """
    stages = {"mobilenet_v2": MOBILENET_V2_STAGES, "plain": PLAIN_STAGES}.get(settings.name, RESNET_STAGES)
    layers = backbone_layers(model, settings)
    names = [layer.name for layer in layers]
    bounds = [names.index(stage) for stage in stages] + [len(names)]
    frozen_count = bounds[settings.frozen_stages - 1] if settings.frozen_stages else 0
    for index, layer in enumerate(layers):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= frozen_count and not (is_norm and settings.batch_norm == "frozen")


def _plain_features(image: tf.Tensor) -> dict[int, tf.Tensor]:
    """Eight 3x3 convolutions with BatchNorm: short, so that they learn from random weights sooner than MobileNetV2, and
    without depthwise convolutions, whose gradients are slow on a CPU.
    """
    tensor = image
    outputs = {}
    for number, (filters, stride) in enumerate(PLAIN_LAYERS):
        name = f"plain_{number}"
        convolve = keras.layers.Conv2D(
            filters, 3, stride, "same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
        )
        tensor = keras.layers.BatchNormalization(name=f"{name}_norm")(convolve(tensor))
        tensor = keras.layers.ReLU(6.0, name=f"{name}_relu6")(tensor)
        outputs[f"{name}_relu6"] = tensor
    return {level: outputs[name] for level, name in zip((3, 4, 5), PLAIN_FEATURES, strict=True)}
