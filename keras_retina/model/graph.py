"""Functional models as lists of layer calls, so that another graph of the same layers can be built from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from keras_retina.foundation.legacy_keras import keras, tf

Place = tuple[str, int]
"""The output of a layer's call: its name, and which call of it."""


class Call(NamedTuple):
    """One call of a layer and the outputs that it reads, none for an input layer."""

    layer: str
    number: int
    inputs: list[Place]


def calls_of(model: keras.Model) -> list[Call]:
    """Returns the calls of a functional model whose layers take tensors and nothing else, each after what it reads."""
    waiting = [
        Call(layer["name"], number, [(source, index) for source, index, _, _ in inputs])
        for layer in model.get_config()["layers"]
        for number, inputs in enumerate(layer["inbound_nodes"] or [[]])
    ]
    ordered: list[Call] = []
    done: set[Place] = set()
    while waiting:
        ready = [call for call in waiting if done.issuperset(call.inputs)]
        ordered += ready
        done.update((call.layer, call.number) for call in ready)
        waiting = [call for call in waiting if (call.layer, call.number) not in done]
    return ordered


def output_places(model: keras.Model) -> dict[str, Place]:
    """Returns where the outputs of a model with a dictionary of outputs come from."""
    return {name: (layer, number) for name, (layer, number, _) in model.get_config()["output_layers"].items()}


def rebuild(
    calls: list[Call], tensors: dict[Place, tf.Tensor], layer_of: Callable[[str], keras.layers.Layer | None]
) -> None:
    """Calls layers on new tensors and adds their outputs to `tensors`, which starts with those of the inputs.

    A call whose output is there already is passed over; so is, with its input in place of its output, one for whose
    name `layer_of` returns None.
    """
    for name, number, inputs in calls:
        if (name, number) in tensors:
            continue
        read = [tensors[place] for place in inputs]
        layer = layer_of(name)
        tensors[name, number] = read[0] if layer is None else layer(read[0] if len(read) == 1 else read)


def learning_places(model: keras.Model) -> dict[Place, bool]:
    """Tells of each output whether a trainable weight is in what computes it, so that gradients must reach it."""
    learns: dict[Place, bool] = {}
    for name, number, inputs in calls_of(model):
        own = bool(model.get_layer(name).trainable_variables)
        learns[name, number] = own or any(learns[place] for place in inputs)
    return learns


def shapes_of(model: keras.Model) -> dict[Place, tuple[int | None, ...]]:
    """Returns the shape of every output, batch first: `(None, height, width, channels)`."""
    shapes: dict[Place, tuple[int | None, ...]] = {}
    for name, number, inputs in calls_of(model):
        layer = model.get_layer(name)
        read = [shapes[place] for place in inputs]
        shape = layer.compute_output_shape(read[0] if len(read) == 1 else read) if read else layer.output_shape[0]
        shapes[name, number] = tuple(tf.TensorShape(shape).as_list())
    return shapes
