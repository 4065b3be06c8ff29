from __future__ import annotations

import numpy as np
from PIL import Image

from keras_retina.data.reading.look_alike import joined, look_alike_groups
from keras_retina.data.records import Dataset, Record


def dataset_of(folder, pictures):
    records = []
    for number, (name, pixels) in enumerate(pictures.items()):
        Image.fromarray(pixels).save(folder / name)
        empty = np.zeros((0, 4), np.float32)
        records.append(Record(number, folder / name, name, 96, 128, empty, np.zeros(0, np.int32), np.zeros(0, bool)))
    return Dataset("zoo", "all", ("cat",), (1,), tuple(records))


def noise(seed):
    cells = np.random.default_rng(seed).integers(0, 255, (12, 16, 3), np.uint8)
    return np.asarray(Image.fromarray(cells).resize((128, 96), Image.Resampling.BILINEAR))


def test_different_photographs_are_alone(tmp_path):
    dataset = dataset_of(tmp_path, {f"{seed}.png": noise(seed) for seed in range(4)})
    assert look_alike_groups(dataset) == [[0], [1], [2], [3]]


def test_frames_of_one_video_are_together_in_the_order_of_their_numbers(tmp_path):
    scene, other = noise(0), noise(1)
    frames = {f"a{number}.png": np.roll(scene, number - 8, axis=1) for number in (8, 9, 10)}  # one pixel a frame
    dataset = dataset_of(tmp_path, {**frames, "b1.png": other})
    assert look_alike_groups(dataset) == [[0, 1, 2], [3]]


def test_versions_that_roboflow_made_of_one_photograph_are_together(tmp_path):
    pictures = {f"cat_jpg.rf.{'0' * 31}{number}.png": noise(number) for number in range(2)}
    dataset = dataset_of(tmp_path, {**pictures, "cat_jpg.png": noise(2)})
    assert look_alike_groups(dataset) == [[0, 1], [2]]


def test_an_image_that_cannot_be_decoded_is_alone(tmp_path):
    dataset = dataset_of(tmp_path, {"a.png": noise(0), "b.png": noise(0)})
    (tmp_path / "b.png").write_bytes(b"no image")
    assert look_alike_groups(dataset) == [[0], [1]]
    assert look_alike_groups(dataset_of(tmp_path, {})) == []


def test_pairs_are_joined_over_others():
    assert joined(5, [(3, 1), (4, 3)]) == [[0], [1, 3, 4], [2]]
    assert joined(0, []) == []
