"""The text of a label file, whatever encoding its bytes are in, or which encoding they seem to have."""

from __future__ import annotations

import codecs
import json
import re
from pathlib import Path

from keras_retina.foundation.errors import InputError, printable
from keras_retina.foundation.files.reading import read_bytes

_WIDE = {"gb2312": "gb18030", "gbk": "gb18030", "cp936": "gb18030"}  # the newest of a family reads the older ones
_NOT_ASCII = re.compile(rb"[\x80-\xff]+")
_EAST_ASIAN = re.compile(rb"(?<![A-Za-z\x80-\xff])[\x80-\xff]{2,}(?![A-Za-z\x80-\xff])")


def read_text(file: str | Path, expected: str = "a text file") -> str:
    """Returns the text of a file as `decode_text` does.

    Args:
        expected: what the file should be, for messages: "a CSV file".

    Raises:
        InputError: it cannot be read, or is in another encoding.
    """
    try:
        data = read_bytes(Path(file))
    except OSError as error:
        raise InputError(
            f"{printable(file)}: {expected} that can be read was expected. Received: {error.strerror}. Check the path."
        ) from error
    return decode_text(data, file)


def read_beginning(file: Path, size: int) -> tuple[str, bool] | None:
    """Returns the text of the first `size` bytes of a file and whether that is all of it; None where it is not read.

    What is cut off or in another encoding becomes a question mark.
    """
    try:
        data = read_bytes(file, length=size + 1)
    except OSError:
        return None
    return data[:size].decode(json.detect_encoding(data), "replace"), len(data) <= size


def decode_text(data: bytes, file: str | Path) -> str:
    """Returns the text of a file in UTF-8, or in UTF-16 or UTF-32, whose zero bytes tell them for certain.

    Raises:
        InputError: the file is in another encoding; a wrong guess would change names silently.
    """
    try:
        text = data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{printable(file)}: line {line}: text in UTF-8 was expected. "
            f"Received: another encoding, which looks like {guessed_encoding(data)}. Save the file as UTF-8."
        ) from error
    return text.removeprefix("\ufeff")


def decode_as(data: bytes, encoding: str, *, file: Path) -> str:
    """Returns the text of a file that names its own encoding.

    Raises:
        InputError: there is no such encoding, or the bytes are not in it.
    """
    try:
        name = codecs.lookup(encoding).name
        return data.decode(_WIDE.get(name, name)).removeprefix("\ufeff")
    except (LookupError, ValueError) as error:
        raise InputError(
            f"{printable(file)}: text in {encoding!r} was expected, as the file says. "
            f"Received: {printable(error)}. Save the file as UTF-8 and let it say so."
        ) from error


def guessed_encoding(data: bytes) -> str:
    """Returns the name of the encoding that bytes which are not UTF-8 seem to have; for messages only.

    Letters of East Asian texts take two bytes each and stand side by side; accents stand among plain letters.
    """
    if len(_EAST_ASIAN.findall(data)) * 2 > len(_NOT_ASCII.findall(data)):
        for name, encoding in (("GB18030", "gb18030"), ("Shift JIS", "shift_jis"), ("Big5", "big5")):
            try:
                data.decode(encoding)
                return f"{name} or another East Asian one"
            except ValueError:
                continue
    return "Windows-1252 or another one with one byte a letter"
