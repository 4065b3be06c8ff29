"""One image file inside a TFRecord file, local or remote."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files import address, read_bytes


@dataclass(frozen=True)
class PackedImage:
    """Where the bytes of an image file are; takes the place of its path.

    Attributes:
        shard: the TFRecord file.
        offset, length: bytes in it.
        checksum: zlib.crc32 of the bytes.
        name: the file name that the image had.
    """

    shard: Path
    offset: int
    length: int
    checksum: int
    name: str

    def __str__(self) -> str:
        return f"{address(self.shard)}: {self.name}"

    def read_bytes(self) -> bytes:
        """Returns the bytes of the image file.

        Raises:
            InputError: the shard is missing, or its bytes are not those that were written.
        """
        try:
            data = read_bytes(self.shard, self.offset, self.length)
        except OSError as error:
            raise InputError(
                f"{address(self.shard)}: expected a TFRecord file with images. Received: {error.strerror}. "
                "Put it back, or pack again."
            ) from error
        if zlib.crc32(data) != self.checksum:
            raise InputError(
                f"{address(self.shard)}: expected the bytes of {self.name} as they were packed. "
                f"Received: another checksum at byte {self.offset}. Copy the file again, or pack again."
            )
        return data


ImageFile = Path | PackedImage
