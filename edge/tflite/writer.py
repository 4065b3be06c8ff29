"""Appends operators to a converted graph: what the tails behind the two heads are written with."""

from __future__ import annotations

from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.tflite.flatbuffer import add_operator, add_tensor, operator_code

Operator = schema.BuiltinOperator


class Writer:
    """Appends builtin operators to a graph, each with a new output tensor whose index is returned."""

    def __init__(self, model: schema.ModelT) -> None:
        self.model = model
        self.names = {value: name.lower() for name, value in vars(Operator).items() if isinstance(value, int)}

    def constant(self, values: Any, kind: type) -> int:
        array: np.ndarray = np.array(values, kind)
        return add_tensor(self.model, f"constant_{len(self.model.buffers)}", list(array.shape), array)

    def add(self, builtin: int, inputs: list[int], shape: list[int], kind: str = "float32", options: Any = None) -> int:
        return self.add_two(builtin, inputs, [(shape, kind)], options)[0]

    def add_two(self, builtin: int, inputs: list[int], made: list[tuple[list[int], str]], options: Any) -> list[int]:
        """As `add` for any number of outputs, each a (shape, type)."""
        name = f"{self.names[builtin]}_{len(self.model.subgraphs[0].operators)}"
        outputs = [
            add_tensor(self.model, f"{name}:{place}" if place else name, shape, kind=kind)
            for place, (shape, kind) in enumerate(made)
        ]
        operator = add_operator(self.model, operator_code(self.model, builtin), inputs, outputs)
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        return outputs

    def reshape(self, tensor: int, shape: list[int], kind: str = "float32") -> int:
        options = schema.ReshapeOptionsT(newShape=np.array(shape, np.int32))
        return self.add(Operator.RESHAPE, [tensor, self.constant(shape, np.int32)], shape, kind, options)

    def gather(self, tensor: int, indices: int, shape: list[int], kind: str = "float32") -> int:
        return self.add(Operator.GATHER, [tensor, indices], shape, kind, schema.GatherOptionsT(axis=0))

    def highest(self, tensor: int, axis: int, shape: list[int]) -> int:
        """Returns the maximum over an axis; `shape` is what is left."""
        inputs = [tensor, self.constant([axis], np.int32)]
        return self.add(Operator.REDUCE_MAX, inputs, shape, "float32", schema.ReducerOptionsT())

    def cast(self, tensor: int, shape: list[int]) -> int:
        return self.add(Operator.CAST, [tensor], shape, "float32", schema.CastOptionsT())

    def columns(self, tensor: int, start: int, rows: int) -> int:
        """Returns two columns of `[rows, 4]`."""
        begin, size = self.constant([0, start], np.int32), self.constant([rows, 2], np.int32)
        return self.add(Operator.SLICE, [tensor, begin, size], [rows, 2], "float32", schema.SliceOptionsT())

    def largest(self, values: int, size: int, number: int) -> tuple[int, int]:
        """Returns the `number` largest of `size` float values, the largest first, and their places."""
        made: list[tuple[list[int], str]] = [([number], "float32"), ([number], "int32")]
        inputs = [self.reshape(values, [size]), self.constant(number, np.int32)]
        best, places = self.add_two(Operator.TOPK_V2, inputs, made, schema.TopKV2OptionsT())
        return best, places

    def largest_of_groups(self, values: int, size: int, groups: int, number: int) -> int:
        """Returns the places of the `number` largest of each group of float values, `[groups * number]`, in no order.

        Value i is in group i % `groups`, so that neighbours, which are large together, are in different ones. Groups
        must have more than `number` values: -infinity fills the last row and is never chosen.
        """
        rows = -(-size // groups)
        padding = self.constant([[0, rows * groups - size]], np.int32)
        flat = [self.reshape(values, [size]), padding, self.constant(-np.inf, np.float32)]
        padded = self.add(Operator.PADV2, flat, [rows * groups], options=schema.PadV2OptionsT())
        order = self.constant([1, 0], np.int32)
        table = [self.reshape(padded, [rows, groups]), order]
        transposed = self.add(Operator.TRANSPOSE, table, [groups, rows], options=schema.TransposeOptionsT())
        shape = [groups, number]
        made: list[tuple[list[int], str]] = [(shape, "float32"), (shape, "int32")]
        inputs = [transposed, self.constant(number, np.int32)]
        _, chosen = self.add_two(Operator.TOPK_V2, inputs, made, schema.TopKV2OptionsT())
        starts = self.arithmetic(Operator.MUL, chosen, self.constant(groups, np.int32), shape, "int32")
        group = self.constant(np.arange(groups)[:, None], np.int32)
        places = self.arithmetic(Operator.ADD, starts, group, shape, "int32")
        return self.reshape(places, [groups * number], "int32")

    def arithmetic(self, builtin: int, left: int, right: int, shape: list[int], kind: str = "float32") -> int:
        options = {
            Operator.ADD: schema.AddOptionsT,
            Operator.SUB: schema.SubOptionsT,
            Operator.MUL: schema.MulOptionsT,
            Operator.DIV: schema.DivOptionsT,
            Operator.FLOOR_DIV: schema.FloorDivOptionsT,
            Operator.FLOOR_MOD: schema.FloorModOptionsT,
            Operator.MINIMUM: schema.MaximumMinimumOptionsT,
            Operator.MAXIMUM: schema.MaximumMinimumOptionsT,
        }[builtin]
        return self.add(builtin, [left, right], shape, kind, options())


def clip_to_input(model: schema.ModelT, boxes: int, shape: list[int]) -> int:
    """Cuts boxes, in shares, at the border of the input; returns the index of the new tensor.

    MediaPipe's own cut moves a box that begins outside instead: x1 and y1 become 0, width and height stay.

    Source: mediapipe/calculators/util/detection_transformation_calculator.cc, seen with tasks-vision 1.1.0.
    """
    writer = Writer(model)
    capped = writer.arithmetic(Operator.MINIMUM, boxes, writer.constant([1], np.float32), shape)
    return writer.add(Operator.RELU, [capped], shape)
