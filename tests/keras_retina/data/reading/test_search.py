"""Labels are found in folders around them, in folders side by side, and in an archive in a folder."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from keras_retina.data.reading.folder import available_splits, find_layout, load_dataset
from keras_retina.foundation.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_RETINA_CACHE", str(tmp_path / "cache"))


def write_voc(folder, name, classes):
    """Writes an image and, beside it, a label file with one box for each class."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (200, 100)).save(folder / f"{name}.png")
    box = "<bndbox><xmin>20</xmin><ymin>10</ymin><xmax>50</xmax><ymax>40</ymax></bndbox>"
    objects = "".join(f"<object><name>{one}</name>{box}</object>" for one in classes)
    text = f"<annotation><filename>{name}.png</filename>{objects}</annotation>"
    (folder / f"{name}.xml").write_text(text, encoding="utf-8")


def write_coco(file, name, class_name="dog"):
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": [{"id": 1, "file_name": name, "width": 200, "height": 100}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [20, 10, 30, 30]}],
        "categories": [{"id": 1, "name": class_name}],
    }
    file.write_text(json.dumps(content), encoding="utf-8")
    (file.parent.parent / "images").mkdir(exist_ok=True)
    Image.new("RGB", (200, 100)).save(file.parent.parent / "images" / name)


def names(dataset):
    return [[dataset.class_names[index] for index in record.classes] for record in dataset.records]


def test_three_folders_around_the_data_are_passed_through(tmp_path):
    data = tmp_path / "data"
    write_voc(data / "archive" / "set" / "set", "a", ["dog"])
    (data / "README.md").write_text("about")
    assert names(load_dataset(data, "all")) == [["dog"]]


def test_splits_in_folders_of_their_own_are_one_set_with_the_classes_of_both(tmp_path):
    data = tmp_path / "fruit"
    write_voc(data / "train_zip" / "train", "a", ["pear", "fig"])
    write_voc(data / "test_zip" / "test", "b", ["apple", "pear"])
    assert available_splits(data) == ["train", "test"]
    train, test = load_dataset(data, "train"), load_dataset(data, "test")
    assert train.class_names == test.class_names and set(train.class_names) == {"apple", "fig", "pear"}
    assert train.category_ids == (1, 2, 3)
    assert (train.name, names(train), names(test)) == ("fruit", [["pear", "fig"]], [["apple", "pear"]])


def test_folders_that_say_their_split_are_joined(tmp_path):
    data = tmp_path / "data"
    write_coco(data / "Drone-train" / "annotations" / "labels.json", "a.png")
    write_coco(data / "Drone-val" / "annotations" / "labels.json", "b.png", "cat")
    assert available_splits(data) == ["train", "val"]
    assert names(load_dataset(data, "val")) == [["cat"]]
    assert load_dataset(data, "val").class_names == load_dataset(data, "train").class_names


def test_the_only_labelled_folder_of_several_is_read_and_the_others_are_told(tmp_path):
    data = tmp_path / "data"
    write_coco(data / "BCCD" / "annotations" / "labels.json", "a.png")
    (data / "scripts").mkdir()
    (data / "scripts" / "split.py").touch()
    Image.new("RGB", (9, 9)).save(data / "scripts" / "logo.png")
    layout = find_layout(data)
    assert layout.kind == "COCO in BCCD"
    assert [(item.kind, item.where) for item in layout.unread()] == [
        ("unlabelled_image", str(data / "scripts" / "logo.png"))
    ]


def test_several_data_sets_are_named_and_one_can_be_given(tmp_path):
    data = tmp_path / "data"
    write_coco(data / "cats" / "annotations" / "labels.json", "a.png", "cat")
    write_coco(data / "dogs" / "annotations" / "labels.json", "a.png", "dog")
    with pytest.raises(InputError, match=r"cats \(COCO\) and dogs \(COCO\).*--data \S*cats$"):
        find_layout(data)
    assert names(load_dataset(data / "cats", "all")) == [["cat"]]


def test_a_test_split_beside_a_folder_to_train_on_is_another_reading(tmp_path):
    data = tmp_path / "data"
    write_coco(data / "BCCD" / "annotations" / "labels.json", "a.png")
    (data / "test.csv").write_text("filename,cell_type,xmin,ymin,xmax,ymax\na.png,dog,20,10,50,40\n")
    with pytest.raises(InputError, match=r"CSV and COCO in BCCD.*data\.format='csv', or 'coco'"):
        find_layout(data)
    assert names(load_dataset(data, "all", format="coco")) == [["dog"]]
    assert names(load_dataset(data, "test", format="csv")) == [["dog"]]


def test_a_test_split_alone_is_still_read(tmp_path):
    write_coco(tmp_path / "data" / "annotations" / "test.json", "a.png")
    assert available_splits(tmp_path / "data") == ["test"]


def test_the_only_archive_in_a_folder_is_unpacked(tmp_path):
    write_voc(tmp_path / "made" / "inner", "a", ["dog"])
    (tmp_path / "data").mkdir()
    shutil.make_archive(str(tmp_path / "data" / "export"), "zip", tmp_path / "made")
    assert names(load_dataset(tmp_path / "data", "all")) == [["dog"]]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["export.zip"]
    shutil.copy(tmp_path / "data" / "export.zip", tmp_path / "data" / "other.zip")
    with pytest.raises(InputError, match=r"Unpack export\.zip, other\.zip, and give the folder"):
        find_layout(tmp_path / "data")


def test_an_archive_beside_labels_is_left_alone(tmp_path):
    write_voc(tmp_path / "data", "a", ["dog"])
    (tmp_path / "data" / "old.zip").write_bytes(b"no zip")
    assert names(load_dataset(tmp_path / "data", "all")) == [["dog"]]
