"""YAML from strangers: plain values come through, and everything that grows or has no end is refused with its count."""

from __future__ import annotations

import pytest
import yaml

from keras_retina.recipe.plain_yaml import parse_plain_yaml

LETTERS = "abcdefghij"
BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip(LETTERS, LETTERS[1:], strict=False)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{','.join([f'*{old}'] * 10)}]}}\n" for old, new in zip(LETTERS, LETTERS[1:], strict=False)
)


@pytest.mark.parametrize("loader", [yaml.SafeLoader, yaml.BaseLoader])
def test_plain_yaml_is_what_pyyaml_reads(loader):
    text = "a: &x {b: [1, 2.5, yes, null, 2026-11-30]}\nc: *x\nd: {<<: *x, e: '\u732b'}\n"
    assert parse_plain_yaml(text, loader) == yaml.load(text, loader)  # noqa: S506
    assert parse_plain_yaml("") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (BOMB, r"aliases that stand for \d{8,} values"),
        (MERGES, r"aliases that stand for \d{8,} values"),
        ("&a [*a]", "an alias of a value that it is part of"),
        ("&a {b: *a}", "an alias of a value that it is part of"),
        ("a: 0x" + "f" * 5_000, "an integer of 20000 bits"),
        ("a: " + "9" * 5_000, "integer"),
        ("a: -9223372036854775808", "an integer of 64 bits"),
        ("[" * 100_000, "more than 100 brackets"),
        ("- " * 5_000 + "a", "too many brackets or levels"),
        ("a: \"\\ud800\"", "surrogate"),
        ("a: !!timestamp x", "does not fit its tag"),
        ("a: !!bool x", "does not fit its tag"),
        ("a: !!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("a: 2026-13-45", "month must be in"),
        ("a: [", "expected"),
        ("x" * ((1 << 20) + 1), "1048577 characters"),
    ],
)  # fmt: skip
def test_what_is_not_plain_is_refused_in_one_line(text, told):
    with pytest.raises(ValueError, match=told) as caught:
        parse_plain_yaml(text)
    assert "\n" not in str(caught.value)


def test_the_largest_integer_and_a_few_thousand_aliases_are_plain():
    assert parse_plain_yaml("a: 9223372036854775807") == {"a": 2**63 - 1}
    assert len(parse_plain_yaml("a: &a [1, 2]\nb: [" + "*a, " * 10_000 + "]")["b"]) == 10_000
