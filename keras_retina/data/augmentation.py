"""Random views of a training image, with its boxes, as TensorFlow graph operations that are functions of a seed.

keras-cv's box-aware layers are not used: called inside `tf.data` with `training=` they fail to trace, and outside they
would run in the training process, batch by batch, in front of every step.
"""

from __future__ import annotations

from keras_retina.legacy_keras import tf
from keras_retina.recipe import Augmentation

CUTOUT_STREAM = 2**40
"""Added to the seed of a view: the rectangle is drawn apart, so that all else stays as it is without one."""


def random_view(
    image: tf.Tensor,
    boxes: tf.Tensor,
    height: int,
    width: int,
    resize: str,
    settings: Augmentation,
    seed: tf.Tensor,
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

    Returns:
        float32 `[height, width, 3]` in 0..255 (outside the image 127.5, or 0 as `resize_image` pads a letterbox), boxes
        in pixels of it clipped to its border, and bool `[n]`: at least `minimum_visible` of the box's area is inside
        and not cut out.
        The caller should ignore, not forget, the others: a part of the object may be in view.
    """
    uniform = _uniforms(seed)
    scale, offset = _placement(tf.shape(image), height, width, resize, settings, uniform)
    outside = 0.0 if resize == "letterbox" else 127.5
    pixels = tf.cast(image, tf.float32) - outside
    pixels = tf.raw_ops.ScaleAndTranslate(
        images=pixels[tf.newaxis],
        size=[height, width],
        scale=scale,
        translation=offset,
        kernel_type="triangle",
        antialias=True,
    )[0]
    pixels = pixels + (outside - 127.5)
    moved = boxes * tf.tile(scale, [2]) + tf.tile(offset, [2])  # [n, 4]
    mirror = tf.stack([settings.vertical_flip, settings.horizontal_flip]) & (tf.gather(uniform, [6, 5]) < 0.5)
    pixels, moved = _flip(pixels, moved, mirror)
    limits = tf.constant([height, width, height, width], tf.float32)
    clipped = tf.clip_by_value(moved, 0.0, limits)
    covered = tf.zeros_like(moved[:, 0])
    if settings.cutout:
        pixels, covered = _cut_out(pixels, clipped, settings, seed)
    visible = _area(clipped) - covered >= tf.maximum(settings.minimum_visible * _area(moved), 1.0)
    return _recolour(pixels, settings, uniform) + 127.5, clipped, visible


def _cut_out(
    pixels: tf.Tensor, boxes: tf.Tensor, settings: Augmentation, seed: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Fills one random rectangle with grey; also returns how many square pixels of each box it covers, `[n]`.

    Source: Zhong et al., Random Erasing Data Augmentation, section 3.
    """
    draw = tf.random.stateless_uniform([5], seed + CUTOUT_STREAM)
    limits = tf.cast(tf.shape(pixels)[:2], tf.float32)
    sides = limits * settings.cutout_size * draw[0:2]
    start = tf.floor((limits - sides) * draw[2:4])
    end = tf.where(draw[4] < settings.cutout, tf.floor(start + sides), start)  # an empty rectangle when not chosen
    inside = [
        (tf.range(limits[axis]) >= start[axis]) & (tf.range(limits[axis]) < end[axis]) for axis in range(2)
    ]
    pixels = tf.where((inside[0][:, None] & inside[1][None, :])[..., None], 0.0, pixels)
    overlap = tf.maximum(tf.minimum(boxes[:, 2:], end) - tf.maximum(boxes[:, :2], start), 0.0)
    return pixels, overlap[:, 0] * overlap[:, 1]


def _uniforms(seed: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform([10], seed)


def _placement(
    shape: tf.Tensor, height: int, width: int, resize: str, settings: Augmentation, uniform: tf.Tensor
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


def _flip(pixels: tf.Tensor, boxes: tf.Tensor, mirror: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mirrors along the axes where `mirror`, bool `[2]` for y and x, is true."""
    size = tf.cast(tf.shape(pixels)[:2], tf.float32)
    near, far = tf.where(mirror, size - boxes[:, 2:], boxes[:, :2]), tf.where(mirror, size - boxes[:, :2], boxes[:, 2:])
    # tf.reverse, not [::-1] and a tf.where over the pixels, which took most of the time of a view.
    return tf.reverse(pixels, tf.where(mirror)[:, 0]), tf.concat([near, far], axis=1)


def _recolour(pixels: tf.Tensor, settings: Augmentation, uniform: tf.Tensor) -> tf.Tensor:
    signed = 2.0 * uniform - 1.0
    if settings.saturation:
        grey = tf.reduce_mean(pixels, axis=-1, keepdims=True)
        pixels = grey + (pixels - grey) * (1.0 + settings.saturation * signed[7])
    pixels = pixels * (1.0 + settings.contrast * signed[8]) + 127.5 * settings.brightness * signed[9]
    return tf.clip_by_value(pixels, -127.5, 127.5)


def _area(boxes: tf.Tensor) -> tf.Tensor:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
