"""Random views of a training image, with its boxes, as TensorFlow graph operations that are functions of a seed.

keras-cv's box-aware layers are not used: called inside `tf.data` with `training=` they fail to trace, and outside they
would run in the training process, batch by batch, in front of every step.
"""

from __future__ import annotations

from keras_retina.foundation.legacy_keras import tf
from keras_retina.recipe.data import Augmentation

GREY = 127.5
"""What is not in the image, and the middle of all changes of colour."""

BORDER = 1e-3
"""Pixels that a position may be wrong by rounding."""

CUTOUT_STREAM = 2**40
"""Added to the seed of a view: the rectangle is drawn apart, so that all else stays as it is without one."""


def random_view(
    image: tf.Tensor,
    boxes: tf.Tensor,
    *,
    height: int,
    width: int,
    resize: str,
    settings: Augmentation,
    seed: tf.Tensor,
    pixel_mean: float = 0.0,
    pixel_scale: float = 1.0,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Zooms, places, flips, cuts out and recolours one image; returns (image, boxes, visible).

    Args:
        image: uint8 or float `[h, w, 3]`, 0..255.
        boxes: float32 `[n, 4]`, `[y1, x1, y2, x2]` pixels of `image`.
        height, width: pixels of the result.
        resize: `stretch` or `letterbox`, the shape that a view at zoom 1 has.
        settings: ranges and strengths; all zero and zoom 1 give the plain resized image (of a letterboxed one, the
            place in the free direction is still random).
        seed: int64 `[2]`; the same seed gives the same view.
        pixel_mean, pixel_scale: a value 0..255 is returned as `(value - pixel_mean) / pixel_scale`.

    Returns:
        float32 `[height, width, 3]` (outside the image 127.5 before the change of colour, or 0 as `resize_image` pads a
        letterbox), boxes in pixels of it clipped to its border, and bool `[n]`: at least `minimum_visible` of the
        box's area is inside and not cut out.
        The caller should ignore, not forget, the others: a part of the object may be in view.
    """
    uniform = _uniforms(seed)
    scale, offset = _placement(tf.shape(image), height, width=width, resize=resize, settings=settings, uniform=uniform)
    mirror = tf.stack([settings.vertical_flip, settings.horizontal_flip]) & (tf.gather(uniform, [6, 5]) < 0.5)
    pixels = _placed(
        image,
        height,
        width=width,
        scale=scale,
        offset=offset,
        mirror=mirror,
        outside=0.0 if resize == "letterbox" else GREY,
    )
    moved = _mirrored(boxes * tf.tile(scale, [2]) + tf.tile(offset, [2]), height, width=width, mirror=mirror)  # [n, 4]
    clipped = tf.clip_by_value(moved, 0.0, tf.constant([height, width, height, width], tf.float32))
    covered = tf.zeros_like(moved[:, 0])
    if settings.cutout:
        pixels, covered = _cut_out(pixels, clipped, settings=settings, seed=seed)
    visible = _area(clipped) - covered >= tf.maximum(settings.minimum_visible * _area(moved), 1.0)
    return (
        _recolour(pixels, settings, uniform=uniform, pixel_mean=pixel_mean, pixel_scale=pixel_scale),
        clipped,
        visible,
    )


def _cut_out(
    pixels: tf.Tensor, boxes: tf.Tensor, *, settings: Augmentation, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Fills one random rectangle with grey; also returns how many square pixels of each box it covers, `[n]`.

    Source: Zhong et al., Random Erasing Data Augmentation, section 3.
    """
    draw = tf.random.stateless_uniform([5], seed + CUTOUT_STREAM)
    limits = tf.cast(tf.shape(pixels)[:2], tf.float32)
    sides = limits * settings.cutout_size * draw[0:2]
    start = tf.floor((limits - sides) * draw[2:4])
    end = tf.where(draw[4] < settings.cutout, tf.floor(start + sides), start)  # an empty rectangle when not chosen
    inside = [(tf.range(limits[axis]) >= start[axis]) & (tf.range(limits[axis]) < end[axis]) for axis in range(2)]
    # As [height, width * 3]: a mask that is broadcast over the colours takes several times as long.
    height, width = pixels.shape[:2]
    mask = inside[0][:, None] & tf.repeat(inside[1], 3)[None, :]
    pixels = tf.reshape(tf.where(mask, GREY, tf.reshape(pixels, [height, width * 3])), [height, width, 3])
    overlap = tf.maximum(tf.minimum(boxes[:, 2:], end) - tf.maximum(boxes[:, :2], start), 0.0)
    return pixels, overlap[:, 0] * overlap[:, 1]


def _uniforms(seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform([10], seed)


def _placement(
    shape: tf.Tensor, height: int, *, width: int, resize: str, settings: Augmentation, uniform: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    size = tf.cast(shape[:2], tf.float32)
    window = tf.constant([height, width], tf.float32)
    scale = window / size
    if resize == "letterbox":
        scale = tf.repeat(tf.reduce_min(scale), 2)
    low, high = settings.scale
    zoom = low * (high / low) ** uniform[0]
    aspect = settings.aspect ** (2.0 * uniform[1] - 1.0)
    scale = scale * zoom * tf.stack([tf.sqrt(aspect), tf.math.rsqrt(aspect)])
    # Free room is negative when the zoomed image is larger than the window: then the window moves over the image.
    room = window - size * scale
    return scale, room * uniform[2:4]


def _placed(
    image: tf.Tensor,
    height: int,
    *,
    width: int,
    scale: tf.Tensor,
    offset: tf.Tensor,
    mirror: tf.Tensor,
    outside: float,
) -> tf.Tensor:
    """Returns the scaled image at its place in a window of `height` x `width`, then mirrored, float32."""
    window = tf.constant([height, width], tf.float32)
    room = window - tf.cast(tf.shape(image)[:2], tf.float32) * scale
    offset = tf.where(mirror, room - offset, offset)
    image = tf.reverse(image, tf.where(mirror)[:, 0])  # here, because bytes are a quarter of floats
    # Only what the image covers is resampled: outside of it ScaleAndTranslate gives zeros. A pixel belongs to the
    # image when its centre does; one on the border by rounding counts as outside.
    start = tf.clip_by_value(tf.math.ceil(offset - 0.5 + BORDER), 0.0, window - 1.0)
    end = tf.clip_by_value(tf.floor(window - room + offset + 0.5 - BORDER), start + 1.0, window)
    pixels = tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis],
        size=tf.cast(end - start, tf.int32),
        scale=scale,
        translation=offset - start,
        kernel_type="triangle",
        antialias=True,
    )[0]
    margins = tf.pad(tf.cast(tf.stack([start, window - end], axis=1), tf.int32), [[0, 1], [0, 0]])
    return tf.ensure_shape(tf.pad(pixels, margins, constant_values=outside), [height, width, 3])


def _mirrored(boxes: tf.Tensor, height: int, *, width: int, mirror: tf.Tensor) -> tf.Tensor:
    """Mirrors along the axes where `mirror`, bool `[2]` for y and x, is true."""
    size = tf.constant([height, width], tf.float32)
    near, far = tf.where(mirror, size - boxes[:, 2:], boxes[:, :2]), tf.where(mirror, size - boxes[:, :2], boxes[:, 2:])
    return tf.concat([near, far], axis=1)


def _recolour(
    pixels: tf.Tensor, settings: Augmentation, *, uniform: tf.Tensor, pixel_mean: float, pixel_scale: float
) -> tf.Tensor:
    """Changes saturation, contrast and brightness and normalises, as one matrix and one number.

    With saturation s, contrast c and brightness b: `GREY + c * (m + s * (v - m)) + b`, with v a value less `GREY` and m
    the mean of the three colours.
    """
    signed = 2.0 * uniform - 1.0
    contrast = (1.0 + settings.contrast * signed[8]) / pixel_scale
    shift = (GREY * (1.0 + settings.brightness * signed[9]) - pixel_mean) / pixel_scale - GREY * contrast
    if settings.saturation:
        saturation = 1.0 + settings.saturation * signed[7]
        mixed = contrast * (saturation * tf.eye(3) + (1.0 - saturation) / 3.0)
        # Eight pixels in one row: a product with 3 columns takes twice as long. A pyramid's input divides by 8.
        several = 8 if pixels.shape.num_elements() % 24 == 0 else 1
        matrix = tf.reshape(tf.eye(several)[:, None, :, None] * mixed[None, :, None, :], [3 * several] * 2)
        changed = tf.reshape(tf.matmul(tf.reshape(pixels, [-1, 3 * several]), matrix), pixels.shape)
    else:
        changed = pixels * contrast
    low, high = (0.0 - pixel_mean) / pixel_scale, (255.0 - pixel_mean) / pixel_scale
    return tf.raw_ops.ClipByValue(t=changed + shift, clip_value_min=low, clip_value_max=high)


def _area(boxes: tf.Tensor) -> tf.Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
