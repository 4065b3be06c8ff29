"""Whether box numbers are pixels or shares of the image: as the format says, unless the numbers or the user differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from keras_retina.data.formats.repair import LabelledImage, problem
from keras_retina.data.records import BoxValues, Problem

_LARGEST_SHARE = 1.5  # of a box that stands over the border; in pixels, no split has all its corners in so few
_SURELY_PIXELS = 2.0


def with_box_values(
    images: Sequence[LabelledImage], boxes: BoxValues, *, normalized: bool, kind: str, file: Path | str
) -> tuple[Sequence[LabelledImage], list[Problem]]:
    """Returns the images of a split, those with shares marked, or no image and one problem that names the setting.

    Args:
        boxes: what the user says.
        normalized: what the format says.
        kind: what people call files of the format.
        file: where the labels are, for messages.
    """
    if boxes == "auto":
        numbers = [number for image in images for box in image.boxes for number in box.corners]
        low, high = min(numbers, default=0.0), max(numbers, default=0.0)
        if normalized and high > _SURELY_PIXELS:
            detail = (
                f"boxes in 0 to 1 were expected, as {kind} files have them. Received: boxes up to {high:g}. "
                "If they are pixels, say so: --set data.boxes=pixels"
            )
            return (), [problem("pixel_boxes", str(file), detail=detail, fixed=False)]
        if not normalized and low >= -1 and 0 < high <= _LARGEST_SHARE:
            detail = (
                f"boxes in pixels were expected. Received: all of them as small as shares, from {low:g} to {high:g}. "
                "If they are shares of the image, say so: --set data.boxes=normalized"
            )
            return (), [problem("normalized_boxes", str(file), detail=detail, fixed=False)]
    else:
        normalized = boxes == "normalized"
    return [replace(image, normalized=True) for image in images] if normalized else images, []
