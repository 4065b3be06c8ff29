"""A few images are drawn by the seed alone, nested by their number, with every class in them where there is room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from keras_retina.data.reading.few_images import draw_images
from keras_retina.data.records import Dataset, Record
from keras_retina.foundation.errors import InputError


def split_of(classes: list[list[int]], *, crowds: tuple[int, ...] = ()) -> Dataset:
    """A split whose image n has an object of each of `classes[n]`; all objects of the images in `crowds` are crowds."""
    records = []
    for number, codes in enumerate(classes):
        boxes = np.tile(np.array([[0, 0, 8, 8]], np.float32), (len(codes), 1))
        crowd = np.full(len(codes), number in crowds)
        records.append(Record(number, Path(f"{number}.jpg"), f"{number}.jpg", 9, 9, boxes, np.array(codes, int), crowd))
    return Dataset("set", "train", ("often", "rare", "never"), (1, 2, 3), tuple(records))


def ids(dataset: Dataset) -> list[int]:
    return [record.image_id for record in dataset.records]


MANY = split_of([[0]] * 40 + [[1]] + [[0]] * 40)


@pytest.mark.parametrize("seed", range(5))
def test_the_rare_class_is_in_the_first_two_images(seed):
    drawn = draw_images(MANY, 2, seed=seed)
    assert 40 in ids(drawn)
    assert len(set(ids(drawn))) == 2


def test_an_image_with_two_classes_serves_both():
    assert ids(draw_images(split_of([[0], [0, 1], [0]]), 1, seed=3)) == [1]


def test_the_seed_alone_decides_and_fewer_are_among_more():
    assert ids(draw_images(MANY, 10, seed=1)) == ids(draw_images(MANY, 10, seed=1))
    assert ids(draw_images(MANY, 10, seed=1)) != ids(draw_images(MANY, 10, seed=2))
    assert set(ids(draw_images(MANY, 10, seed=1))) < set(ids(draw_images(MANY, 30, seed=1)))


def test_images_stay_in_their_order_and_all_of_them_is_the_split():
    assert ids(draw_images(MANY, 30, seed=1)) == sorted(ids(draw_images(MANY, 30, seed=1)))
    assert draw_images(MANY, len(MANY.records), seed=1) == MANY


def test_a_class_that_is_only_a_crowd_needs_no_image():
    crowd = split_of([[1], [0], [0]], crowds=(0,))
    assert {ids(draw_images(crowd, 1, seed=seed))[0] for seed in range(20)} == {1, 2}


def test_images_without_objects_can_be_drawn():
    assert len(draw_images(split_of([[], [], []]), 2, seed=0).records) == 2


def test_more_images_than_there_are_is_an_error():
    with pytest.raises(InputError, match=r"data\.train_images: expected at most the 3 images of train.*train_images=4"):
        draw_images(split_of([[], [], []]), 4, seed=0)
