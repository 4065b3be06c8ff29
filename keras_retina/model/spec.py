"""What must travel with a trained network so that its outputs can be read: input, anchors, coder and class names.

The same JSON is stored inside `model.keras`, inside every exported `.tflite` and beside it.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from keras_retina.foundation.errors import InputError
from keras_retina.geometry.anchors import AnchorGrid
from keras_retina.recipe.model import Model
from keras_retina.recipe.recipe import Positive

if TYPE_CHECKING:
    from keras_retina.foundation.legacy_keras import tf

Pixels = Annotated[int, Field(ge=1, le=4096)]
Level = Annotated[int, Field(ge=3, le=7)]


@dataclass(frozen=True, kw_only=True)
class DetectorSpec:
    """Input, anchors and coder of one detector.

    Attributes:
        class_names: class index -> name.
        height, width: pixels of the network input.
        resize: `stretch` or `letterbox`, see `keras_retina.data.resize.resize_image`.
        levels: first and last pyramid level, both included; the stride of a level is `2 ** level`.
        anchor_size: side of the smallest square anchor in strides (paper: 4).
        anchor_scales, anchor_ratios: octave scales and height/width ratios.
        anchor_offset, anchor_whole_pixels, anchor_clip: as `offset`, `whole_pixels` and `clip` of `AnchorGrid`.
        coder_weights: (y, x, h, w), the `y_scale` .. `w_scale` of TFLite_Detection_PostProcess.
        clip_boxes: clip boxes to the input before the suppression of overlaps.
        pixel_mean, pixel_scale: the network sees `(pixel - pixel_mean) / pixel_scale`, RGB.
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    class_names: tuple[str, ...]
    height: Pixels
    width: Pixels
    resize: Literal["stretch", "letterbox"]
    levels: tuple[Level, Level]
    anchor_size: Positive
    anchor_scales: Annotated[tuple[Positive, ...], Field(max_length=16)]
    anchor_ratios: Annotated[tuple[Positive, ...], Field(max_length=16)]
    coder_weights: tuple[Positive, Positive, Positive, Positive]
    pixel_mean: float = 127.5
    pixel_scale: Positive = 127.5
    anchor_offset: Annotated[float, Field(ge=0, le=1)] = 0.5
    anchor_whole_pixels: bool = False
    anchor_clip: bool = False
    clip_boxes: bool = False

    @property
    def grid(self) -> AnchorGrid:
        """Where the anchors are.

        Raises:
            InputError: the numbers make no anchors.
        """
        return AnchorGrid(
            self.height,
            self.width,
            self.levels,
            self.anchor_size,
            self.anchor_scales,
            self.anchor_ratios,
            self.anchor_offset,
            self.anchor_whole_pixels,
            self.anchor_clip,
        )

    def anchors(self) -> np.ndarray:
        """Returns the anchors, float32 `[anchors, 4]`, `[y1, x1, y2, x2]` pixels of the network input."""
        return self.grid.boxes()

    def scale(self, pixels: np.ndarray | tf.Tensor) -> np.ndarray | tf.Tensor:
        """Returns float32 what the network sees of pixels 0..255 of any shape: an array, or a float32 tensor."""
        if isinstance(pixels, np.ndarray):
            pixels = pixels.astype(np.float32)
        return (pixels - self.pixel_mean) / self.pixel_scale

    def unscale(self, inputs: np.ndarray) -> np.ndarray:
        """Returns the nearest uint8 pixels to what the network sees, the inverse of `scale`; any shape."""
        return np.clip(np.rint(inputs * self.pixel_scale + self.pixel_mean), 0, 255).astype(np.uint8)

    def to_json(self) -> str:
        """Returns the spec as JSON with sorted keys."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True)


def detector_spec(settings: Model, class_names: tuple[str, ...]) -> DetectorSpec:
    """Returns the description of a detector with these settings."""
    return DetectorSpec(
        class_names=tuple(class_names),
        height=settings.input.height,
        width=settings.input.width,
        resize=settings.input.resize,
        levels=settings.pyramid.levels,
        anchor_size=settings.anchors.size,
        anchor_scales=settings.anchors.scales,
        anchor_ratios=settings.anchors.ratios,
        coder_weights=settings.coder_weights,
        anchor_offset=settings.anchors.offset,
        anchor_whole_pixels=settings.anchors.whole_pixels,
        anchor_clip=settings.anchors.clip,
        clip_boxes=settings.clip_boxes,
    )


def spec_from_json(text: str, source: str | Path) -> DetectorSpec:
    """Reads a spec; `source` is named in errors.

    Raises:
        InputError: the text is not the JSON of a spec.
    """
    try:
        spec = TypeAdapter(DetectorSpec).validate_json(text)
        spec.anchors()
        return spec
    except (ValidationError, InputError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            problem = error.errors()[0]
            reason = ": ".join([".".join(str(part) for part in problem["loc"]) or "JSON", problem["msg"]])
        raise InputError(
            f"{source}: expected the detector description that keras_retina writes. Received: {ascii(reason[:300])}. "
            "Use a file made by `keras-retina train` or `keras-retina export`."
        ) from error
