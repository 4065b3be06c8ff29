"""Hostile numbers, names and texts, and the ways to damage a file with them: what the surfaces of the fuzz share."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np

NUMBERS = (
    *("0", "-1", "-0.0", "1e309", "-1e309", "NaN", "Infinity", "-Infinity", ".inf", "-.inf", ".nan", "1e-320", "1e300"),
    *("9" * 5000, "-" + "9" * 5000, "9" * 400, "1" + "0" * 30, "2147483648", "4294967296", "9223372036854775808"),
    *("0x" + "f" * 5000, "0x" + "f" * 20, "1:" * 3000 + "1", "1_000", "1e" + "9" * 50, "100000000", "800000000"),
    *("3000000000", "0.0000001", "1e8", "true", "null", '"7"', '""', "[]", "{}", "[[]]", "4096", "1000000", "65536"),
)
"""As they stand in a file, JSON or YAML; some of them are no numbers."""

NAMES = (
    *(
        "\ud800",
        "a\ud800b",
        "\x00",
        "a\x00.jpg",
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "",
        " ",
        "a/../../b.jpg",
    ),
    *("a" * 300, "a" * 300 + ".jpg", "a/" * 3000 + "b.jpg", "x" * 100_000, "\u202egnp.exe", "\x1b[2J\x1b]0;owned\x07"),
    *("\U0001f600", "\u4e2d\u6587", "a\nb", "a\r\nkeras-retina: passed", "\u2028", "\u2066x", "%00", "%2e%2e/b.jpg"),
    *("{{7*7}}", "<script>alert(1)</script>", "=cmd|' /C calc'!A0", "[/red]", "C:\\windows\\win.ini", "\\\\host\\x"),
    *("..\\..\\b.jpg", "-rf", "~root", "\ufeff", "\u200b", "CON", "nul", "e\u0301" * 200, "\x7f\x80\x9f", "a\tb"),
)

YAML_BOMBS = (
    "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{c}: &{c} [{','.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefghijk", "bcdefghijkl", strict=True)),
    "a: &a {k: 1}\n"
    + "".join(
        f"{c}: &{c} {{<<: [{','.join(['*' + p] * 9)}]}}\n" for p, c in zip("abcdefghijk", "bcdefghijkl", strict=True)
    ),
    "name: &r [*r]\n",
    "&r {name: *r}\n",
    "name: !!python/object/apply:os.system ['true']\n",
    "? [a, b]\n: c\n",
    "? {a: b}\n: c\n",
    "name: 2026-13-45\n",
    "name: !!binary 'x'\n",
    "name: !!int 'x'\n",
    "name: !!timestamp x\n",
    "---\nname: a\n---\nname: b\n",
    "%YAML 9.9\n---\nname: r\n",
    "name: |\n" + " x\n" * 100_000,
    "<<: 7\n",
    "=: 3\n",
    "name: " + "9" * 5000 + "\n",
    "name: r\nseed: 0x" + "f" * 5000 + "\n",
    "- " * 5000 + "x\n",
    'name: "\\ud800"\n',
    "".join(f"{' ' * i}a:\n" for i in range(600)),
    "name: '" + "x" * 1_000_000 + "'\n",
    "name: *unknown\n",
    "!!set {a, b}\n",
    "name: !!float '1:60'\n",
    "!!omap [a: 1]\n",
    "name: {[a]: b}\n",
    ". . .\n",
    "\t- a\n",
    "name: \x07\n",
    "~: ~\n1: 2\n",
)
"""Whole texts, most of them no recipe."""

Generator = np.random.Generator


def pick(rng: Generator, choices: Any) -> Any:
    """Returns one of the choices, as it is."""
    return choices[int(rng.integers(len(choices)))]


def chance(rng: Generator, share: float) -> bool:
    """Returns True for this share of the calls."""
    return bool(rng.random() < share)


def name(rng: Generator) -> str:
    """Returns a hostile name, or a few random letters of any kind."""
    if chance(rng, 0.7):
        return str(pick(rng, NAMES))
    return "".join(chr(int(rng.integers(1, 0x3000))) for _ in range(int(rng.integers(1, 20))))


def number(rng: Generator) -> str:
    """Returns the text of a hostile number."""
    return str(pick(rng, NUMBERS)) if chance(rng, 0.8) else repr(float(rng.normal() * 10.0 ** rng.integers(-10, 20)))


def token(rng: Generator) -> str:
    """Returns the JSON text of any hostile value; YAML reads most of them too."""
    kind = int(rng.integers(8))
    if kind < 4:
        return number(rng)
    if kind < 6:
        return json.dumps(name(rng))
    if kind == 6:
        return nested(rng)
    return json.dumps([json.loads(json.dumps(name(rng))), {name(rng): 1}, None])


def nested(rng: Generator) -> str:
    """Returns brackets in brackets, closed or not."""
    depth = int(pick(rng, (100, 1_000, 5_000, 100_000)))
    before, after = pick(rng, (("[", "]"), ('{"a":', "}"), ("[{", "}]")))
    return before * depth + ("1" if before.endswith(":") else "") + (after * depth if chance(rng, 0.7) else "")


def damaged_json(rng: Generator, value: Any, *, changes: int = 3) -> str:
    """Returns the JSON of a value in which a few places became hostile, perhaps damaged as a text as well."""
    value, tokens = copy.deepcopy(value), {}
    for _ in range(int(rng.integers(1, changes + 1))):
        mark = f"@@{len(tokens)}@@"
        tokens[json.dumps(mark)] = token(rng)
        value = _put(rng, value, mark)
    text = json.dumps(value)
    for mark, shown in tokens.items():
        text = text.replace(mark, shown)
    return damaged_text(rng, text) if chance(rng, 0.15) else text


def _put(rng: Generator, value: Any, mark: str) -> Any:
    """Returns the value with `mark` at a random place in it: instead of something, as a key, or added."""
    if not isinstance(value, dict | list) or not value or chance(rng, 0.1):
        return mark
    if isinstance(value, list):
        index = int(rng.integers(len(value)))
        if chance(rng, 0.1):
            value.insert(index, mark)
        else:
            value[index] = _put(rng, value[index], mark)
        return value
    key = pick(rng, list(value))
    action = rng.random()
    if action < 0.1:
        del value[key]
    elif action < 0.2:
        value[name(rng)] = value.pop(key)
    else:
        value[key] = _put(rng, value[key], mark)
    return value


def damaged_text(rng: Generator, text: str) -> str:
    """Returns a text that was cut, repeated, filled with other letters, or replaced."""
    place = int(rng.integers(len(text) + 1))
    ways = (
        lambda: text[:place],
        lambda: text[:place] + name(rng)[:1000] + text[place:],
        lambda: text[:place] + number(rng) + text[place + 3 :],
        lambda: text * 3,
        lambda: "",
        lambda: nested(rng),
        lambda: text[::-1],
        lambda: text.replace(text[place : place + 1] or "a", token(rng)[:200]),
        lambda: "\n" * 100_000 + text,
    )
    return str(pick(rng, ways)())


def written(rng: Generator, path: Path, text: str) -> None:
    """Writes a text, most often as UTF-8, else in another encoding or with damaged bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoding = (
        "utf-8" if chance(rng, 0.85) else pick(rng, ("utf-16", "utf-32", "gb18030", "utf-8-sig", "utf-7", "cp037"))
    )
    data = text.encode(encoding, "surrogatepass" if encoding.startswith("utf-") and encoding != "utf-7" else "replace")
    if chance(rng, 0.05):
        bits = bytearray(data or b"x")
        for _ in range(int(rng.integers(1, 10))):
            bits[int(rng.integers(len(bits)))] = int(rng.integers(256))
        data = bytes(bits)
    path.write_bytes(data)
