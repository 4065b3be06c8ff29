"""A plan as text: a recipe in YAML with a comment above every choice, and ten lines for the screen."""

from __future__ import annotations

import copy
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from keras_retina.foundation.errors import printable
from keras_retina.plan.wishes import Choice
from keras_retina.recipe.yaml_file import apply_override, flow_yaml

WIDTH = 118
SCREEN = 160


def recipe_fields(name: str, seed: int, *, choices: Sequence[Choice], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Returns the sections of the recipe: what was chosen, and then what the person set."""
    fields: dict[str, Any] = {"name": name, "seed": seed}
    for choice in choices:
        if not choice.place:
            continue
        *sections, key = choice.place.split(".")
        target = fields
        for section in sections:
            target = target.setdefault(section, {})
        target[key] = choice.value
    for override in overrides:
        apply_override(fields, override)
    return fields


def overruled(choices: Sequence[Choice], overrides: Sequence[str]) -> list[Choice]:
    """Returns the choices, and where the person set another value that value and the reason "set by you".

    Settings that no line on the screen speaks of follow in one more line.

    Args:
        overrides: `section.key=value`, later ones win.
    """
    shown = [_overruled(choice, overrides) for choice in choices]
    spoken = {override for choice in choices if choice.shown for override in overrides if _concerns(override, choice)}
    others = [override for override in overrides if override not in spoken]
    if others:
        shown.append(Choice("", None, "as you asked.", ", ".join(others), "set by you"))
    return shown


def _overruled(choice: Choice, overrides: Sequence[str]) -> Choice:
    given = [override for override in overrides if choice.place and _concerns(override, choice)]
    fields = {"value": copy.deepcopy(choice.value)}
    for override in given:
        key, _, value = override.partition("=")
        rest = key.strip()[len(choice.place) :]
        apply_override(fields, f"value{rest}={value}")
    if fields["value"] == choice.value:
        return choice
    planned = choice.shown or flow_yaml(choice.value)
    why = f"set by you; the plan had {planned}. {choice.why}".strip()
    return replace(choice, value=fields["value"], why=why, shown=", ".join(given) if choice.shown else "")


def _concerns(override: str, choice: Choice) -> bool:
    """Tells whether `section.key=value` sets the choice, or a part of it."""
    key = override.partition("=")[0].strip()
    return bool(choice.place) and (key == choice.place or key.startswith(f"{choice.place}."))


def commented_yaml(fields: dict[str, Any], choices: Sequence[Choice], *, head: Sequence[str]) -> str:
    """Returns the recipe as YAML, each choice below its reason; what a person set stands where it belongs."""
    reasons = {choice.place: choice.why for choice in choices}
    lines = [text for line in head for text in _comment(line, 0)]
    for key, value in fields.items():
        inside = isinstance(value, dict) and any(place.startswith(f"{key}.") for place in reasons)
        lines += [""] if isinstance(value, dict) else []
        lines += _comment(reasons.get(key, ""), 0)
        if not inside:
            lines += _entry(key, value, 0)
            continue
        lines.append(f"{key}:")
        for name, part in value.items():
            lines += _comment(reasons.get(f"{key}.{name}", ""), 2)
            lines += _entry(name, part, 2)
    return "\n".join(lines) + "\n"


def plan_lines(choices: Sequence[Choice]) -> list[str]:
    """Returns one line for each choice that has a place on the screen."""
    return [textwrap.shorten(choice.line, SCREEN, placeholder=" ...") if len(choice.line) > SCREEN else choice.line
            for choice in choices if choice.shown]  # fmt: skip


def _comment(text: str, indent: int) -> list[str]:
    """Wraps a text; control characters in it, of a class name for instance, cannot end the comment."""
    prefix = " " * indent + "# "
    whole = printable(text[:1].upper() + text[1:]) if indent or text else ""
    return textwrap.wrap(whole, WIDTH, initial_indent=prefix, subsequent_indent=prefix, break_on_hyphens=False)


def _entry(key: str, value: Any, indent: int) -> list[str]:
    """Returns `key: value` in one line where it fits, else with the keys of the value below."""
    line = f"{' ' * indent}{flow_yaml(key)}: {flow_yaml(value)}"
    if len(line) <= WIDTH or not isinstance(value, dict) or not value:
        return [line]
    inner = [text for name, part in value.items() for text in _entry(name, part, indent + 2)]
    return [f"{' ' * indent}{flow_yaml(key)}:", *inner]
