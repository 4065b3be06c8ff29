from __future__ import annotations

import numpy as np
from PIL import Image

from keras_retina.data.checks.dataset import find_duplicates, fingerprint
from keras_retina.data.images import read_image


def scene(seed: int, size: int = 128) -> np.ndarray:
    """A smooth random picture, as structured as a photograph at thumbnail size."""
    coarse = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC))


def save(tmp_path, name, picture, **options):
    Image.fromarray(picture).save(tmp_path / name, **options)
    return fingerprint(tmp_path / name, read_image(tmp_path / name))


def pairs(fingerprints):
    return [(pair.first, pair.second, pair.exact) for pair in find_duplicates(fingerprints)]


def test_equal_files_are_exact_duplicates(tmp_path):
    prints = {name: save(tmp_path, name, scene(1)) for name in ("a.png", "b.png", "c.png")}
    assert pairs(prints) == [("a.png", "b.png", True), ("a.png", "c.png", True), ("b.png", "c.png", True)]


def test_copy_saved_again_or_resized_is_nearly_identical(tmp_path):
    prints = {
        "a.png": save(tmp_path, "a.png", scene(1)),
        "low.jpg": save(tmp_path, "low.jpg", scene(1), quality=30),
        "small.png": save(tmp_path, "small.png", np.asarray(Image.fromarray(scene(1)).resize((64, 64)))),
        "other.png": save(tmp_path, "other.png", scene(2)),
    }
    names = [("a.png", "low.jpg"), ("a.png", "small.png"), ("low.jpg", "small.png")]
    assert pairs(prints) == [(first, second, False) for first, second in names]


def test_different_and_mirrored_pictures_are_not_duplicates(tmp_path):
    prints = {f"{seed}.png": save(tmp_path, f"{seed}.png", scene(seed)) for seed in range(30)}
    prints["mirrored"] = save(tmp_path, "mirrored.png", np.ascontiguousarray(scene(0)[:, ::-1]))
    assert pairs(prints) == []


def test_flat_pictures_of_different_colour_are_not_duplicates(tmp_path):
    prints = {
        str(level): save(tmp_path, f"{level}.png", np.full((32, 32, 3), level, np.uint8)) for level in (0, 128, 255)
    }
    assert pairs(prints) == []


def test_no_images_have_no_duplicates():
    assert find_duplicates({}) == []
