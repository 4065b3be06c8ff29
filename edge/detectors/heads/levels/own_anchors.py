"""Anchors that the user gives for a YOLO in maps: as numbers, in YOLOv5's model file, or in Darknet's network file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_retina.foundation.errors import InputError, shown
from keras_retina.foundation.files.reading import read_bytes
from keras_retina.recipe.plain_yaml import parse_plain_yaml

Levels = tuple[tuple[float, ...], ...]
MOST_BYTES = 1 << 20
WAY_OUT = "Write w,h,w,h,w,h/w,h,... in pixels of the input, finest level first, or name a file that has them."


def parse_anchors(text: str) -> Levels:
    """Returns width and height of every anchor of every level, finest first: `10,13,16,30,33,23/30,61,...`.

    `text` may also be the path of a `.yaml` with YOLOv5's `anchors`, or of Darknet's `.cfg`, whose `[yolo]` sections
    each choose some of the anchors by `mask`.

    Raises:
        InputError: no positive numbers in pairs, levels of different length, or a file that has no anchors.
    """
    path = Path(text)
    if path.suffix in (".yaml", ".yml", ".cfg"):
        source, levels = str(path), _in_file(path)
    else:
        source, levels = "--anchors", [level.split(",") for level in text.split("/")]
    return _checked(levels, source=source)


def _in_file(path: Path) -> list[Sequence[Any]]:
    if not path.is_file():
        raise InputError(f"--anchors: expected a file. Received: {path}, nothing there. Correct the path.")
    try:
        text = read_bytes(path, length=MOST_BYTES).decode()
        if path.suffix == ".cfg":
            return _in_darknet(text)
        value = parse_plain_yaml(text)
    except ValueError as error:
        raise InputError(f"{path}: expected a file with anchors. Received: {error}. {WAY_OUT}") from error
    anchors = value.get("anchors") if isinstance(value, dict) else None
    if not isinstance(anchors, list) or not all(isinstance(level, list) for level in anchors):
        raise InputError(f"{path}: expected `anchors`, a list for each level. Received: {shown(anchors)}. {WAY_OUT}")
    return anchors


def _in_darknet(text: str) -> list[Sequence[str]]:
    """Returns the anchors that each `[yolo]` section uses. The one with the smallest numbers is the finest level."""
    levels: list[tuple[int, list[str]]] = []
    section, values = "", dict[str, str]()
    for line in [*text.splitlines(), "[end]"]:
        words = line.split("#")[0].strip()
        if words.startswith("["):
            if section == "[yolo]":
                levels.append(_masked(values))
            section, values = words, {}
        elif "=" in words:
            name, value = words.split("=", 1)
            values[name.strip()] = value.strip()
    if not levels:
        raise ValueError("no [yolo] section")
    return [level for _, level in sorted(levels, key=lambda one: one[0])]


def _masked(section: Mapping[str, str]) -> tuple[int, list[str]]:
    """Returns the smallest number in the mask of a `[yolo]` section, and the sides of the anchors that it chooses."""
    numbers = [number.strip() for number in section.get("anchors", "").split(",")]
    mask = [number.strip() for number in section.get("mask", "").split(",")]
    places = [int(number) for number in mask if number.isdecimal() and len(number) < 5]
    if len(places) < len(mask) or 2 * max(places) + 1 >= len(numbers):
        raise ValueError(f"mask={shown(section.get('mask'))} beside {len(numbers)} numbers of anchors")
    return min(places), [side for place in places for side in numbers[2 * place : 2 * place + 2]]


def _checked(levels: Sequence[Sequence[Any]], *, source: str) -> Levels:
    try:
        found = tuple(tuple(float(side) for side in level) for level in levels)
    except (TypeError, ValueError):
        found = ()
    lengths = {len(level) for level in found}
    positive = all(math.isfinite(side) and side > 0 for level in found for side in level)
    if len(lengths) != 1 or not positive or 0 in lengths or max(lengths) % 2:
        raise InputError(
            f"{source}: expected positive widths and heights, as many on each level. Received: {shown(levels)}. "
            f"{WAY_OUT}"
        )
    return found
