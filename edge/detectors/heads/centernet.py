"""The head of CenterNet: a heatmap of centres, and at each cell where in it the centre is and how large the object."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from edge.detectors.heads.head import Found, Head, Output, Seen, are_shares, sigmoid
from edge.detectors.pictures import Steps

NAME, TF_NAME = "centernet", "centernet-tf"
LIMIT = 100
ROLES = ("heatmap", "size", "offset")
NAMES = {"hm": "heatmap", "heat": "heatmap", "center": "heatmap", "wh": "size", "size": "size", "scale": "size"} | {
    "reg": "offset",
    "off": "offset",
}
STEPS = Steps(
    (104.04, 113.985, 119.85),
    (73.695, 69.87, 70.89),
    bgr=True,
    resize="letterbox-centre",
    antialias=False,
    fill=0,
    source="as CenterNet does",
)
TF_STEPS = Steps(resize="stretch", source="as in TensorFlow's detectors")


def recognise(seen: Seen) -> list[Head]:
    """Returns the readings of three maps of one size: with x first as the original, and with y first as TensorFlow."""
    found = _roles(seen)
    if found is None:
        return []
    roles, first, known = found
    maps = [_last(seen.outputs[roles.index(role)], seen) for role in ROLES]
    stride = seen.width // maps[0].shape[2]
    if not seen.fits_classes(maps[0].shape[3]):
        return []
    logits = not are_shares(maps[0])
    heads = []
    for name, x_first, steps in ((NAME, True, STEPS), (TF_NAME, False, TF_STEPS)):
        if not seen.allows(name):
            continue
        why = (
            f"maps of {maps[0].shape[1]} x {maps[0].shape[2]} cells of {stride} pixels: {', '.join(roles)} by {known}; "
            f"{'x' if x_first else 'y'} before {'y' if x_first else 'x'}; the {LIMIT} best peaks of 3 x 3 cells"
        )
        read = partial(
            _read, roles=roles, stride=stride, logits=logits, x_first=x_first, height=seen.height, width=seen.width
        )
        heads.append(Head(name, why, read, steps, "pixels"))
    if first is not None and seen.asked is None:
        return [head for head in heads if head.name == first]
    return heads


def decode(
    heatmap: np.ndarray, size: np.ndarray, *, offset: np.ndarray, stride: int, score_threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns (y1, x1, y2, x2) in pixels, scores and classes of the best peaks.

    `heatmap` is `[rows, columns, classes]`, 0 to 1; `size` and `offset` are `[rows, columns, 2]` (x, y), in cells.
    A cell is a peak where no neighbour has more of its class.

    Source: CenterNet, src/lib/models/decode.py, ctdet_decode.
    """
    padded = np.pad(heatmap, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    rows, columns, _ = heatmap.shape
    around = [padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
    scores = np.where(heatmap == np.maximum.reduce(around), heatmap, 0).ravel()
    best = np.argsort(-scores, kind="stable")[:LIMIT]
    best = best[scores[best] >= score_threshold]
    y, x, classes = np.unravel_index(best, heatmap.shape)
    centres = np.stack([x, y], axis=1) + offset[y, x]
    halves = size[y, x] / 2
    corners = np.concatenate([centres - halves, centres + halves], axis=1) * stride
    return corners[:, [1, 0, 3, 2]].astype(np.float32), scores[best].astype(np.float32), classes


def _read(
    outputs: Sequence[np.ndarray], score_threshold: float, *, roles: Sequence[str], stride: int, logits: bool,
    x_first: bool, height: int, width: int,
) -> Found:  # fmt: skip
    shape = (height // stride, width // stride)
    heatmap, size, offset = (_channels_last(outputs[roles.index(role)], shape)[0] for role in ROLES)
    if logits:
        heatmap = sigmoid(heatmap)
    if not x_first:
        size, offset = size[..., ::-1], offset[..., ::-1]
    boxes, scores, classes = decode(heatmap, size, offset=offset, stride=stride, score_threshold=score_threshold)
    return Found(boxes, scores, classes.astype(np.int32))


def _roles(seen: Seen) -> tuple[list[str], str | None, str] | None:
    """Returns what each output is, the name of the reading that their names tell, and by what the roles are known."""
    if len(seen.outputs) != 3 or any(len(output.shape) != 4 or output.shape[0] != 1 for output in seen.outputs):
        return None
    maps = [_last(output, seen) for output in seen.outputs]
    places = {one.shape[1:3] for one in maps}
    rows, columns = maps[0].shape[1:3]
    if len(places) != 1 or not columns or seen.width % columns or seen.width // columns not in (2, 4, 8):
        return None
    named = [next((role for part, role in NAMES.items() if part in _words(output)), "") for output in seen.outputs]
    if sorted(named) == sorted(ROLES):
        original = {"hm", "wh", "reg"} <= {word for output in seen.outputs for word in _words(output)}
        return named, NAME if original else None, "their names"
    two = [place for place, one in enumerate(maps) if one.shape[3] == 2]
    if len(two) != 2:
        return None
    larger, smaller = sorted(two, key=lambda place: -float(np.abs(maps[place]).mean()))
    roles = ["heatmap"] * 3
    roles[larger], roles[smaller] = "size", "offset"
    return roles, None, "their channels, and sizes by being larger than offsets"


def _words(output: Output) -> set[str]:
    text = "".join(letter if letter.isalnum() else " " for letter in output.name.lower())
    words = set(text.split())
    return words | {part for part in NAMES for word in words if len(part) > 3 and part in word}


def _last(output: Output, seen: Seen) -> np.ndarray:
    """Returns a map `[1, rows, columns, channels]`, whichever order the file has."""
    _, *sides = output.shape
    for stride in (2, 4, 8):
        shape = (seen.height // stride, seen.width // stride)
        if tuple(sides[:2]) == shape or tuple(sides[1:]) == shape:
            return _channels_last(output.values, shape)
    return output.values


def _channels_last(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return values if values.shape[1:3] == shape else values.transpose(0, 2, 3, 1)
