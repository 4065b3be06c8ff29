"""Mirrored images are switched off by names that a mirror changes, and by no others."""

from __future__ import annotations

import pytest

from keras_retina.plan.data.names import mirrored_classes, why_no_flip, words_of, written_classes


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("leftHand", ["left", "hand"]),
        ("left_hand", ["left", "hand"]),
        ("Left-Hand 2", ["left", "hand", "2"]),
        ("LEFT", ["left"]),
        ("", []),
    ],
)
def test_words_of_a_name(name, words):
    assert words_of(name) == words


@pytest.mark.parametrize(
    "names",
    [
        ["left hand", "right hand"],
        ["arrow_right", "stop"],  # the other side need not be labelled
        ["turnLeft", "turnRight"],
        ["hand_l", "hand_r"],
        ["pfeil links", "pfeil rechts"],
        ["flecha izquierda", "flecha derecha"],
        ["clockwise", "counterclockwise"],
        [str(digit) for digit in range(10)],
        ["A", "B", "C"],
        ["text", "figure"],
        ["digit", "plate"],
    ],
)
def test_names_that_a_mirror_changes(names):
    assert why_no_flip(names)


@pytest.mark.parametrize(
    "names",
    [
        ["cat", "dog"],
        ["bright light", "cleft"],  # the letters are inside other words
        ["links"],  # an English noun, without its opposite
        ["hand_l"],
        ["copyright"],
        ["class 1", "class 2"],
        ["x", "car", "bus", "truck"],  # one letter among words
        [],
    ],
)
def test_names_that_a_mirror_leaves(names):
    assert why_no_flip(names) is None


def test_the_reason_names_the_pair_and_escapes_it():
    assert mirrored_classes(["cup", "left\nshoe", "right\nshoe"]) == ("left\nshoe", "right\nshoe")
    assert "\n" not in why_no_flip(["left\nshoe", "right\nshoe"])


def test_characters_among_words_count_only_when_they_are_many():
    assert written_classes(["A", "car"]) == ("A",)
    assert written_classes(["A", "car", "bus"]) == ()
