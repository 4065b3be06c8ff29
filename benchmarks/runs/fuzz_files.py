"""The surfaces of binary files: networks, models, archives, checkpoints and photos that somebody made to do harm.

A surface writes one hostile input into a folder and returns the words to run `keras-retina` with. The sound files that
they are made from are one small network, made once.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import struct
import subprocess
import sys
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Generator = np.random.Generator
WILD = (-1, -2, 0, 1, 2, 7, 127, 255, 65_536, 2**31 - 1, -(2**31), 2**32 - 1)
FLOATS = (0.0, -1.0, float("inf"), float("nan"), 1e38, 1e-45)
JSON_VALUES = (
    [],
    {},
    "",
    "x",
    None,
    True,
    -1,
    0,
    10**9,
    10**400,
    1.5,
    float("nan"),
    float("inf"),
    [[]],
    ["a"] * 3,
    [10**9],
)
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


@functools.cache
def sound_files() -> dict[str, Path]:
    """Returns a small detector as `.keras` and `.tflite` files; made the first time, which takes half a minute.

    A process of its own makes them: after TensorFlow has computed something, a fork of its process cannot.
    """
    folder = Path(tempfile.mkdtemp(prefix="sound-"))
    subprocess.run([sys.executable, __file__, str(folder)], check=True, capture_output=True)
    return {"keras": folder / "model.keras", **{name: folder / f"{name}.tflite" for name in ("int8", "raw")}}


def make_sound_files(folder: Path) -> None:
    """Writes what `sound_files` names."""
    from edge.export.one_file import export_detector
    from keras_retina.model.retinanet import detector_network
    from keras_retina.model.saving import save_detector
    from keras_retina.model.spec import detector_spec
    from keras_retina.recipe.model import Backbone, Head, Input, Model, Pyramid

    settings = Model(
        backbone=Backbone(name="plain", weights="none", frozen_stages=0, batch_norm="trained"),
        input=Input(height=64, width=64),
        pyramid=Pyramid(width=8, levels=(3, 5)),
        head=Head(width=8, convolutions=1),
    )
    model, spec = detector_network(settings, 2), detector_spec(settings, ("disc", "square"))
    save_detector(model, spec, folder / "model.keras")
    photos = [np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8) for seed in range(2)]
    for name, kind, head in (("int8", "int8", "postprocess"), ("raw", "float32", "raw")):
        export_detector(model, spec, folder / f"{name}.tflite", calibration=photos, head=head, format=kind)


def photo(folder: Path, name: str = "photo.png") -> Path:
    """Writes a sound photo."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)).save(folder / name)
    return folder / name


def labelled(folder: Path) -> Path:
    """Writes a data folder of two photos with COCO labels."""
    images = [{"id": number, "file_name": f"{number}.png", "width": 56, "height": 40} for number in (1, 2)]
    boxes = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [4, 4, 20, 20], "area": 400, "iscrowd": 0} for n in (1, 2)
    ]
    labels = {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": 1, "name": "disc"}, {"id": 2, "name": "square"}],
    }
    for split in ("train", "val"):
        for number in (1, 2):
            photo(folder / split, f"{number}.png")
        (folder / split / "_annotations.coco.json").write_text(json.dumps(labels))
    return folder


def changed_bytes(rng: Generator, data: bytes) -> bytes:
    """Flips some bytes, most of them near the ends where the structure of a file is, cuts, doubles or empties it."""
    way = rng.integers(8)
    if way == 0:
        return data[: int(rng.integers(0, max(1, len(data))))]
    if way == 1:
        return data + data[: int(rng.integers(1, 1000))]
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 6))):
        near = int(rng.integers(0, min(len(data), 4000)))
        place = (near, len(data) - 1 - near, int(rng.integers(len(data))))[rng.integers(3)]
        if way == 2 and place + 4 <= len(data):
            changed[place : place + 4] = struct.pack("<I", pick(rng, WILD) % 2**32)
        else:
            changed[place] = int(rng.integers(256))
    return bytes(changed)


def pick(rng: Generator, items: Any) -> Any:
    """Returns one of the items."""
    return items[int(rng.integers(len(items)))]


# Networks


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
    _write_hostile_zip(rng, file, members)
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
        return [verb, str(file), str(photo(folder / "photos")), "--out", str(folder / "out")]
    if verb == "evaluate":
        return [verb, str(file), "--data", str(labelled(folder / "data"))]
    return [verb, str(file)]


def _write_hostile_zip(rng: Generator, file: Path, members: dict[str, bytes]) -> None:
    """Appends a zip in which one member is a bomb, or packed by another method, or there twice, or not there."""
    chosen, method = pick(rng, list(members)), pick(rng, METHODS)
    bomb = b" " * (32 << 20) if rng.integers(4) == 0 else members[chosen]
    with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as archive:
        warnings.simplefilter("ignore")  # of the same name twice
        for name, content in members.items():
            if name != chosen:
                archive.writestr(name, content)
        for _ in range(int(rng.integers(0, 3))):
            archive.writestr(chosen, bomb, compress_type=method)
    data = bytearray(file.read_bytes())
    place = data.rfind(b"PK\x01\x02")
    if place >= 0 and rng.integers(2):
        struct.pack_into("<I", data, place + int(pick(rng, (16, 20, 24, 42))), pick(rng, WILD) % 2**32)
        file.write_bytes(bytes(data))


# Models and checkpoints


def keras_layers(rng: Generator, folder: Path) -> list[str]:
    """A `.keras` whose layers have impossible values, circles, or nothing that they read."""
    source = sound_files()["keras"]
    with zipfile.ZipFile(source) as archive:
        config = json.loads(archive.read("config.json"))
    layers = config["config"]["layers"]
    layer = pick(rng, layers)
    way = rng.integers(7)
    if way == 0:
        layer["inbound_nodes"] = []
    elif way == 1 and layer["inbound_nodes"]:
        layer["inbound_nodes"][0][0][0] = pick(rng, layers)["name"]
    elif way == 2:
        config = pick(rng, JSON_VALUES)
    elif way == 3:
        config["config"][pick(rng, list(config["config"]))] = pick(rng, JSON_VALUES)
    elif way == 4:
        layer[pick(rng, list(layer))] = pick(rng, JSON_VALUES)
    else:
        values = layer["config"]
        values[pick(rng, list(values))] = pick(rng, (*JSON_VALUES, *WILD))
    return _keras_words(rng, folder, {"config.json": json.dumps(config).encode()})


def keras_weights(rng: Generator, folder: Path) -> list[str]:
    """A `.keras` whose HDF5 is damaged, or takes its values from elsewhere."""
    import h5py

    with zipfile.ZipFile(sound_files()["keras"]) as archive:
        data = archive.read("model.weights.h5")
    if rng.integers(2):
        return _keras_words(rng, folder, {"model.weights.h5": changed_bytes(rng, data)})
    content = io.BytesIO(data)
    with h5py.File(content, "r+") as file:
        places: list[str] = []
        file.visit(lambda place: places.append(place) if isinstance(file[place], h5py.Dataset) else None)
        place = pick(rng, places)
        shape = file[place].shape
        del file[place]
        way = rng.integers(6)
        if way == 0:
            file.create_dataset(place, shape, "f4", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
        elif way == 1:
            file[place] = h5py.ExternalLink("/tmp/other.h5", "/x")
        elif way == 2:
            file[place] = h5py.SoftLink("/")
        elif way == 3:
            file.create_dataset(place, (10**9,), "f4", chunks=(2**20,), compression="gzip")
        elif way == 4:
            file.create_dataset(place, data=np.array([b"x"] * 3))
        else:
            file.create_dataset(place, tuple(side + 1 for side in shape), "f4")
    return _keras_words(rng, folder, {"model.weights.h5": content.getvalue()})


def keras_zip(rng: Generator, folder: Path) -> list[str]:
    """A `.keras` whose zip is damaged, or a bomb."""
    source, file = sound_files()["keras"], folder / "model.keras"
    if rng.integers(2):
        file.write_bytes(changed_bytes(rng, source.read_bytes()))
    else:
        with zipfile.ZipFile(source) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        _write_hostile_zip(rng, file, members)
    return ["evaluate", str(file), "--data", str(labelled(folder / "data"))]


def _keras_words(rng: Generator, folder: Path, changes: dict[str, bytes]) -> list[str]:
    file = folder / "model.keras"
    with zipfile.ZipFile(sound_files()["keras"]) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, changes.get(name) or old.read(name))
    return ["evaluate", str(file), "--data", str(labelled(folder / "data"))]


def checkpoint(rng: Generator, folder: Path) -> list[str]:
    """A checkpoint of another library."""
    suffix = pick(rng, ("pth", "safetensors", "h5", "keras", "index"))
    tensor = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    sound = {
        "pth": b"\x80\x02}q\x00X\x01\x00\x00\x00aK\x01s.",
        "safetensors": struct.pack("<Q", pick(rng, (len(tensor), 2**40, 0))) + tensor + bytes(8),
        "h5": b"\x89HDF\r\n\x1a\n" + bytes(200),
        "keras": sound_files()["keras"].read_bytes(),
        "index": bytes(range(256)) * 4,
    }[suffix]
    file = folder / f"checkpoint.{suffix}"
    file.write_bytes(changed_bytes(rng, sound) if rng.integers(4) else sound)
    return ["import", str(file), "--out", str(folder / "run")]


# Photos and archives of data


def changed_photo(rng: Generator) -> tuple[str, bytes]:
    """Returns a hostile photo with an ending of its name: bombs, wrong headers, other formats, damage."""
    way = rng.integers(9)
    if way == 0:
        return pick(rng, (".jpg", ".png", ".tif")), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) print\n"
    if way == 1:
        return ".png", png(*pick(rng, ((99_000_000, 1), (1, 99_000_000), (50_000, 50_000), (0, 5))), kind=0, rows=b"")
    if way == 2:
        return ".png", png(4, 4, kind=3, rows=bytes(20))  # a palette without PLTE
    if way == 3:
        return pick(rng, (".jpg", ".png", ".gif", ".tiff")), b""
    mode = pick(rng, ("RGB", "L", "P", "RGBA", "CMYK", "I;16", "1", "LA"))
    form = pick(rng, ("JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "PPM"))
    pixels = np.random.default_rng(int(rng.integers(9))).integers(0, 256, (20, 30, 3), np.uint8)
    image = Image.fromarray(pixels)
    content = io.BytesIO()
    image = Image.fromarray(pixels[..., 0].astype(np.uint16)) if mode == "I;16" else image.convert(mode)
    try:
        image.save(content, form, **({"exif": bytes(rng.integers(0, 256, 40, np.uint8))} if form == "JPEG" else {}))
    except (OSError, ValueError):  # a format that has no such pixels
        Image.fromarray(pixels).save(content, "PNG")
    return pick(rng, (".jpg", ".png", ".tif", ".gif", ".bmp", ".webp")), changed_bytes(rng, content.getvalue())


def png(width: int, height: int, *, kind: int, rows: bytes) -> bytes:
    """Returns a PNG of 8 bits a value with any header; `kind` is its type of colour, `rows` what is packed."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def photos(rng: Generator, folder: Path) -> list[str]:
    """A folder of photos, one of which is hostile."""
    suffix, data = changed_photo(rng)
    verb = pick(rng, ("detect", "check-data", "evaluate"))
    if verb == "detect":
        photo(folder / "photos")
        (folder / "photos" / f"bad{suffix}").write_bytes(data)
        model = sound_files()["int8"]
        return [verb, str(model), str(folder / "photos"), "--out", str(folder / "out")]
    data_folder = labelled(folder / "data")
    (data_folder / "val" / "2.png").write_bytes(data)
    first = [str(sound_files()["int8"])] if verb == "evaluate" else []
    return [verb, *first, "--data", str(data_folder)]


def archive(rng: Generator, folder: Path) -> list[str]:
    """A zip or tar of labelled photos with hostile members."""
    source, file = labelled(folder / "data"), folder / pick(rng, ("d.zip", "d.tar", "d.tar.gz"))
    names = pick(
        rng, ("../../out.txt", "/tmp/out.txt", "a" * 300, "a/" * 200 + "b", "bomb.bin", "train/1.png/x", "x\ny")
    )
    content = bytes(64 << 20) if names == "bomb.bin" else b"x"
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as opened:
            for path in sorted(source.rglob("*.*")):
                opened.write(path, path.relative_to(source))
            opened.writestr(names, content, compress_type=pick(rng, METHODS))
    else:
        with tarfile.open(file, "w:gz" if file.suffix == ".gz" else "w") as opened:
            opened.add(source, ".")
            member = tarfile.TarInfo(names)
            member.type = pick(
                rng, (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)
            )
            member.linkname = "/etc/passwd"
            member.size = len(content) if member.isreg() else 0
            opened.addfile(member, io.BytesIO(content) if member.isreg() else None)
    if rng.integers(3) == 0:
        file.write_bytes(changed_bytes(rng, file.read_bytes()))
    return ["check-data", "--data", str(file)]


def surfaces() -> dict[str, Callable[[Generator, Path], list[str]]]:
    """Returns every surface by its name."""
    return {
        "tflite_of_ours": tflite_of_ours,
        "tflite_of_others": tflite_of_others,
        "tflite_behind": tflite_behind,
        "description": description,
        "keras_layers": keras_layers,
        "keras_weights": keras_weights,
        "keras_zip": keras_zip,
        "checkpoint": checkpoint,
        "photos": photos,
        "archive": archive,
    }


if __name__ == "__main__":
    make_sound_files(Path(sys.argv[1]))
