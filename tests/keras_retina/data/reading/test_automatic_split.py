from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from keras_retina.data.reading.automatic_split import cut_long_groups, split_images
from keras_retina.data.records import Dataset, Record
from keras_retina.foundation.errors import InputError

SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}


def dataset_of(classes_of_images, names=("cat", "dog", "owl")):
    records = [
        Record(
            number, Path(f"{number}.png"), f"{number}.png", 9, 9, np.zeros((len(found), 4), np.float32),
            np.array(found, np.int32), np.zeros(len(found), bool),
        )
        for number, found in enumerate(classes_of_images)
    ]  # fmt: skip
    return Dataset("zoo", "all", names, (1, 2, 3)[: len(names)], tuple(records))


def split(dataset, groups=None, shares=SHARES, seed=0):
    return split_images(dataset, groups or [[i] for i in range(len(dataset.records))], shares=shares, seed=seed)


def test_every_image_is_in_one_split_and_every_class_in_its_share():
    dataset = dataset_of([[0]] * 60 + [[1, 1]] * 30 + [[2, 0]] * 10 + [[]] * 20)
    lists = split(dataset)
    assert Counter(name for names in lists.values() for name in names) == Counter(r.file_name for r in dataset.records)
    assert [len(lists[name]) for name in SHARES] == pytest.approx([84, 18, 18], abs=1)
    classes = {record.file_name: record.classes.tolist() for record in dataset.records}
    boxes = {name: Counter(c for file in names for c in classes[file]) for name, names in lists.items()}
    assert [boxes["train"][index] for index in range(3)] == pytest.approx([49, 42, 7], abs=2)
    for small in ("val", "test"):
        assert [boxes[small][index] for index in range(3)] == pytest.approx([10.5, 9, 1.5], abs=2)


def test_the_seed_draws_and_the_same_seed_draws_the_same():
    dataset = dataset_of([[number % 2] for number in range(50)])
    assert split(dataset, seed=1) == split(dataset, seed=1) != split(dataset, seed=2)


def test_a_group_stays_together():
    dataset = dataset_of([[number % 3] for number in range(60)])
    groups = [list(range(start, start + 4)) for start in range(0, 60, 4)]
    lists = split(dataset, groups)
    for group in groups:
        assert sum(bool({f"{image}.png" for image in group} & set(names)) for names in lists.values()) == 1


def test_a_class_with_one_image_goes_to_the_training_split():
    lists = split(dataset_of([[2], *[[0]] * 30]))
    assert "0.png" in lists["train"]


def test_too_few_images_for_the_splits_are_refused():
    with pytest.raises(InputError, match=r"zoo: enough images with boxes .* none with a box for 'val'"):
        split(dataset_of([[0], [0]]))
    with pytest.raises(InputError, match="Received: 1 groups"):
        split(dataset_of([[0], [0], [0]]), groups=[[0, 1, 2]])
    with pytest.raises(InputError, match="Received: 0 groups"):
        split(dataset_of([]))


def test_long_groups_are_cut_into_blocks_of_neighbours():
    assert cut_long_groups([[5, 3, 4, 0, 1, 2]], 60) == [[0, 1, 2], [3, 4, 5]]
    assert cut_long_groups([[0, 1], [2]], 40) == [[0, 1], [2]]
    assert cut_long_groups([], 0) == []
