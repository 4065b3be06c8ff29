from __future__ import annotations

import numpy as np
import pytest

from keras_retina.foundation.captions import place_captions


def placed(boxes, size=(10, 40), height=200, width=300):
    corners = place_captions(np.array(boxes), np.array([size] * len(boxes)), height=height, width=width)
    return [(y, x, y + size[0], x + size[1]) for y, x in corners.tolist()]


def shared(first, second):
    height = min(first[2], second[2]) - max(first[0], second[0])
    width = min(first[3], second[3]) - max(first[1], second[1])
    return max(0, height) * max(0, width)


def test_a_caption_stands_on_its_box_from_the_left():
    assert placed([[50, 60, 90, 150]]) == [(40, 60, 50, 100)]


def test_at_the_edges_of_the_picture_it_stays_inside():
    assert placed([[0, 280, 30, 300]]) == [(0, 260, 10, 300)]
    assert placed([[-5, -9, 400, 500]])[0][:2] == (0, 0)


def test_a_box_of_the_same_place_gets_the_next_free_place():
    first, second, third = placed([[50, 60, 90, 150]] * 3)
    assert first == (40, 60, 50, 100)
    assert second == (40, 110, 50, 150)  # above, from the right
    assert third == (90, 60, 100, 100)  # below


@pytest.mark.parametrize("number", [2, 5, 12])
def test_captions_of_overlapping_boxes_do_not_cover_each_other(number):
    generator = np.random.default_rng(number)
    corners = generator.uniform(40, 90, (number, 2))
    plates = placed(np.concatenate([corners, corners + generator.uniform(20, 90, (number, 2))], axis=1))
    assert max(shared(a, b) for index, a in enumerate(plates) for b in plates[:index]) == 0


def test_another_box_is_not_hidden_where_there_is_a_place_beside_it():
    small = [41, 62, 49, 98]  # just where the caption of the first would stand
    plate = placed([[50, 60, 90, 150], small])[0]
    assert shared(plate, small) == 0


def test_a_full_picture_still_gets_every_caption():
    plates = placed([[5, 5, 15, 15]] * 30, height=30, width=50)
    assert len(plates) == 30
    assert all(y1 >= 0 and y2 <= 30 and x1 >= 0 and x2 <= 50 for y1, x1, y2, x2 in plates)


def test_no_boxes_and_captions_larger_than_the_picture():
    assert place_captions(np.zeros((0, 4)), np.zeros((0, 2)), height=10, width=10).shape == (0, 2)
    assert placed([[1, 1, 3, 3]], height=5, width=20)[0][:2] == (0, 0)
