"""The bytes of a `.tflite`: a flatbuffer of the TFLite schema, and behind it a zip that holds our description."""

from __future__ import annotations

import io
import zipfile
from collections import Counter

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
    """Unpacks a flatbuffer; anything appended to it is ignored. Text fields are bytes, vectors NumPy arrays."""
    return schema.ModelT.InitFromPackedBuf(data, 0)


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
    return np.frombuffer(bytes(data), tensor_type(tensor)).reshape(tensor.shape)


def add_tensor(
    model: schema.ModelT, name: str, shape: list[int], values: np.ndarray | None = None, kind: str = "float32"
) -> int:
    """Adds a tensor of a type, or a constant of that of `values` (float32, float16 or int32); returns its index."""
    data = None if values is None else np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
    model.buffers.append(schema.BufferT(data=data))
    tensor = schema.TensorT(
        shape=np.array(shape, np.int32),
        type=TYPES[kind if values is None else str(values.dtype)],
        buffer=len(model.buffers) - 1,
        name=name.encode(),
        hasRank=True,
    )
    model.subgraphs[0].tensors.append(tensor)
    return len(model.subgraphs[0].tensors) - 1


def operator_code(model: schema.ModelT, builtin: int, custom_name: bytes | None = None, version: int = 1) -> int:
    """Returns the index of an operator code, which is added if the file has none."""
    for index, code in enumerate(model.operatorCodes):
        if max(code.builtinCode, code.deprecatedBuiltinCode) == builtin and code.customCode == custom_name:
            return index
    model.operatorCodes.append(
        schema.OperatorCodeT(
            deprecatedBuiltinCode=min(builtin, 127), customCode=custom_name, version=version, builtinCode=builtin
        )
    )
    return len(model.operatorCodes) - 1


def add_operator(model: schema.ModelT, code: int, inputs: list[int], outputs: list[int]) -> schema.OperatorT:
    """Appends an operator to the graph."""
    operator = schema.OperatorT(
        opcodeIndex=code, inputs=np.array(inputs, np.int32), outputs=np.array(outputs, np.int32)
    )
    model.subgraphs[0].operators.append(operator)
    return operator


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
