"""The anchors of a detection file, made in its graph from grids and shapes: as a table, 61,200 take a megabyte."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.tflite.writer import Operator, Writer
from keras_retina.model.spec import DetectorSpec


def grids_and_shapes(spec: DetectorSpec) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns for each level (y centre, x centre, 0, 0) of its cells and (0, 0, h, w) of the anchors of one.

    Float32 `[cells, 1, 4]` and `[1, shapes, 4]` in shares of the input; their sum is `centre_size_anchors` of a level.
    """
    per_cell = spec.grid.per_cell
    sides = np.array([spec.height, spec.width], np.float64)
    boxes, parts, start = spec.anchors().astype(np.float64), [], 0
    for level, count in spec.grid.per_level().items():
        rows, columns = spec.height >> level, spec.width >> level
        grid = np.zeros((rows, columns, 4), np.float32)
        grid[..., 0] = (np.arange(rows)[:, None] + spec.anchor_offset) / rows
        grid[..., 1] = (np.arange(columns) + spec.anchor_offset) / columns
        shapes = np.zeros((1, per_cell, 4), np.float32)
        first = boxes[start : start + per_cell]
        shapes[0, :, 2:] = (first[:, 2:] - first[:, :2]) / sides
        parts.append((grid.reshape(-1, 1, 4), shapes))
        start += count
    return parts


def centre_size_anchors(spec: DetectorSpec) -> np.ndarray:
    """Returns the anchors as clients want them: float32 `[anchors, 4]`, (y centre, x centre, h, w) in shares."""
    if spec.anchor_clip:
        boxes = spec.anchors().astype(np.float64) / ([spec.height, spec.width] * 2)
        return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1).astype(
            np.float32
        )
    return np.concatenate([(grid + shapes).reshape(-1, 4) for grid, shapes in grids_and_shapes(spec)])


def add_anchors(model: schema.ModelT, spec: DetectorSpec) -> int:
    """Adds the operators that make `centre_size_anchors`, bit by bit; returns the tensor.

    Clipped anchors are no sum of a grid and shapes: they are a table.
    """
    writer = Writer(model)
    if spec.anchor_clip:
        return writer.constant(centre_size_anchors(spec), np.float32)
    levels: list[int] = []
    rows = 0
    for grid, shapes in grids_and_shapes(spec):
        cells, per_cell = len(grid), shapes.shape[1]
        left, right = writer.constant(grid, np.float32), writer.constant(shapes, np.float32)
        level = writer.arithmetic(Operator.ADD, left, right=right, shape=[cells, per_cell, 4])
        levels.append(writer.reshape(level, [cells * per_cell, 4]))
        rows += cells * per_cell
    if len(levels) == 1:
        return levels[0]
    options = schema.ConcatenationOptionsT(axis=0)
    return writer.add(Operator.CONCATENATION, levels, shape=[rows, 4], kind="float32", options=options)
