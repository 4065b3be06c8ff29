"""The bytes of a `.tflite`: a flatbuffer of the TFLite schema, and behind it a zip that holds our description."""

from __future__ import annotations

import copy
import io
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"
OPERATOR_NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
TYPES = {name.lower(): value for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
TYPE_NAMES = {value: name for name, value in TYPES.items()}


class _AlignedBuilder(flatbuffers.Builder):
    """The schema wants weights aligned to 16 bytes (`force_align`), which the generated Python code ignores."""

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 - the base class calls it so
        if x.dtype != np.uint8:
            return super().CreateNumpyVector(x)
        self.StartVector(1, x.size, 16)
        self.head -= x.size
        self.Bytes[self.head : self.head + x.size] = x.tobytes()
        self.vectorNumElems = x.size
        return self.EndVector()


def read_flatbuffer(data: bytes) -> schema.ModelT:
    """Unpacks a flatbuffer. Text fields are bytes, vectors NumPy arrays.

    Anything appended to it is ignored, but for the values of buffers that say that theirs lie there: some writers put
    all constants behind the flatbuffer, which alone may not be larger than 2 GiB. Source: `Buffer` of schema.fbs.

    Raises:
        ValueError: values that lie behind the end of the file.
    """
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    for number, buffer in enumerate(model.buffers):
        if buffer.offset > 1:  # 1 is a placeholder
            end = buffer.offset + buffer.size
            if end > len(data):
                raise ValueError(f"buffer {number} ends at byte {end} of a file of {len(data)} bytes")
            buffer.data = np.frombuffer(data[buffer.offset : end], np.uint8)
        buffer.offset = buffer.size = 0
    return model


def write_flatbuffer(model: schema.ModelT) -> bytes:
    """Packs a model; the inverse of `read_flatbuffer`."""
    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = _AlignedBuilder(size + (1 << 20))
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def operator_name(model: schema.ModelT, operator: schema.OperatorT) -> str:
    """Returns `CONV_2D` and the like, or the name of a custom operator."""
    code = model.operatorCodes[operator.opcodeIndex]
    builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
    return code.customCode.decode() if builtin == schema.BuiltinOperator.CUSTOM else OPERATOR_NAMES[builtin]


def operator_histogram(model: schema.ModelT) -> dict[str, int]:
    """Returns how many operators of each name the file holds, most frequent first."""
    counts = Counter(operator_name(model, operator) for graph in model.subgraphs for operator in graph.operators)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def tensor_type(tensor: schema.TensorT) -> str:
    """Returns `float32`, `int8`, `uint8`, ..."""
    return TYPE_NAMES[tensor.type]


def tensor_quantization(tensor: schema.TensorT) -> tuple[float, int] | None:
    """Returns (scale, zero point) of a tensor quantized as a whole, None for a float one."""
    quantization = tensor.quantization
    if quantization is None or quantization.scale is None or len(quantization.scale) != 1:
        return None
    return float(quantization.scale[0]), int(quantization.zeroPoint[0])


def constant_values(model: schema.ModelT, index: int) -> np.ndarray | None:
    """Returns the values of a constant as they are stored, in the shape of the tensor; None for a feature map."""
    tensor = model.subgraphs[0].tensors[index]
    data = model.buffers[tensor.buffer].data
    if data is None:
        return None
    if tensor_type(tensor) == "int4":
        return _unpacked(np.frombuffer(bytes(data), np.int8), tensor.shape)
    return np.frombuffer(bytes(data), tensor_type(tensor)).reshape(tensor.shape)


def _unpacked(packed: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Returns 4-bit values as int8; the first of two lies in the low half of their byte."""
    both = np.stack([packed << 4, packed], axis=-1).ravel() >> 4  # an arithmetic shift keeps the sign
    return both[: int(np.prod(shape))].reshape(shape)


def append_members(flatbuffer: bytes, members: dict[str, bytes]) -> bytes:
    """Appends a zip; TFLite readers ignore it, zip readers find it. Same input, same bytes.

    Members are stored, not compressed: the TFLite metadata reader accepts nothing else.

    Source: TensorFlow Lite metadata, "Pack the associated files".
    """
    archive_bytes = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(archive_bytes, "a", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)
    return archive_bytes.getvalue()


def part_of(
    model: schema.ModelT, operators: Sequence[schema.OperatorT], *, shapes: Mapping[int, list[int]] | None = None
) -> tuple[schema.ModelT, list[int], list[int]]:
    """Returns a network of these operators alone, and which tensors of the whole are its inputs and its outputs.

    Everything that an operator makes is an output. The state of a recurrent operator is no input.

    Args:
        operators: of the first graph, in the order of execution.
        shapes: the real shapes of tensors, which a file with dynamic shapes does not say.
    """
    graph = model.subgraphs[0]
    outputs = [int(index) for operator in operators for index in operator.outputs]
    read = dict.fromkeys(int(index) for operator in operators for index in operator.inputs if index >= 0)
    inputs = [
        index
        for index in read
        if index not in outputs and not is_constant(model, index) and not graph.tensors[index].isVariable
    ]
    places = {index: place for place, index in enumerate(dict.fromkeys([*read, *outputs]))}
    buffers, tensors = [schema.BufferT()], []
    for index in places:
        tensor = copy.copy(graph.tensors[index])
        buffer = model.buffers[tensor.buffer]
        tensor.buffer = 0
        if is_constant(model, index):
            tensor.buffer = len(buffers)
            buffers.append(buffer)
        elif shapes and index in shapes:
            tensor.shape, tensor.shapeSignature = np.array(shapes[index], np.int32), None
        tensors.append(tensor)
    moved = []
    for operator in operators:
        one = copy.copy(operator)
        one.inputs = np.array([places[int(index)] if index >= 0 else -1 for index in operator.inputs], np.int32)
        one.outputs = np.array([places[int(index)] for index in operator.outputs], np.int32)
        one.intermediates = None
        moved.append(one)
    part = schema.SubGraphT(tensors=tensors, operators=moved, name=b"main")
    part.inputs = np.array([places[index] for index in inputs], np.int32)
    part.outputs = np.array([places[index] for index in outputs], np.int32)
    return (
        schema.ModelT(version=3, operatorCodes=model.operatorCodes, buffers=buffers, subgraphs=[part]),
        inputs,
        outputs,
    )


def is_constant(model: schema.ModelT, index: int) -> bool:
    """Tells whether the file has the values of a tensor."""
    data = model.buffers[model.subgraphs[0].tensors[index].buffer].data
    return data is not None and len(data) > 0
