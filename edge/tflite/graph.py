"""Any `.tflite` as plain values: operators with their tensors, however old, foreign or damaged the file is.

Also counts the multiply-adds of its operators.
"""

from __future__ import annotations

import graphlib
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge.runtime import check_network
from edge.tflite.flatbuffer import IDENTIFIER, OPERATOR_NAMES, TYPE_NAMES, TYPES, read_flatbuffer
from keras_retina.foundation.errors import InputError

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
ITEM_BYTES = {name: np.dtype(name).itemsize for name in TYPES if hasattr(np, name)} | {"bfloat16": 2}
# One byte for every other type, which is at most half a byte too much.


@dataclass(frozen=True)
class Tensor:
    """`shape` has no entry for a scalar; `data` holds the raw bytes of a constant, None for everything computed."""

    index: int
    name: str
    shape: tuple[int, ...]
    type: str
    data: np.ndarray | None = None
    variable: bool = False
    scales: int = 0
    zero_point: int = 0

    @property
    def constant(self) -> bool:
        return self.data is not None

    @property
    def elements(self) -> int:
        return math.prod(max(side, 0) for side in self.shape)

    @property
    def bytes(self) -> int:
        return self.elements * ITEM_BYTES.get(self.type, 1)

    @cached_property
    def values(self) -> np.ndarray:
        """The constant as a flat array of its own type; empty for a computed tensor or a type NumPy does not know."""
        if self.data is None or not hasattr(np, self.type):
            return np.zeros(0, np.int32)
        kind = np.dtype(self.type)
        return self.data[: self.data.size // kind.itemsize * kind.itemsize].view(kind)


@dataclass(frozen=True)
class Operator:
    """`inputs` keeps the place of an input that was left out as None; `options` is a schema object or None."""

    index: int
    name: str
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Any = None
    custom: bool = False

    @property
    def given(self) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in self.inputs if tensor is not None)

    @property
    def computed(self) -> tuple[Tensor, ...]:
        """The inputs that other operators compute, or the model is given; states of an LSTM are neither."""
        return tuple(tensor for tensor in self.given if not tensor.constant and not tensor.variable)

    def input(self, position: int) -> Tensor | None:
        return self.inputs[position] if position < len(self.inputs) else None

    def option(self, name: str, default: Any = 0) -> Any:
        return getattr(self.options, name, default)


@dataclass(frozen=True)
class Graph:
    """`operators` in the order of the file, which is the order they run in; `inputs` are tensor indices."""

    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]


def read_graphs(path: Path) -> list[Graph]:
    """Reads the subgraphs of a file; the first is the one that runs.

    Raises:
        InputError: the file is missing, no `.tflite`, cut off or damaged.
    """
    path = Path(path)
    if not path.is_file():
        received = "a folder" if path.is_dir() else "no such file"
        raise InputError(f"{path}: expected a .tflite file. Received: {received}. Correct the path.")
    data = path.read_bytes()
    if data.startswith(LFS_POINTER):
        raise InputError(
            f"{path}: expected a .tflite file. Received: a Git LFS pointer, {len(data)} bytes that stand for it. "
            "Run git lfs pull where it was cloned, or download the file itself."
        )
    if data[4:8] != IDENTIFIER:
        raise _damaged(path, f"{len(data)} bytes without the mark TFL3 at byte 4")
    try:
        check_network(data)
        model = read_flatbuffer(data)
        _refuse_circles(model)
        graphs = [_graph(model, subgraph, file_bytes=len(data)) for subgraph in model.subgraphs or []]
    except Exception as error:  # whatever wrong offsets lead a reader without a verifier into
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if not graphs or not graphs[0].operators:
        raise _damaged(path, "no operators")
    return graphs


def flex_operators(graphs: Sequence[Graph]) -> list[str]:
    """Returns the names of operators that only a LiteRT with all of TensorFlow runs, each once."""
    return sorted(
        {one.name for graph in graphs for one in graph.operators if one.custom and one.name.startswith("Flex")}
    )


def _damaged(path: Path, received: str) -> InputError:
    return InputError(
        f"{path}: expected a whole .tflite file. Received: {' '.join(received.split())[:200]}. "
        "Convert or download the model again."
    )


def _refuse_circles(model: schema.ModelT) -> None:
    """Raises ValueError where a graph runs itself, by way of IF, WHILE, CALL or the like."""
    runs = {number: _graphs_run_by(graph) for number, graph in enumerate(model.subgraphs or [])}
    for number in {one for called in runs.values() for one in called}:
        _index(number, model.subgraphs)
    try:
        graphlib.TopologicalSorter(runs).prepare()
    except graphlib.CycleError as error:
        raise ValueError(f"graphs that run each other in a circle: {error.args[1]}") from error


def _graphs_run_by(graph: schema.SubGraphT) -> set[int]:
    found: set[int] = set()
    for operator in graph.operators or []:
        for options in (operator.builtinOptions, operator.builtinOptions2):
            named = [value for name, value in vars(options or object).items() if "subgraph" in name.lower()]
            for value in named:
                if isinstance(value, int | list | np.ndarray):
                    found |= {int(one) for one in np.atleast_1d(value) if one >= 0}
    return found


def _graph(model: schema.ModelT, subgraph: schema.SubGraphT, *, file_bytes: int) -> Graph:
    tensors = [
        _tensor(model, index, tensor=tensor, file_bytes=file_bytes)
        for index, tensor in enumerate(subgraph.tensors or [])
    ]
    operators = tuple(
        _operator(model, tensors, index=index, operator=operator)
        for index, operator in enumerate(subgraph.operators or [])
    )
    inputs = tuple(tensors[_index(index, tensors)].index for index in _list(subgraph.inputs))
    return Graph(operators, inputs)


def _tensor(model: schema.ModelT, index: int, *, tensor: schema.TensorT, file_bytes: int) -> Tensor:
    buffer = model.buffers[_index(tensor.buffer, model.buffers)]
    data = buffer.data if buffer.data is not None and len(buffer.data) else None
    if data is None and buffer.size and buffer.offset > 1:  # weights of a large file stand behind the flatbuffer
        if buffer.offset + buffer.size > file_bytes:
            raise ValueError(f"a buffer ends at byte {buffer.offset + buffer.size} of {file_bytes}")
        data = np.zeros(buffer.size, np.uint8)
    quantization = tensor.quantization
    zero_points = [] if quantization is None else _list(quantization.zeroPoint)
    return Tensor(
        index=index,
        name=(tensor.name or b"").decode("utf-8", "replace"),
        shape=tuple(int(side) for side in _list(tensor.shape)),
        type=TYPE_NAMES[tensor.type],
        data=None if data is None else np.asarray(data, np.uint8),
        variable=bool(tensor.isVariable),
        scales=0 if quantization is None else len(_list(quantization.scale)),
        zero_point=int(zero_points[0]) if len(zero_points) else 0,
    )


def _operator(model: schema.ModelT, tensors: list[Tensor], *, index: int, operator: schema.OperatorT) -> Operator:
    code = model.operatorCodes[_index(operator.opcodeIndex, model.operatorCodes)]
    builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
    custom = builtin == schema.BuiltinOperator.CUSTOM
    name = (code.customCode or b"").decode("utf-8", "replace") if custom else OPERATOR_NAMES.get(builtin)
    return Operator(
        index=index,
        name=name or f"BUILTIN_{builtin}",
        version=int(code.version),
        inputs=tuple(None if i == -1 else tensors[_index(i, tensors)] for i in _list(operator.inputs)),
        outputs=tuple(tensors[_index(i, tensors)] for i in _list(operator.outputs)),
        options=operator.builtinOptions,
        custom=custom,
    )


def _list(vector: Any) -> Any:
    return [] if vector is None else vector


def _index(index: int, items: list) -> int:
    """Python would take a negative index for one from the end."""
    if not 0 <= index < len(items):
        raise IndexError(f"index {index} of {len(items)}")
    return int(index)


COUNTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL")

UNCOUNTED = (
    *("CONV_3D", "CONV_3D_TRANSPOSE", "SVDF", "RNN", "LSTM", "EMBEDDING_LOOKUP_SPARSE", "RFFT2D", "DELEGATE"),
    *("UNIDIRECTIONAL_SEQUENCE_RNN", "UNIDIRECTIONAL_SEQUENCE_LSTM"),
    *("BIDIRECTIONAL_SEQUENCE_RNN", "BIDIRECTIONAL_SEQUENCE_LSTM"),
    *("IF", "WHILE", "CALL", "CALL_ONCE"),
)
"""Builtin operators that may multiply matrices, or run other graphs; nothing here says how much."""


@dataclass(frozen=True)
class GraphWork:
    """Multiply-adds of each operator of a graph, in its order, None where they are not known.

    As the literature counts: activations, additions and resizing are 0. `uncounted` names the operators with None.
    """

    multiply_adds: tuple[int | None, ...]
    uncounted: dict[str, int]

    @property
    def total(self) -> int:
        """The multiply-adds of what is known."""
        return sum(value or 0 for value in self.multiply_adds)


def graph_work(graph: Graph) -> GraphWork:
    """Counts the multiply-adds of a graph for one run, from the shapes of its tensors."""
    values = tuple(operator_multiply_adds(operator) for operator in graph.operators)
    unknown = [operator.name for operator, value in zip(graph.operators, values, strict=True) if value is None]
    return GraphWork(values, dict(sorted(Counter(unknown).items())))


def operator_multiply_adds(operator: Operator) -> int | None:
    """Returns the multiply-adds of one operator; None for a custom one, a shape not known, or one of `UNCOUNTED`."""
    if operator.custom or operator.name in UNCOUNTED or operator.name.startswith(("STABLEHLO_", "BUILTIN_")):
        return None
    if operator.name not in COUNTED:
        return 0
    weights, image = (operator.input(position) for position in (1, 2 if operator.name == "TRANSPOSE_CONV" else 0))
    if weights is None or image is None or not operator.outputs:
        return None
    output = operator.outputs[0]
    shapes = (weights.shape, image.shape, output.shape)
    if not all(shapes) or any(side <= 0 for shape in shapes for side in shape):
        return None
    if operator.name == "TRANSPOSE_CONV":  # each pixel is spread over the kernel; weights [out, h, w, in]
        return image.elements * math.prod(weights.shape[:-1])
    if operator.name == "DEPTHWISE_CONV_2D":  # weights [1, h, w, out]
        return output.elements * math.prod(weights.shape[1:3])
    if operator.name == "BATCH_MATMUL":
        inner = image.shape[-2:]
        return output.elements * (inner[0] if operator.option("adjX") else inner[-1])
    return output.elements * math.prod(weights.shape[1:])  # [out, h, w, in / groups] and [out, in]
