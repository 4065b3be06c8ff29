"""A backbone found in the graph of a file: one convolution behind the other, told by kind and shape."""

from __future__ import annotations

from collections.abc import Sequence

from edge.tflite.backbones.convolutions import IMAGE, PlacedConvolution

Wanted = tuple[bool, tuple[int, ...]]
"""Whether a convolution is depthwise, and the shape of its kernel as `FoldedConvolution` has it."""


def kind_and_shape(one: PlacedConvolution) -> Wanted:
    """Returns what `longest_chain` compares."""
    return one.folded.is_depthwise, tuple(one.folded.kernel.shape)


def longest_chain(wanted: Sequence[Wanted], found: Sequence[PlacedConvolution]) -> list[int]:
    """Returns the numbers of convolutions that follow one another in the graph as `wanted` does, as many as there are.

    The first reads the image. Where several convolutions read the same tensor, as heads do beside the backbone, all of
    them are tried. A residual connection leads past some convolutions; such a way is too short in the end.
    """
    best: list[int] = []
    dead: set[tuple[int, int]] = set()  # (number, place) behind which nothing fits to the end

    def follow(path: list[int], before: int) -> bool:
        nonlocal best
        if len(path) > len(best):
            best = path
        place = len(path)
        if place == len(wanted):
            return True
        for number, one in enumerate(found):
            if before not in one.before or (number, place) in dead or kind_and_shape(one) != wanted[place]:
                continue
            if follow([*path, number], number):
                return True
            dead.add((number, place))
        return False

    follow([], IMAGE)
    return best
