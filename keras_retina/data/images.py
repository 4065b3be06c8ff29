"""Image files in, upright 8-bit RGB arrays out."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Collection
from pathlib import Path
from typing import Literal, cast

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile as PillowFile

from keras_retina.data.records import ImageFile, PackedImage
from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.reading import read_bytes, require_regular_file

PIXEL_LIMIT = 100_000_000  # a header that claims more is refused before anything is decoded
SIDE_LIMIT = 65_500  # the longest side of a JPEG, in which pictures with boxes are written
STRIP_PIXELS = 2**22  # of a larger image that are converted at once: each step of the conversion is a copy
_HEIF_SUFFIXES = (".heic", ".heif")
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".avif", *_HEIF_SUFFIXES
)  # fmt: skip

_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "HEIF")
_EXIF_ORIENTATION = 0x0112
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_SWAPPING = (5, 6, 7, 8)
_LAST_FIRST = (3, 4, 6, 7)  # the first row of the file is the last row or column
# PIXEL_LIMIT takes the warning's place: the user gets one line, not two.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def read_image(path: str | ImageFile) -> np.ndarray:
    """Decodes an image file to upright uint8 RGB `[height, width, 3]`.

    The EXIF rotation is applied. Grey and palette images become RGB, CMYK is converted by Pillow, 16-bit values are
    divided by 257, transparent pixels are composited on black (the colour of letterbox padding). Of an animation or
    a multi-page file the first picture is read.

    Raises:
        InputError: the file is missing, empty, truncated, no image, over a limit, or of unknown value range.
    """
    with _open(path) as image:
        try:
            orientation = _orientation(image)
            image.load()
            return _upright(image, path, mode="RGB", orientation=orientation)
        except InputError:
            raise
        except Exception as error:  # whatever damaged bytes lead Pillow's decoders into
            raise _unreadable(path, error) from error


def inspect_image(path: str | ImageFile) -> tuple[int, int, str, bool]:
    """Returns `(height, width, mode, exif_rotated)` from the header alone; the size is that of the upright image.

    `mode` is Pillow's name of the stored pixels ("RGB", "L", "CMYK", "I;16", ...). Truncated pixel data is not
    noticed here; `read_image` does.

    Raises:
        InputError: the file is missing, empty, no image, or over a limit.
    """
    with _open(path) as image:
        return _header(image, path)


def inspect_bytes(data: bytes, file: ImageFile) -> tuple[int, int, str, bool]:
    """Returns what `inspect_image(file)` does, of bytes that were just read from it."""
    with _opened(io.BytesIO(data), file) as image:
        return _header(image, file)


def image_bytes(path: str | ImageFile) -> bytes:
    """Returns the bytes of an image file.

    Raises:
        InputError: the file is missing or cannot be read.
    """
    if isinstance(path, PackedImage):
        return path.read_bytes()
    try:
        return read_bytes(Path(path))
    except FileNotFoundError as error:
        raise _missing(path) from error
    except OSError as error:
        raise _unreadable(path, error) from error


def grey_image(data: bytes, path: str | ImageFile, *, least: int) -> tuple[np.ndarray, str, bool]:
    """Decodes the bytes of an image file to upright grey pixels, and says how they are stored.

    A JPEG is reduced while it is decoded, to 1/2, 1/4 or 1/8, as long as both sides keep `least` pixels. Its whole
    stream is still read, so what is damaged for `read_image` is damaged here, at a third of the work or less.

    Returns:
        grey: uint8 `[height, width]`.
        mode, exif_rotated: as `inspect_image` returns them.

    Raises:
        InputError: as `read_image`.
    """
    with _opened(io.BytesIO(data), path) as image:
        _, _, mode, rotated = _header(image, path)
        try:
            orientation = _orientation(image)
            image.draft("L" if mode == "RGB" else None, (least, least))
            image.load()
            return _upright(image, path, mode="L", orientation=orientation), mode, rotated
        except InputError:
            raise
        except Exception as error:  # whatever damaged bytes lead Pillow's decoders into
            raise _unreadable(path, error) from error


def image_orientation(path: str | Path) -> int:
    """Returns the EXIF orientation 1..8 that `read_image` undoes; 1 is upright."""
    with _open(path) as image:
        return _read_orientation(image, path)


def inspect_complete(path: str | Path) -> tuple[int, int, str, bool]:
    """Returns what `inspect_image` does and refuses a file that is cut off.

    The pixels are not decoded where the end marker of a JPEG or PNG is in place.

    Raises:
        InputError: as `read_image`.
    """
    with _open(path) as image:
        header = _header(image, path)
        end = _END_MARKERS.get(image.format or "")
        if end is not None and image.fp is not None:
            image.fp.seek(-len(end), os.SEEK_END)
            if image.fp.read() == end:
                return header
    read_image(path)  # other formats, and harmless bytes after the end, are told from damage by decoding
    return header


def _open(path: str | ImageFile) -> PillowFile:
    return _opened(io.BytesIO(path.read_bytes()) if isinstance(path, PackedImage) else path, path)


def _opened(source: io.BytesIO | str | Path, path: str | ImageFile) -> PillowFile:
    if str(path).lower().endswith(_HEIF_SUFFIXES):
        _learn_heif(path)
    try:
        if not isinstance(source, io.BytesIO):
            require_regular_file(source)
        known = _known_formats()
        image = Image.open(source, formats=[name for name in _FORMATS if name in known])
    except FileNotFoundError as error:
        raise _missing(path) from error
    except Exception as error:  # as above
        raise _unreadable(path, error) from error
    width, height = image.size
    if width * height > PIXEL_LIMIT or max(width, height) > SIDE_LIMIT:
        image.close()
        raise InputError(
            f"{printable(path)}: an image of at most {PIXEL_LIMIT} pixels, and {SIDE_LIMIT} a side, was expected. "
            f"Received: width={width}, height={height}. Reduce the image, or leave it out."
        )
    return image


def _known_formats() -> Collection[str]:
    Image.init()
    return Image.OPEN


def _learn_heif(path: str | ImageFile) -> None:
    try:
        import pillow_heif
    except ImportError as error:
        raise InputError(
            f"{printable(path)}: pillow-heif was expected, which reads HEIC. Received: it is not installed. "
            "Run: pip install 'keras_retina[heic]', or save the image as JPEG."
        ) from error
    pillow_heif.register_heif_opener()


def _header(image: Image.Image, path: str | ImageFile) -> tuple[int, int, str, bool]:
    orientation = _read_orientation(image, path)
    width, height = image.size
    if orientation in _SWAPPING:
        width, height = height, width
    return height, width, image.mode, orientation in _TRANSPOSES


def _orientation(image: Image.Image) -> int:
    # Pillow looks for a late EXIF chunk of a PNG by decoding all of it, and turns a TIFF upright by itself.
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        return 1
    value = image.getexif().get(_EXIF_ORIENTATION, 1)
    return value if value in _TRANSPOSES else 1


def _read_orientation(image: Image.Image, path: str | ImageFile) -> int:
    try:
        return _orientation(image)
    except Exception as error:  # as above
        raise _unreadable(path, error) from error


def _upright(image: Image.Image, path: str | ImageFile, *, mode: Literal["RGB", "L"], orientation: int) -> np.ndarray:
    """Returns the pixels of a decoded image as uint8, converted and turned strip by strip."""
    _require_known_values(image, path)
    width, height = image.size
    sides = (width, height) if orientation in _SWAPPING else (height, width)
    pixels = np.empty(sides if mode == "L" else (*sides, 3), np.uint8)
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        strip = image if rows >= height else image.crop((0, top, width, bottom))
        strip = _to_rgb(strip)
        strip = strip.convert(mode) if strip.mode != mode else strip
        if orientation in _TRANSPOSES:
            strip = strip.transpose(_TRANSPOSES[orientation])
        place = slice(height - bottom, height - top) if orientation in _LAST_FIRST else slice(top, bottom)
        pixels[(slice(None), place) if orientation in _SWAPPING else place] = np.asarray(strip)
    return pixels


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8)).convert("RGB")  # 65535 / 255 = 257
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _require_known_values(image: Image.Image, path: str | ImageFile) -> None:
    if image.mode not in ("I", "F"):  # I;16 and its kin have 16 bits
        return
    least, most = cast("tuple[float, float]", image.getextrema())  # of the one channel
    if image.mode == "F" or least < 0 or most > 65535:
        raise InputError(
            f"{printable(path)}: grey values of 8 or 16 bits were expected. Received: mode={image.mode}, "
            f"values {least} to {most}. Convert the image to 8 bits."
        )


def _missing(path: str | ImageFile) -> InputError:
    return InputError(f"{printable(path)}: the image file does not exist. Correct the path or add it.")


def _is_lfs_pointer(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(64).startswith(b"version https://git-lfs.github.com/spec/")


def _unreadable(path: str | ImageFile, error: BaseException) -> InputError:
    if path.length == 0 if isinstance(path, PackedImage) else Path(path).is_file() and Path(path).stat().st_size == 0:
        reason = "the file has zero bytes"
    elif not isinstance(path, PackedImage) and _is_lfs_pointer(Path(path)):
        reason = "a Git LFS pointer, which stands for the image; git lfs pull fetches it"
    else:
        reason = " ".join(str(error).replace(str(path), "file").split()) or type(error).__name__
    return InputError(
        f"{printable(path)}: a complete image file was expected (JPEG, PNG, BMP, GIF, WebP, TIFF, PPM, AVIF, HEIC). "
        f"Received: {reason}. Replace the file or remove it from the labels."
    )
