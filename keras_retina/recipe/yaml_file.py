"""Plain YAML in and out: no tags, no key twice, and numbers that are read back as they were written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from keras_retina.foundation.errors import InputError, shortened, shown
from keras_retina.foundation.files.reading import read_bytes
from keras_retina.recipe.plain_yaml import parse_plain_yaml


class _Loader(yaml.SafeLoader):
    """Safe YAML 1.2 where PyYAML reads 1.1: `1e-3` is a number and `off` a text. No key may be there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes the text that `_Loader` would take for a number, such as a class called 1e3."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )

# In YAML 1.1 yes, no, on and off are booleans: `export.heal: off` would be False.
for _letter in "yYnNoO":
    _Loader.yaml_implicit_resolvers[_letter] = [
        (tag, pattern)
        for tag, pattern in _Loader.yaml_implicit_resolvers.get(_letter, [])
        if tag != "tag:yaml.org,2002:bool"
    ]


def read_yaml(path: Path) -> dict[str, Any]:
    """Returns the sections of a recipe file as nested dictionaries.

    Raises:
        InputError: the file is missing, is not plain YAML, or holds no sections.
    """
    if not path.is_file():
        received = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: expected a recipe file. Received: {received}. Pass the path of a .yaml recipe.")
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8. Received: {error}. Save the file as UTF-8.") from error
    return parse_yaml(text, str(path))


def dump_yaml(fields: dict[str, Any]) -> str:
    """Returns nested dictionaries of plain values as YAML that `read_yaml` reads back unchanged."""
    return yaml.dump(fields, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def flow_yaml(value: Any) -> str:
    """Returns a plain value in one line of YAML that `read_yaml` reads back unchanged."""
    plain = not any(one in repr(value) for one in ("\\x85", "\\u2028", "\\u2029"))  # line ends of YAML
    text = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, sort_keys=False, allow_unicode=plain, width=float("inf")
    )
    return text.removesuffix("\n").removesuffix("\n...")


def parse_yaml(text: str, source: str) -> dict[str, Any]:
    """Returns the sections of a recipe's text as nested dictionaries; `source` is named in errors.

    Raises:
        InputError: it is not plain YAML, or holds no sections.
    """
    try:
        fields = parse_plain_yaml(text, _Loader)
    except ValueError as error:
        raise InputError(
            f"{source}: expected plain YAML without tags. Received: {shortened(str(error), 300)}. Correct the file."
        ) from error
    if not isinstance(fields, dict):
        raise InputError(
            f"{source}: expected sections such as `model:` and `training:`. Received: {type(fields).__name__}. "
            "Start from a file in recipes/."
        )
    return fields


def apply_override(fields: dict[str, Any], override: str) -> None:
    """Sets one field in place from `section.key=value`, the value in YAML.

    Raises:
        InputError: the text has no such form, or names a section where a value stands.
    """
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise InputError(f"--set: expected section.key=value. Received: {shown(override)}. Example: training.epochs=10")
    *sections, name = key.strip().split(".")
    target = fields
    for section in sections:
        if target.get(section) is None:  # absent, or switched off such as `early_stop: null`
            target[section] = {}
        target = target[section]
        if not isinstance(target, dict):
            raise InputError(f"--set: expected a section. Received: {shown(section)} in {shown(override)}, a value.")
    try:
        target[name] = parse_plain_yaml(text, _Loader)
    except ValueError as error:
        raise InputError(
            f"--set: expected a YAML value. Received: {shown(override)}, {shortened(str(error), 200)}. Quote the text."
        ) from error
