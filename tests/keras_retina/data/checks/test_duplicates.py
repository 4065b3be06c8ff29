from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.checks.duplicates import (
    FEWEST_NEIGHBOURS,
    GREY_DIFFERENCE,
    HASH_DISTANCE,
    DuplicateGroup,
    DuplicatePair,
    find_duplicates,
    groups,
    near_pairs,
)
from keras_retina.data.fingerprints import look_at
from keras_retina.data.records import Record


def scene(seed: int, size: int = 128) -> np.ndarray:
    """A smooth random picture, as structured as a photograph at thumbnail size."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


class Folder:
    """Pictures saved in a folder, with the boxes of each."""

    def __init__(self, path: Path) -> None:
        self.path, self.records = path, []

    def save(self, name: str, picture: np.ndarray, boxes=(), **options) -> None:
        Image.fromarray(picture).save(self.path / name, **options)
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        number, none = len(self.records) + 1, np.zeros(len(boxes), bool)
        height, width = picture.shape[:2]
        self.records.append(Record(number, self.path / name, name, height, width, boxes, none.astype(np.int32), none))

    def found(self):
        return find_duplicates(
            [record.file_name for record in self.records],
            [look_at(record.path).fingerprint for record in self.records],
            records=self.records,
        )

    def pairs(self) -> list[tuple[str, str, bool]]:
        return [(pair.first, pair.second, pair.exact) for pair in self.found().pairs]


@pytest.fixture
def folder(tmp_path) -> Folder:
    return Folder(tmp_path)


def test_equal_files_are_exact_duplicates_of_the_first(folder):
    for name in ("a.png", "b.png", "c.png"):
        folder.save(name, scene(1))
    assert folder.pairs() == [("a.png", "b.png", True), ("a.png", "c.png", True)]


def test_equal_files_are_duplicates_whatever_their_boxes_are(folder):
    folder.save("a.png", scene(1), [[0, 0, 20, 20]])
    folder.save("b.png", scene(1), [[80, 80, 99, 99], [1, 50, 9, 99]])
    assert folder.pairs() == [("a.png", "b.png", True)]


def test_copy_saved_again_or_resized_is_nearly_identical(folder):
    boxes = np.array([[10, 10, 50, 40], [60, 70, 120, 100], [3, 100, 9, 108]])
    folder.save("a.png", scene(1), boxes)
    folder.save("low.jpg", scene(1), boxes, quality=30)
    folder.save("small.png", np.asarray(Image.fromarray(scene(1)).resize((64, 64))), boxes / 2)
    folder.save("unlabelled.jpg", scene(1), quality=60)
    folder.save("other.png", scene(2), boxes)
    names = ["a.png", "low.jpg", "small.png", "unlabelled.jpg"]
    assert folder.pairs() == [(first, second, False) for i, first in enumerate(names) for second in names[i + 1 :]]


def with_object(seed: int, y: int, x: int) -> np.ndarray:
    """The fixed background with an object of 14 x 14 px, one percent of the picture."""
    picture = scene(5, size=140).copy()
    picture[y : y + 14, x : x + 14] = np.asarray(Image.fromarray(scene(seed)).resize((14, 14)))
    return picture


def test_a_fixed_camera_takes_different_pictures_of_an_object_that_moves(folder):
    for number, (y, x) in enumerate(((10, 10), (60, 60), (100, 20), (30, 110))):
        folder.save(f"{number}.png", with_object(9, y, x), [[y, x, y + 14, x + 14]])
    folder.save("copy of 2.jpg", with_object(9, 100, 20), [[100, 20, 114, 34]], quality=70)
    thumbnails = [look_at(record.path).fingerprint for record in folder.records]
    near, _ = near_pairs(np.stack([one.bits for one in thumbnails]), np.stack([one.grey for one in thumbnails]))
    assert len(near) == 10  # the pictures as a whole are all nearly the same
    assert folder.pairs() == [("2.png", "copy of 2.jpg", False)]


def test_another_object_at_the_same_place_is_another_picture(folder):
    for seed in (7, 8):
        folder.save(f"{seed}.png", with_object(seed, 50, 50), [[50, 50, 64, 64]])
    assert folder.pairs() == []


def test_an_object_that_only_one_of_two_pictures_has_makes_them_different(folder):
    folder.save("empty.png", scene(5, size=140))
    folder.save("one.png", with_object(9, 50, 50), [[50, 50, 64, 64]])
    folder.save("empty again.jpg", scene(5, size=140), quality=80)
    assert folder.pairs() == [("empty.png", "empty again.jpg", False)]


def test_different_and_mirrored_pictures_are_not_duplicates(folder):
    for seed in range(30):
        folder.save(f"{seed}.png", scene(seed))
    folder.save("mirrored.png", np.ascontiguousarray(scene(0)[:, ::-1]))
    assert folder.pairs() == []


def test_flat_pictures_of_different_colour_are_not_duplicates(folder):
    for level in (0, 128, 255):
        folder.save(f"{level}.png", np.full((32, 32, 3), level, np.uint8))
    assert folder.pairs() == []


def test_no_images_have_no_duplicates(folder):
    assert folder.found().pairs == () and folder.found().crowded == 0
    assert groups(()) == []


def thumbnails(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random thumbnails; the first of every five has four copies, each a little further away."""
    generator = np.random.default_rng(0)
    grey = generator.integers(30, 220, (count, 16, 17)).astype(np.int16)
    for start in range(0, count, 5):
        for step in range(1, min(5, count - start)):
            grey[start + step] = grey[start] + generator.integers(-4 * step, 4 * step + 1, (16, 17))
    bits = np.packbits(grey[:, :, :-1] < grey[:, :, 1:], axis=None).reshape(count, 32).view(np.uint64)
    return bits, grey.astype(np.uint8)


def all_near_pairs(bits: np.ndarray, grey: np.ndarray) -> list[list[int]]:
    """The oracle: every pair, bit by bit."""
    flat = np.unpackbits(bits.view(np.uint8), axis=1)
    return [
        [first, second]
        for first in range(len(bits))
        for second in range(first + 1, len(bits))
        if (flat[first] != flat[second]).sum() <= HASH_DISTANCE
        and np.abs(grey[first].astype(int) - grey[second]).mean() <= GREY_DIFFERENCE
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 64, 65, 300])
def test_the_search_finds_what_comparing_all_pairs_finds(count):
    bits, grey = thumbnails(count)
    pairs, crowded = near_pairs(bits, grey)
    assert pairs.tolist() == all_near_pairs(bits, grey)
    assert crowded == 0 and pairs.shape[1] == 2


def test_inverted_thumbnails_differ_in_all_bits():
    bits = np.array([[0] * 4, [2**64 - 1] * 4], np.uint64)  # 256 would be 0 in a byte
    assert near_pairs(bits, np.full((2, 16, 17), 90, np.uint8))[0].tolist() == []


def test_of_an_image_with_too_many_neighbours_the_nearest_are_compared():
    count = 3 * FEWEST_NEIGHBOURS
    grey = np.full((count, 16, 17), 90, np.uint8)
    bits = np.zeros((count, 4), np.uint64)
    bits[1:] = 1  # one bit from the first
    bits[count - 2] = 0
    pairs, crowded = near_pairs(bits, grey, most=0)
    assert crowded == count - 1 - FEWEST_NEIGHBOURS
    assert (np.bincount(pairs[:, 0]) <= FEWEST_NEIGHBOURS).all()
    assert [0, count - 2] in pairs.tolist()
    assert len(near_pairs(bits, grey)[0]) == count * (count - 1) // 2  # no limit bites on a small set


def test_pairs_that_share_a_key_are_one_group():
    pairs = [
        DuplicatePair("a", "b", True),
        DuplicatePair("c", "d", False),
        DuplicatePair("b", "e", True),
        DuplicatePair("f", "g", True),
        DuplicatePair("d", "g", True),
    ]
    assert groups(pairs) == [DuplicateGroup(("a", "b", "e"), True), DuplicateGroup(("c", "d", "f", "g"), False)]
