"""Somebody's `tf.data.Dataset` of images and boxes: its checks, its boxes as ours, and training batches of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np

from keras_retina.data.augment.view import random_view
from keras_retina.data.pipeline import MATCHING, with_targets
from keras_retina.data.resize import reduced, resize_image, resize_transform
from keras_retina.foundation.errors import InputError, closest
from keras_retina.foundation.legacy_keras import tf
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.data import Augmentation

BoxFormat = Literal["yxyx", "xyxy", "xywh", "center_xywh", "rel_yxyx", "rel_xyxy", "rel_xywh"]

OUTSIDE = 0.05  # of a side of the image: labels may stand over its border by so much
EXPECTED = 'expected (image, {"boxes", "classes"}) for one image: uint8 [height, width, 3], [n, 4] and integers [n].'


def detector_batches(
    dataset: tf.data.Dataset,
    spec: DetectorSpec,
    *,
    batch_size: int = 8,
    box_format: BoxFormat = "yxyx",
    augmentation: Augmentation | Mapping[str, Any] | None = None,
    shuffle: int = 256,
    repeat: bool = True,
    seed: int = 0,
) -> tf.data.Dataset:
    """Turns your own images and boxes into batches that `model.fit` trains a detector on.

    Each image is resized as the detector wants it, its pixels are scaled to [-1, 1], and every anchor is told what to
    learn. A batch is (images, {"classes", "boxes"}): float32 `[batch, height, width, 3]`, int32 `[batch, anchors]` and
    float32 `[batch, anchors, 5]`, as in `training_batches`.

    The first `batch_size` images are looked at when you call it, so mistakes in them are told at once. Of later images,
    only the classes are checked; boxes that stand over the border of their image are clipped.

    Args:
        dataset: `(image, {"boxes", "classes"})` for one image at a time, not batched. `image` is uint8 RGB
            `[height, width, 3]` of any size, `boxes` are `[n, 4]` and `classes` integers `[n]` from 0, in the order of
            `spec.class_names`. An image without objects has boxes of shape `[0, 4]`.
        spec: of the model that will be trained.
        batch_size: images in a batch. What does not fill a last batch is left out.
        box_format: the layout of the boxes. `yxyx` is `[y1, x1, y2, x2]`, `xywh` is `[x, y, width, height]` with the
            top left corner, as in COCO; these are pixels of the image. `rel_...` are shares of its sides, 0 to 1.
        augmentation: random changes of the images: the section `augmentation` of a recipe, or a dictionary of it; `{}`
            is what recipes do by default. `None` changes nothing. `mosaic` and `rand_augment` must be 0.
        shuffle: how many images are kept in memory to draw the next one from; 0 keeps the order.
        repeat: starts again after the last image, so `fit` needs `steps_per_epoch`. False is for `validation_data`.
        seed: of the order and the augmentation.

    Raises:
        InputError: no image, another structure than the one above, pixels that are scaled already, boxes of another
            layout, a class that does not exist, or a setting out of range.
    """
    if batch_size < 1 or shuffle < 0:
        raise InputError(
            "detector_batches: expected batch_size of 1 or more and shuffle of 0 or more. "
            f"Received: batch_size={batch_size}, shuffle={shuffle}. Try 8 and 256."
        )
    changes = _augmentation(augmentation)
    check_dataset(dataset, spec.class_names, box_format=box_format, look_at=batch_size)
    samples = dataset.map(_prepare(spec, box_format, augmentation=changes), num_parallel_calls=tf.data.AUTOTUNE)
    if shuffle:
        samples = samples.shuffle(shuffle, seed=seed, reshuffle_each_iteration=True)
    if repeat:
        samples = samples.repeat()
    views = samples.enumerate().map(_view(spec, changes, seed=seed), num_parallel_calls=tf.data.AUTOTUNE)
    return with_targets(views, spec, matching=MATCHING, batch_size=batch_size)


def check_dataset(
    dataset: tf.data.Dataset, class_names: tuple[str, ...], *, box_format: BoxFormat = "yxyx", look_at: int = 8
) -> None:
    """Refuses a dataset whose structure, or whose first `look_at` images, are not as `detector_batches` expects.

    Raises:
        InputError: as `detector_batches`.
    """
    if box_format not in get_args(BoxFormat):
        hint = closest(str(box_format), get_args(BoxFormat))
        raise InputError(f"box_format: expected a layout of boxes. Received: box_format={box_format!r}. {hint}")
    _check_structure(dataset)
    brightest, count = 0, 0
    for image, labels in dataset.take(look_at):
        boxes, classes = labels["boxes"], labels["classes"].numpy()
        if image.shape.rank == 3 and image.shape[2] == 1:
            raise InputError(
                f"image {count}: expected RGB, [height, width, 3]. Received: {list(image.shape)}. "
                "Use tf.image.grayscale_to_rgb(image)."
            )
        if boxes.shape.rank == 2 and classes.ndim == 1 and 0 < len(boxes) != len(classes):
            received = f"{len(boxes)} box{'es' * (len(boxes) > 1)} but {len(classes)} class{'es' * (len(classes) != 1)}"
            raise InputError(
                f"image {count}: expected one class for each box. Received: {received}. Correct the labels."
            )
        if image.shape.rank != 3 or image.shape[2] != 3 or classes.ndim != 1 or boxes.shape != (len(classes), 4):
            raise InputError(
                f"image {count}: {EXPECTED} Received: {list(image.shape)}, {list(boxes.shape)} and "
                f"{list(classes.shape)}. An image without objects has boxes of shape [0, 4]."
            )
        where = f"image {count}, {image.shape[0]} pixels high and {image.shape[1]} wide"
        _check_boxes(
            boxes.numpy(),
            yxyx_pixels(boxes, image, box_format=box_format).numpy(),
            shape=image.shape,
            box_format=box_format,
            where=where,
        )
        if classes.size and not (classes.min() >= 0 and classes.max() < len(class_names)):
            wrong = int(classes.min() if classes.min() < 0 else classes.max())
            raise InputError(
                f"image {count}: expected classes from 0 to {len(class_names) - 1}, in the order of the class names. "
                f"Received: {wrong}. Count classes from 0, without a background class."
            )
        brightest, count = max(brightest, int(tf.reduce_max(image))), count + 1
    if not count:
        raise InputError("dataset: expected at least one image. Received: none. Check where its files are.")
    if brightest <= 1:
        raise InputError(
            f"dataset: expected images of 0 to 255. Received: no pixel over {brightest} in the first {count} images. "
            "Do not scale them: this is done for you."
        )


def yxyx_pixels(boxes: tf.Tensor, image: tf.Tensor, *, box_format: BoxFormat) -> tf.Tensor:
    """Returns float32 `[n, 4]` as `[y1, x1, y2, x2]` in pixels of the image `[height, width, 3]`."""
    boxes = tf.cast(boxes, tf.float32)
    if box_format == "yxyx":
        return boxes
    from keras_cv.bounding_box import convert_format  # works with either Keras; half a second, so only where it is used

    return tf.reshape(convert_format(boxes, source=box_format, target="yxyx", images=image, dtype="float32"), [-1, 4])


def _check_structure(dataset: tf.data.Dataset) -> None:
    if not isinstance(dataset, tf.data.Dataset):
        raise InputError(
            f"dataset: expected a tf.data.Dataset. Received: {type(dataset).__name__}. "
            "Make one with tf.data.Dataset.from_generator."
        )
    spec = dataset.element_spec
    fault = None
    if not isinstance(spec, tuple) or len(spec) != 2 or not isinstance(spec[1], Mapping):
        fault = "another structure"
    elif not {"boxes", "classes"} <= set(spec[1]):
        fault = f"labels with the keys {', '.join(map(repr, sorted(spec[1]))) or '(none)'}"
    else:
        image, boxes, classes = spec[0], spec[1]["boxes"], spec[1]["classes"]
        if not all(isinstance(part, tf.TensorSpec) for part in (image, boxes, classes)):
            fault = "a part that is no tensor"
        elif image.shape.rank not in (3, None) or boxes.shape.rank not in (2, None):
            fault = f"an image of shape {image.shape} and boxes of shape {boxes.shape}"
        elif image.dtype != tf.uint8:
            scaled = "Do not scale the pixels, this is done for you, or use" if image.dtype.is_floating else "Use"
            raise InputError(
                f"image: expected uint8, 0 to 255. Received: {image.dtype.name}. {scaled} tf.cast(image, tf.uint8)."
            )
        elif not classes.dtype.is_integer:
            raise InputError(
                f"classes: expected integers from 0. Received: {classes.dtype.name}. "
                "Use tf.cast(classes, tf.int32) on class indices."
            )
    if fault:
        raise InputError(f"dataset: {EXPECTED} Received: {fault}. Map each image to this before you batch it.")


def _check_boxes(given: np.ndarray, yxyx: np.ndarray, *, shape: tuple, box_format: BoxFormat, where: str) -> None:
    height, width = shape[:2]
    advice = f"Is box_format={box_format!r} their layout?"
    if not np.isfinite(yxyx).all():
        raise InputError(f"{where}: expected boxes that are numbers. Received: {given.tolist()}. Correct the labels.")
    for box, (y1, x1, y2, x2) in zip(given.tolist(), yxyx.tolist(), strict=True):
        if y2 < y1 or x2 < x1:
            raise InputError(
                f"{where}: expected boxes whose end is behind their start. Received: {box}, which spans "
                f"y {y1:g} to {y2:g} and x {x1:g} to {x2:g}. {advice}"
            )
        over = max(-y1, y2 - height) > OUTSIDE * height or max(-x1, x2 - width) > OUTSIDE * width
        if over:
            raise InputError(
                f"{where}: expected boxes inside their image. Received: {box}, which spans "
                f"y {y1:g} to {y2:g} and x {x1:g} to {x2:g}. {advice}"
            )
    if not box_format.startswith("rel_") and len(given) and given.max() <= 1 < min(height, width):
        raise InputError(
            f"{where}: expected boxes in pixels. Received: no coordinate over {given.max():g}. "
            f"Shares of the sides are box_format='rel_{box_format.removeprefix('center_')}'."
        )


def _augmentation(asked: Augmentation | Mapping[str, Any] | None) -> Augmentation | None:
    settings = asked if asked is None or isinstance(asked, Augmentation) else Augmentation(**asked)
    if settings is not None and (settings.mosaic or settings.rand_augment):
        raise InputError(
            "detector_batches: expected an augmentation of one image at a time. "
            f"Received: mosaic={settings.mosaic}, rand_augment={settings.rand_augment}. Set both to 0."
        )
    return settings


def _prepare(spec: DetectorSpec, box_format: BoxFormat, *, augmentation: Augmentation | None) -> Any:
    """Returns a function of one element to (uint8 image, boxes `[n, 4]` in its pixels, int32 classes).

    Without augmentation the image is resized as for evaluation and on a device. With it, a large image is reduced, and
    the random view resizes it.
    """

    def smaller(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows, columns = image.shape[:2]
        if augmentation is None:
            scale = resize_transform(rows, columns, height=spec.height, width=spec.width, mode=spec.resize)
            return resize_image(image, spec.height, width=spec.width, mode=spec.resize), np.array(
                [*scale, *scale], np.float32
            )
        small = reduced(image, spec.height, width=spec.width)
        scale = (small.shape[0] / rows, small.shape[1] / columns)
        return small, np.array([*scale, *scale], np.float32)

    def prepare(image: tf.Tensor, labels: Mapping[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        classes = tf.cast(labels["classes"], tf.int32)
        message = f"classes: expected 0 to {len(spec.class_names) - 1}, in the order of the class names."
        limits = [
            tf.debugging.assert_non_negative(classes, message),
            tf.debugging.assert_less(classes, len(spec.class_names), message),
        ]
        sides = tf.cast(tf.tile(tf.shape(image)[:2], [2]), tf.float32)
        boxes = tf.clip_by_value(yxyx_pixels(labels["boxes"], image, box_format=box_format), 0.0, sides)
        small, scale = tf.numpy_function(smaller, [image], [tf.uint8, tf.float32], stateful=False)
        small.set_shape([None, None, 3] if augmentation else [spec.height, spec.width, 3])
        with tf.control_dependencies([one for one in limits if one is not None]):
            classes = tf.ensure_shape(tf.identity(classes), [None])
        return small, tf.ensure_shape(boxes * tf.ensure_shape(scale, [4]), [None, 4]), classes

    return prepare


def _view(spec: DetectorSpec, augmentation: Augmentation | None, *, seed: int) -> Any:
    """Returns a function of (position, prepared element) to (scaled image, boxes, classes, ignored)."""

    def view(position: tf.Tensor, prepared: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, ...]:
        image, boxes, classes = prepared
        if augmentation is None:
            pixels = (tf.cast(image, tf.float32) - spec.pixel_mean) / spec.pixel_scale
            return pixels, boxes, classes, tf.zeros_like(classes, tf.bool)
        pixels, moved, visible = random_view(
            image,
            boxes,
            height=spec.height,
            width=spec.width,
            resize=spec.resize,
            settings=augmentation,
            seed=tf.stack([tf.constant(seed, tf.int64), position]),
            pixel_mean=spec.pixel_mean,
            pixel_scale=spec.pixel_scale,
        )
        # What is mostly cut away is neither object nor background.
        return pixels, moved, classes, tf.logical_not(visible)

    return view
