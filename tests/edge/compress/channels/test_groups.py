"""Channels that depend on each other are one group, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest

from edge.compress.channels.groups import ChannelGroup, prune_groups
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.retinanet import detector_network
from keras_retina.recipe.model import Model

layers = keras.layers


def roles(group: ChannelGroup) -> tuple[int, set[str], set[str], set[str]]:
    return group.channels, set(group.producers), set(group.consumers), set(group.between)


def detector(name: str, convolution: str, **backbone) -> keras.Model:
    settings = {
        "backbone": {"name": name, "weights": "none", "frozen_stages": 0, "batch_norm": "trained", **backbone},
        "input": {"height": 64, "width": 64},
        "pyramid": {"levels": [3, 6], "width": 16, "convolution": convolution},
        "head": {"width": 16, "convolutions": 1, "convolution": convolution},
    }
    return detector_network(Model.model_validate(settings), 2)


def test_a_chain_is_one_group_for_each_convolution_but_the_last():
    image = keras.Input((8, 8, 3))
    one = layers.Conv2D(4, 3, name="one")(image)
    two = layers.Conv2D(6, 1, activation="relu", name="two")(layers.ReLU()(layers.BatchNormalization(name="norm")(one)))
    groups = prune_groups(keras.Model(image, {"out": layers.Conv2D(2, 1, name="three")(two)}))
    assert [roles(group) for group in groups] == [(4, {"one"}, {"two"}, {"norm"}), (6, {"two"}, {"three"}, set())]
    assert groups[0].name == "one"
    assert groups[0].producers["one"].tolist() == [[0], [1], [2], [3]]


def test_an_addition_joins_what_makes_its_summands():
    image = keras.Input((8, 8, 3))
    one, two = (layers.Conv2D(4, 1, name=name)(image) for name in ("one", "two"))
    inner = layers.Conv2D(5, 1, name="inner")(one)
    three = layers.Conv2D(4, 1, name="three")(inner)
    total = layers.Add()([layers.Add()([one, two]), layers.UpSampling2D(1)(three)])
    groups = prune_groups(keras.Model(image, {"out": layers.Conv2D(2, 1, name="last")(total)}))
    assert [roles(group) for group in groups] == [
        (4, {"one", "two", "three"}, {"inner", "last"}, set()),
        (5, {"inner"}, {"three"}, set()),
    ]


def test_a_depthwise_convolution_passes_channels_on():
    image = keras.Input((8, 8, 3))
    deep = layers.DepthwiseConv2D(3, name="deep")(layers.ZeroPadding2D()(layers.Conv2D(4, 1, name="one")(image)))
    groups = prune_groups(keras.Model(image, {"out": layers.Conv2D(2, 1, name="last")(layers.MaxPooling2D()(deep))}))
    assert [roles(group) for group in groups] == [(4, {"one"}, {"last"}, {"deep"})]


def test_concatenated_channels_stay_groups_of_their_own_at_their_offsets():
    image = keras.Input((8, 8, 3))
    parts = [layers.Conv2D(count, 1, name=f"part_{count}")(image) for count in (2, 3)]
    joined = layers.BatchNormalization(name="norm")(layers.Concatenate()(parts))
    groups = prune_groups(keras.Model(image, {"out": layers.Conv2D(1, 1, name="last")(joined)}))
    assert [roles(group) for group in groups] == [
        (2, {"part_2"}, {"last"}, {"norm"}),
        (3, {"part_3"}, {"last"}, {"norm"}),
    ]
    assert groups[1].consumers["last"].tolist() == [[2], [3], [4]]
    assert groups[1].between["norm"].tolist() == [[2], [3], [4]]
    assert groups[1].producers["part_3"].tolist() == [[0], [1], [2]]


def test_a_layer_added_to_a_concatenation_is_cut_in_both_of_its_groups():
    image = keras.Input((8, 8, 3))
    parts = [layers.Conv2D(count, 1, name=f"part_{count}")(image) for count in (2, 3)]
    both = layers.Conv2D(5, 1, name="both")(image)
    total = layers.Add()([both, layers.Concatenate()(parts)])
    groups = prune_groups(keras.Model(image, {"out": layers.Conv2D(1, 1, name="last")(total)}))
    assert sorted(roles(group)[:2] for group in groups) == [(2, {"both", "part_2"}), (3, {"both", "part_3"})]


def test_a_map_concatenated_with_itself_has_two_places_for_a_channel():
    """Spatial pyramid pooling does this."""
    image = keras.Input((8, 8, 3))
    one = layers.Conv2D(2, 1, name="one")(image)
    twice = layers.Concatenate()([one, layers.MaxPooling2D(3, 1, padding="same")(one)])
    (group,) = prune_groups(keras.Model(image, {"out": layers.Conv2D(1, 1, name="last")(twice)}))
    assert group.channels == 2
    assert group.consumers["last"].tolist() == [[0, 2], [1, 3]]


def test_a_shared_layer_joins_all_that_it_reads():
    image = keras.Input((8, 8, 3))
    one, two = (layers.Conv2D(4, 1, name=name)(image) for name in ("one", "two"))
    shared = layers.Conv2D(5, 1, name="shared")
    last = layers.Conv2D(2, 1, name="last")
    blocks = [layers.Reshape((-1, 2))(last(shared(tensor))) for tensor in (one, two)]
    groups = prune_groups(keras.Model(image, {"out": layers.Concatenate(axis=1)(blocks)}))
    assert [roles(group) for group in groups] == [
        (4, {"one", "two"}, {"shared"}, set()),
        (5, {"shared"}, {"last"}, set()),
    ]


def test_channels_that_are_reshaped_away_or_reach_an_output_are_fixed():
    image = keras.Input((8, 8, 3))
    one = layers.Conv2D(4, 1, name="one")(image)
    flat = layers.Reshape((-1, 2))(one)
    seen = layers.Conv2D(6, 1, name="seen")(image)
    again = layers.Conv2D(2, 1, name="again")(seen)
    assert prune_groups(keras.Model(image, {"flat": flat, "seen": seen, "again": again})) == []


def test_a_reshape_that_keeps_the_channels_is_cut_with_them():
    image = keras.Input((8, 8, 3))
    one = layers.Reshape((4, 16, 4), name="reshape")(layers.Conv2D(4, 1, name="one")(image))
    groups = prune_groups(keras.Model(image, {"out": layers.Conv2D(2, 1, name="last")(one)}))
    assert [roles(group) for group in groups] == [(4, {"one"}, {"last"}, {"reshape"})]


def test_what_goes_into_a_softmax_is_fixed():
    image = keras.Input((8, 8, 3))
    one = layers.Activation("softmax")(layers.Conv2D(4, 1, name="one")(image))
    assert prune_groups(keras.Model(image, {"out": layers.Conv2D(2, 1)(one)})) == []


@pytest.mark.parametrize(
    ("name", "convolution", "backbone"),
    [
        ("plain", "full", {}),
        ("plain", "separable", {}),
        ("mobilenet_v2", "separable", {"alpha": 0.35}),
        ("mobilenet_v2", "full", {"alpha": 1.4}),
        ("efficientnet_lite0", "separable", {}),
        ("resnet50", "full", {}),
    ],
)
def test_a_detector_has_every_channel_once_and_all_but_the_predictions(name, convolution, backbone):
    model = detector(name, convolution, **backbone)
    made: dict[str, list[int]] = {}
    read: dict[str, list[int]] = {}
    for group in prune_groups(model):
        for layer, where in group.producers.items():
            made.setdefault(layer, []).extend(where.ravel().tolist())
        for layer, where in group.consumers.items():
            read.setdefault(layer, []).extend(where.ravel().tolist())
    convolutions = [layer for layer in model.layers if isinstance(layer, layers.Conv2D)]
    for layer in convolutions:
        is_prediction, reads_image = "prediction" in layer.name, layer.kernel.shape[2] == 3
        assert sorted(made.get(layer.name, [])) == ([] if is_prediction else list(range(layer.filters)))
        assert sorted(read.get(layer.name, [])) == ([] if reads_image else list(range(layer.kernel.shape[2])))


def test_the_groups_of_a_separable_mobilenet_detector():
    groups = {group.name: group for group in prune_groups(detector("mobilenet_v2", "separable", alpha=0.35))}
    assert roles(groups["block_4_expand"]) == (
        96,
        {"block_4_expand"},
        {"block_4_project"},
        {"block_4_expand_BN", "block_4_depthwise", "block_4_depthwise_BN"},
    )
    channels, producers, consumers, between = roles(groups["block_3_project"])
    assert (channels, producers) == (16, {"block_3_project", "block_4_project", "block_5_project"})
    assert consumers == {"block_4_expand", "block_5_expand", "block_6_expand", "pyramid_lateral_3"}
    assert between == {"block_3_project_BN", "block_4_project_BN", "block_5_project_BN"}
    assert set(groups["pyramid_lateral_3"].producers) == {f"pyramid_lateral_{level}" for level in (3, 4, 5)}
    both_heads = groups["pyramid_output_5_pointwise"]
    assert set(both_heads.producers) == {f"pyramid_output_{level}_pointwise" for level in (3, 4, 5, 6)}
    assert set(both_heads.consumers) == {"classes_0_pointwise", "boxes_0_pointwise"}
    assert set(both_heads.between) == {"classes_0_depthwise", "boxes_0_depthwise"}


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (layers.Conv2DTranspose(4, 1, name="odd"), "layer 'odd' of kind Conv2DTranspose. Build the layer from these"),
        (layers.SeparableConv2D(4, 1, name="odd"), "layer 'odd' of kind SeparableConv2D. Build the layer from these"),
        (layers.Conv2D(4, 1, groups=2, name="odd"), "layer 'odd' of kind Conv2D with groups=2. Use groups=1"),
        (layers.DepthwiseConv2D(1, depth_multiplier=2, name="odd"), "'odd' of kind DepthwiseConv2D with depth_multip"),
        (layers.BatchNormalization(axis=1, name="odd"), r"'odd' of kind BatchNormalization over axis \[1\]. Normalise"),
        (layers.TimeDistributed(layers.ReLU(), name="odd"), "of kind TimeDistributed. Prune channels before layers"),
    ],
)
def test_a_layer_that_cannot_be_pruned_is_named_with_its_kind(layer, message):
    image = keras.Input((8, 8, 4))
    model = keras.Model(image, {"out": layers.Conv2D(2, 1)(layer(layers.Conv2D(4, 1)(image)))})
    with pytest.raises(InputError, match=message):
        prune_groups(model)


def test_an_addition_that_broadcasts_is_refused():
    image = keras.Input((8, 8, 4))
    one, four = (layers.Conv2D(count, 1)(image) for count in (1, 4))
    model = keras.Model(image, {"out": layers.Conv2D(2, 1)(layers.Add(name="odd")([one, four]))})
    with pytest.raises(InputError, match="'odd' of kind Add of shapes .* Add maps with the same number of channels"):
        prune_groups(model)


def test_a_model_wrapped_for_sparsity_or_quantization_is_refused():
    import tensorflow_model_optimization as tfmot

    image = keras.Input((8, 8, 3))
    model = keras.Model(image, layers.Conv2D(2, 1)(layers.Conv2D(4, 1)(image)))
    wrapped = (
        tfmot.sparsity.keras.prune_low_magnitude(model, tfmot.sparsity.keras.ConstantSparsity(0.5, 0)),
        tfmot.quantization.keras.quantize_model(model),
    )
    for one in wrapped:
        model = keras.Model(one.input, {"out": one.output})
        with pytest.raises(InputError, match="Prune channels before layers are wrapped"):
            prune_groups(model)


def test_a_model_that_is_no_graph_is_refused():
    with pytest.raises(InputError, match="functional Keras model with a dictionary of outputs. Received: Sequential"):
        prune_groups(keras.Sequential([layers.Conv2D(2, 1, input_shape=(8, 8, 3))]))


def test_positions_are_integers_of_channels_times_places():
    for group in prune_groups(detector("plain", "separable")):
        for where in (*group.producers.values(), *group.consumers.values(), *group.between.values()):
            assert where.shape == (group.channels, 1) and np.issubdtype(where.dtype, np.integer)
