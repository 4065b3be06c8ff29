"""Adds tensors and operators to a converted graph: what the export changes of it and puts behind it is written so."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.tflite.flatbuffer import OPERATOR_NAMES, TYPES

Operator = schema.BuiltinOperator


class Writer:
    """Adds to the first graph of a model. New operators stand one behind the other at the end, or where `place` says.

    Args:
        place: the number of operators that stay before the new ones; None for all.
    """

    def __init__(self, model: schema.ModelT, *, place: int | None = None) -> None:
        self.model = model
        self.graph = model.subgraphs[0]
        self.place = place

    @classmethod
    def front(cls, model: schema.ModelT) -> Writer:
        """Returns a writer whose operators run before all others."""
        return cls(model, place=0)

    @classmethod
    def before(cls, model: schema.ModelT, operator: schema.OperatorT) -> Writer:
        """Returns a writer whose operators run just before this one."""
        return cls(model, place=model.subgraphs[0].operators.index(operator))

    @classmethod
    def behind(cls, model: schema.ModelT, operator: schema.OperatorT) -> Writer:
        """Returns a writer whose operators run just after this one."""
        return cls(model, place=model.subgraphs[0].operators.index(operator) + 1)

    def tensor(self, name: str, shape: list[int], *, kind: str = "float32") -> int:
        """Adds a tensor without values; returns its index."""
        tensor = schema.TensorT(
            shape=np.array(shape, np.int32), type=TYPES[kind], buffer=0, name=name.encode(), hasRank=True
        )
        return self._stored(tensor, None)

    def constant(self, values: Any, kind: type, *, name: str | None = None) -> int:
        """Adds a tensor with these values as a NumPy type of number; returns its index."""
        array: np.ndarray = np.array(values, kind)
        data = np.frombuffer(array.tobytes(), np.uint8)
        tensor = schema.TensorT(
            shape=np.array(array.shape, np.int32),
            type=TYPES[str(array.dtype)],
            buffer=0,
            name=(name or f"constant_{len(self.model.buffers)}").encode(),
            hasRank=True,
        )
        return self._stored(tensor, data)

    def copied(self, tensor: schema.TensorT, data: np.ndarray | None) -> int:
        """Adds a tensor like another, of another model too, with the bytes `data` as its values; returns its index."""
        return self._stored(copy.copy(tensor), data)

    def _stored(self, tensor: schema.TensorT, data: np.ndarray | None) -> int:
        self.model.buffers.append(schema.BufferT(data=data))
        tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def connect(
        self, builtin: int, inputs: list[int], *, outputs: list[int], options: Any = None, version: int | None = None
    ) -> None:
        """Adds an operator between tensors that are there; `version` as in `_operator_code`."""
        operator = self._connected(_operator_code(self.model, builtin, version=version), inputs, outputs=outputs)
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))

    def connect_custom(self, name: str, inputs: list[int], *, outputs: list[int], options: bytes) -> None:
        """Adds a custom operator between tensors that are there; its options are a flexbuffer."""
        code = _operator_code(self.model, Operator.CUSTOM, custom_name=name.encode())
        operator = self._connected(code, inputs, outputs=outputs)
        operator.customOptions = np.frombuffer(options, np.uint8)
        operator.customOptionsFormat = schema.CustomOptionsFormat.FLEXBUFFERS

    def _connected(self, code: int, inputs: list[int], *, outputs: list[int]) -> schema.OperatorT:
        operator = schema.OperatorT(
            opcodeIndex=code, inputs=np.array(inputs, np.int32), outputs=np.array(outputs, np.int32)
        )
        if self.place is None:
            self.graph.operators.append(operator)
        else:
            self.graph.operators.insert(self.place, operator)
            self.place += 1
        return operator

    def quantize(self, source: int, target: int, *, version: int | None = None) -> None:
        """Fills a quantized tensor from a float one, or from one that is quantized in another way."""
        self.connect(Operator.QUANTIZE, [source], outputs=[target], options=schema.QuantizeOptionsT(), version=version)

    def dequantize(self, source: int, target: int, *, version: int | None = None) -> None:
        """Fills a float32 tensor from a quantized or float16 one."""
        self.connect(
            Operator.DEQUANTIZE, [source], outputs=[target], options=schema.DequantizeOptionsT(), version=version
        )

    def add(
        self, builtin: int, inputs: list[int], *, shape: list[int], kind: str = "float32", options: Any = None
    ) -> int:
        """Adds an operator with a new output, whose index is returned."""
        return self.add_two(builtin, inputs, made=[(shape, kind)], options=options)[0]

    def add_two(self, builtin: int, inputs: list[int], *, made: list[tuple[list[int], str]], options: Any) -> list[int]:
        """As `add` for any number of outputs, each a (shape, type)."""
        name = f"{OPERATOR_NAMES[builtin].lower()}_{len(self.graph.operators)}"
        outputs = [
            self.tensor(f"{name}:{place}" if place else name, shape, kind=kind)
            for place, (shape, kind) in enumerate(made)
        ]
        self.connect(builtin, inputs, outputs=outputs, options=options)
        return outputs

    def reshape(self, tensor: int, shape: list[int], *, kind: str = "float32") -> int:
        options = schema.ReshapeOptionsT(newShape=np.array(shape, np.int32))
        return self.add(
            Operator.RESHAPE, [tensor, self.constant(shape, np.int32)], shape=shape, kind=kind, options=options
        )

    def gather(self, tensor: int, indices: int, *, shape: list[int], kind: str = "float32") -> int:
        return self.add(
            Operator.GATHER, [tensor, indices], shape=shape, kind=kind, options=schema.GatherOptionsT(axis=0)
        )

    def highest(self, tensor: int, axis: int, *, shape: list[int]) -> int:
        """Returns the maximum over an axis; `shape` is what is left."""
        inputs = [tensor, self.constant([axis], np.int32)]
        return self.add(Operator.REDUCE_MAX, inputs, shape=shape, kind="float32", options=schema.ReducerOptionsT())

    def cast(self, tensor: int, shape: list[int]) -> int:
        return self.add(Operator.CAST, [tensor], shape=shape, kind="float32", options=schema.CastOptionsT())

    def columns(self, tensor: int, start: int, *, rows: int) -> int:
        """Returns two columns of `[rows, 4]`."""
        begin, size = self.constant([0, start], np.int32), self.constant([rows, 2], np.int32)
        return self.add(
            Operator.SLICE, [tensor, begin, size], shape=[rows, 2], kind="float32", options=schema.SliceOptionsT()
        )

    def largest(self, values: int, size: int, *, number: int) -> tuple[int, int]:
        """Returns the `number` largest of `size` float values, the largest first, and their places."""
        made: list[tuple[list[int], str]] = [([number], "float32"), ([number], "int32")]
        inputs = [self.reshape(values, [size]), self.constant(number, np.int32)]
        best, places = self.add_two(Operator.TOPK_V2, inputs, made=made, options=schema.TopKV2OptionsT())
        return best, places

    def largest_of_groups(self, values: int, size: int, *, groups: int, number: int) -> int:
        """Returns the places of the `number` largest of each group of float values, `[groups * number]`, in no order.

        Value i is in group i % `groups`, so that neighbours, which are large together, are in different ones. Groups
        must have more than `number` values: -infinity fills the last row and is never chosen.
        """
        rows = -(-size // groups)
        padding = self.constant([[0, rows * groups - size]], np.int32)
        flat = [self.reshape(values, [size]), padding, self.constant(-np.inf, np.float32)]
        padded = self.add(Operator.PADV2, flat, shape=[rows * groups], options=schema.PadV2OptionsT())
        order = self.constant([1, 0], np.int32)
        table = [self.reshape(padded, [rows, groups]), order]
        transposed = self.add(Operator.TRANSPOSE, table, shape=[groups, rows], options=schema.TransposeOptionsT())
        shape = [groups, number]
        made: list[tuple[list[int], str]] = [(shape, "float32"), (shape, "int32")]
        inputs = [transposed, self.constant(number, np.int32)]
        _, chosen = self.add_two(Operator.TOPK_V2, inputs, made=made, options=schema.TopKV2OptionsT())
        starts = self.arithmetic(Operator.MUL, chosen, right=self.constant(groups, np.int32), shape=shape, kind="int32")
        group = self.constant(np.arange(groups)[:, None], np.int32)
        places = self.arithmetic(Operator.ADD, starts, right=group, shape=shape, kind="int32")
        return self.reshape(places, [groups * number], kind="int32")

    def arithmetic(self, builtin: int, left: int, *, right: int, shape: list[int], kind: str = "float32") -> int:
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
        return self.add(builtin, [left, right], shape=shape, kind=kind, options=options())


def clip_to_input(model: schema.ModelT, boxes: int, *, shape: list[int]) -> int:
    """Cuts boxes, in shares, at the border of the input; returns the index of the new tensor.

    MediaPipe's own cut moves a box that begins outside instead: x1 and y1 become 0, width and height stay.

    Source: mediapipe/calculators/util/detection_transformation_calculator.cc, seen with tasks-vision 1.1.0.
    """
    writer = Writer(model)
    capped = writer.arithmetic(Operator.MINIMUM, boxes, right=writer.constant([1], np.float32), shape=shape)
    return writer.add(Operator.RELU, [capped], shape=shape)


def drop_unused_buffers(model: schema.ModelT) -> None:
    """Empties the buffers of constants that no operator reads and no graph returns; the indices of all others stay."""
    kept = {entry.buffer for entry in model.metadata or []}
    for graph in model.subgraphs:
        read = {int(index) for operator in graph.operators for index in operator.inputs}
        kept |= {graph.tensors[index].buffer for index in read | {int(index) for index in graph.outputs} if index >= 0}
    for number, buffer in enumerate(model.buffers):
        if number not in kept:
            buffer.data = None


def _operator_code(
    model: schema.ModelT, builtin: int, *, custom_name: bytes | None = None, version: int | None = None
) -> int:
    """Returns the index of an operator code, which is added if the file has none.

    A `version` is that very one, since an older one may not take the types of the tensors; without it, it is whatever
    the file has, else 1.
    """
    for index, code in enumerate(model.operatorCodes):
        same = max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.customCode == custom_name
        if same and version in (None, code.version):
            return index
    model.operatorCodes.append(
        schema.OperatorCodeT(
            deprecatedBuiltinCode=min(builtin, 127), customCode=custom_name, version=version or 1, builtinCode=builtin
        )
    )
    return len(model.operatorCodes) - 1
