"""A photo lies in the input where its kind of detector expects it, and boxes come back to the photo."""

from __future__ import annotations

import numpy as np
import pytest

from edge.detectors.pictures import Steps, as_input, bilinear, place, takes_bytes

PHOTO = np.random.default_rng(0).integers(0, 256, (60, 100, 3), np.uint8)
DETAIL = {"dtype": np.float32, "quantization": (0.0, 0)}


def steps(resize, **changes):
    return Steps((0.0,), (255.0,), resize=resize, antialias=False, **changes)


@pytest.mark.parametrize(
    ("resize", "scales", "corner", "inner"),
    [
        ("stretch", (2.0, 0.8), (0, 0), (0, 120, 0, 80)),
        ("letterbox", (0.8, 0.8), (0, 0), (0, 48, 0, 80)),
        ("letterbox-grey", (0.8, 0.8), (0, 0), (0, 48, 0, 80)),
        ("letterbox-centre", (0.8, 0.8), (36, 0), (36, 84, 0, 80)),
        ("crop", (2.0, 2.0), (0, -60), (0, 120, 0, 80)),
    ],
)
def test_where_a_photo_lies(resize, scales, corner, inner):
    pixels, placement = place(PHOTO, 120, width=80, steps=steps(resize))
    assert pixels.shape == (120, 80, 3)
    assert placement.scales == pytest.approx(scales)
    assert placement.corner == corner
    top, bottom, left, right = inner
    around = np.ones((120, 80), bool)
    around[top:bottom, left:right] = False
    assert set(np.unique(pixels[around])) <= {0 if resize == "letterbox" else 114}
    box = np.array(
        [
            [
                corner[0] + 10 * scales[0],
                corner[1] + 40 * scales[1],
                corner[0] + 20 * scales[0],
                corner[1] + 50 * scales[1],
            ]
        ]
    )
    assert placement.to_image(box)[0].tolist() == pytest.approx([10, 40, 20, 50])


def test_an_odd_row_of_a_letterbox_is_below():
    _, placement = place(np.zeros((99, 100, 3), np.uint8), 100, width=100, steps=steps("letterbox-centre"))
    assert placement.corner == (0, 0)
    _, placement = place(np.zeros((97, 100, 3), np.uint8), 100, width=100, steps=steps("letterbox-centre"))
    assert placement.corner == (1, 0)


def test_another_colour_can_be_around():
    pixels, _ = place(PHOTO, 120, width=80, steps=steps("letterbox-centre", fill=0))
    assert not pixels[:36].any()


def test_a_photo_of_one_pixel_and_a_very_long_one_fit():
    for shape in ((1, 1, 3), (1, 5000, 3), (5000, 1, 3)):
        for resize in ("stretch", "letterbox", "letterbox-grey", "letterbox-centre", "crop"):
            pixels, _ = place(np.zeros(shape, np.uint8), 32, width=32, steps=steps(resize))
            assert pixels.shape == (32, 32, 3)


def test_bilinear_mixes_the_nearest_pixels():
    row = np.array([[[0, 0, 0], [100, 100, 100]]], np.uint8)
    assert bilinear(row, 1, width=4)[0, :, 0].tolist() == [0, 25, 75, 100]
    assert bilinear(np.repeat(row, 2, axis=0), 1, width=1)[0, 0, 0] == 50
    assert bilinear(row, 1, width=2) is row


@pytest.mark.parametrize("size", [(24, 40), (61, 99), (120, 200), (240, 64), (1, 1)])
def test_bilinear_is_opencv_s(size):
    cv2 = pytest.importorskip("cv2")
    expected = cv2.resize(PHOTO, size[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.array_equal(bilinear(PHOTO, size[0], width=size[1]), expected)


def test_pixels_are_normalised_ordered_and_quantized():
    pixels = np.array([[[0, 128, 255]]], np.uint8)
    blue_first = Steps((1.0, 2.0, 3.0), (2.0, 2.0, 2.0), bgr=True)
    assert as_input(pixels, DETAIL, steps=blue_first, nchw=False).tolist() == [[[[127.0, 63.0, -1.5]]]]
    assert as_input(pixels, DETAIL, steps=blue_first, nchw=True).shape == (1, 3, 1, 1)
    grey = as_input(pixels, DETAIL, steps=steps("stretch"), nchw=False, grey=True)
    assert grey.shape == (1, 1, 1, 1)
    assert grey[0, 0, 0, 0] == pytest.approx(round(128 * 0.587 + 255 * 0.114) / 255)
    int8 = {"dtype": np.int8, "quantization": (1 / 255, -128)}
    assert as_input(pixels, int8, steps=steps("stretch"), nchw=False).tolist() == [[[[-128, 0, 127]]]]


@pytest.mark.parametrize(
    ("quantization", "mean", "std", "expected"),
    [
        ((1 / 255, 0), 0, 255, True),
        ((1 / 128, 128), 127.5, 127.5, True),
        ((0.0, 0), 0, 255, True),
        ((0.02, 110), 0, 255, False),
    ],
)
def test_a_uint8_input_gets_camera_bytes_where_that_is_what_it_means(quantization, mean, std, expected):
    detail = {"dtype": np.uint8, "quantization": quantization}
    assert takes_bytes(detail, Steps((mean,), (std,))) is expected
    pixels = np.array([[[0, 100, 255]]], np.uint8)
    found = as_input(pixels, detail, steps=Steps((mean,), (std,)), nchw=False)
    assert (found[0] == pixels).all() == expected
