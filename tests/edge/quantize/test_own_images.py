"""Calibration on whatever images a user has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.quantize.calibration import calibration_samples
from edge.quantize.own_images import MOST_IMAGES, calibration_images
from keras_retina.data.images import read_image
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf


def forms(paths: list[Path]) -> dict:
    arrays = [read_image(path) for path in paths]
    only = tf.TensorSpec([None, None, 3], tf.uint8)
    labels = {"classes": tf.TensorSpec([], tf.int32)}
    return {
        "paths": paths,
        "text": [str(path) for path in paths],
        "arrays": arrays,
        "pillow": [Image.open(path) for path in paths],
        "generator": (array for array in arrays),
        "tf.data": tf.data.Dataset.from_generator(lambda: arrays, output_signature=only),
        "tf.data with labels": tf.data.Dataset.from_generator(
            lambda: ((array, {"classes": 0}) for array in arrays), output_signature=(only, labels)
        ),
    }


@pytest.mark.parametrize("form", forms([]).keys())
def test_every_form_of_the_same_images_gives_the_same_inputs_again_and_again(form, image_paths, tiny_spec):
    found = calibration_images(forms(image_paths)[form], tiny_spec)
    expected = np.concatenate([image for (image,) in calibration_samples(image_paths, tiny_spec)])
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate(list(found)), expected)


def test_no_more_images_are_read_than_are_used(tiny_spec):
    asked = []

    def endless():
        while True:
            asked.append(1)
            yield np.zeros((8, 8, 3), np.uint8)

    assert len(calibration_images(endless(), tiny_spec).pixels) == len(asked) == MOST_IMAGES


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "expected images of the training data. Received: none"),
        ("photo.jpg", "expected several images. Received: str"),
        (3, "expected several images. Received: int"),
        ([np.zeros((8, 8, 3), np.float32)], r"image 0: expected uint8.*float32 \[8, 8, 3\].*not scaled"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((1, 8, 8, 3), np.uint8)], r"image 1.*\[1, 8, 8, 3\]. Pass.*batched"),
        (["nowhere.png"], "nowhere.png: the image file does not exist"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(images, message, tiny_spec):
    with pytest.raises(InputError, match=message) as refused:
        calibration_images(images, tiny_spec)
    assert "\n" not in str(refused.value)
