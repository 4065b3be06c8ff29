"""Backbones: built flat on our own input, cut at the pyramid levels, frozen, and given pretrained weights."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from keras_retina.foundation.errors import InputError, closest
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.recipe.model import BACKBONE_ALPHAS, Backbone


@dataclass(frozen=True)
class BackboneKind:
    """How one backbone is built, cut at the pyramid levels, frozen by stages and given pretrained weights.

    Attributes:
        build: called as `build(settings, include_top=False, weights=..., input_tensor=...)`, or with `input_shape`:
            the arguments of `keras.applications`, whose layer names a file of weights has too.
        features: names of the layers whose outputs are C3, C4 and C5 (strides 8, 16, 32).
        stages: first layer of each stage after the stem. Freezing n stages freezes the stem and n - 1 of these.
        weights_file: name of the file with ImageNet weights, `{alpha}` for the width; None without such a file.
        rewritten: `{layer: function}`. The function takes the weights of that layer in the file and returns the
            weights that give the same output for our input, RGB in [-1, 1].
    """

    build: Callable[..., keras.Model]
    features: tuple[str, str, str]
    stages: tuple[str, str, str, str]
    weights_file: str | None
    rewritten: Mapping[str, Callable[..., list[np.ndarray]]] = field(default_factory=dict)


def _rgb_unit_range_kernel(kernel: np.ndarray, bias: np.ndarray) -> list[np.ndarray]:
    # caffe input: pixel - mean, in BGR. Ours: x = (pixel - 127.5) / 127.5, so pixel - mean = 127.5 x + 127.5 - mean.
    mean_rgb = np.array([123.68, 116.779, 103.939], np.float32)
    rgb = kernel[:, :, ::-1, :]  # [7, 7, 3, filters]
    offset = np.einsum("hwcf,c->f", rgb, 127.5 - mean_rgb)
    return [rgb * 127.5, bias + offset]


def _mobilenet_v2(settings: Backbone, **options: Any) -> keras.Model:
    return keras.applications.MobileNetV2(alpha=settings.alpha, **options)


def _resnet50(settings: Backbone, **options: Any) -> keras.Model:
    return keras.applications.ResNet50(**options)


def _resnet101(settings: Backbone, **options: Any) -> keras.Model:
    return keras.applications.ResNet101(**options)


# Filters and stride of each convolution of the plain backbone. One more at stride 4 would be a fifth of all the time.
_PLAIN_CONVOLUTIONS = ((16, 2), (32, 2), (64, 2), (64, 1), (96, 2), (96, 1), (128, 2), (128, 1))


def _plain(settings: Backbone, *, input_tensor: tf.Tensor, **options: Any) -> keras.Model:
    """Eight 3x3 convolutions with BatchNorm: short, so that they learn from random weights sooner than MobileNetV2, and
    without depthwise convolutions, whose gradients are slow on a CPU.
    """
    tensor = input_tensor
    for number, (filters, stride) in enumerate(_PLAIN_CONVOLUTIONS):
        name = f"plain_{number}"
        convolve = keras.layers.Conv2D(
            filters, 3, stride, "same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
        )
        tensor = keras.layers.BatchNormalization(name=f"{name}_norm")(convolve(tensor))
        tensor = keras.layers.ReLU(6.0, name=f"{name}_relu6")(tensor)
    return keras.Model(input_tensor, tensor)


_RESNET_STAGES = ("conv2_block1_1_conv", "conv3_block1_1_conv", "conv4_block1_1_conv", "conv5_block1_1_conv")

BACKBONES: dict[str, BackboneKind] = {
    "mobilenet_v2": BackboneKind(
        build=_mobilenet_v2,
        features=("block_5_add", "block_12_add", "block_16_project_BN"),
        stages=("block_1_expand", "block_3_expand", "block_6_expand", "block_13_expand"),
        weights_file="mobilenet_v2_{alpha}_imagenet_notop.weights.h5",
    ),
    "resnet50": BackboneKind(
        build=_resnet50,
        features=("conv3_block4_out", "conv4_block6_out", "conv5_block3_out"),
        stages=_RESNET_STAGES,
        weights_file="resnet50_imagenet_notop.weights.h5",
        rewritten={"conv1_conv": _rgb_unit_range_kernel},
    ),
    "resnet101": BackboneKind(
        build=_resnet101,
        features=("conv3_block4_out", "conv4_block23_out", "conv5_block3_out"),
        stages=_RESNET_STAGES,
        weights_file="resnet101_imagenet_notop.weights.h5",
        rewritten={"conv1_conv": _rgb_unit_range_kernel},
    ),
    "plain": BackboneKind(
        build=_plain,
        features=("plain_3_relu6", "plain_5_relu6", "plain_7_relu6"),
        stages=("plain_1_conv", "plain_2_conv", "plain_4_conv", "plain_6_conv"),
        weights_file=None,
    ),
}
"""Every backbone by its name in a recipe. Names and widths are in `keras_retina.recipe.model`."""


def _kind(settings: Backbone) -> BackboneKind:
    if settings.name not in BACKBONES:
        raise InputError(
            f"model.backbone.name: one of {', '.join(BACKBONES)} was expected. Received: name={settings.name!r}. "
            f"{closest(settings.name, BACKBONES)}"
        )
    return BACKBONES[settings.name]


def backbone_features(image: tf.Tensor, settings: Backbone) -> dict[int, tf.Tensor]:
    """Builds the backbone on `image` with random weights and returns {3: C3, 4: C4, 5: C5}.

    C3 is `[batch, H/8, W/8, channels]` and so on. The layers keep the names that `tf_keras.applications` gives them,
    so that ImageNet files load by topology and `freeze` finds the stages.

    Raises:
        InputError: no such backbone.
    """
    kind = _kind(settings)
    network = kind.build(settings, include_top=False, weights=None, input_tensor=image)
    return {level: network.get_layer(name).output for level, name in zip((3, 4, 5), kind.features, strict=True)}


def backbone_layers(model: keras.Model, settings: Backbone) -> list[keras.layers.Layer]:
    """Returns the layers of the backbone inside a detector, in graph order, the input layer left out."""
    names = [layer.name for layer in model.layers]
    # Layers of pyramid and heads may stand between them in topological order; theirs start with our prefixes.
    inside = model.layers[: names.index(_kind(settings).features[-1]) + 1]
    ours = ("image", "pyramid_", "classes", "boxes")
    return [layer for layer in inside if not layer.name.startswith(ours)]


def freeze(model: keras.Model, settings: Backbone) -> None:
    """Makes the first `frozen_stages` stages untrainable, and every BatchNorm for `batch_norm: frozen`.

    An untrainable BatchNorm runs in inference mode in Keras, also during `fit`. Gradients are not propagated through
    stages that hold no trainable weight, which is what makes frozen early stages cheap.
    """
    layers = backbone_layers(model, settings)
    names = [layer.name for layer in layers]
    bounds = [names.index(stage) for stage in _kind(settings).stages] + [len(names)]
    frozen_count = bounds[settings.frozen_stages - 1] if settings.frozen_stages else 0
    for index, layer in enumerate(layers):
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        layer.trainable = index >= frozen_count and not (is_norm and settings.batch_norm == "frozen")


WEIGHTS_FOLDER_VARIABLE = "KERAS_RETINA_WEIGHTS"


def find_weights(settings: Backbone, data_dir: Path | None) -> str | None:
    """Resolves `backbone.weights` to a path, to "imagenet" (a download by Keras) or to None (random weights).

    `imagenet` is looked for as `<name>_<alpha>_imagenet_notop.weights.h5` (ResNets: without the alpha) in the folder
    that the environment variable KERAS_RETINA_WEIGHTS names and in `weights/` beside the data folder or beside its
    parent; only then does Keras download it.

    Raises:
        InputError: a path was given and there is no such file.
    """
    if settings.weights == "none":
        return None
    if settings.weights != "imagenet":
        path = Path(settings.weights)
        if not path.is_file():
            raise InputError(
                "model.backbone.weights: expected 'imagenet', 'none' or a weights file. "
                f"Received: {settings.weights!r}, which does not exist. Correct the path."
            )
        return str(path)
    name = _file_name(settings)
    for folder in _weights_folders(data_dir):
        candidate = folder / name
        if candidate.is_file():
            return str(candidate)
    return "imagenet"


def load_pretrained(model: keras.Model, settings: Backbone, *, source: str | None) -> None:
    """Copies backbone weights from `source` (see `find_weights`) into the detector; None leaves them random.

    All backbones get RGB in [-1, 1]. The ResNet files were trained on BGR pixels minus a mean: their first
    convolution is rewritten for our input, exactly the same function but for the zero padding at the image border.

    Raises:
        InputError: the file is of another architecture or width, or no Keras weights file, or cannot be downloaded.
    """
    if source is None:
        return
    pretrained, rewritten = _pretrained_network(settings, source), _kind(settings).rewritten
    for layer in backbone_layers(model, settings):
        weights = pretrained.get_layer(layer.name).get_weights()
        if layer.name in rewritten:
            weights = rewritten[layer.name](*weights)
        layer.set_weights(weights)


def _pretrained_network(settings: Backbone, source: str) -> keras.Model:
    file_name = _file_name(settings)
    try:
        return _kind(settings).build(settings, include_top=False, weights=source, input_shape=(224, 224, 3))
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        what = f"{settings.name} alpha {settings.alpha}" if len(BACKBONE_ALPHAS[settings.name]) > 1 else settings.name
        raise InputError(
            f"model.backbone.weights: expected ImageNet weights of {what} without the top. Received: {source!r} "
            f"({reason}). Pass the file of this architecture, or 'none' to start from random weights."
        ) from error
    except Exception as error:
        if type(error) is not Exception:  # Keras raises a bare Exception when a download fails
            raise
        raise InputError(
            "model.backbone.weights: the ImageNet weights could not be downloaded. "
            f"Received: {' '.join(str(error).split())[:300]}. Connect to a network, "
            f"or put {file_name} into the folder that {WEIGHTS_FOLDER_VARIABLE} names."
        ) from error


def _file_name(settings: Backbone) -> str:
    name = _kind(settings).weights_file
    if name is None:
        raise InputError(
            f"model.backbone.weights: 'none' was expected for {settings.name}, which has no pretrained weights. "
            f"Received: weights={settings.weights!r}. Use 'none'."
        )
    return name.format(alpha=settings.alpha)


def _weights_folders(data_dir: Path | None) -> Sequence[Path]:
    folders = [Path(os.environ[WEIGHTS_FOLDER_VARIABLE])] if os.environ.get(WEIGHTS_FOLDER_VARIABLE) else []
    if data_dir is not None:
        parent = data_dir.resolve().parent
        folders += [parent / "weights", parent.parent / "weights"]
    return folders
