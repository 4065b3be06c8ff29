"""The surfaces of a `.tflite`: its network, what is behind it, and our description."""

from __future__ import annotations

import contextlib
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
from fuzz_sound import (
    FLOATS,
    JSON_VALUES,
    WILD,
    changed_bytes,
    photo,
    sound_coco,
    sound_files,
    write_hostile_zip,
)
from fuzz_values import Generator, pick


def network_of(path: Path) -> bytes:
    """Returns the flatbuffer of a file of ours without what is behind it."""
    with zipfile.ZipFile(path) as archive:
        return path.read_bytes()[: json.loads(archive.read("export.json"))["flatbuffer_bytes"]]


def described_again(path: Path, network: bytes) -> bytes:
    """Returns another network with the description of a file, and with the checksums that belong to it."""
    from edge.runtime import description_sha256
    from edge.tflite.flatbuffer import append_members

    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    export = json.loads(members["export.json"])
    export |= {"flatbuffer_bytes": len(network), "flatbuffer_sha256": hashlib.sha256(network).hexdigest()}
    export["description_sha256"] = description_sha256(members["detector.json"], members["labels.txt"], export=export)
    return append_members(network, members | {"export.json": json.dumps(export).encode()})


def changed_network(rng: Generator, network: bytes) -> bytes:
    """Changes one field of a network: an index, a shape, a type, the data of a constant, an option of an operator."""
    from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer

    model = read_flatbuffer(network)
    graph = model.subgraphs[0]
    for _ in range(int(rng.integers(1, 3))):
        operator, tensor = pick(rng, graph.operators), pick(rng, graph.tensors)
        index = pick(rng, (*WILD[:5], len(graph.tensors), int(rng.integers(len(graph.tensors)))))
        way = rng.integers(11)
        if way < 2:
            name = ("inputs", "outputs")[way]
            values = np.array(getattr(operator, name))
            values[rng.integers(len(values))] = index
            setattr(operator, name, values if rng.integers(3) else values[: int(rng.integers(len(values) + 1))])
        elif way == 2:
            tensor.buffer = int(pick(rng, (0, 1, len(model.buffers), 2**31)))
        elif way == 3 and tensor.shape is not None and len(tensor.shape):
            tensor.shape = np.array(tensor.shape)
            tensor.shape[rng.integers(len(tensor.shape))] = pick(rng, WILD[:-1])
        elif way == 4:
            buffer = pick(rng, [one for one in model.buffers if one.data is not None and len(one.data)])
            buffer.data = buffer.data[: int(rng.integers(len(buffer.data)))]
        elif way == 5:
            operator.opcodeIndex = int(pick(rng, (0, 1, len(model.operatorCodes), 2**31)))
        elif way == 6:
            code = pick(rng, model.operatorCodes)
            code.builtinCode = int(rng.integers(-1, 230))
            code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        elif way == 7:
            tensor.type = int(rng.integers(-1, 25))
        elif way == 8 and tensor.quantization is not None and tensor.quantization.scale is not None:
            tensor.quantization.scale = np.array([pick(rng, FLOATS)], np.float32)
        elif way == 9 and operator.builtinOptions is not None:
            names = [name for name, value in vars(operator.builtinOptions).items() if isinstance(value, int | float)]
            if names:
                setattr(operator.builtinOptions, pick(rng, names), int(pick(rng, WILD[:-1])))
        else:
            name = ("inputs", "outputs")[int(rng.integers(2))]
            setattr(graph, name, np.array([index] * len(getattr(graph, name)), np.int32))
    with contextlib.suppress(Exception):  # a value that its field cannot hold
        return write_flatbuffer(model)
    return network


def tflite_of_ours(rng: Generator, folder: Path) -> list[str]:
    """A network that was changed by somebody who also wrote the checksums anew."""
    source = sound_files()[pick(rng, ("int8", "raw"))]
    change = changed_network if rng.integers(3) else changed_bytes
    (folder / "ours.tflite").write_bytes(described_again(source, change(rng, network_of(source))))
    return _words_of_network(rng, folder, folder / "ours.tflite")


def tflite_of_others(rng: Generator, folder: Path) -> list[str]:
    """The same without our description."""
    source = sound_files()[pick(rng, ("int8", "raw"))]
    change = changed_network if rng.integers(3) else changed_bytes
    (folder / "theirs.tflite").write_bytes(change(rng, network_of(source)))
    return _words_of_network(rng, folder, folder / "theirs.tflite")


def tflite_behind(rng: Generator, folder: Path) -> list[str]:
    """The zip behind a network: changed bytes, other methods, wrong sizes, and bombs."""
    source, file = sound_files()["int8"], folder / "zip.tflite"
    data, network = source.read_bytes(), network_of(source)
    if rng.integers(2):
        file.write_bytes(network + changed_bytes(rng, data[len(network) :]))
        return _words_of_network(rng, folder, file)
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    file.write_bytes(network)
    write_hostile_zip(rng, file, members)
    return _words_of_network(rng, folder, file)


def description(rng: Generator, folder: Path) -> list[str]:
    """`detector.json` and `export.json` with impossible values; half of the time with the right checksum."""
    from edge.runtime import description_sha256
    from edge.tflite.flatbuffer import append_members

    source, file = sound_files()[pick(rng, ("int8", "raw"))], folder / "described.tflite"
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    texts = {name: json.loads(members[name]) for name in ("detector.json", "export.json")}
    facts = texts[pick(rng, list(texts))]
    facts[pick(rng, list(facts))] = pick(rng, JSON_VALUES)
    members["detector.json"] = json.dumps(texts["detector.json"]).encode()
    if rng.integers(2):
        export = texts["export.json"]
        export["description_sha256"] = description_sha256(
            members["detector.json"], members["labels.txt"], export=export
        )
    members["export.json"] = json.dumps(texts["export.json"]).encode()
    file.write_bytes(append_members(network_of(source), members))
    return _words_of_network(rng, folder, file)


def _words_of_network(rng: Generator, folder: Path, file: Path) -> list[str]:
    verb = pick(rng, ("inspect", "inspect", "detect", "evaluate", "edgetpu"))
    if verb == "detect":
        return [verb, str(file), str(photo(folder / "photos" / "photo.png")), "--out", str(folder / "out")]
    if verb == "evaluate":
        return [verb, str(file), "--data", str(sound_coco(folder / "data"))]
    return [verb, str(file)]
