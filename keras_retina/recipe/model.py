"""The section `model` of a recipe: backbone, input, anchors, pyramid and heads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from keras_retina.foundation.errors import closest
from keras_retina.recipe.backbones import BACKBONE_ALPHAS, BACKBONE_STARTS, PIXEL_SCALED, BackboneName, start_names
from keras_retina.recipe.section import Positive, Section, from_least
from keras_retina.recipe.size import MOST_ANCHORS, MOST_BYTES, anchor_count, gibibytes, map_bytes, weight_bytes

Activation = Literal["relu", "relu6", "swish"]

Factor = Annotated[float, Field(gt=0, le=1e4), from_least(1e-4)]
"""Of an anchor: the area of the smallest and of the largest one is a number of float32."""

_CODER_WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # those of every TFLite SSD file


class Backbone(Section):
    """`weights`: a name such as `imagenet`, `none` or a path; `frozen_stages`: how many stages never train.

    The path may be that of a `model.keras`: pyramid and heads then start from it as well.
    `pixel_scaling` puts a layer before the backbone that scales pixels by ImageNet's mean and deviation, for a detector
    that was trained so elsewhere; `weights` is then `none` or a `model.keras`.
    """

    name: BackboneName = "mobilenet_v2"
    alpha: float = 1.0
    weights: str = "imagenet"
    frozen_stages: Annotated[int, Field(ge=0, le=5)] = 2
    batch_norm: Literal["frozen", "trained"] = "frozen"
    pixel_scaling: bool = False

    @model_validator(mode="after")
    def _alpha_and_weights_exist(self) -> Backbone:
        alphas = BACKBONE_ALPHAS[self.name]
        if alphas == (1.0,) and self.alpha != 1.0:
            raise ValueError(f"expected 1.0 for {self.name}. Received: alpha={self.alpha}. Remove the key")
        if self.alpha not in alphas:
            nearest = min(alphas, key=lambda alpha: abs(alpha - self.alpha))
            raise ValueError(f"expected one of {alphas}. Received: alpha={self.alpha}. Closest: {nearest}")
        self._check_weights()
        if self.weights == "none" and (self.frozen_stages > 0 or self.batch_norm == "frozen"):
            raise ValueError(
                "random weights cannot be frozen. Received: weights='none', "
                f"frozen_stages={self.frozen_stages}, batch_norm={self.batch_norm!r}. "
                "Set frozen_stages: 0 and batch_norm: trained"
            )
        return self

    def _check_weights(self) -> None:
        """Refuses a name that this backbone has no weights of. A path is looked up where a training begins."""
        is_whole = self.weights == "none" or self.weights.endswith(".keras")
        if self.pixel_scaling and not (is_whole and self.name in PIXEL_SCALED):
            raise ValueError(
                f"pixel_scaling is for {' and '.join(PIXEL_SCALED)} with weights 'none' or a model.keras. "
                f"Received: name={self.name!r}, weights={self.weights!r}. Remove it"
            )
        if is_whole:
            return
        if not BACKBONE_STARTS[self.name]:
            raise ValueError(f"{self.name} has no pretrained weights. Received: weights={self.weights!r}. Use 'none'")
        names = [*start_names(self.name, self.alpha), "none"]
        path = Path(self.weights)
        if self.weights not in names and not (path.suffix or len(path.parts) > 1 or path.is_file()):
            raise ValueError(
                f"expected {', '.join(names)} or the path of a weights file for {self.name} alpha {self.alpha}. "
                f"Received: weights={self.weights!r}. {closest(self.weights, names).rstrip('.')}"
            )


class Input(Section):
    """Pixels of the network input; both sides must be multiples of the stride of the last level."""

    height: Annotated[int, Field(ge=32, le=4096)] = 384
    width: Annotated[int, Field(ge=32, le=4096)] = 384
    resize: Literal["stretch", "letterbox"] = "stretch"


class Anchors(Section):
    """`size` in strides (paper 4, small inputs 3), octave `scales`, height/width `ratios`.

    `offset` is where a cell has their centre, in strides: 0.5 is its middle. `whole_pixels` rounds heights and widths
    as torchvision does, whose anchors have the offset 0. `clip` ends anchors at the border of the input, as KerasCV
    does.
    """

    size: Factor = 3.0
    scales: Annotated[tuple[Factor, ...], Field(min_length=1, strict=False)] = (1.0, 2 ** (1 / 3), 2 ** (2 / 3))
    ratios: Annotated[tuple[Factor, ...], Field(min_length=1, strict=False)] = (0.5, 1.0, 2.0)
    offset: Annotated[float, Field(ge=0, le=1)] = 0.5
    whole_pixels: bool = False
    clip: bool = False


class Pyramid(Section):
    """FPN from level `levels[0]` to `levels[1]`; levels above 5 come from strided convolutions.

    Where `levels` is not given, the last one is the highest of 7, 6 and 5 whose stride divides both sides of the input.
    `p6_from` is what level 6 is made from: `c5` of the backbone (the paper; the default of `full` convolutions), `m5`,
    which is level 5 before its own convolution (the default of `separable` ones, which has fewer channels), or `p5`,
    which is level 5 itself (torchvision). `padding` is that of the strided convolutions that make levels 6 and 7:
    `same` has its zeros at the end, as TensorFlow pads, `symmetric` on both sides, as PyTorch does.
    `activation` is that of level 6 before level 7 is made from it, and behind `separable` levels: by default relu, or
    relu6 of `separable` convolutions. `outputs: scaled` has no activation behind a level, and between the heads and a
    level that the next one is made from a scale and an offset for each channel: what becomes of the BatchNorms of Model
    Garden's pyramid.
    """

    levels: Annotated[tuple[int, int], Field(strict=False)] = (3, 7)
    width: Annotated[int, Field(ge=8, multiple_of=8)] = 64
    convolution: Literal["separable", "full"] = "separable"
    upsampling: Literal["nearest", "bilinear"] = "bilinear"
    p6_from: Literal["c5", "m5", "p5"] | None = None
    padding: Literal["same", "symmetric"] = "same"
    activation: Activation | None = None
    outputs: Literal["plain", "scaled"] = "plain"

    @model_validator(mode="after")
    def _levels_in_order(self) -> Pyramid:
        first, last = self.levels
        if not 3 <= first <= 5 <= last <= 7:
            raise ValueError(f"expected first 3..5 and last 5..7. Received: levels={list(self.levels)}. Use [3, 7]")
        if self.p6_from is not None and last < 6:
            raise ValueError(
                f"there is no level 6. Received: p6_from={self.p6_from!r}, levels={list(self.levels)}. Remove it"
            )
        return self


class Head(Section):
    """Class and box heads, shared over the levels; `batch_norm: per_level` normalises each level for itself.

    `group_norm` is in how many groups of channels a GroupNorm normalises behind each convolution, as torchvision's
    second version does with 32; 0 is none. It needs float: there are no int8 files of it, and no pruning.
    `activation` is by default relu, or relu6 of `separable` convolutions; swish has no training in int8.
    `group_norm_epsilon` is added to its variances.
    """

    convolutions: Annotated[int, Field(ge=0, le=8)] = 3
    width: Annotated[int, Field(ge=8, multiple_of=8)] = 64
    convolution: Literal["separable", "full"] = "separable"
    batch_norm: Literal["none", "per_level"] = "none"
    group_norm: Annotated[int, Field(ge=0)] = 0
    group_norm_epsilon: Positive = 1e-5
    prior: Annotated[float, Field(gt=0, lt=1)] = 0.01
    activation: Activation | None = None

    @model_validator(mode="after")
    def _groups_divide(self) -> Head:
        if self.group_norm and (self.width % self.group_norm or self.batch_norm != "none"):
            raise ValueError(
                f"group_norm: expected a divisor of the width {self.width}, and batch_norm: none. "
                f"Received: group_norm={self.group_norm}, batch_norm={self.batch_norm!r}. Set one of both"
            )
        return self

    @model_validator(mode="after")
    def _norms_have_convolutions(self) -> Head:
        if self.batch_norm == "per_level" and self.convolutions == 0:
            raise ValueError(
                "expected a hidden convolution before every BatchNorm. "
                f"Received: batch_norm={self.batch_norm!r}, convolutions={self.convolutions}. "
                "Set convolutions to 1..8 or batch_norm: none"
            )
        return self


def _as_fields(section: Any) -> dict[str, Any]:
    """Returns what was given for a section, as a dictionary or as the section itself."""
    if isinstance(section, Section):
        return section.model_dump(exclude_unset=True)
    return section if isinstance(section, dict) else {}


class Model(Section):
    """The network that `retinanet` builds: the section `model` of a recipe.

    Each section may be given as a dictionary: `Model(input={"height": 384, "width": 384})`.

    Attributes:
        backbone: `name` is one of `BackboneName`; `alpha` the width of
            a MobileNet; `weights` is "none", the path of a file, or a name that `keras-retina weights` lists;
            `frozen_stages`, 0 to 5, never train; `batch_norm` is frozen or trained. Random weights cannot be frozen.
        input: `height` and `width` in pixels, multiples of 2 to the power of the last pyramid level (128 for level 7);
            `resize` is stretch, or letterbox to keep the aspect ratio.
        anchors: `size` of the smallest anchor in strides, octave `scales`, and height/width `ratios`.
        pyramid: first and last of its `levels`, in 3 to 7; `width` in channels; `convolution` is separable or full.
        head: `convolutions`, `width` and `convolution` of the two heads; `batch_norm` is none or per_level.
        coder_weights: what offsets from anchors are multiplied by, (y, x, height, width).
        clip_boxes: clip boxes to the input before overlaps are suppressed, as torchvision does. A postprocess file
            cannot, and clips them behind.

    Raises:
        InputError: one line that names every wrong field, the value received and the closest valid choice.

    Source: Lin et al., Focal Loss for Dense Object Detection, section 4.
    """

    backbone: Backbone = Backbone()
    input: Input = Input()
    anchors: Anchors = Anchors()
    pyramid: Pyramid = Pyramid()
    head: Head = Head()
    coder_weights: Annotated[tuple[Positive, Positive, Positive, Positive], Field(strict=False)] = _CODER_WEIGHTS
    clip_boxes: bool = False

    @model_validator(mode="before")
    @classmethod
    def _levels_that_divide(cls, fields: Any) -> Any:
        """Where `pyramid.levels` is not given, the last level is the highest whose stride divides the input."""
        if not isinstance(fields, dict):
            return fields
        pyramid, size = (_as_fields(fields.get(name, {})) for name in ("pyramid", "input"))
        sides = [size.get(side, Input.model_fields[side].default) for side in ("height", "width")]
        if "levels" in pyramid or not all(isinstance(pixels, int) for pixels in sides):
            return fields
        last = next((level for level in (7, 6, 5) if all(pixels % 2**level == 0 for pixels in sides)), 5)
        return {**fields, "pyramid": {**pyramid, "levels": (3, last)}}

    @model_validator(mode="after")
    def _input_divides(self) -> Model:
        stride = 2 ** self.pyramid.levels[1]
        for side in ("height", "width"):
            pixels = getattr(self.input, side)
            if pixels % stride:
                nearest = max(stride, round(pixels / stride) * stride)
                raise ValueError(
                    f"input.{side} must be a multiple of {stride}, the stride of the last level of "
                    f"pyramid.levels={list(self.pyramid.levels)}. Received: {side}={pixels}. Closest: {nearest}"
                )
        return self

    @model_validator(mode="after")
    def _fits(self) -> Model:
        """Counts anchors and bytes: a number with a few noughts too many would fill the memory of any machine."""
        height, width, levels = self.input.height, self.input.width, self.pyramid.levels
        per_cell = len(self.anchors.scales) * len(self.anchors.ratios)
        anchors = anchor_count(height, width, levels=levels, per_cell=per_cell)
        if anchors > MOST_ANCHORS:
            raise ValueError(
                f"anchors: expected at most {MOST_ANCHORS:,} of them. Received: {anchors:,} from {per_cell} a cell on "
                f"{height} x {width} pixels, levels={list(levels)}. Use fewer scales and ratios, or a smaller input"
            )
        full = (self.pyramid.convolution == "full", self.head.convolution == "full")
        widths, convolutions = (self.pyramid.width, self.head.width), self.head.convolutions
        weights = weight_bytes(*widths, convolutions=convolutions, levels=levels, full=full)
        largest = map_bytes(height, width, level=levels[0], channels=max(widths))
        for name, count in (("weights", weights), ("a feature map", largest)):
            if count > MOST_BYTES:
                raise ValueError(
                    f"pyramid.width and head.width: expected {name} of at most {gibibytes(MOST_BYTES)}, as a .tflite "
                    f"holds. Received: {gibibytes(count)} from pyramid.width={widths[0]}, head.width={widths[1]}. "
                    "Use smaller widths"
                )
        return self
