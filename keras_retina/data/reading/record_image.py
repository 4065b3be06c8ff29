"""The image of a record, which must have the size that the labels were made for."""

from __future__ import annotations

import numpy as np

from keras_retina.data.images import read_image
from keras_retina.data.records import Record
from keras_retina.foundation.errors import InputError, printable


def read_record_image(record: Record) -> np.ndarray:
    """Decodes the image of a record as `read_image` does.

    Raises:
        InputError: as `read_image`, or the image is not as large as the record says: its boxes would lie elsewhere.
    """
    image = read_image(record.path)
    height, width = image.shape[:2]
    if (height, width) != (record.height, record.width):
        raise other_size(record, (height, width))
    return image


def other_size(record: Record, size: tuple[int, int]) -> InputError:
    """Returns the error for an image of another `(height, width)` than its labels have."""
    return InputError(
        f"{printable(record.path)}: an image of {record.height} x {record.width} was expected, as its labels say. "
        f"Received: {size[0]} x {size[1]}. Put the labelled image back, or label this one."
    )
