from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.reading.folder import (
    READERS,
    available_splits,
    find_layout,
    load_dataset,
    load_split,
    open_folder,
    read_dataset,
)
from keras_retina.data.records import Dataset, Layout, Reader, Record
from keras_retina.foundation.errors import InputError

SHARED = Path(__file__).resolve().parents[5] / "shared" / "data"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data (BCCD and raccoon photographs)")

# The same two splits in every format: image -> [(class, x1, y1, x2, y2)], 200 x 100 pixels.
SPLITS = {
    "train": {"a": [("dog", 20, 10, 50, 40), ("cat", 0, 0, 100, 100)], "b": []},
    "val": {"c": [("dog", 100, 50, 150, 100)]},
}


def write_images(folder):
    folder.mkdir(parents=True)
    for name in ("a", "b", "c"):
        Image.new("RGB", (200, 100)).save(folder / f"{name}.png")


def write_coco(root):
    write_images(root / "images")
    (root / "annotations").mkdir()
    for split, images in SPLITS.items():
        content = {
            "images": [{"id": i, "file_name": f"{n}.png", "width": 200, "height": 100} for i, n in enumerate(images)],
            "annotations": [
                {"image_id": i, "category_id": {"cat": 1, "dog": 2}[name], "bbox": [x1, y1, x2 - x1, y2 - y1]}
                for i, boxes in enumerate(images.values())
                for name, x1, y1, x2, y2 in boxes
            ],
            "categories": [{"id": 2, "name": "dog"}, {"id": 1, "name": "cat"}],
        }
        (root / "annotations" / f"{split}.json").write_text(json.dumps(content))


def write_voc(root):
    write_images(root / "JPEGImages")
    (root / "Annotations").mkdir()
    (root / "ImageSets" / "Main").mkdir(parents=True)
    for split, images in SPLITS.items():
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(images))
        for image, boxes in images.items():
            objects = "".join(
                f"<object><name>{name}</name><bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax>"
                f"<ymax>{y2}</ymax></bndbox></object>"
                for name, x1, y1, x2, y2 in boxes
            )
            size = "<size><width>200</width><height>100</height></size>"
            (root / "Annotations" / f"{image}.xml").write_text(
                f"<annotation><filename>{image}.png</filename>{size}{objects}</annotation>"
            )


def write_yolo(root):
    write_images(root / "images")
    (root / "labels").mkdir()
    for split, images in SPLITS.items():
        (root / f"{split}.txt").write_text("\n".join(f"images/{image}.png" for image in images))
        for image, boxes in images.items():
            lines = [
                (["cat", "dog"].index(name), (x1 + x2) / 400, (y1 + y2) / 200, (x2 - x1) / 200, (y2 - y1) / 100)
                for name, x1, y1, x2, y2 in boxes
            ]
            (root / "labels" / f"{image}.txt").write_text("\n".join(" ".join(map(str, line)) for line in lines))
    (root / "data.yaml").write_text("train: train.txt\nval: val.txt\nnames: [cat, dog]\n")


def write_csv(root):
    write_images(root / "images")
    for split, images in SPLITS.items():
        rows = [f"{image}.png,{x1},{y1},{x2},{y2},{name}" for image in images for name, x1, y1, x2, y2 in images[image]]
        rows += [f"{image}.png,,,,," for image in images if not images[image]]
        (root / f"{split}_labels.csv").write_text("\n".join(rows))


WRITERS = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo, "csv": write_csv}
each_format = pytest.mark.parametrize("format", WRITERS)


@each_format
def test_every_format_is_recognised_and_gives_the_same_records(tmp_path, format):
    WRITERS[format](tmp_path)
    assert find_layout(tmp_path).format == format
    assert available_splits(tmp_path) == ["train", "val"]
    for split, images in SPLITS.items():
        dataset = load_dataset(tmp_path, split)
        assert dataset.class_names == ("cat", "dog")  # also in val, which has no cat
        assert (dataset.name, dataset.split, dataset.problems) == (tmp_path.name, split, ())
        for record, (image, boxes) in zip(dataset.records, images.items(), strict=True):
            assert record.path.samefile(next(tmp_path.rglob(f"{image}.png")))
            assert record.boxes.dtype == np.float32 and record.classes.dtype == np.int32
            np.testing.assert_allclose(record.boxes, np.array([[b[2], b[1], b[4], b[3]] for b in boxes]).reshape(-1, 4))
            assert [dataset.class_names[index] for index in record.classes] == [box[0] for box in boxes]


@each_format
def test_a_folder_that_is_open_does_not_read_the_labels_of_a_split_again(tmp_path, format):
    WRITERS[format](tmp_path)
    folder = open_folder(tmp_path)
    train = load_split(folder, "train")
    for pattern in (
        "annotations/train.json",
        "Annotations/[ab].xml",
        "train.txt",
        "labels/[ab].txt",
        "train_labels.csv",
    ):
        for file in tmp_path.glob(pattern):
            file.unlink()
    val = load_split(folder, "val")
    assert val.class_names == train.class_names == ("cat", "dog")
    assert [record.classes.tolist() for record in val.records] == [[1]]


@each_format
def test_wanted_classes_give_the_order(tmp_path, format):
    WRITERS[format](tmp_path)
    dataset = load_dataset(tmp_path, "train", classes=["dog", "cat"])
    assert dataset.class_names == ("dog", "cat")
    assert dataset.records[0].classes.tolist() == [0, 1]


@each_format
def test_boxes_of_classes_that_are_not_wanted_are_left_out_and_counted(tmp_path, format):
    WRITERS[format](tmp_path)
    dataset = load_dataset(tmp_path, "train", classes=["cat"])
    assert dataset.class_names == ("cat",)
    assert [record.classes.tolist() for record in dataset.records] == [[0], []]
    assert [(found.kind, found.where, found.fixed) for found in dataset.problems] == [
        ("class_left_out", "class 'dog'", True)
    ]


@each_format
def test_unknown_split_names_the_valid_ones(tmp_path, format):
    WRITERS[format](tmp_path)
    with pytest.raises(InputError, match="one of the splits train, val was expected.*Did you mean 'train'"):
        load_dataset(tmp_path, "trian")


@each_format
def test_missing_image_stops_training_but_not_the_check(tmp_path, format):
    WRITERS[format](tmp_path)
    next(tmp_path.rglob("a.png")).unlink()
    with pytest.raises(InputError, match=r"a\.png"):
        load_dataset(tmp_path, "train")
    dataset = read_dataset(tmp_path, "train")
    assert len(dataset.records) == 1
    assert "missing_image" in dataset.problem_counts()


def test_split_without_images_names_the_valid_ones(tmp_path):
    write_coco(tmp_path)
    (tmp_path / "annotations" / "test.json").write_text('{"images": [], "annotations": [], "categories": []}')
    with pytest.raises(InputError, match="split='test', which lists none. Splits here: train, val, test"):
        load_dataset(tmp_path, "test")


def test_splits_come_in_the_usual_order(tmp_path):
    for name in ("test", "extra", "val", "train"):
        (tmp_path / f"{name}.csv").touch()
    assert available_splits(tmp_path) == ["train", "val", "test", "extra"]


def test_folder_that_is_missing_empty_ambiguous_or_of_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(InputError, match="an existing data folder"):
        find_layout(tmp_path / "none")
    with pytest.raises(InputError, match="Received: an empty folder"):
        find_layout(tmp_path)
    write_coco(tmp_path)
    (tmp_path / "train.csv").touch()
    with pytest.raises(InputError, match="Received: COCO and CSV"):
        find_layout(tmp_path)
    assert len(load_dataset(tmp_path, "val", format="coco").records) == 1
    with pytest.raises(InputError, match=r"data\.format: one of auto, coco, .* was expected.*Did you mean 'coco'"):
        load_dataset(tmp_path, "val", format="cocoo")


def test_an_entry_in_the_table_is_all_that_a_label_format_needs(tmp_path, monkeypatch):
    record = Record(1, tmp_path / "a.png", "a.png", 1, 1, np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))

    def find(data_dir):
        def read(split, reading):
            return Dataset(data_dir.name, split, ("cat",), (1,), (record,))

        return [Layout("toy", "Toy", ("extra", "train"), read)] if (data_dir / "labels.toy").is_file() else []

    monkeypatch.setitem(READERS, "toy", Reader("toy", "labels.toy", find))
    with pytest.raises(InputError, match=r"known layouts were expected: .*, labels\.toy\. Received: an empty folder"):
        find_layout(tmp_path)
    (tmp_path / "labels.toy").touch()
    assert find_layout(tmp_path).format == "toy"
    assert available_splits(tmp_path) == ["train", "extra"]
    dataset = load_dataset(tmp_path, "train")
    assert (dataset.name, dataset.split, dataset.class_names) == (tmp_path.name, "train", ("cat",))
    (tmp_path / "train.csv").touch()
    with pytest.raises(InputError, match="Received: CSV and Toy.*--set data.format='csv', or 'toy'"):
        find_layout(tmp_path)
    assert load_dataset(tmp_path, "extra", format="toy").records == (record,)


def test_the_table_names_each_reader_as_it_names_itself():
    assert {name: reader.name for name, reader in READERS.items()} == {name: name for name in READERS}


@needs_shared
@pytest.mark.parametrize(
    ("folder", "split", "images", "boxes", "classes"),
    [
        ("bccd", "train", 205, 2804, ("RBC", "WBC", "Platelets")),
        ("bccd", "test", 72, 945, ("RBC", "WBC", "Platelets")),
        ("bccd/voc", "train", 205, 2804, ("Platelets", "RBC", "WBC")),
        ("raccoon", "val", 40, 44, ("raccoon",)),
    ],
)
def test_real_folders_have_the_counts_of_their_readme(folder, split, images, boxes, classes):
    dataset = load_dataset(SHARED / folder, split)
    assert len(dataset.records) == images
    assert sum(len(record.boxes) for record in dataset.records) == boxes
    assert dataset.class_names == classes


@needs_shared
def test_uncleaned_voc_labels_of_bccd_become_the_cleaned_coco_labels():
    cleaned, uncleaned = load_dataset(SHARED / "bccd", "val"), load_dataset(SHARED / "bccd" / "voc", "val")
    assert uncleaned.problem_counts() == {"degenerate_box": 1}
    for one, other in zip(cleaned.records, uncleaned.records, strict=True):
        assert one.file_name == other.file_name
        rows = [
            sorted((*box, dataset.class_names[index]) for box, index in zip(boxes, record.classes, strict=True))
            for dataset, record in ((cleaned, one), (uncleaned, other))
            for boxes in [record.boxes.tolist()]
        ]
        assert rows[0] == rows[1]


@pytest.mark.parametrize("content", ["names: [a, b]\ntest: images\n", "names: [a, b]\ntest: [x, y]\nnc: 2\n"])
def test_labels_that_name_no_split_which_is_there_are_refused(tmp_path, content: str):
    (tmp_path / "data.yaml").write_text(content, encoding="utf-8")
    for place in (tmp_path, tmp_path / "data.yaml"):
        with pytest.raises(InputError, match=rf"{place}: images of at least one split were expected\. Received: YOLO"):
            open_folder(place)
