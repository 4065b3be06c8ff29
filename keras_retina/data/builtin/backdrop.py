"""What the objects of the built-in set are seen against: backgrounds, and clutter that nobody labelled.

Only uniform numbers are drawn from the generator: of all its streams that one changes least between versions of NumPy.
"""

from __future__ import annotations

import numpy as np

from keras_retina.data.builtin.shapes import LOOKALIKES, Paint, Pose, Sprite, draw_shape, draw_strokes, plain


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """One uniform number."""
    return low + (high - low) * float(rng.random())


def whole(rng: np.random.Generator, low: int, high: int) -> int:
    """One whole number, both ends possible."""
    return low + int(rng.random() * (high - low + 1))


def value_noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Smooth noise in -1..1, float32 [height, width]: random values every `cell` pixels, smoothly joined."""
    knots = 2.0 * rng.random((int(height / cell) + 2, int(width / cell) + 2), dtype=np.float32) - 1.0

    def joined(values: np.ndarray, length: int) -> np.ndarray:
        position = np.arange(length, dtype=np.float32) / np.float32(cell)
        index = position.astype(np.int32)
        share = (position - index)[:, None]
        share = share * share * (3.0 - 2.0 * share)
        return values[index] * (1.0 - share) + values[index + 1] * share

    return joined(joined(knots, height).T, width).T


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """Colour [3] in 0..255 from hue, saturation and value in 0..1."""
    sector = np.mod(np.array([5.0, 3.0, 1.0]) + 6.0 * hue, 6.0)
    return 255.0 * value * (1.0 - saturation * np.clip(np.minimum(sector, 4.0 - sector), 0.0, 1.0))


def brightness(colour: np.ndarray) -> float:
    """Luma of an RGB colour, 0..255."""
    return float(0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2])


def colour_against(rng: np.random.Generator, other: np.ndarray, least: float, hue: float | None = None) -> np.ndarray:
    """A random colour, strong if near a given hue, whose brightness differs from `other` by `least` or more."""
    for _ in range(30):
        if hue is None:
            colour = hsv(uniform(rng, 0, 1), uniform(rng, 0.1, 0.95), uniform(rng, 0.15, 1.0))
        else:
            colour = hsv(uniform(rng, hue - 0.07, hue + 0.07) % 1.0, uniform(rng, 0.5, 0.95), uniform(rng, 0.2, 1.0))
        if abs(brightness(colour) - brightness(other)) >= least:
            return colour
    return np.full(3, 10.0 if brightness(other) > 127 else 245.0)


def grooves(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns `sin(rows + columns)`, float32 [height, width], for radians rows [height, 1] and columns [1, width]."""
    return (np.sin(rows) * np.cos(columns) + np.cos(rows) * np.sin(columns)).astype(np.float32)


def background(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """A gradient between two muted colours under cloudy and grainy noise and, often, a woven or grooved texture."""
    colours = [hsv(uniform(rng, 0, 1), uniform(rng, 0.0, 0.5), uniform(rng, 0.25, 0.85)) for _ in range(2)]
    angle = uniform(rng, 0, 2 * np.pi)
    rows, columns = np.arange(height)[:, None] / max(height, width), np.arange(width)[None, :] / max(height, width)
    ramp = (0.5 + 0.7 * ((rows - 0.5) * np.sin(angle) + (columns - 0.5) * np.cos(angle))).astype(np.float32)
    ramp = np.clip(ramp + 0.35 * value_noise(rng, height, width, uniform(rng, 30, 90)), 0.0, 1.0)
    relief = uniform(rng, 4, 22) * value_noise(rng, height, width, uniform(rng, 8, 24))
    relief += uniform(rng, 2, 14) * value_noise(rng, height, width, uniform(rng, 2, 5))
    if rng.random() < 0.6:
        tilt, waves, strength = uniform(rng, 0, np.pi), uniform(rng, 80, 320), uniform(rng, 3, 12)
        weave = grooves(rows * (waves * np.sin(tilt)), columns * (waves * np.cos(tilt)))
        if rng.random() < 0.5:
            weave = weave * grooves(rows * (-waves * np.cos(tilt)), columns * (waves * np.sin(tilt)))
        relief += strength * weave
    first, second = (colour.astype(np.float32) for colour in colours)
    return (first + (second - first) * ramp[..., None] + relief[..., None]).astype(np.float32)


def soft_blob(rng: np.random.Generator, y: float, x: float) -> Sprite:
    """A half-transparent stain with a soft edge; it goes behind everything, so that it hides nothing."""
    radius = uniform(rng, 12, 70)
    reach = int(1.3 * radius) + 1
    steps = np.arange(-reach, reach + 1) / radius
    edge = 1.0 - np.hypot(steps[:, None], steps[None, :]) + 0.3 * value_noise(rng, steps.size, steps.size, 0.5 * radius)
    coverage = uniform(rng, 0.2, 0.8) * np.clip(edge / uniform(rng, 0.1, 0.6), 0.0, 1.0)
    colour = hsv(uniform(rng, 0, 1), uniform(rng, 0.0, 0.7), uniform(rng, 0.1, 1.0)).astype(np.float32)
    return Sprite(
        int(y) - reach, int(x) - reach, coverage.astype(np.float32), np.broadcast_to(colour, coverage.shape + (3,))
    )


def lookalike(rng: np.random.Generator, y: float, x: float) -> Sprite:
    """A plain shape that shares its outline with a class but has no texture, or is a part of one."""
    shape = LOOKALIKES[whole(rng, 0, len(LOOKALIKES) - 1)]
    pose = Pose(y, x, uniform(rng, 10, 70), uniform(rng, 0, 2 * np.pi), uniform(rng, 0.7, 1.0), float(rng.random()))
    colour = hsv(uniform(rng, 0, 1), uniform(rng, 0.1, 0.95), uniform(rng, 0.15, 1.0))
    return draw_shape(shape, pose, Paint(colour, colour, plain, uniform(rng, 0.0, 0.25), 0.0, uniform(rng, -0.1, 0.45)))


def line(rng: np.random.Generator, y: float, x: float) -> Sprite:
    """A long straight line, like a cable or a twig."""
    angle, half = uniform(rng, 0, np.pi), uniform(rng, 20, 110)
    ends = half * np.array([[-np.sin(angle), -np.cos(angle), np.sin(angle), np.cos(angle)]])
    return draw_strokes(
        y, x, ends, uniform(rng, 1.0, 4.5), hsv(uniform(rng, 0, 1), uniform(rng, 0, 0.8), uniform(rng, 0, 1))
    )


def writing(rng: np.random.Generator, y: float, x: float) -> Sprite:
    """A row of strokes that looks like letters from afar."""
    tall = uniform(rng, 6, 16)
    strokes = [
        (
            uniform(rng, -0.5, 0.5),
            0.7 * letter + uniform(rng, 0, 0.5),
            uniform(rng, -0.5, 0.5),
            0.7 * letter + uniform(rng, 0, 0.5),
        )
        for letter in range(whole(rng, 3, 8))
        for _ in range(whole(rng, 2, 3))
    ]
    colour = hsv(uniform(rng, 0, 1), uniform(rng, 0, 0.6), float(rng.random() < 0.5) * 0.85 + 0.1)
    return draw_strokes(y, x, tall * np.array(strokes), max(1.0, 0.13 * tall), colour)


def clutter(rng: np.random.Generator, y: float, x: float) -> Sprite:
    """One unlabelled thing at `(y, x)`: half of them plain shapes, the others lines and writing."""
    kind = rng.random()
    if kind < 0.5:
        return lookalike(rng, y, x)
    return line(rng, y, x) if kind < 0.75 else writing(rng, y, x)
