"""What is in a `.tflite`, whoever wrote it: tensors, operators, signature, metadata, and our own description."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
import zipfile
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from edge.runtime import EXPORT_MEMBER, LABELS_MEMBER, MEMBER_LIMIT, SPEC_MEMBER, description_sha256, read_member
from edge.tflite.flatbuffer import operator_histogram, read_flatbuffer, tensor_type
from edge.tflite.graph import read_graphs
from edge.tflite.metadata import NAME as METADATA
from edge.tflite.read_metadata import ULTRALYTICS_MEMBERS, metadata_facts, ultralytics_facts
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.reading import sha256_of
from keras_retina.model.spec import spec_from_json

TOTAL_LIMIT = 10 * MEMBER_LIMIT  # a zip of a few kilobytes may claim to unpack to gigabytes


ZIP_END = b"PK\x05\x06"
ZIP_MEMBER = re.compile(rb"PK\x03\x04[\x0a-\x3f]\x00..[\x00\x08]\x00", re.DOTALL)
"""The head of a stored or deflated member, by which a zip is known whose end is cut off."""


@dataclasses.dataclass(frozen=True)
class _Appended:
    """The zip behind a network: the sizes of its files, the contents of those not too large, and what is wrong."""

    sizes: dict[str, int]
    contents: dict[str, bytes]
    problems: list[str]


def inspect_file(path: Path) -> dict[str, Any]:
    """Returns what is in the file as JSON values; `metadata` and `detector` are None where it has none.

    `detector` is our description: the fields of `DetectorSpec`, number of anchors, export settings, the hashes of its
    training, and `checksum`, whether the network is the one that was described. `appended_problem` says what is wrong
    with the zip behind the network, None when nothing is; the rest is told all the same.

    Raises:
        InputError: the file is missing, no `.tflite`, cut off or damaged inside the network.
    """
    path = Path(path)
    read_graphs(path)  # refuses what cannot be read at all
    data = path.read_bytes()
    appended = _appended(data)
    try:
        model = read_flatbuffer(data)
        facts = {
            "file": str(path),
            "size_bytes": len(data),
            "sha256": sha256_of(data),
            **_graph_facts(model),
            "operators": operator_histogram(model),
            "signatures": [_signature(signature) for signature in model.signatureDefs or []],
            "metadata": _metadata(model),
            "members": appended.sizes,
        }
    except Exception as error:  # whatever wrong offsets lead a reader without a verifier into
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    facts["labels"] = _labels(appended, facts["metadata"])
    facts["detector"] = _detector(data, appended)
    facts["appended_problem"] = "; ".join(" ".join(one.split()) for one in appended.problems)[:500] or None
    return _finite(facts)


def _graph_facts(model: schema.ModelT) -> dict[str, Any]:
    graph = model.subgraphs[0]
    return {
        "description": _text(model.description),
        "subgraphs": len(model.subgraphs),
        "inputs": [tensor_facts(graph.tensors[index]) for index in graph.inputs],
        "outputs": [tensor_facts(graph.tensors[index]) for index in graph.outputs],
    }


def tensor_facts(tensor: schema.TensorT) -> dict[str, Any]:
    """Returns name, type, shape (-1 for a free side) and quantization, a list where each channel has its own."""
    quantization = tensor.quantization or schema.QuantizationParametersT()
    scales = [float(scale) for scale in _list(quantization.scale)]
    zeros = [int(zero) for zero in _list(quantization.zeroPoint)]
    shape = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
    return {
        "name": _text(tensor.name),
        "dtype": tensor_type(tensor),
        "shape": [int(side) for side in _list(shape)],
        "scale": scales[0] if len(scales) == 1 else scales or None,
        "zero_point": zeros[0] if len(zeros) == 1 else zeros or None,
    }


def _signature(signature: schema.SignatureDefT) -> dict[str, Any]:
    return {
        "name": _text(signature.signatureKey),
        "inputs": [_text(entry.name) for entry in signature.inputs or []],
        "outputs": [_text(entry.name) for entry in signature.outputs or []],
    }


def _metadata(model: schema.ModelT) -> dict[str, Any] | None:
    entry = next((entry for entry in model.metadata or [] if entry.name == METADATA), None)
    return None if entry is None else metadata_facts(bytes(model.buffers[entry.buffer].data))


def _appended(data: bytes) -> _Appended:
    """Reads the zip behind the flatbuffer, as far as that goes."""
    sizes: dict[str, int] = {}
    contents: dict[str, bytes] = {}
    problems, room = [], TOTAL_LIMIT
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for info in archive.infolist():
                sizes[info.filename] = info.file_size
                if info.file_size > min(MEMBER_LIMIT, room):
                    continue
                try:
                    contents[info.filename] = read_member(archive, info.filename, limit=min(MEMBER_LIMIT, room))
                    room -= len(contents[info.filename])
                except Exception as error:  # of zipfile, or of the decompressor that a damaged member names
                    problems.append(f"{info.filename}: {error}")
    except Exception as error:  # likewise; most files have no zip at all
        if ZIP_END in data[-65_557:] or ZIP_MEMBER.search(data):
            problems.append(str(error))
    return _Appended(sizes, contents, problems)


def _labels(appended: _Appended, metadata: dict[str, Any] | None) -> list[str] | None:
    members = appended.contents
    texts = {name: members[name].decode("utf-8", "replace") for name in ULTRALYTICS_MEMBERS if name in members}
    try:
        theirs = ultralytics_facts(texts)
    except ValueError as error:
        appended.problems.append(str(error))
        return None
    if theirs is not None:
        return list(theirs.names)
    outputs = metadata.get("outputs", []) if metadata else []
    files = [file for output in outputs for file in output.get("files", []) if "labels" in file.get("type", "")]
    name = files[0].get("name", "") if files else LABELS_MEMBER
    content = members.get(name)
    return None if content is None else content.decode("utf-8", "replace").splitlines()


def _detector(data: bytes, appended: _Appended) -> dict[str, Any] | None:
    """Returns our description, None without one; one that cannot be read is a problem of what is appended."""
    found = {name: appended.contents[name] for name in (SPEC_MEMBER, EXPORT_MEMBER) if name in appended.contents}
    if not found:
        return None
    try:
        facts = _description(data, found)
        written = facts.pop("description_sha256", None)  # files of older versions have none
        if written is not None:
            export, labels = json.loads(found[EXPORT_MEMBER]), appended.contents.get(LABELS_MEMBER, b"")
            if written != description_sha256(found[SPEC_MEMBER], labels, export=export):
                appended.problems.append("the description does not have the checksum it was written with")
        return facts
    except (InputError, ValueError, KeyError, RecursionError) as error:
        appended.problems.append(f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error))
        return None


def _description(data: bytes, members: dict[str, bytes]) -> dict[str, Any]:
    """Raises InputError, ValueError or, for a member that is missing, KeyError."""
    spec = spec_from_json(members[SPEC_MEMBER].decode("utf-8", "replace"), SPEC_MEMBER)
    export = json.loads(members[EXPORT_MEMBER].decode("utf-8", "replace"))
    if not isinstance(export, dict) or not isinstance(export.get("flatbuffer_bytes"), int):
        raise ValueError(f"{EXPORT_MEMBER} is not what `keras-retina export` writes")
    length, expected = export.pop("flatbuffer_bytes"), export.pop("flatbuffer_sha256", None)
    fields = {"nms": "per_class", "recipe_sha256": None, "model_sha256": None}  # not in files of older versions
    checksum = sha256_of(data[: max(length, 0)]) == expected
    return {**dataclasses.asdict(spec), "anchors": len(spec.anchors()), **fields, **export, "checksum": checksum}


def _list(vector: Any) -> Any:
    return [] if vector is None else vector


def _finite(value: Any) -> Any:
    """Returns JSON values with None for what JSON has no number for, such as a scale in a damaged file."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: bytes | None) -> str:
    return (value or b"").decode("utf-8", "replace")


def _damaged(path: Path, received: str) -> InputError:
    return InputError(
        f"{path}: expected a whole .tflite file. Received: {' '.join(received.split())[:200]}. "
        "Export, convert or download the model again."
    )
