from __future__ import annotations

import struct
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_retina.data import images
from keras_retina.data.images import (
    grey_image,
    image_bytes,
    image_orientation,
    inspect_complete,
    inspect_image,
    read_image,
)
from keras_retina.foundation.errors import InputError


def quadrants(height: int = 32, width: int = 48) -> np.ndarray:
    """Red, green, blue and white quarters: no rotation or mirroring maps the picture to itself."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, : width // 2] = (0, 0, 255)
    picture[height // 2 :, width // 2 :] = 255
    return picture


def test_rgb_png_is_read_as_it_is(tmp_path):
    Image.fromarray(quadrants()).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == quadrants()).all()
    assert inspect_image(tmp_path / "a.png") == (32, 48, "RGB", False)


# EXIF 2.32, section 4.6.4: where row 0 and column 0 of the stored pixels are in the picture.
STORED_FROM_UPRIGHT = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.transpose(1, 0, 2),
    6: lambda upright: upright.transpose(1, 0, 2)[::-1],
    7: lambda upright: upright.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda upright: upright.transpose(1, 0, 2)[:, ::-1],
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "webp", "jpg", "tiff"])
def test_every_exif_orientation_is_read_upright(tmp_path, orientation, suffix):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED_FROM_UPRIGHT[orientation](quadrants()))
    Image.fromarray(stored).save(path, exif=exif, **({"lossless": True} if suffix == "webp" else {}))
    picture = read_image(path)
    assert picture.shape == (32, 48, 3)
    # the centre of each quarter, away from the edges that JPEG smears
    assert np.abs(picture[8::16, 12::24].astype(int) - quadrants()[8::16, 12::24]).max() < 20
    height, width, mode, rotated = inspect_image(path)
    assert (height, width, mode) == (32, 48, "RGB")
    if suffix != "tiff":  # Pillow turns a TIFF itself
        assert rotated == (orientation != 1)
        assert image_orientation(path) == orientation


def test_impossible_exif_orientation_is_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 77
    Image.fromarray(quadrants()).save(tmp_path / "a.png", exif=exif)
    assert (read_image(tmp_path / "a.png") == quadrants()).all()


def test_grey_becomes_three_equal_channels(tmp_path):
    Image.fromarray(np.array([[0, 100, 255]], np.uint8)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[0] * 3, [100] * 3, [255] * 3]]


def test_one_bit_becomes_black_and_white(tmp_path):
    Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1").save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").tolist() == [[[0] * 3, [255] * 3]]


def test_sixteen_bit_grey_is_scaled_not_cut(tmp_path):
    # 65535 / 257 = 255; 128 * 257 = 32896; 300 / 257 = 1.17
    Image.fromarray(np.array([[0, 300, 32896, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, :, 0].tolist() == [0, 1, 128, 255]


def test_sixteen_bit_rgb_keeps_the_high_byte(tmp_path):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\0" + struct.pack(">3H", 0x1234, 0x80FF, 0xFFFF)  # filter 0, one pixel
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(content)
    assert read_image(tmp_path / "a.png").tolist() == [[[0x12, 0x80, 0xFF]]]


def test_float_and_32_bit_images_are_refused(tmp_path):
    Image.fromarray(np.array([[0.0, 1.0]], np.float32)).save(tmp_path / "f.tiff")
    Image.fromarray(np.array([[0, 70000]], np.int32)).save(tmp_path / "i.tiff")
    for name in ("f.tiff", "i.tiff"):
        with pytest.raises(InputError, match=f"{name}: grey values of 8 or 16 bits"):
            read_image(tmp_path / name)


def test_alpha_is_composited_on_black(tmp_path):
    pixels = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 128]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png").astype(int)
    assert read[0, 0].tolist() == [200, 100, 50]
    assert read[0, 1].tolist() == [0, 0, 0]
    assert np.abs(read[0, 2] - [100, 50, 25]).max() <= 1


def test_palette_with_a_transparent_colour_is_composited_on_black(tmp_path):
    picture = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / "a.png", transparency=0)
    assert read_image(tmp_path / "a.png").tolist() == [[[0, 0, 0], [0, 255, 0]]]


def test_cmyk_jpeg_is_converted(tmp_path):
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)  # no cyan: red
    assert inspect_image(tmp_path / "a.jpg")[2] == "CMYK"
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - [255, 0, 0]).max() < 12


def in_mode(mode: str) -> Image.Image:
    picture = Image.fromarray(np.random.default_rng(4).integers(0, 256, (20, 31, 3), np.uint8))
    if mode == "I;16":
        return Image.fromarray(np.asarray(picture)[..., 0].astype(np.uint16) * 255)
    if mode in ("RGBA", "LA"):
        picture.putalpha(picture.convert("L").transpose(Image.Transpose.ROTATE_180))
    return picture.convert(mode)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16", "CMYK"])
def test_a_large_image_is_read_in_strips_as_a_small_one_is_in_one_piece(tmp_path, monkeypatch, mode, orientation):
    path, exif = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"), Image.Exif()
    exif[0x0112] = orientation
    in_mode(mode).save(path, exif=exif, **({"transparency": 3} if mode == "P" else {}))
    rgb, grey = read_image(path), grey_image(path.read_bytes(), path, least=99)[0]
    monkeypatch.setattr(images, "STRIP_PIXELS", 3 * 31)  # six strips of three rows and one of two
    np.testing.assert_array_equal(read_image(path), rgb)
    np.testing.assert_array_equal(grey_image(path.read_bytes(), path, least=99)[0], grey)
    assert rgb.shape == ((20, 31, 3) if orientation < 5 else (31, 20, 3))


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp"])
def test_truncated_file_is_refused_by_name(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    inspect_complete(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for function in (read_image, inspect_complete):
        with pytest.raises(InputError, match=f"cut.{suffix}: a complete image file was expected") as caught:
            function(path)
        assert "\n" not in str(caught.value)


def test_harmless_bytes_after_the_end_are_no_damage(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(quadrants()).save(path)
    path.write_bytes(path.read_bytes() + b"camera maker's trailer")
    inspect_complete(path)


def photograph(side: int = 256) -> Image.Image:
    """Smooth random colours, so that the file is larger than its headers."""
    coarse = np.random.default_rng(3).integers(0, 256, (32, 32, 3), np.uint8)
    return Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_grey_pixels_are_upright_and_a_jpeg_is_reduced(tmp_path, orientation, suffix):
    path = tmp_path / f"a.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = quadrants(128, 192)
    Image.fromarray(np.ascontiguousarray(STORED_FROM_UPRIGHT[orientation](upright))).save(path, exif=exif, quality=95)
    grey, mode, rotated = grey_image(path.read_bytes(), path, least=32)
    assert (mode, rotated) == ("RGB", orientation > 1)
    factor = 4 if suffix == "jpg" else 1  # an eighth of the shorter side would be 16
    assert grey.shape == (128 // factor, 192 // factor)
    expected = np.asarray(Image.fromarray(upright).convert("L").reduce(factor)).astype(int)
    assert np.abs(grey.astype(int) - expected).max() <= 12  # red is 76, green 150, blue 29, white 255


def test_grey_pixels_of_every_mode_are_those_of_the_rgb_image(tmp_path):
    stored = {
        "grey.png": photograph().convert("L"),
        "clear.png": Image.merge("RGBA", [*photograph().split(), photograph().getchannel(0)]),
        "palette.gif": photograph().convert("P"),
        "wide.png": Image.fromarray(np.asarray(photograph().convert("L")).astype(np.uint16) * 257),
    }
    for name, picture in stored.items():
        path = tmp_path / name
        picture.save(path)
        grey, mode, _ = grey_image(path.read_bytes(), path, least=32)
        assert np.array_equal(grey, np.asarray(Image.fromarray(read_image(path)).convert("L"))), name
        assert mode == inspect_image(path)[2]


@pytest.mark.parametrize("progressive", [False, True])
def test_a_reduced_jpeg_is_damaged_where_the_whole_one_is(tmp_path, progressive):
    path = tmp_path / "a.jpg"
    photograph().save(path, progressive=progressive)
    content, generator = path.read_bytes(), np.random.default_rng(0)
    verdicts = []
    for number in range(60):
        damaged = bytearray(content)
        if number % 2:
            del damaged[generator.integers(4, len(content)) :]
        else:
            start = generator.integers(4, len(content) - 64)
            damaged[start : start + 64] = generator.bytes(64)
        path.write_bytes(damaged)
        found = []
        for read in (lambda: read_image(path), lambda: grey_image(path.read_bytes(), path, least=32)):
            try:
                read()
                found.append(True)
            except InputError:
                found.append(False)
        verdicts.append(tuple(found))
    assert set(verdicts) == {(True, True), (False, False)}


def test_bytes_of_a_missing_file_are_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"none\.jpg: the image file does not exist"):
        image_bytes(tmp_path / "none.jpg")
    with pytest.raises(InputError, match=r"complete image file was expected .* Received: "):
        image_bytes(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"GIF89a", b"<html></html>", b"\x89PNG\r\n\x1a\n"])
@pytest.mark.parametrize(
    "function",
    [read_image, inspect_image, inspect_complete, lambda path: grey_image(image_bytes(path), path, least=32)],
)
def test_what_is_no_image_is_refused_by_name(tmp_path, content, function):
    (tmp_path / "no.jpg").write_bytes(content)
    with pytest.raises(InputError, match="no.jpg") as caught:
        function(tmp_path / "no.jpg")
    assert "\n" not in str(caught.value)
    if not content:
        assert "zero bytes" in str(caught.value)


def test_a_pointer_of_git_lfs_is_called_one(tmp_path):
    (tmp_path / "photo.jpg").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n")
    with pytest.raises(InputError, match="photo.jpg: .* Received: a Git LFS pointer, which stands for"):
        read_image(tmp_path / "photo.jpg")


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(InputError):
        read_image(tmp_path)


def test_error_stays_one_line_when_the_file_name_has_two(tmp_path):
    with pytest.raises(InputError, match=r"a\\nb.jpg") as caught:
        read_image(tmp_path / "a\nb.jpg")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("side", [10_001, 14_000, 60_000])  # above our limit; above Pillow's own
@pytest.mark.parametrize("function", [read_image, inspect_image])
def test_decompression_bomb_is_refused_from_the_header(tmp_path, side, function):
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    (tmp_path / "bomb.png").write_bytes(bomb)
    with pytest.raises(InputError, match="bomb.png") as caught:
        function(tmp_path / "bomb.png")
    assert "pixels" in str(caught.value)


def test_format_that_is_not_on_the_list_is_refused(tmp_path):
    Image.fromarray(quadrants()).save(tmp_path / "a.jpg", format="TGA")
    with pytest.raises(InputError, match=r"a\.jpg"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize("suffix", ["jfif", "avif", "heic"])
def test_photographs_of_phones_and_browsers_are_read(tmp_path, suffix):
    if suffix == "heic":
        pillow_heif = pytest.importorskip("pillow_heif")
        pillow_heif.register_heif_opener()
    path = tmp_path / f"a.{suffix}"
    picture = Image.new("RGB", (64, 48), (200, 40, 90))
    picture.save(path, "JPEG" if suffix == "jfif" else None, quality=95)
    assert path.suffix in images.IMAGE_SUFFIXES
    assert np.abs(read_image(path).astype(int) - (200, 40, 90)).max() < 6
    assert inspect_image(path)[:2] == (48, 64)
    inspect_complete(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=rf"a\.{suffix}: a complete image file"):
        inspect_complete(path)


def test_heic_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.HEIC").touch()
    with pytest.raises(InputError, match=r"pip install 'keras_retina\[heic\]'"):
        read_image(tmp_path / "a.HEIC")
