"""Values of JSON files that may be damaged."""

from __future__ import annotations

import json

import pytest

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.json_values import (
    count_of,
    is_box,
    mapping_of,
    number,
    number_of,
    parse_json,
    read_json,
    read_mapping,
    text_of,
)

FIELDS = {"text": "a", "object": {"b": 1}, "number": 2.9, "nan": float("nan"), "null": None, "flag": True, "list": [1]}


def test_a_field_that_is_null_or_absent_is_empty():
    for name in ("null", "absent"):
        assert text_of(FIELDS, name, where="f") == ""
        assert mapping_of(FIELDS, name, where="f") == {}
        assert number_of(FIELDS, name, where="f") is None
        assert count_of(FIELDS, name, where="f") is None


def test_a_field_of_its_type_is_returned():
    assert text_of(FIELDS, "text", where="f") == "a"
    assert mapping_of(FIELDS, "object", where="f") == {"b": 1}
    assert (number_of(FIELDS, "number", where="f"), count_of(FIELDS, "number", where="f")) == (2.9, 2)
    assert number_of(FIELDS, "nan", where="f") is None


@pytest.mark.parametrize(
    ("read", "names"),
    [
        (text_of, ("number", "object", "flag", "list")),
        (mapping_of, ("text", "number", "flag", "list")),
        (number_of, ("text", "object", "flag", "list")),
        (count_of, ("text", "object", "flag", "list")),
    ],
)
def test_another_type_is_one_line_that_names_the_field(read, names):
    for name in names:
        with pytest.raises(InputError, match=rf"^f\.{name}: expected .* Received: ") as caught:
            read(FIELDS, name, where="f")
        assert "\n" not in str(caught.value)


def test_numbers_are_finite_and_of_a_size_that_a_float_holds():
    assert [number(value) for value in (1, 2.5, True, "3", None, float("inf"), 10**400)] == [1.0, 2.5, *[None] * 5]


@pytest.mark.parametrize(("value", "expected"), [([1, 2, 3.5, 4], True), ([1, 2, 3], False), ([1, 2, 3, "4"], False)])
def test_a_box_is_four_numbers(value, expected):
    assert is_box(value) is expected


def test_files_that_are_absent_or_damaged(tmp_path):
    path = tmp_path / "a.json"
    assert read_json(path) is None
    for content, message in ((b"{", "complete JSON"), (b"\xff", "UTF-8 text"), (b"[1]", "a JSON object")):
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"a\.json: expected {message}") as caught:
            read_mapping(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "more than 100 brackets"),
        ("[" * 101 + "]" * 101, "more than 100 brackets"),
        ('{"a":' * 101 + "1" + "}" * 101, "more than 100 brackets"),
        ("9" * 5_000, "Exceeds the limit"),
        ("", "Expecting value"),
    ],
)
def test_json_that_python_would_stumble_over_later_is_no_json(text, told):
    with pytest.raises(ValueError, match=told):
        parse_json(text)


def test_deep_and_odd_json_that_is_sound_is_read():
    assert parse_json("[" * 100 + "]" * 100) == json.loads("[" * 100 + "]" * 100)
    assert parse_json(json.dumps("[" * 1_000)) == "[" * 1_000  # brackets of a text are none
    assert parse_json('"\\udcff"') == "\udcff"  # how Python stands for a wrong byte in the name of a file


def test_a_file_of_a_hundred_thousand_brackets_is_named(tmp_path):
    (tmp_path / "run.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"run\.json: expected complete JSON\. Received: more than 100 brackets"):
        read_json(tmp_path / "run.json")
