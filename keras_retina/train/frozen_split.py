"""A detector cut in two where learning begins, so that what is before the cut can be computed once and kept."""

from __future__ import annotations

from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.graph import Place, calls_of, learning_places, output_places, rebuild


def split_at_frozen(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Returns the frozen part, image -> {name: features}, and the learning part, {name: features} -> outputs.

    Both share the layers and variables of `model`; one after the other they are the same function. The features are
    every output of an untrainable layer that a layer which learns, or has learned input, reads: C3 alone with three
    frozen stages of a backbone, C3, C4 and C5 when all of it is frozen.

    Raises:
        ValueError: nothing is frozen, or nothing learns.
    """
    calls = calls_of(model)
    learns = learning_places(model)
    cut = {place for call in calls if learns[call.layer, call.number] for place in call.inputs if not learns[place]}
    images = {(name, 0) for name in model.input_names}
    if not cut or cut & images:
        raise ValueError("expected a model with a frozen part and a part that learns after it.")
    shapes = {place: model.get_layer(place[0]).get_output_at(place[1]).shape[1:] for place in cut}
    names = {place: f"features_{place[0]}" for place in sorted(cut)}
    image = {name: keras.Input(model.get_layer(name).output_shape[0][1:], name=name) for name in model.input_names}

    before: dict[Place, object] = {(name, 0): tensor for name, tensor in image.items()}
    rebuild([call for call in calls if not learns[call.layer, call.number]], before, model.get_layer)
    frozen = keras.Model(list(image.values()), {names[place]: before[place] for place in names}, name="frozen")

    features = {names[place]: keras.Input(shapes[place], name=names[place]) for place in names}
    after: dict[Place, object] = {place: features[names[place]] for place in names}
    rebuild([call for call in calls if learns[call.layer, call.number]], after, model.get_layer)
    outputs = {name: after[place] for name, place in output_places(model).items()}
    return frozen, keras.Model(features, outputs, name=model.name)
