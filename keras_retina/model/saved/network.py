"""The configuration of a saved network, looked at before Keras builds it: does it end, and is there room for it."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

from keras_retina.foundation.errors import InputError
from keras_retina.model.calls import Place, calls_in
from keras_retina.model.spec import DetectorSpec

LAYER_LIMIT = 5_000  # a ResNet-152 with its heads has under 1,000
LARGEST_NUMBER = 1 << 16  # of channels, of a side of a kernel
CHANNELS_LAST = (-1, 3)


def require_buildable(config: Mapping[str, Any], spec: DetectorSpec, *, weights_bytes: int, path: Path) -> None:
    """Refuses a network that Keras would build forever, or for which the file has not enough weights.

    Args:
        config: of a functional model, as tf_keras writes it.
        weights_bytes: size of the weights in the file.

    Raises:
        InputError: no layers, a layer that reads nothing, layers in a circle, another input than that of the
            description, sizes of layers that are no sizes, or more parameters than the file has bytes for.
    """
    try:
        count = _kernel_parameters(config["config"], input_shape=[None, spec.height, spec.width, 3])
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        received = f"no {error.args[0]!r}"[:100] if isinstance(error, KeyError) else str(error)[:300]
        raise InputError(
            f"{path}: expected the layers of a detector. Received: {received}. Use the model.keras of a run folder."
        ) from error
    if 2 * count > weights_bytes:  # of float32 it is four bytes for each
        raise InputError(
            f"{path}: expected the weights of {count} parameters. Received: {weights_bytes} bytes of weights. "
            "Use the model.keras of a run folder."
        )


def _kernel_parameters(network: Mapping[str, Any], input_shape: list[int | None]) -> int:
    """Returns how many weights the kernels of all convolutions have, from the numbers of channels alone."""
    layers = {layer["name"]: layer for layer in network["layers"]}
    if not 1 < len(layers) == len(network["layers"]) <= LAYER_LIMIT:
        raise ValueError(f"{len(network['layers'])} layers of {len(layers)} names")
    if not isinstance(network.get("name", ""), str):
        raise ValueError(f"a network whose name is {str(network['name'])[:80]}")
    for name, layer in layers.items():
        if not isinstance(name, str) or layer["config"].get("name", name) != name:
            raise ValueError(f"layer {str(name)[:80]!r} with another name in its configuration")
        if (layer["class_name"] == "InputLayer") == bool(layer["inbound_nodes"]):
            raise ValueError(f"layer {str(name)[:80]!r} of class {layer['class_name']} that reads {_read_by(layer)}")
        if layer["class_name"] == "InputLayer" and list(layer["config"]["batch_input_shape"]) != input_shape:
            raise ValueError(
                f"an input of shape {layer['config']['batch_input_shape']}, where {input_shape} is described"
            )
    channels: dict[Place, int] = {}
    kernels: dict[str, int] = {}
    for name, number, inputs in calls_in(network["layers"]):
        layer = layers[name]
        read = [channels[place] for place in inputs]
        channels[name, number] = _channels(layer, read)
        kernels[name] = _kernel(layer, read)
    return sum(kernels.values())


def _read_by(layer: Mapping[str, Any]) -> str:
    return "other layers" if layer["inbound_nodes"] else "nothing"


def _channels(layer: Mapping[str, Any], read: list[int]) -> int:
    """Returns how many channels a layer makes of those that it reads."""
    kind, settings = layer["class_name"], layer["config"]
    if kind == "InputLayer":
        return int(settings["batch_input_shape"][-1])
    if kind == "Conv2D":
        return _size(settings["filters"])
    if kind == "DepthwiseConv2D":
        return read[0] * _size(settings["depth_multiplier"])
    if kind == "Concatenate" and settings["axis"] in CHANNELS_LAST:
        return sum(read)
    if kind == "Reshape":
        return _size(settings["target_shape"][-1])
    return max(read)


def _kernel(layer: Mapping[str, Any], read: list[int]) -> int:
    kind, settings = layer["class_name"], layer["config"]
    if kind == "Conv2D":
        inputs = -(-read[0] // _size(settings["groups"]))
        return prod(map(_size, settings["kernel_size"])) * inputs * _size(settings["filters"])
    if kind == "DepthwiseConv2D":
        return prod(map(_size, settings["kernel_size"])) * read[0] * _size(settings["depth_multiplier"])
    return 0


def _size(number: Any) -> int:
    if type(number) is not int or not 0 < number <= LARGEST_NUMBER:
        raise ValueError(f"a size of {str(number)[:40]}, where 1 to {LARGEST_NUMBER} are possible")
    return number
