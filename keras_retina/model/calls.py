"""The calls of a functional model in order, out of its configuration; needs no Keras."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from keras_retina.foundation.errors import InputError

Place = tuple[str, int]
"""The output of a layer's call: its name, and which call of it."""


class Call(NamedTuple):
    """One call of a layer and the outputs that it reads, none for an input layer."""

    layer: str
    number: int
    inputs: list[Place]


def calls_in(layers: Iterable[Mapping[str, Any]]) -> list[Call]:
    """Returns the calls of layers that take tensors and nothing else, each after what it reads.

    Args:
        layers: of the configuration of a functional model, as tf_keras writes it.

    Raises:
        InputError: calls that wait for each other, or for a layer that is not there.
    """
    waiting = [
        Call(layer["name"], number, [(source, index) for source, index, _, _ in inputs])
        for layer in layers
        for number, inputs in enumerate(layer["inbound_nodes"] or [[]])
    ]
    ordered: list[Call] = []
    done: set[Place] = set()
    while waiting:
        ready = [call for call in waiting if done.issuperset(call.inputs)]
        if not ready:
            names = ", ".join(sorted({call.layer for call in waiting})[:5])
            raise InputError(f"model: expected layers that read what earlier ones made. Received: a circle at {names}.")
        ordered += ready
        done.update((call.layer, call.number) for call in ready)
        waiting = [call for call in waiting if (call.layer, call.number) not in done]
    return ordered


def rebuild(
    calls: list[Call], tensors: dict[Place, Any], *, layer_of: Callable[[str], Callable[[Any], Any] | None]
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
