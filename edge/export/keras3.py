"""A trained detector as a Keras 3 model, without tf_keras. Only the TensorFlow backend was tried.

Training and compression stay on Keras 2 (`tf_keras`), because tensorflow-model-optimization knows no other. A trained
network is plain layers, which Keras 3 has as well, so nobody has to stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.writing import replacing
from keras_retina.foundation.files.zip_members import UNREADABLE
from keras_retina.model.calls import Place, calls_in, rebuild
from keras_retina.model.saved.archive import (
    add_description,
    one_line,
    read_archive,
    weights_bytes,
    weights_file,
)
from keras_retina.model.saved.network import require_buildable
from keras_retina.model.spec import DetectorSpec

if TYPE_CHECKING:
    import keras

LARGEST_DIFFERENCE = 1e-3
"""Of a logit or a box delta. Both round differently, by about 1e-5."""

_CONVOLUTION = ("kernel_size", "strides", "padding", "data_format", "dilation_rate", "activation", "use_bias")

# What a layer computes, by its class: initializers, constraints and the like are for networks that are not trained yet.
# `data_format` is named because the settings of a person's Keras may have another.
_SETTINGS: dict[str, tuple[str, ...]] = {
    "Activation": ("activation",),
    "Add": (),
    "Attention": ("use_scale", "score_mode", "dropout"),
    "BatchNormalization": ("axis", "momentum", "epsilon", "center", "scale"),
    "Concatenate": ("axis",),
    "Conv2D": ("filters", "groups", *_CONVOLUTION),
    "DepthwiseConv2D": ("depth_multiplier", *_CONVOLUTION),
    "GlobalAveragePooling2D": ("data_format", "keepdims"),
    "GroupNormalization": ("groups", "axis", "epsilon", "center", "scale"),
    "LayerNormalization": ("axis", "epsilon", "center", "scale"),
    "MaxPooling2D": ("pool_size", "strides", "padding", "data_format"),
    "Multiply": (),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "Rescaling": ("scale", "offset"),
    "Reshape": ("target_shape",),
    "UpSampling2D": ("size", "data_format", "interpolation"),
    "ZeroPadding2D": ("padding", "data_format"),
}


def keras3_detector(path: str | Path) -> tuple[keras.Model, DetectorSpec]:
    """Builds a saved detector anew in Keras 3, with its weights, and returns it with its description.

    Inputs and outputs are the same as in Keras 2: `image` float32 `[batch, height, width, 3]` scaled by
    `DetectorSpec.scale`, and `{"classes": [batch, anchors, classes] logits, "boxes": [batch, anchors, 4] deltas}`.
    `spec.anchors()` are the anchors. The model trains on, saves itself and exports as any other of Keras 3;
    `evaluate_detector` measures it where Keras runs on TensorFlow.

    Args:
        path: the `model.keras` of a run, of a smaller model of it, or one that `save_detector` wrote. Of a
            quantization-aware model the float weights are taken.

    Raises:
        InputError: another file, or a network of other layers than the detectors of this project.
    """
    import keras

    path = Path(path)
    spec, saved = read_archive(path)
    try:
        require_buildable(saved, spec, weights_bytes=weights_bytes(path), path=path)
        config = saved["config"]
        layers = {layer["name"]: layer for layer in config["layers"]}
        name = next(name for name, layer in layers.items() if layer["class_name"] == "InputLayer")
        image = keras.Input((spec.height, spec.width, 3), name=name)
        tensors: dict[Place, Any] = {(name, 0): image}
        made: dict[str, Any] = {}

        def layer_of(name: str) -> Any:
            if name not in made:
                made[name] = _layer(layers[name], path=path)
            return made[name]

        rebuild(calls_in(config["layers"]), tensors, layer_of=layer_of)
        outputs = {key: tensors[layer, number] for key, (layer, number, _) in config["output_layers"].items()}
        model = keras.Model(image, outputs, name="retinanet")
        with weights_file(path) as weights:
            model.load_weights(weights)
    except InputError:
        raise
    except (*UNREADABLE, IndexError, StopIteration) as error:
        raise InputError(
            f"{path}: expected a saved detector. Received: {one_line(error)}. Use the model.keras of a run folder."
        ) from error
    for name, layer in made.items():
        layer.trainable = layers[name]["config"].get("trainable", True)
    return model, spec


def write_keras3(path: str | Path, out: str | Path) -> float:
    """Writes a saved detector as a `.keras` file that `keras.saving.load_model` of Keras 3 opens, and proves it.

    Args:
        path: see `keras3_detector`.
        out: ends in `.keras`. `detector.json` and `anchors.npy` are members of it, as in the original.

    Returns:
        The largest difference of a logit or box delta to Keras 2, on an image of noise.

    Raises:
        InputError: see `keras3_detector`; or the two networks differ by more than `LARGEST_DIFFERENCE`.
    """
    from keras_retina.model.saving import load_detector  # loads tf_keras, which `keras3_detector` does without

    out = Path(out)
    if out.suffix != ".keras":
        raise InputError(f"write_keras3: expected a path that ends in .keras. Received: {out}. Rename it.")
    model, spec = keras3_detector(path)
    original, _ = load_detector(Path(path))
    noise = np.random.default_rng(0).integers(0, 256, (1, spec.height, spec.width, 3))
    inputs = spec.scale(noise)
    theirs, ours = model(inputs, training=False), original(inputs, training=False)
    difference = max(float(np.abs(np.asarray(theirs[key]) - ours[key].numpy()).max()) for key in ours)
    if not difference <= LARGEST_DIFFERENCE:
        raise InputError(
            f"{path}: expected the same outputs in Keras 3 within {LARGEST_DIFFERENCE}. Received: {difference:.3g}. "
            "Please report this with the recipe of the run."
        )
    with replacing(out) as unfinished:
        model.save(unfinished)
        add_description(unfinished, spec)
    return difference


def _layer(saved: Mapping[str, Any], *, path: Path) -> Any:
    import keras

    kind, config = str(saved["class_name"]), saved["config"]
    if kind not in _SETTINGS:
        raise InputError(
            f"{path}: expected layers of the kinds {', '.join(_SETTINGS)}. Received: layer {saved['name']!r} of class "
            f"{kind[:80]!r}. Use the model.keras of a run folder."
        )
    settings = {key: config[key] for key in _SETTINGS[kind] if key in config}
    if kind == "BatchNormalization" and isinstance(settings["axis"], list):  # Keras 2 saves a list of one
        (settings["axis"],) = settings["axis"]
    return getattr(keras.layers, kind)(name=saved["name"], **settings)
