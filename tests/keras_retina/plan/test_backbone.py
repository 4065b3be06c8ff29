"""A plan for a wished backbone: its weights, what can be made smaller, its work, and the devices that run it."""

from __future__ import annotations

from typing import get_args

import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.plan.budget import wants_small
from keras_retina.plan.files import smaller_choice
from keras_retina.plan.fitting import first_network
from keras_retina.plan.wishes import Wishes
from keras_retina.recipe.backbones import BACKBONE_FACTS, BackboneName


def test_the_facts_are_of_every_backbone():
    assert set(BACKBONE_FACTS) == set(get_args(BackboneName))
    for facts in BACKBONE_FACTS.values():
        assert facts.work > 0 and all(channels % 8 == 0 and channels > 0 for channels in facts.channels)
        assert not BACKBONE_FACTS[facts.instead].off_edge_tpu


@pytest.mark.parametrize("name", get_args(BackboneName))
def test_every_backbone_can_be_planned_with_the_weights_that_it_has(facts, name):
    network = first_network(facts(images=2000), Wishes(backbone=name))
    assert network.model.backbone.name == name
    assert (network.frozen == 0) == (network.model.backbone.weights == "none")
    choice = network.choices(facts())[0]
    assert choice.value["name"] == name
    assert choice.value["weights"] == network.model.backbone.weights
    assert BACKBONE_FACTS[name].title in choice.shown


def test_without_a_wish_it_is_mobilenet_v2(facts):
    assert first_network(facts(), Wishes()).choices(facts()) == first_network(
        facts(), Wishes(backbone="mobilenet_v2")
    ).choices(facts())


def test_what_cannot_be_pruned_or_trained_in_int8_is_not_planned():
    whole = smaller_choice(Wishes(backbone="resnext50_32x4d"), epochs=60, frozen=0)
    assert whole.value == {} and "grouped convolutions in ResNeXt-50 32x4d" in whole.why
    assert wants_small(Wishes(backbone="resnext50_32x4d")) == (False, False)
    smallest = smaller_choice(Wishes(backbone="csp_darknet_s", objective="smallest"), epochs=60, frozen=0)
    assert list(smallest.value) == ["small"] and "the swish of CSPDarkNet s" in smallest.why
    assert wants_small(Wishes(backbone="csp_darknet_s", objective="smallest")) == (True, False)
    assert wants_small(Wishes(backbone="resnet18", objective="smallest")) == (True, True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mobilenet_v3_large", "HARD_SWISH stays on the CPU.*Take mobilenet_v3_large_minimalistic"),
        ("mit_b0", "Take mobilenet_v2"),
        ("resnext101_32x8d", "grouped CONV_2D the compiler does not read"),
    ],
)
def test_a_backbone_that_the_edge_tpu_does_not_run_is_refused_for_it_alone(name, message):
    with pytest.raises(InputError, match=f"--backbone: .*{message}"):
        Wishes(backbone=name, target="coral")
    assert str(Wishes(backbone=name, target="phone")) == f"--target phone --backbone {name}"


def test_an_unknown_backbone_is_refused_with_the_closest_name():
    with pytest.raises(InputError, match="--backbone: .*Did you mean 'resnet50'"):
        Wishes(backbone="resnet5")  # type: ignore[arg-type]
