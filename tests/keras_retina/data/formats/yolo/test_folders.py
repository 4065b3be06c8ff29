from __future__ import annotations

import numpy as np
import pytest

from keras_retina.data.reading.folder import available_splits, find_layout, load_dataset, read_dataset
from keras_retina.data.records import Reading
from keras_retina.foundation.errors import InputError

SPLIT = [
    ("images/{s}/a.jpg", "labels/{s}/a.txt"),
    ("images/{s}/film/a.jpg", "labels/{s}/film/a.txt"),
    ("Images/{s}/a.jpg", "Labels/{s}/a.txt"),
    ("image/{s}/a.jpg", "label/{s}/a.txt"),
    ("images/{s}/a.jpg", "images/{s}/a.txt"),
    ("{s}/images/a.jpg", "{s}/labels/a.txt"),
    ("{s}/a.jpg", "{s}/a.txt"),
    ("{s}/a.jpg", "{s}/labels/a.txt"),
]
WHOLE = [
    ("images/a.jpg", "labels/a.txt"),
    ("images/a.jpg", "images/a.txt"),
    ("images/film/a.jpg", "labels/film/a.txt"),
    ("JPEGImages/a.jpg", "labels/a.txt"),
    ("a.jpg", "a.txt"),
    ("a.jpg", "labels/a.txt"),
    ("obj_train_data/a.jpg", "obj_train_data/a.txt"),
    ("data/a.jpg", "data/a.txt"),
    ("film one/a.jpg", "film one/a.txt"),
]


def check(root, split, image, count=1):
    dataset = load_dataset(root, split)
    assert dataset.class_names == ("cat", "dog") and dataset.problems == ()
    assert [record.file_name for record in dataset.records][:1] == [image] and len(dataset.records) == count
    np.testing.assert_allclose(dataset.records[0].boxes, [[30, 80, 70, 120]], atol=1e-4)
    assert dataset.records[0].classes.tolist() == [1]


@pytest.mark.parametrize(("image", "label"), SPLIT)
@pytest.mark.parametrize("names", [("train", "val"), ("train", "valid", "test"), ("train2017", "val2017")])
def test_folders_that_are_called_as_splits(pets, pairs, image, label, names):
    files = {"classes.txt": "cat\ndog\n"}
    for name in names:
        files |= pairs(image.format(s=name), label.format(s=name))
    root = pets(files)
    assert available_splits(root) == list(names)
    for name in names:
        check(root, name, image.format(s=name))


@pytest.mark.parametrize(("image", "label"), WHOLE)
def test_folders_without_splits(pets, pairs, image, label):
    root = pets({"classes.txt": "cat\ndog\n", "README.md": "", **pairs(image, label)})
    assert available_splits(root) == ["all"]
    check(root, "all", image)


@pytest.mark.parametrize(
    "file",
    ["classes.txt", "Classes.txt", "obj.names", "pets.names", "labels.txt", "_darknet.labels", "labels/classes.txt"],
)
def test_files_of_class_names(pets, pairs, file):
    check(pets({file: "cat\r\ndog\r\n\r\n", **pairs("images/a.jpg", "labels/a.txt")}), "all", "images/a.jpg")


def test_a_picture_beside_the_folder_of_images_is_none_of_them(pets, pairs):
    root = pets({"classes.txt": "cat\ndog", "logo.png": None, **pairs("images/a.jpg", "labels/a.txt")})
    check(root, "all", "images/a.jpg")
    assert [item.kind for item in find_layout(root).unread()] == ["unlabelled_image"]


def test_roboflow_darknet_has_the_names_in_each_split(pets, pairs):
    files = {}
    for split in ("train", "valid"):
        files |= {f"{split}/_darknet.labels": "cat\ndog", **pairs(f"{split}/a.jpg", f"{split}/a.txt")}
    root = pets(files)
    assert find_layout(root).kind == "Roboflow darknet" and available_splits(root) == ["train", "valid"]
    check(root, "val", "valid/a.jpg")


def test_label_studio_and_supervision(pets, pairs):
    files = pairs("images/a.jpg", "labels/a.txt")
    studio = pets({"classes.txt": "cat\ndog", "notes.json": '{"categories": []}', **files}, folder="studio")
    assert find_layout(studio).kind == "Label Studio YOLO"
    check(studio, "all", "images/a.jpg")
    check(pets({"data.yaml": "names: [cat, dog]\nnc: 2\n", **files}, folder="supervision"), "all", "images/a.jpg")


def test_lists_of_images_are_the_splits(pets, pairs):
    files = {**pairs("images/a.jpg", "labels/a.txt"), **pairs("images/b.jpg", "labels/b.txt")}
    root = pets({"classes.txt": "cat\ndog", "train.txt": "images/a.jpg\n", "valid.txt": "./images/b.jpg\n", **files})
    assert available_splits(root) == ["train", "valid"]
    check(root, "train", "images/a.jpg")
    check(root, "valid", "images/b.jpg")


def test_a_folder_around_everything_is_looked_through(pets, pairs):
    files = {"classes.txt": "cat\ndog"}
    for split in ("train", "val"):
        files |= pairs(f"images/{split}/a.jpg", f"labels/{split}/a.txt")
    for folder in ("one/data", "two/pets"):
        root = pets(files, folder=folder).parent
        assert available_splits(root) == ["train", "val"]
        check(root, "val", "images/val/a.jpg")


def test_labelimg_writes_ever_longer_class_lists(pets, pairs):
    files = {"labels/train/classes.txt": "cat", "labels/val/classes.txt": "cat\ndog"}
    for split in ("train", "val"):
        files |= pairs(f"images/{split}/a.jpg", f"labels/{split}/a.txt")
    root = pets(files)
    check(root, "train", "images/train/a.jpg")
    (root / "classes.txt").write_text("dog\ncat")
    with pytest.raises(InputError, match=r"classes\.txt: the class names of .*classes\.txt were expected"):
        load_dataset(root, "train")


def test_labels_without_class_names_say_how_many_are_needed(pets, pairs):
    files = {
        **pairs("images/a.jpg", "labels/a.txt", "4 .5 .5 .2 .4\n0 .5 .5 .2 .4"),
        **pairs("images/b.jpg", "labels/b.txt"),
    }
    root = pets(files)
    with pytest.raises(
        InputError, match=r"a name for each class was expected, 5 of them.*3 class numbers up to 4.*classes\.txt"
    ):
        load_dataset(root, "all")
    dataset = find_layout(root).read("all", Reading(classes=("a", "b", "c", "d", "e")))
    assert dataset.class_names == ("a", "b", "c", "d", "e") and dataset.problems == ()


def test_class_names_in_another_encoding_are_named(pets, pairs):
    root = pets({"classes.txt": "猫\n狗\n".encode("gbk"), **pairs("a.jpg", "a.txt")})
    with pytest.raises(
        InputError, match=r"classes\.txt: line 2: text in UTF-8 was expected.*GB18030.*Save the file as UTF-8"
    ):
        load_dataset(root, "all")


def test_labels_in_another_encoding_are_a_problem(pets, pairs):
    files = {**pairs("a.jpg", "a.txt"), **pairs("b.jpg", "b.txt", "1 0.5 0.5 0.1 0.1 # 狗".encode("gbk"))}
    dataset = read_dataset(pets({"classes.txt": "cat\ndog", **files}), "all")
    (wrong,) = dataset.problems
    assert (wrong.kind, wrong.fixed) == ("unreadable_labels", False)
    assert wrong.where.endswith("b.txt") and "text in UTF-8 was expected" in wrong.detail


def test_labels_in_utf_16_are_read(pets, pairs):
    lines = ["1 0.5 0.5 0.1 0.1".encode("utf-16"), "0 0.5 0.5 0.2 0.2".encode("utf-16")]
    files = {**pairs("a.jpg", "a.txt", lines[0]), **pairs("b.jpg", "b.txt", lines[1])}
    dataset = load_dataset(pets({"classes.txt": "cat\ndog".encode("utf-16"), **files}), "all")
    assert dataset.class_names == ("cat", "dog")
    assert [record.classes.tolist() for record in dataset.records] == [[1], [0]]


def test_two_sets_of_splits_are_two_readings(pets, pairs):
    files = {**pairs("images/train/a.jpg", "labels/train/a.txt"), **pairs("train/b.jpg", "train/b.txt")}
    root = pets({"classes.txt": "cat\ndog", **files})
    with pytest.raises(InputError, match=r"YOLO images/train and YOLO train/"):
        find_layout(root)
    assert load_dataset(root, "train", format="YOLO train/").records[0].file_name == "train/b.jpg"


@pytest.mark.parametrize(
    "files",
    [
        {"images/a.jpg": None},
        {"images/a.jpg": None, "labels/b.txt": "1 .5 .5 .2 .4"},
        {"a.jpg": None, "a.txt": "a photograph of a cat"},  # captions
        {"a.jpg": None, "train.txt": "a.jpg\n", "classes.txt": "cat"},
        {"train/cat/a.jpg": None, "val/cat/b.jpg": None},  # classification
        {"train.txt": "a\nb", "a.jpg": None, "requirements.txt": "numpy"},
    ],
)
def test_folders_of_other_kinds_are_not_taken(pets, files):
    with pytest.raises(InputError, match="known layouts"):
        find_layout(pets(files))


def test_the_label_folder_of_makesense_has_a_date(pets, pairs):
    label = "labels_my-project-name_2024-01-31-10-00-00/a.txt"
    root = pets({"labels.txt": "cat\ndog", **pairs("images/a.jpg", label)})
    dataset = load_dataset(root, "all")
    assert (dataset.class_names, dataset.records[0].classes.tolist()) == (("cat", "dog"), [1])
    assert find_layout(root).unread() == []
