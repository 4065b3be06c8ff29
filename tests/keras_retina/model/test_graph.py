"""Functional models as lists of calls."""

from __future__ import annotations

import numpy as np

from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.calls import Call, rebuild
from keras_retina.model.graph import calls_of, learning_places, output_places, shapes_of


def diamond() -> keras.Model:
    """image -> a -> shared -> sum <- shared <- b <- image"""
    image = keras.Input((4,), name="image")
    shared = keras.layers.Dense(4, name="shared")
    a, b = keras.layers.Dense(4, name="a", trainable=False)(image), keras.layers.Dense(4, name="b")(image)
    return keras.Model(image, {"out": keras.layers.Add(name="sum")([shared(a), shared(b)])})


def test_calls_come_after_what_they_read_and_a_shared_layer_has_one_for_each():
    calls = calls_of(diamond())
    assert calls[0] == Call("image", 0, [])
    assert calls[-1] == Call("sum", 0, [("shared", 0), ("shared", 1)])
    assert {call for call in map(str, calls) if "shared" in call} >= {
        str(Call("shared", 0, [("a", 0)])), str(Call("shared", 1, [("b", 0)]))
    }  # fmt: skip
    assert len(calls) == 6


def test_outputs_are_found_by_name():
    assert output_places(diamond()) == {"out": ("sum", 0)}


def test_gradients_reach_what_has_a_trainable_weight_at_or_before_it():
    learns = learning_places(diamond())
    assert learns == {
        ("image", 0): False, ("a", 0): False, ("b", 0): True, ("shared", 0): True, ("shared", 1): True, ("sum", 0): True
    }  # fmt: skip


def test_a_rebuilt_graph_is_the_same_function_and_passed_layers_are_left_out():
    model = diamond()
    image = keras.Input((4,))
    numbers = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    same = {("image", 0): image}
    rebuild(calls_of(model), same, layer_of=model.get_layer)
    np.testing.assert_array_equal(keras.Model(image, same["sum", 0])(numbers), model(numbers)["out"])
    without = {("image", 0): image}
    rebuild(calls_of(model), without, layer_of=lambda name: None if name == "a" else model.get_layer(name))
    shared, b = model.get_layer("shared"), model.get_layer("b")
    np.testing.assert_allclose(
        keras.Model(image, without["sum", 0])(numbers), shared(numbers) + shared(b(numbers)), rtol=1e-6
    )


def test_shapes_are_those_of_this_models_calls_alone():
    image = keras.Input((8, 4, 3), name="image")
    shared = keras.layers.Conv2D(5, 1, name="shared")
    shared(keras.Input((2, 2, 3)))  # another graph of the same layer, as training makes them
    small = keras.layers.MaxPooling2D(name="small")(image)
    rows = [keras.layers.Reshape((-1, 5), name=f"rows_{n}")(shared(tensor)) for n, tensor in enumerate((image, small))]
    model = keras.Model(image, {"out": keras.layers.Concatenate(axis=1, name="all")(rows)})
    assert shapes_of(model) == {
        ("image", 0): (None, 8, 4, 3),
        ("small", 0): (None, 4, 2, 3),
        ("shared", 0): (None, 8, 4, 5),
        ("shared", 1): (None, 4, 2, 5),
        ("rows_0", 0): (None, 32, 5),
        ("rows_1", 0): (None, 8, 5),
        ("all", 0): (None, 40, 5),
    }
