"""The recipe is YAML that reads back as it was planned, with every reason as a comment at its choice."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_retina.foundation.errors import InputError
from keras_retina.plan.wishes import Choice
from keras_retina.plan.write import WIDTH, commented_yaml, overruled, plan_lines, recipe_fields
from keras_retina.recipe.yaml_file import flow_yaml, parse_yaml

CHOICES = [
    Choice("data", {"train": "train"}, "the splits."),
    Choice("model.input", {"height": 320}, "small objects.", "320", "input"),
    Choice("model.pyramid", {"levels": [3, 5]}, ""),
    Choice("", None, "measured here.", "12 ms", "latency"),
    Choice("compress", {}, "none was asked for.", "none", "smaller model"),
]


def test_every_reason_stands_above_its_choice_and_the_text_reads_back():
    fields = recipe_fields("mine", 3, choices=CHOICES)
    text = commented_yaml(fields, CHOICES, head=["planned"])
    assert text.splitlines() == [
        "# Planned",
        "name: mine",
        "seed: 3",
        "",
        "# The splits.",
        "data: {train: train}",
        "",
        "model:",
        "  # Small objects.",
        "  input: {height: 320}",
        "  pyramid: {levels: [3, 5]}",
        "",
        "# None was asked for.",
        "compress: {}",
    ]
    assert parse_yaml(text, "text") == fields


def test_the_screen_shows_the_choices_that_have_a_title():
    lines = plan_lines(CHOICES)
    assert [line.split()[0] for line in lines] == ["input", "latency", "smaller"]
    assert lines[0].endswith("320: small objects")


def test_what_a_person_sets_wins_and_stands_in_its_section():
    fields = recipe_fields("mine", 0, choices=CHOICES, overrides=["model.input.height=64", "training.epochs=2"])
    text = commented_yaml(fields, CHOICES, head=[])
    assert parse_yaml(text, "text")["model"]["input"] == {"height": 64}
    assert parse_yaml(text, "text")["training"] == {"epochs": 2}


def test_a_reason_with_line_breaks_stays_a_comment():
    bad = [Choice("data", {"train": "a"}, "first\nname: evil\u2028x: y\x85z: 1")]
    text = commented_yaml(recipe_fields("mine", 0, choices=bad), bad, head=["head\nseed: 9"])
    assert parse_yaml(text, "text") == {"name": "mine", "seed": 0, "data": {"train": "a"}}


def test_a_long_value_is_broken_into_lines_that_read_back():
    value = {"small": {"channels": {"keep": 0.5}, "fine_tune": {f"a_long_name_{n}": n for n in range(9)}}}
    long = [Choice("compress", value, "")]
    text = commented_yaml(recipe_fields("mine", 0, choices=long), long, head=[])
    assert parse_yaml(text, "text")["compress"] == value
    assert "    channels: {keep: 0.5}" in text.splitlines()


def test_comments_are_not_wider_than_a_page():
    wide = [Choice("data", {"train": "a"}, "word " * 200)]
    text = commented_yaml(recipe_fields("mine", 0, choices=wide), wide, head=["head " * 100])
    assert max(map(len, text.splitlines())) <= WIDTH


PLAIN = st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text() | st.floats(allow_nan=False)


@settings(deadline=None)
@given(
    st.recursive(
        PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=9
    )
)
def test_flow_yaml_reads_back(value):
    text = flow_yaml(value)
    assert "\n" not in text or isinstance(value, str | list | dict)
    assert parse_yaml(f"key: {text}", "text") == {"key": value}


@pytest.mark.parametrize("value", [None, 1, "1e3", "null", "", [], {}])
def test_flow_yaml_of_a_scalar_is_one_line(value):
    assert "\n" not in flow_yaml(value)


# What a person set

INPUT = Choice("model.input", {"height": 256, "width": 256}, "objects are large. More.", "256 x 256 px", "input")
BATCH = Choice("training.batch_size", 8, "")
NOTE = Choice("", None, "as predicted.", "100 of 100", "Edge TPU")
PLANNED = [INPUT, BATCH, NOTE]


def test_without_overrides_nothing_changes():
    assert overruled(PLANNED, []) == PLANNED


def test_a_part_of_a_choice_is_shown_with_what_was_planned():
    changed, *others = overruled(PLANNED, ["model.input.height=320"])
    assert changed.value == {"height": 320, "width": 256}
    assert changed.line == "input           model.input.height=320: set by you; the plan had 256 x 256 px"
    assert changed.why.endswith("objects are large. More.")
    assert others == [BATCH, NOTE]
    assert INPUT.value == {"height": 256, "width": 256}


def test_the_value_that_was_planned_anyway_keeps_its_reason():
    assert overruled(PLANNED, ["model.input={height: 256, width: 256}"]) == PLANNED


def test_what_no_line_speaks_of_gets_one():
    _, batch, _, last = overruled(PLANNED, ["training.batch_size=16", "seed=3"])
    assert (batch.value, batch.why, batch.shown) == (16, "set by you; the plan had 8.", "")
    assert last.line == "set by you      training.batch_size=16, seed=3: as you asked"


def test_of_two_settings_the_later_one_wins():
    assert overruled([BATCH], ["training.batch_size=16", "training.batch_size=4"])[0].value == 4


def test_a_field_that_only_begins_alike_is_another_one():
    assert overruled([BATCH], ["training.batch_size_of_others=1"])[0] == BATCH


def test_a_value_that_is_no_yaml_is_refused():
    with pytest.raises(InputError, match="--set"):
        overruled(PLANNED, ["model.input={"])
