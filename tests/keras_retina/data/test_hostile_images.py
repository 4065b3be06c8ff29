"""Photos that somebody made to do harm: every reader refuses them in one line, and goes on."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_retina.data import images
from keras_retina.foundation.errors import InputError


def a_png(width: int, height: int, kind: int, rows: bytes = b"") -> bytes:
    """A PNG with any header; `kind` is its type of colour."""
    header = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("eps.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        ("palette.png", a_png(4, 4, 3, bytes(20))),
        ("long.png", a_png(99_000_000, 1, 0)),
        ("high.png", a_png(1, 99_000_000, 0)),
        ("bomb.png", a_png(50_000, 50_000, 0)),
        ("nothing.png", a_png(0, 5, 0)),
        ("header.tif", b"II*\x00\x08\x00\x00\x00\xff\xff" + bytes(range(256))),
        ("empty.gif", b""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_photo_that_was_made_to_do_harm_is_one_line_that_names_it(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError) as error:
        images.read_image(tmp_path / name)
    assert name in str(error.value) and "\n" not in str(error.value)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, on tags that make no sense
@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "TIFF", "BMP", "WEBP", "PPM"])
def test_changed_bytes_of_a_photo_are_refused_or_read(tmp_path, form):
    generator, content = np.random.default_rng(0), io.BytesIO()
    Image.fromarray(generator.integers(0, 256, (12, 16, 3), np.uint8)).save(content, form)
    data = content.getvalue()
    for _ in range(80):
        changed = bytearray(data[: int(generator.integers(1, len(data) + 1))] if generator.integers(5) == 0 else data)
        for _ in range(int(generator.integers(1, 4))):
            changed[int(generator.integers(min(len(changed), 200)))] = int(generator.integers(256))
        (tmp_path / "photo.png").write_bytes(changed)
        try:
            pixels = images.read_image(tmp_path / "photo.png")
        except InputError as error:
            assert "photo.png" in str(error)
            continue
        assert pixels.dtype == np.uint8 and pixels.shape[2] == 3


def test_a_bad_photo_in_a_folder_is_counted_and_the_others_are_finished(tmp_path):
    """`detect` with a detector that finds nothing: what is written is what counts here."""
    import json
    from types import SimpleNamespace

    from edge.detect.images import detect_paths
    from edge.runtime import Detections

    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "z.png"):
        Image.new("RGB", (20, 10)).save(photos / name)
    (photos / "palette.png").write_bytes(a_png(4, 4, 3, bytes(20)))
    (photos / "long.png").write_bytes(a_png(99_000_000, 1, 0))
    (photos / "eps.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
    detector = SimpleNamespace(class_names=("disc",), detect=lambda image, score: nothing)
    with pytest.raises(InputError, match="3 of 5 images could not be read; the others are finished"):
        detect_paths(detector, photos, out_dir=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == []
    listing = json.loads((tmp_path / "out" / "images.json").read_text())
    assert [image["file_name"] for image in listing["images"]] == ["a.png", "z.png"]
    assert [image["file_name"] for image in listing["unreadable"]] == ["eps.jpg", "long.png", "palette.png"]
