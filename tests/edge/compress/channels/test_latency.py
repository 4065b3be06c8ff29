"""Latency as a cost: of the file that a detector becomes, each detector converted once."""

from __future__ import annotations

import edge.compress.channels.rounds
from edge.compress.channels.rounds import latency_on_this_machine
from keras_retina.foundation.legacy_keras import keras


def test_a_detector_is_converted_once_and_timed_at_every_call(tiny_detector, monkeypatch):
    model, spec = tiny_detector
    converted = []
    convert = edge.compress.channels.rounds.convert_heads

    def counting(model: keras.Model, *arguments: object, **named: object) -> bytes:
        converted.append(model)
        return convert(model, *arguments, **named)

    monkeypatch.setattr(edge.compress.channels.rounds, "convert_heads", counting)
    latency = latency_on_this_machine(spec, runs=3)
    first, second = latency(model), latency(model)
    assert min(first, second) > 0
    assert converted == [model]
    other = keras.models.clone_model(model)
    assert latency(other) > 0
    assert converted == [model, other]
