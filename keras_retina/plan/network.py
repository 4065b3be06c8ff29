"""Rules for the network: input size and aspect, pyramid levels, anchors, backbone. Each is a pure function of facts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from keras_retina.plan.data.facts import DataFacts
from keras_retina.plan.wishes import Choice, Wishes
from keras_retina.recipe.backbones import BACKBONE_FACTS, BackboneName, start_names
from keras_retina.recipe.model import Anchors, Backbone, Head, Input, Model, Pyramid

# Input size, in pixels of the side of a square of the same area.
SMALL_SIDE = 20.0  # for the smallest tenth of the objects: 2.5 strides of level 3. Not measured.
SMALLEST_CLASS_SIDE = 32.0  # for the median object of the class with the smallest ones: AP is a mean over classes
MEDIAN_SIDE = 64.0  # for the median object: the tight boxes that AP rewards need pixels too. Not measured.
# Objects that fill the image have 54 AP at 256 x 256 in raccoon.yaml and 56 at 320 x 320 in edgetpu_raccoon.yaml.
LEAST_INPUT = {None: 256.0, "best": 320.0, "fastest": 192.0, "smallest": 192.0}
MOST_ENLARGED = 2.0  # of the images' own side: more invents pixels
MOST_INPUT = {None: 416.0, "best": 576.0, "fastest": 320.0, "smallest": 320.0}
MOST_DEVICE_INPUT = 320.0  # phones, Pi, Coral, browser, Frigate: the recipes for Edge TPU and phones use 320 x 320
SAME_ASPECT = 1.25  # spread up to which images count as those of one camera
MOST_ASPECT = 2.0  # of the input: longer ones leave few rows for the last level

# Levels, in input pixels. Anchors of level l are 3 to 4.8 strides long before they are fitted.
LEVEL_4_SIDE = 48.0  # 2 % quantile from which level 3 has no object: 3 strides of level 4
LAST_LEVEL_STRIDES = 6.0  # an object of 6 strides still has half of its area in the largest anchor of its level
PIXEL_STEPS = {5: 32, 6: 64, 7: 128}  # stride of the last level, which divides both sides

# Backbone.
ALPHA = 1.0  # the ImageNet weights that come with every plan; other widths have to be at hand
FEW_IMAGES, MANY_IMAGES = 300, 3000
FROZEN_FEW, FROZEN_SOME = 3, 2


@dataclass(frozen=True)
class Size:
    """An input size in pixels."""

    height: int
    width: int

    @property
    def side(self) -> float:
        """Side of the square of the same area."""
        return math.sqrt(self.height * self.width)


FRIGATE = Size(320, 320)  # of its own models; `width` and `height` of its section `model`


@dataclass(frozen=True)
class Candidate:
    """A network that could be planned; its backbone has the width 1."""

    size: Size
    levels: tuple[int, int]
    backbone: BackboneName
    width: int
    convolutions: int

    def __str__(self) -> str:
        """Returns it in a few words."""
        first, last = self.levels
        return (
            f"{self.size.height} x {self.size.width} px, {BACKBONE_FACTS[self.backbone].title}, "
            f"levels {first} to {last}, width {self.width}, {self.convolutions} convolutions"
        )


def most_input(wishes: Wishes) -> float:
    """Returns the largest side that the wishes allow."""
    bound = MOST_INPUT[wishes.objective]
    if wishes.target is not None and wishes.objective != "best":
        bound = min(bound, MOST_DEVICE_INPUT)
    return bound


def wanted_side(facts: DataFacts, wishes: Wishes) -> tuple[float, str]:
    """Returns the side of the input that the objects need, within the bounds, and why."""
    name, side = facts.smallest_class
    needs = {
        f"the smallest tenth of the objects then has {SMALL_SIDE:.0f} px or more": SMALL_SIDE / facts.sides[1],
        f"the objects of '{name}', the class with the smallest, then have about {SMALLEST_CLASS_SIDE:.0f} px": (
            SMALLEST_CLASS_SIDE / side
        ),
        f"half of the objects then have {MEDIAN_SIDE:.0f} px or more": MEDIAN_SIDE / facts.sides[2],
    }
    why, wanted = max(needs.items(), key=lambda pair: pair[1])
    least = LEAST_INPUT[wishes.objective]
    if wanted < least:
        why, wanted = f"objects are large, and less than {least:.0f} px loses the edges that boxes need", least
    bounds = {
        f"larger would enlarge your images more than {MOST_ENLARGED:g} times": MOST_ENLARGED * facts.image_side,
        f"the objects would need {wanted:.0f} px a side, but time grows with the area": most_input(wishes),
    }
    bound_why, bound = min(bounds.items(), key=lambda pair: pair[1])
    return (bound, bound_why) if bound < wanted else (wanted, why)


def wanted_aspect(facts: DataFacts) -> tuple[float, str]:
    """Returns width / height of the input, and why."""
    if facts.aspect_spread <= SAME_ASPECT:
        aspect = min(max(facts.aspect, 1 / MOST_ASPECT), MOST_ASPECT)
        return aspect, "the shape is that of the images, which nearly agree in it"
    return 1.0, f"square, since the images differ in shape (by {facts.aspect_spread:.1f} x)"


def nearest_size(side: float, aspect: float, *, step: int, most: float = math.inf) -> Size:
    """Returns the size in multiples of `step` nearest to a side and an aspect; its side is at most `most` if it can."""
    height, width = side / math.sqrt(aspect), side * math.sqrt(aspect)
    around = [
        Size(step * max(1, math.floor(height / step) + down), step * max(1, math.floor(width / step) + right))
        for down in (0, 1)
        for right in (0, 1)
    ]
    allowed = [size for size in around if size.side <= most * 1.001] or [min(around, key=lambda size: size.side)]
    return min(allowed, key=lambda size: _distance(size, side=side, aspect=aspect))


def _distance(size: Size, *, side: float, aspect: float) -> float:
    # A wrong shape costs as much as a wrong area: both are ratios.
    return 2 * abs(math.log(size.side / side)) + abs(math.log(size.width / size.height / aspect))


def levels_for(facts: DataFacts, side: float) -> tuple[int, int]:
    """Returns the first and last pyramid level for an input of this side."""
    first = 4 if facts.sides[0] * side >= LEVEL_4_SIDE else 3
    last = next((level for level in (5, 6) if facts.sides[4] * side <= LAST_LEVEL_STRIDES * 2**level), 7)
    return first, last


def input_and_levels(facts: DataFacts, wishes: Wishes) -> tuple[Size, tuple[int, int], list[str]]:
    """Returns size and levels that fit each other, and the reasons: for the side, for the aspect."""
    if wishes.target == "frigate":
        reasons = ["Frigate cuts regions of at least 320 px a side out of the video", "square, as these regions are"]
        return FRIGATE, levels_for_size(facts, FRIGATE), reasons
    side, why_side = wanted_side(facts, wishes)
    aspect, why_aspect = wanted_aspect(facts)
    first, last = levels_for(facts, side)
    most = max(side, most_input(wishes))
    size = nearest_size(side, aspect, step=PIXEL_STEPS[last], most=most)
    return size, levels_for_size(facts, size), [why_side, why_aspect]


def levels_for_size(facts: DataFacts, size: Size) -> tuple[int, int]:
    """Returns the levels for a given size; the last one is the highest wanted whose stride divides both sides."""
    first, last = levels_for(facts, size.side)
    while last > 5 and (size.height % PIXEL_STEPS[last] or size.width % PIXEL_STEPS[last]):
        last -= 1
    return first, last


def input_choice(size: Size, reasons: Sequence[str]) -> Choice:
    """Says the input size; MediaPipe stretches too, and letterbox alone was not better where it was measured."""
    why = (
        f"{reasons[0]}. {reasons[1].capitalize()}. Both sides are multiples of the stride of the last level. "
        "Stretched, as phones and browsers (MediaPipe) do it; set letterbox if shapes tell your classes apart."
    )
    value = {"height": size.height, "width": size.width, "resize": "stretch"}
    return Choice("model.input", value, why, f"{size.height} x {size.width} px", "input")


def pyramid_choice(facts: DataFacts, size: Size, levels: tuple[int, int], *, width: int) -> Choice:
    """Says the levels and the width of the pyramid."""
    small, large = (facts.sides[index] * size.side for index in (0, 4))
    first, last = levels
    why = (
        f"objects are {small:.0f} to {large:.0f} px at this size. Level n has a stride of 2^n px and finds objects of "
        f"about 3 to 6 strides; {'level 3 would find none' if first == 4 else 'level 3 finds the smallest'}. "
        f"Width {width}, as in the recipes whose files were measured."
    )
    return Choice("model.pyramid", {"levels": list(levels), "width": width}, why, f"{first} to {last}", "levels")


def anchors_choice(anchors: Anchors, *, before: float, after: float) -> Choice:
    """Says the fitted anchors, and the mean IoU of the objects with their best one before and after."""
    why = (
        f"mean IoU of a training object with its best anchor is {after:.2f}, with the usual anchors {before:.2f}. "
        "Fitted as `keras-retina fit-anchors` does; run it again if you change the input."
    )
    value = {"size": anchors.size, "scales": list(anchors.scales), "ratios": list(anchors.ratios)}
    ratios = ", ".join(f"{ratio:g}" for ratio in anchors.ratios)
    return Choice("model.anchors", value, why, f"size {anchors.size:g}, ratios {ratios}", "anchors")


def backbone_choice(candidate: Candidate, *, frozen: int, why_frozen: str) -> Choice:
    """Says the backbone and its weights."""
    name, title = candidate.backbone, BACKBONE_FACTS[candidate.backbone].title
    reason = "You asked for it"
    if name == "mobilenet_v2":
        reason = "MobileNetV2 is fast on every device, and int8 keeps its AP"
    weights = weights_of(name)
    start = "Random weights need far more of your images than pretrained ones, and no such weights are known for it"
    if weights != "none":
        start = "ImageNet weights need far fewer of your images than random ones"
    why = f"{why_frozen}. {reason}. {start}. BatchNorm trains, which gave most where it was measured."
    value = {"name": name, "alpha": ALPHA, "weights": weights, "frozen_stages": frozen}
    shown = f"{title} {ALPHA}, {frozen} frozen stages"
    return Choice("model.backbone", {**value, "batch_norm": "trained"}, why, shown, "backbone")


def weights_of(name: BackboneName) -> str:
    """Returns what a planned backbone of width 1 starts from: ImageNet weights where it has them."""
    return "imagenet" if "imagenet" in start_names(name, ALPHA) else "none"


def frozen_stages(facts: DataFacts, wishes: Wishes) -> tuple[int, str]:
    """Returns how many stages of the backbone never train, and why."""
    if wishes.backbone is not None and weights_of(wishes.backbone) == "none":
        return 0, f"{BACKBONE_FACTS[wishes.backbone].title} begins at random, so every stage trains"
    if facts.images < FEW_IMAGES:
        return FROZEN_FEW, (
            f"{facts.images} images cannot teach edges better than ImageNet, and frozen stages make a step faster"
        )
    if facts.images < MANY_IMAGES or wishes.minutes is not None:
        return FROZEN_SOME, f"{facts.images} images can adapt the later stages, and frozen ones make a step faster"
    return 0, f"{facts.images} images are enough to train every stage"


def head_choice(*, width: int, convolutions: int) -> Choice:
    """Says the heads."""
    return Choice("model.head", {"width": width, "convolutions": convolutions}, "As wide as the pyramid.")


def network(candidate: Candidate, *, frozen: int) -> Model:
    """Returns the section `model` of a candidate, with the usual anchors."""
    return Model(
        backbone=Backbone(
            name=candidate.backbone,
            alpha=ALPHA,
            weights=weights_of(candidate.backbone),
            frozen_stages=frozen,
            batch_norm="trained",
        ),
        input=Input(height=candidate.size.height, width=candidate.size.width),
        pyramid=Pyramid(levels=candidate.levels, width=candidate.width),
        head=Head(width=candidate.width, convolutions=candidate.convolutions),
    )
