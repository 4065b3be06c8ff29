"""The best network whose file is as fast as was wished: candidates are predicted, and the promising ones are timed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from keras_retina.plan.data.facts import DataFacts
from keras_retina.plan.network import LAST_LEVEL_STRIDES, Candidate, Size, levels_for_size, wanted_aspect
from keras_retina.recipe.backbones import BACKBONE_FACTS, BackboneName

logger = logging.getLogger(__name__)

MOST_TIMED = 6  # candidates: building and converting one takes longer than timing it
ENOUGH, OVER = 0.93, 1.0  # of the wish: a file in between is taken
AIM = 0.97  # of the wish: what a candidate is predicted to take
LARGEST_SIDE, SMALLEST_SIDE = 640, 96
MOST_DETAIL = 1.25  # of the images' own side: a loose wish buys no more pixels than there is detail
MOST_TURNED = 1.25  # how far the aspect of the input may be from that of the images
WIDTHS = range(32, 168, 8)
CONVOLUTIONS = (3, 2)

# How many points of log2 a halving costs. A guess of ours; only their order was checked: pixels first, then width.
SIDE_LOSS, SPARE_SIDE_LOSS = 0.6, 0.15  # under and over the side that the objects need
WIDTH_LOSS, SPARE_WIDTH_LOSS = 0.25, 0.08  # under and over 96
CONVOLUTION_LOSS, LEVEL_LOSS, ASPECT_LOSS = 0.15, 0.3, 0.5
IDEAL_WIDTH = 96

ANCHORS = 9  # of a cell
DEPTHWISE_SLOWNESS = 4.0  # a multiply-add of a depthwise convolution waits for memory


@dataclass(frozen=True)
class Timed:
    """The candidate that was chosen.

    Attributes:
        milliseconds: of its file.
        met: they are within the wish.
        is_most: no other network is expected to be better, however slow.
    """

    candidate: Candidate
    milliseconds: float
    met: bool
    is_most: bool = False


def work(candidate: Candidate, class_count: int) -> float:
    """Returns about how much work a network is, in multiply-adds of an ordinary convolution, millions."""
    area, width = candidate.size.height * candidate.size.width, candidate.width
    separable = width * width + DEPTHWISE_SLOWNESS * 9 * width
    facts = BACKBONE_FACTS[candidate.backbone]
    backbone = facts.work * area / 224**2
    channels = dict(zip((3, 4, 5), facts.channels, strict=True))
    first, last = candidate.levels
    total = 0.0
    for level in range(first, last + 1):
        cells = area / 4**level
        lateral = channels.get(level, 0) * width
        predictions = width * ANCHORS * (class_count + 4) + 2 * DEPTHWISE_SLOWNESS * 9 * width
        total += cells * (lateral + separable + 2 * candidate.convolutions * separable + predictions)
    return backbone + total / 1e6


def candidates(facts: DataFacts, backbone: BackboneName, *, side: float) -> Iterator[Candidate]:
    """Yields every network that may be chosen, whatever its time; `side` is what the objects need."""
    aspect, _ = wanted_aspect(facts)
    most = max(side * 1.05, min(LARGEST_SIDE, MOST_DETAIL * facts.image_side), SMALLEST_SIDE + 32)
    for height in range(32, 2 * LARGEST_SIDE, 32):
        for width in range(32, 2 * LARGEST_SIDE, 32):
            size = Size(height, width)
            turned = abs(math.log(width / height / aspect))
            if not SMALLEST_SIDE <= size.side <= most or turned > math.log(MOST_TURNED):
                continue
            for filters in WIDTHS:
                for convolutions in CONVOLUTIONS:
                    yield Candidate(size, levels_for_size(facts, size), backbone, filters, convolutions)


def loss(candidate: Candidate, facts: DataFacts, *, side: float) -> float:
    """Returns how much worse than the ideal network a candidate is supposed to be; `side` is what the objects need."""
    aspect, _ = wanted_aspect(facts)
    largest = facts.sides[4] * candidate.size.side / (LAST_LEVEL_STRIDES * 2 ** candidate.levels[1])
    return (
        _slope(side / candidate.size.side, SIDE_LOSS, SPARE_SIDE_LOSS)
        + _slope(IDEAL_WIDTH / candidate.width, WIDTH_LOSS, SPARE_WIDTH_LOSS)
        + CONVOLUTION_LOSS * (CONVOLUTIONS[0] - candidate.convolutions)
        + LEVEL_LOSS * max(0.0, math.log2(largest))  # objects beyond the last level
        + ASPECT_LOSS * abs(math.log2(candidate.size.width / candidate.size.height / aspect))
    )


def _slope(ratio: float, missing: float, spare: float) -> float:
    return math.log2(ratio) * (missing if ratio > 1 else spare)


def fit_latency(
    wish: float,
    facts: DataFacts,
    *,
    start: Candidate,
    side: float,
    measure: Callable[[Candidate], tuple[float, float]],
) -> Timed:
    """Returns the best candidate whose file is within `wish` milliseconds, and nearly as slow.

    Args:
        start: is timed first, and then again beside every other one.
        side: of the input that the objects need.
        measure: the milliseconds of a candidate's file, and of the file of `start` in the same seconds. Only their
            ratio counts, and the fastest time of `start`: a machine that slows down meanwhile slows both.
    """
    class_count, most = len(facts.class_counts), max(side, start.size.side)
    everything = candidates(facts, start.backbone, side=most)
    pool = [(one, work(one, class_count), loss(one, facts, side=side)) for one in everything]
    losses = {one: lost for one, _, lost in pool}
    ratios: dict[Candidate, float] = {}
    speed, candidate = math.inf, start
    while True:
        milliseconds, of_start = measure(candidate)
        ratios[candidate], speed = milliseconds / of_start, min(speed, of_start)
        timed = {one: ratio * speed for one, ratio in ratios.items()}
        logger.info(f"timed {describe(candidate)}: {timed[candidate]:.1f} ms")
        within = [one for one in timed if timed[one] <= OVER * wish]
        best = min(within, key=lambda one: loss(one, facts, side=side), default=None)
        if (best and timed[best] >= ENOUGH * wish) or len(timed) == MOST_TIMED:
            break
        least = loss(best, facts, side=side) if best else math.inf
        better = [entry for entry in pool if entry[0] not in timed and entry[2] < least]
        following = _next(better, timed, wish=wish, class_count=class_count, has_fitting=bool(best))
        if following is None:
            break
        candidate = following
    if best:
        is_most = loss(best, facts, side=side) <= min(losses.values(), default=math.inf)
        return Timed(best, timed[best], True, is_most)
    best = min(timed, key=lambda one: timed[one])
    return Timed(best, timed[best], False)


def describe(candidate: Candidate) -> str:
    """Returns a candidate in a few words."""
    size, (first, last) = candidate.size, candidate.levels
    return (
        f"{size.height} x {size.width} px, levels {first} to {last}, width {candidate.width}, "
        f"{candidate.convolutions} convolutions"
    )


def predicted(amount: float, known: Sequence[tuple[float, float]]) -> float:
    """Returns the milliseconds of an amount of work, from pairs of work and milliseconds.

    On the line through the two nearest pairs, since some of the time does not depend on the work; in proportion to the
    nearest one where a line would say that work costs nothing.
    """
    (first, took), *others = sorted(known, key=lambda pair: abs(math.log(pair[0] / amount)))
    for other, other_took in others:
        slope = (other_took - took) / (other - first) if other != first else 0.0
        if slope > 0 and took - slope * first >= 0:
            return took + slope * (amount - first)
    return took * amount / first


def _next(
    pool: Sequence[tuple[Candidate, float, float]],
    timed: dict[Candidate, float],
    *,
    wish: float,
    class_count: int,
    has_fitting: bool,
) -> Candidate | None:
    """Returns the best candidate that is predicted to be within the wish.

    Where there is none, and nothing that was timed fits either, the least work of all.
    """
    known = [(work(one, class_count), milliseconds) for one, milliseconds in timed.items()]
    allowed = [one for one in pool if predicted(one[1], known) <= AIM * wish]
    if allowed:
        return min(allowed, key=lambda one: (one[2], one[1]))[0]
    return min(pool, key=lambda one: one[1])[0] if pool and not has_fitting else None
