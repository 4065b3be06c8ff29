"""`data.split: auto`: splits that a folder does not have are made, kept, and read the same by every stage."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.reading.folder import DataFolder, describe_folder, load_split, made_splits, open_folder
from keras_retina.data.reading.split_lists import SplitLists, describe, read_lists, write_lists
from keras_retina.foundation.errors import InputError
from keras_retina.recipe.data import Data

AUTO = Data(split="auto")


def write_split(root, split, count, *, first=0):
    """Writes a COCO split of noise images, one box each, of two classes in turns."""
    (root / "images").mkdir(exist_ok=True, parents=True)
    (root / "annotations").mkdir(exist_ok=True)
    numbers = range(first, first + count)
    for number in numbers:
        cells = np.random.default_rng(number).integers(0, 255, (12, 16, 3), np.uint8)
        Image.fromarray(cells).resize((64, 48), Image.Resampling.BILINEAR).save(root / "images" / f"{number}.png")
    labels = {
        "images": [{"id": number, "file_name": f"{number}.png", "width": 64, "height": 48} for number in numbers],
        "annotations": [
            {"id": number, "image_id": number, "category_id": 1 + number % 2, "bbox": [1, 1, 9, 9]}
            for number in numbers
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }
    (root / "annotations" / f"{split}.json").write_text(json.dumps(labels))


def opened(root: Path, lists: SplitLists) -> DataFolder:
    return replace(open_folder(root, AUTO), lists=lists)


def names(dataset):
    return {record.file_name for record in dataset.records}


def test_a_validation_split_is_made_of_the_training_images(tmp_path):
    write_split(tmp_path, "train", 40)
    lists = made_splits(open_folder(tmp_path, AUTO))
    assert lists == made_splits(open_folder(tmp_path, AUTO))
    train, val = (load_split(opened(tmp_path, lists), split) for split in ("train", "val"))
    assert (len(train.records), len(val.records)) == (34, 6)  # 15 %
    assert names(train) | names(val) == {f"{number}.png" for number in range(40)}
    assert not names(train) & names(val)
    assert (train.split, val.split) == ("train", "val")
    assert sorted(np.concatenate([record.classes for record in val.records])) == [0, 0, 0, 1, 1, 1]
    assert describe(lists) == "made a split of 40 images (train): train 34, val 6"


def test_splits_that_the_folder_has_stay_as_they_are(tmp_path):
    write_split(tmp_path, "train", 20)
    write_split(tmp_path, "valid", 3, first=50)
    assert made_splits(open_folder(tmp_path, AUTO)) is None
    lists = made_splits(open_folder(tmp_path, Data(split="auto", test="test")))
    assert set(lists.files) == {"train", "test"}
    assert len(load_split(opened(tmp_path, lists), "val").records) == 3
    assert made_splits(open_folder(tmp_path, Data())) is None


def test_a_folder_without_splits_is_divided_as_a_whole(tmp_path):
    write_split(tmp_path, "all", 40)
    lists = made_splits(open_folder(tmp_path, Data(split="auto", test="test")))
    assert {name: len(files) for name, files in lists.files.items()} == {"train": 28, "val": 6, "test": 6}
    with pytest.raises(InputError, match=r"Received: images without any split.*--set data\.split=auto"):
        load_split(open_folder(tmp_path), "train")


def test_the_seed_of_the_split_draws_another(tmp_path):
    write_split(tmp_path, "train", 40)
    assert made_splits(open_folder(tmp_path, AUTO)) != made_splits(
        open_folder(tmp_path, Data(split="auto", split_seed=1))
    )


def test_lists_are_kept_and_a_damaged_file_is_named(tmp_path):
    lists = SplitLists("train", {"train": ("a.png",), "val": ("b.png",)})
    file = tmp_path / "splits.json"
    write_lists(file, lists)
    assert read_lists(file) == lists
    file.write_text("{}")
    with pytest.raises(InputError, match=r"splits\.json: the lists of data\.split=auto were expected"):
        read_lists(file)


def test_images_that_went_are_refused_and_new_ones_are_counted(tmp_path):
    write_split(tmp_path, "train", 40)
    lists = made_splits(open_folder(tmp_path, AUTO))
    write_split(tmp_path, "train", 42)
    val = load_split(opened(tmp_path, lists), "val")
    assert len(val.records) == 6
    assert [(found.kind, found.fixed) for found in val.problems] == [("not_in_any_split", True)]
    assert val.problems[0].detail.startswith("2 images are in no list, such as '40.png'")
    write_split(tmp_path, "train", 1)
    with pytest.raises(InputError, match=r"Received: 6 of 'val' are not there"):
        load_split(opened(tmp_path, lists), "val")


def test_the_folder_is_described_in_one_line(tmp_path):
    write_split(tmp_path, "train", 2)
    write_split(tmp_path, "valid", 1)
    write_split(tmp_path, "extra", 1)
    line = describe_folder(open_folder(tmp_path), {"train": 2, "val": 1})
    assert line == "COCO: train 2, valid -> val 1; not used: extra"
    lists = SplitLists("train", {"train": ("0.png",), "test": ("1.png",)})
    line = describe_folder(opened(tmp_path, lists), {"train": 1, "val": 1, "test": 1})
    assert line == "COCO: train (part) -> train 1, valid -> val 1, train (part) -> test 1; not used: extra"
