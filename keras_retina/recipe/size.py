"""How much a recipe asks for: anchors, weights and batches are counted before anything of them is made."""

from __future__ import annotations

MOST_ANCHORS = 10_000_000  # of one image; COCO at 800 x 1333 has 200,000
MOST_BYTES = 2 << 30  # of the weights, and of one feature map: a .tflite holds no more
MOST_BATCH_BYTES = 64 << 30  # of the pixels and anchors of one batch, over all devices
_FLOAT = 4  # bytes


def anchor_count(height: int, width: int, *, levels: tuple[int, int], per_cell: int) -> int:
    """Returns how many anchors an input of `height` x `width` pixels has."""
    return sum((height >> level) * (width >> level) * per_cell for level in range(levels[0], levels[1] + 1))


def weight_bytes(
    pyramid_width: int, head_width: int, *, convolutions: int, levels: tuple[int, int], full: tuple[bool, bool]
) -> int:
    """Returns the bytes of the kernels of pyramid and heads, outputs and lateral convolutions left out.

    Args:
        full: whether the convolutions of the pyramid and those of the heads are full ones, else separable.
    """
    of_pyramid = (levels[1] - levels[0] + 1) * _kernel(pyramid_width, pyramid_width, full=full[0])
    of_heads = [_kernel(pyramid_width, head_width, full=full[1])] * min(1, convolutions)
    of_heads += [_kernel(head_width, head_width, full=full[1])] * (convolutions - 1)
    return _FLOAT * (of_pyramid + 2 * sum(of_heads))


def map_bytes(height: int, width: int, *, level: int, channels: int) -> int:
    """Returns the bytes of one feature map of one image."""
    return _FLOAT * (height >> level) * (width >> level) * channels


def batch_bytes(images: int, height: int, width: int, *, anchors: int) -> int:
    """Returns the bytes of the pixels of a batch, and of the targets of its anchors: four offsets and a class."""
    return _FLOAT * images * (3 * height * width + 5 * anchors)


def gibibytes(count: int) -> str:
    """Returns `3.2 GiB`."""
    return f"{count / 2**30:,.1f} GiB"


def _kernel(inputs: int, outputs: int, *, full: bool) -> int:
    return 9 * inputs * outputs if full else 9 * inputs + inputs * outputs
