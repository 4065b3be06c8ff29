"""Every layout in which COCO labels come, as their tools write them, read as a user reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from keras_retina.data.formats.coco import COCO
from keras_retina.data.reading.folder import available_splits, find_layout, load_dataset, read_dataset
from keras_retina.foundation.errors import InputError

NAMES = ("dog", "cat")  # ids 1 and 2
DOG = ("dog", [20, 10, 30, 40])  # x, y, width, height; y1, x1, y2, x2 are 10, 20, 50, 50
CAT = ("cat", [0, 0, 100, 50])


def write_image(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (200, 100)).save(file)


def write_json(file, images, **changes):
    """Writes a COCO file of `{file name: [(class, bbox)]}`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "images": [
            {"id": index, "file_name": name, "width": 200, "height": 100} for index, name in enumerate(images, start=1)
        ],
        "annotations": [
            {"id": 1, "image_id": index, "category_id": NAMES.index(name) + 1, "bbox": bbox}
            for index, boxes in enumerate(images.values(), start=1)
            for name, bbox in boxes
        ],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
    }
    file.write_text(json.dumps({**content, **changes}), encoding="utf-8")


# name: ({label file: {labelled name: image file}}, kind); a dog is in the first file, a cat in the second.
SPLIT_LAYOUTS = {
    "annotations and one image folder": (
        {
            "annotations/train.json": {"a.png": "images/a.png"},
            "annotations/valid.json": {"images/b.png": "images/b.png"},
        },
        "COCO",
    ),
    "COCO's own": (
        {
            "annotations/instances_train2017.json": {"a.png": "train2017/a.png"},
            "annotations/instances_val2017.json": {"b.png": "val2017/b.png"},
        },
        "COCO",
    ),
    "same image names in the splits": (
        {
            "Annotations/train.json": {"a.png": "Images/train/a.png"},
            "Annotations/val.json": {"a.png": "Images/valid/a.png"},
        },
        "COCO",
    ),
    "Roboflow": (
        {
            "train/_annotations.coco.json": {"a.png": "train/a.png"},
            "valid/_annotations.coco.json": {"b.png": "valid/b.png"},
        },
        "Roboflow COCO",
    ),
    "MediaPipe Model Maker": (
        {
            "train/labels.json": {"a.png": "train/images/a.png"},
            "validation/labels.json": {"b.png": "validation/images/b.png"},
        },
        "MediaPipe COCO",
    ),
    "FiftyOne": (
        {"train/labels.json": {"a.png": "train/data/a.png"}, "val/labels.json": {"b.png": "val/data/b.png"}},
        "FiftyOne COCO",
    ),
    "label folder in each split": (
        {
            "train/annotations/instances_default.json": {"a.png": "train/images/a.png"},
            "val/annotations/instances_default.json": {"b.png": "val/images/b.png"},
        },
        "COCO in split folders",
    ),
    "beside the image folders": (
        {"train.json": {"a.png": "train/a.png"}, "val.json": {"val/b.png": "val/b.png"}},
        "COCO beside images",
    ),
    "beside images": (
        {"train_annotations.json": {"a.png": "images/a.png"}, "val_annotations.json": {"b.png": "images/b.png"}},
        "COCO beside images",
    ),
}

# name: (label file, labelled name, image file, kind).
WHOLE_LAYOUTS = {
    "CVAT": ("annotations/instances_default.json", "a.png", "images/default/a.png", "CVAT COCO"),
    "CVAT with folders": ("annotations/instances_default.json", "cam1/a.png", "images/cam1/a.png", "CVAT COCO"),
    "Label Studio": ("result.json", "images\\1/a.png", "images/a.png", "Label Studio COCO"),
    "Label Studio upload": ("result.json", "../../media/upload/4/a.png", "images/a.png", "Label Studio COCO"),
    "FiftyOne": ("labels.json", "a.png", "data/a.png", "FiftyOne COCO"),
    "Roboflow without splits": ("_annotations.coco.json", "a.png", "a.png", "Roboflow COCO"),
    "one MediaPipe folder": ("labels.json", "a.png", "images/a.png", "MediaPipe COCO"),
    "makesense": ("labels_my-project_2024-01-01.json", "a.png", "images/a.png", "COCO beside images"),
    "VIA": ("via_project_coco.json", "a.png", "a.png", "COCO beside images"),
    "Supervisely": ("annotations/instances.json", "a.png", "images/a.png", "COCO"),
}


@pytest.mark.parametrize("layout", SPLIT_LAYOUTS)
def test_layouts_with_splits(tmp_path, layout):
    files, kind = SPLIT_LAYOUTS[layout]
    for (label_file, names), box in zip(files.items(), (DOG, CAT), strict=True):
        write_json(tmp_path / label_file, {name: [box] for name in names})
        for image in names.values():
            write_image(tmp_path / image)
    assert find_layout(tmp_path).kind == kind
    for split, names, box, index in zip(("train", "val"), files.values(), (DOG, CAT), (0, 1), strict=True):
        dataset = load_dataset(tmp_path, split)
        assert dataset.class_names == NAMES and dataset.problems == () and dataset.name == tmp_path.name
        (record,) = dataset.records
        assert record.path.samefile(tmp_path / next(iter(names.values())))
        x, y, width, height = box[1]
        assert record.boxes.tolist() == [[y, x, y + height, x + width]] and record.classes.tolist() == [index]
    assert find_layout(tmp_path).unread() == []


@pytest.mark.parametrize("layout", WHOLE_LAYOUTS)
def test_layouts_without_splits(tmp_path, layout):
    label_file, name, image, kind = WHOLE_LAYOUTS[layout]
    write_json(tmp_path / label_file, {name: [DOG]})
    write_image(tmp_path / image)
    assert find_layout(tmp_path).kind == kind
    assert available_splits(tmp_path) == ["all"]
    dataset = load_dataset(tmp_path, "all")
    (record,) = dataset.records
    assert ("file_name_differs" in dataset.problem_counts()) == ("\\1/" in name or ".." in name)
    assert record.path.samefile(tmp_path / image) and record.boxes.tolist() == [[10, 20, 50, 50]]
    assert find_layout(tmp_path).unread() == []


@pytest.mark.parametrize("layout", WHOLE_LAYOUTS)
def test_a_label_file_is_data_itself(tmp_path, layout):
    label_file, name, image, _ = WHOLE_LAYOUTS[layout]
    write_json(tmp_path / label_file, {name: [DOG]})
    write_image(tmp_path / image)
    dataset = load_dataset(tmp_path / label_file, "all")
    assert dataset.name == tmp_path.name and dataset.records[0].path.samefile(tmp_path / image)
    assert find_layout(tmp_path / label_file).unread() == []


def test_one_file_that_is_called_after_a_split_is_that_split(tmp_path):
    write_json(tmp_path / "annotations" / "instances_train2017.json", {"a.png": [DOG]})
    write_image(tmp_path / "train2017" / "a.png")
    assert available_splits(tmp_path) == ["train2017"]
    assert len(load_dataset(tmp_path, "train").records) == 1


def test_classes_are_those_of_every_split_in_one_order(tmp_path):
    categories = [{"id": 0, "name": "pets", "supercategory": "none"}]
    categories += [{"id": 2, "name": "cat", "supercategory": "pets"}, {"id": 1, "name": "dog", "supercategory": "pets"}]
    for split, box in (("train", DOG), ("valid", CAT), ("test", CAT)):
        write_json(tmp_path / split / "_annotations.coco.json", {"a.png": [box]}, categories=categories)
        write_image(tmp_path / split / "a.png")
    for split, index in (("train", 0), ("val", 1), ("test", 1)):
        dataset = load_dataset(tmp_path, split)
        assert dataset.class_names == NAMES and dataset.category_ids == (1, 2)
        assert dataset.records[0].classes.tolist() == [index]
        assert dataset.problem_counts() == {"category_left_out": 1}


def test_each_file_is_parsed_once_for_a_split(tmp_path, monkeypatch):
    for split in ("train", "val", "test"):
        write_json(tmp_path / "annotations" / f"{split}.json", {"a.png": [DOG]})
    write_image(tmp_path / "images" / "a.png")
    parsed = []
    loads = json.loads
    monkeypatch.setattr(json, "loads", lambda text: parsed.append(1) or loads(text))
    load_dataset(tmp_path, "train")
    assert len(parsed) == 3


def test_what_is_in_no_label_file_is_named(tmp_path):
    write_json(tmp_path / "annotations" / "train.json", {"a.png": [DOG]})
    (tmp_path / "annotations" / "captions_train.json").write_text('{"images": []}')
    for name in ("a", "b"):
        write_image(tmp_path / "images" / f"{name}.png")
    found = find_layout(tmp_path).unread()
    assert [(item.kind, Path(item.where).name, item.fixed) for item in found] == [
        ("stray_file", "captions_train.json", True),
        ("unlabelled_image", "b.png", True),
    ]


def test_two_layouts_in_one_folder_are_both_named(tmp_path):
    write_json(tmp_path / "annotations" / "train.json", {"a.png": [DOG]})
    write_json(tmp_path / "train" / "_annotations.coco.json", {"a.png": [DOG]})
    write_image(tmp_path / "train" / "a.png")
    with pytest.raises(InputError, match="Received: COCO and Roboflow COCO.*data.format='COCO', or 'Roboflow COCO'"):
        find_layout(tmp_path)
    assert len(load_dataset(tmp_path, "train", format="Roboflow COCO").records) == 1


@pytest.mark.parametrize(
    "files",
    [
        {"annotations/a.xml": "<annotation/>"},
        {"annotations/a.json": '{"version": "5", "shapes": []}'},
        {"settings.json": '{"images": "there"}', "package.json": ""},
        {"labels/a.json": ""},
    ],
)
def test_folders_of_other_formats_are_not_coco(tmp_path, files):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    assert COCO.find(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"train\.json: complete JSON was expected. Received: an empty file"),
        ('{"images": [', r"train\.json: .*Is it cut off"),
        ('{"images": []}', r"train\.json: categories: a list was expected"),
    ],
)
def test_a_damaged_label_file_is_named_and_not_passed_over(tmp_path, content, message):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "train.json").write_text(content)
    with pytest.raises(InputError, match=message):
        load_dataset(tmp_path, "train")


def test_a_label_file_that_is_told_by_its_name_may_be_damaged(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "_annotations.coco.json").touch()
    with pytest.raises(InputError, match=r"_annotations\.coco\.json: complete JSON.*an empty file"):
        load_dataset(tmp_path, "train")


def test_the_label_folder_itself_may_be_the_data(tmp_path):
    write_json(tmp_path / "annotations" / "instances_train2017.json", {"a.png": [DOG]})
    write_image(tmp_path / "train2017" / "a.png")
    assert len(load_dataset(tmp_path / "annotations", "train").records) == 1


def test_a_path_of_another_computer_is_counted_and_a_missing_image_is_refused(tmp_path):
    write_json(tmp_path / "result.json", {"/home/ann/images/a.png": [DOG], "C:\\x\\none.png": [CAT]})
    write_image(tmp_path / "images" / "a.png")
    dataset = read_dataset(tmp_path, "all")
    assert [record.file_name for record in dataset.records] == ["a.png"]
    assert [(item.kind, item.fixed) for item in dataset.problems] == [
        ("file_name_differs", True),
        ("missing_image", False),
    ]


def test_shares_of_the_image_are_refused_with_the_setting_that_reads_them(tmp_path):
    write_json(tmp_path / "train.json", {"a.png": [("dog", [0.1, 0.1, 0.15, 0.4])]})
    write_image(tmp_path / "images" / "a.png")
    with pytest.raises(InputError, match=r"train\.json: boxes in pixels.*--set data\.boxes=normalized"):
        load_dataset(tmp_path, "train")
