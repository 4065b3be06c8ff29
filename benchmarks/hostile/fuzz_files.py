"""The surfaces of binary files: networks, models, archives, checkpoints and photos that somebody made to do harm.

A surface writes one hostile input into a folder and returns the words to run `keras-retina` with. The sound files that
they are made from are one small network, made once.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import fuzz_networks
import numpy as np
from fuzz_sound import (
    JSON_VALUES,
    METHODS,
    WILD,
    changed_bytes,
    photo,
    sound_coco,
    sound_files,
    write_hostile_zip,
)
from fuzz_values import Generator, pick
from PIL import Image

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
        write_hostile_zip(rng, file, members)
    return ["evaluate", str(file), "--data", str(sound_coco(folder / "data"))]


def _keras_words(rng: Generator, folder: Path, changes: dict[str, bytes]) -> list[str]:
    file = folder / "model.keras"
    with zipfile.ZipFile(sound_files()["keras"]) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, changes.get(name) or old.read(name))
    return ["evaluate", str(file), "--data", str(sound_coco(folder / "data"))]


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
        photo(folder / "photos" / "photo.png")
        (folder / "photos" / f"bad{suffix}").write_bytes(data)
        model = sound_files()["int8"]
        return [verb, str(model), str(folder / "photos"), "--out", str(folder / "out")]
    data_folder = sound_coco(folder / "data")
    (data_folder / "images" / "val_1.png").write_bytes(data)
    first = [str(sound_files()["int8"])] if verb == "evaluate" else []
    return [verb, *first, "--data", str(data_folder)]


def archive(rng: Generator, folder: Path) -> list[str]:
    """A zip or tar of labelled photos with hostile members."""
    source, file = sound_coco(folder / "data"), folder / pick(rng, ("d.zip", "d.tar", "d.tar.gz"))
    names = pick(
        rng, ("../../out.txt", "/tmp/out.txt", "a" * 300, "a/" * 200 + "b", "bomb.bin", "images/train_1.png/x", "x\ny")
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
        "tflite_of_ours": fuzz_networks.tflite_of_ours,
        "tflite_of_others": fuzz_networks.tflite_of_others,
        "tflite_behind": fuzz_networks.tflite_behind,
        "description": fuzz_networks.description,
        "keras_layers": keras_layers,
        "keras_weights": keras_weights,
        "keras_zip": keras_zip,
        "checkpoint": checkpoint,
        "photos": photos,
        "archive": archive,
    }
