"""A message of bad input is one printable line of bounded length, whatever a file or a person wrote."""

from __future__ import annotations

import copy

import pytest

from keras_retina.foundation.errors import InputError, closest, one_line, printable, printable_lines, shown


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("plain, Katze, \u732b, \U0001f600", "plain, Katze, \u732b, \U0001f600"),
        ("a\nb", "a\\nb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
        ("\x00", "\\x00"),
    ],
)
def test_only_what_moves_the_cursor_or_is_no_letter_is_escaped(text, told):
    assert printable(text) == told


def test_every_message_is_one_printable_line():
    message = str(InputError("a.json: expected x.\nReceived: \x1b[31m\ud800\u202e. Correct it."))
    assert message == "a.json: expected x. Received: \\x1b[31m\\ud800\\u202e. Correct it."
    assert message.isprintable() and message.encode()


def test_a_long_message_keeps_the_place_at_its_beginning_and_the_advice_at_its_end():
    message = str(InputError(f"a.json: name: expected x. Received: {'y' * 100_000}. Correct the name."))
    assert len(message) <= 2_000
    assert message.startswith("a.json: name: expected x. Received: yyy") and message.endswith("y. Correct the name.")
    assert " characters) ... " in message
    assert len(one_line("\x00" * 10_000)) <= 2_000  # each becomes four characters


def test_an_error_survives_the_way_between_processes():
    assert str(copy.copy(InputError("a: b"))) == "a: b"  # by the same protocol as pickle


def test_lines_and_tabs_stay_and_nothing_else_that_controls():
    assert printable_lines("a\tb\nc\r\x07") == "a\tb\nc\\r\\x07"


def test_a_value_is_shown_in_a_few_letters_however_large_or_deep():
    deep: list = []
    for _ in range(5_000):
        deep = [deep]
    for value in (deep, "x" * 10**6, 10**5_000, list(range(10**6)), {str(index): index for index in range(1_000)}):
        assert 0 < len(shown(value)) <= 200


def test_the_search_for_the_nearest_choice_ends_for_a_value_of_any_length():
    assert closest("trian" + "x" * 10**6, ["train"]) == "Valid: train."
    assert closest("trian", ["train", "test"]) == "Did you mean 'train'?"
