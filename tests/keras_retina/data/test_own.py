"""Batches of somebody's tf.data: what comes out of every layout of boxes, and what is refused."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from keras_retina.data.own import detector_batches, yxyx_pixels
from keras_retina.data.resize import resize_image
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf
from keras_retina.geometry.boxes import decode
from keras_retina.model.spec import DetectorSpec

SPEC = DetectorSpec(
    class_names=("a", "b"),
    height=64,
    width=64,
    resize="stretch",
    levels=(3, 4),
    anchor_size=3.0,
    anchor_scales=(1.0,),
    anchor_ratios=(1.0,),
    coder_weights=(10.0, 10.0, 5.0, 5.0),
)
# One box of an image that is 80 pixels high and 100 wide, in every layout.
LAYOUTS = {
    "yxyx": [20, 30, 60, 80],
    "xyxy": [30, 20, 80, 60],
    "xywh": [30, 20, 50, 40],
    "center_xywh": [55, 40, 50, 40],
    "rel_yxyx": [0.25, 0.3, 0.75, 0.8],
    "rel_xyxy": [0.3, 0.25, 0.8, 0.75],
    "rel_xywh": [0.3, 0.25, 0.5, 0.5],
}


def picture(number: int = 0, height: int = 80, width: int = 100) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)


def dataset(*elements, image_type=tf.uint8, box_type=tf.float32, class_type=tf.int32) -> tf.data.Dataset:
    """Of (image, boxes, classes)."""
    signature = (
        tf.TensorSpec([None, None, 3], image_type),
        {"boxes": tf.TensorSpec([None, 4], box_type), "classes": tf.TensorSpec([None], class_type)},
    )

    def generate():
        for image, boxes, classes in elements:
            labels = {"boxes": np.reshape(boxes, (-1, 4)).astype(box_type.as_numpy_dtype), "classes": classes}
            yield image, labels

    return tf.data.Dataset.from_generator(generate, output_signature=signature)


def first(batches: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    images, wanted = next(iter(batches))
    return images.numpy(), wanted["classes"].numpy(), wanted["boxes"].numpy()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_boxes_gives_the_same_pixels(layout):
    found = yxyx_pixels(tf.constant([LAYOUTS[layout]], tf.float32), tf.constant(picture()), box_format=layout)
    np.testing.assert_allclose(found, [[20, 30, 60, 80]], atol=1e-4)
    none = yxyx_pixels(tf.zeros([0, 4]), tf.constant(picture()), box_format=layout)
    assert none.shape == (0, 4)


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
@pytest.mark.parametrize("layout", ["xywh", "rel_xyxy"])
def test_a_batch_holds_the_resized_image_and_its_box(layout, resize):
    spec = dataclasses.replace(SPEC, resize=resize)
    one = dataset((picture(), LAYOUTS[layout], [1]))
    images, codes, targets = first(detector_batches(one, spec, batch_size=1, box_format=layout))
    expected = (resize_image(picture(), 64, width=64, mode=resize).astype(np.float32) - 127.5) / 127.5
    np.testing.assert_allclose(images, expected[None], atol=1e-6)
    positive = codes[0] >= 0
    assert positive.any() and set(codes[0][positive]) == {1}
    boxes = decode(targets[0, positive, :4], spec.anchors()[positive], weights=spec.coder_weights)
    scale = np.array([64 / 80, 64 / 100, 64 / 80, 64 / 100]) if resize == "stretch" else 51 / 80
    if resize == "letterbox":  # 80 x 100 becomes 51 x 64
        scale = np.array([51 / 80, 64 / 100, 51 / 80, 64 / 100])
    np.testing.assert_allclose(boxes, np.tile(np.array([20, 30, 60, 80]) * scale, (len(boxes), 1)), rtol=1e-4)


def test_an_image_without_boxes_is_background_everywhere():
    one = dataset((picture(), [], []))
    _, codes, targets = first(detector_batches(one, SPEC, batch_size=1))
    assert (codes == -1).all() and not targets.any()


def test_boxes_that_stand_a_little_over_the_border_are_clipped():
    over, inside = dataset((picture(), [-2, 30, 60, 102], [0])), dataset((picture(), [0, 30, 60, 100], [0]))
    for a, b in zip(*(first(detector_batches(one, SPEC, batch_size=1)) for one in (over, inside)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_images_of_all_sizes_share_a_batch_and_come_again_for_ever():
    several = dataset(*[(picture(n, 40 + 10 * n, 90), [0, 0, 30, 30], [0]) for n in range(3)])
    batches = detector_batches(several, SPEC, batch_size=2, shuffle=0)
    assert batches.cardinality() == tf.data.INFINITE_CARDINALITY
    images = np.concatenate([image.numpy() for image, _ in batches.take(3)])
    np.testing.assert_array_equal(images[:3], images[3:])
    assert len({image.tobytes() for image in images[:3]}) == 3


def test_without_repeat_the_batches_end_and_a_part_of_one_is_left_out():
    three = dataset(*[(picture(n), [0, 0, 30, 30], [0]) for n in range(3)])
    assert len(list(detector_batches(three, SPEC, batch_size=2, repeat=False))) == 1


def test_the_same_seed_gives_the_same_order_and_views():
    several = dataset(*[(picture(n), [10, 10, 60, 60], [0]) for n in range(6)])

    def views(seed: int) -> np.ndarray:
        return first(detector_batches(several, SPEC, batch_size=6, augmentation={}, seed=seed))[0]

    np.testing.assert_array_equal(views(1), views(1))
    assert not np.array_equal(views(1), views(2))


def test_augmentation_moves_the_boxes_with_the_image():
    """A white rectangle on black: where the view is bright, there is the box."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[8:40, 16:48] = 255
    one = dataset((image, [8, 16, 40, 48], [0]))
    changes = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "scale": (0.8, 0.8), "aspect": 1.0}
    images, codes, targets = first(detector_batches(one, SPEC, batch_size=8, augmentation=changes))
    for view, code, target in zip(images, codes, targets, strict=True):
        rows, columns = np.nonzero(view[..., 0] > 0.9)
        positive = code >= 0
        boxes = decode(target[positive, :4], SPEC.anchors()[positive], weights=SPEC.coder_weights)
        corners = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
        np.testing.assert_allclose(boxes, np.tile(corners, (len(boxes), 1)), atol=1.5)
    assert len({view.tobytes() for view in images}) > 1


GOOD = (picture(), [20, 30, 60, 80], [0])
GREY = tf.data.Dataset.from_tensors((picture()[..., :1], {"boxes": [[20.0, 30.0, 60.0, 80.0]], "classes": [0]}))


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (dataset((picture() / 255.0, GOOD[1], [0]), image_type=tf.float32), {}, "expected uint8.*not scale.*tf.cast"),
        (dataset((picture() // 255, GOOD[1], [0])), {}, "no pixel over 1 in the first 1 images.*Do not scale"),
        (dataset((picture(), [60, 50, 30, 20], [0])), {"box_format": "xyxy"}, "behind.*y 50 to 20 and x 60 to 30"),
        (dataset((picture(), [60, 30, 90, 20], [0])), {"box_format": "xyxy"}, "whose end is behind their start"),
        (dataset((picture(), [30, 50, 80, 99], [0])), {"box_format": "xyxy"}, "inside their image.*box_format='xyxy'"),
        (dataset((picture(), LAYOUTS["rel_yxyx"], [0])), {}, "expected boxes in pixels.*rel_yxyx"),
        (dataset((picture(), [20, 30, 60, float("nan")], [0])), {}, "boxes that are numbers"),
        (dataset((picture(), GOOD[1], [2])), {}, "image 0: expected classes from 0 to 1.*Received: 2"),
        (dataset(GOOD, (picture(), GOOD[1], [-1])), {}, "image 1: expected classes from 0.*Received: -1"),
        (dataset((picture(), GOOD[1], [0.0]), class_type=tf.float32), {}, "classes: expected integers.*float32"),
        (dataset((picture(), [GOOD[1], GOOD[1]], [0])), {}, "image 0: .*2 boxes but 1 class. Correct"),
        (dataset((picture(), GOOD[1], [0, 1])), {}, "image 0: .*1 box but 2 classes. Correct"),
        (dataset((picture(), [], [0])), {}, r"Received: \[80, 100, 3\], \[0, 4\] and \[1\]. An image without objects"),
        (GREY, {}, r"image 0: expected RGB.*\[80, 100, 1\].*tf.image.grayscale_to_rgb"),
        (dataset(), {}, "expected at least one image"),
        (dataset(GOOD).batch(1), {}, "one image.*Received: an image of shape .*before you batch"),
        (dataset(GOOD).map(lambda image, labels: image), {}, "Received: another structure"),
        (dataset(GOOD).map(lambda image, labels: (image, {"boxes": labels["boxes"]})), {}, "keys 'boxes'"),
        ([GOOD], {}, "expected a tf.data.Dataset. Received: list"),
        (dataset(GOOD), {"box_format": "xyhw"}, "box_format='xyhw'. Did you mean 'xywh'"),
        (dataset(GOOD), {"augmentation": {"mosaic": 0.5}}, "one image at a time.*mosaic=0.5"),
        (dataset(GOOD), {"augmentation": {"flip": True}}, "Augmentation: flip: unknown key"),
        (dataset(GOOD), {"batch_size": 0}, "batch_size=0"),
    ],
)
def test_mistakes_are_refused_at_once_in_one_line(data, options, message):
    with pytest.raises(InputError, match=message) as refused:
        detector_batches(data, SPEC, **{"batch_size": 2, **options})
    assert "\n" not in str(refused.value)


def test_a_black_image_among_others_is_accepted():
    black = np.zeros((30, 30, 3), np.uint8)
    detector_batches(dataset((black, [], []), GOOD), SPEC, batch_size=2)


def test_a_class_that_does_not_exist_later_on_ends_the_training():
    batches = detector_batches(dataset(GOOD, (picture(), GOOD[1], [7])), SPEC, batch_size=1, shuffle=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="classes: expected 0 to 1"):
        list(batches.take(2))
