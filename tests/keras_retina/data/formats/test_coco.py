from __future__ import annotations

import copy
import json

import pytest
from PIL import Image

from keras_retina.data.formats.coco import coco_categories, coco_image_dir, coco_splits, read_coco
from keras_retina.foundation.errors import InputError

LABELS = {
    "images": [
        {"id": 7, "file_name": "a.png", "width": 200, "height": 100},
        {"id": 3, "file_name": "b.png", "width": 200, "height": 100},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 9, "bbox": [20, 10, 30, 40], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 4, "bbox": [0, 0, 5.5, 6.5], "iscrowd": 1},
    ],
    "categories": [{"id": 9, "name": "cat"}, {"id": 4, "name": "dog"}],
}


def labels(**changes):
    """LABELS with values changed, `annotations__0__bbox=...` for LABELS["annotations"][0]["bbox"]."""
    content = copy.deepcopy(LABELS)
    for path, value in changes.items():
        *parents, last = [int(part) if part.isdecimal() else part for part in path.split("__")]
        item = content
        for part in parents:
            item = item[part]
        item[last] = value
    return content


def read(tmp_path, content, **arguments):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (200, 100)).save(tmp_path / name)
    file = tmp_path / "train.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_coco(file, tmp_path, split="train", name="pets", **arguments)


def test_reads_boxes_classes_crowds_and_empty_images(tmp_path):
    dataset = read(tmp_path, LABELS)
    assert (dataset.name, dataset.split) == ("pets", "train")
    assert dataset.class_names == ("dog", "cat") and dataset.category_ids == (4, 9)  # ascending ids
    first, second = dataset.records
    assert (first.image_id, first.file_name, first.height, first.width) == (7, "a.png", 100, 200)
    assert first.boxes.tolist() == [[10, 20, 50, 50], [0, 0, 6.5, 5.5]]
    assert first.classes.tolist() == [1, 0] and first.crowd.tolist() == [False, True]
    assert second.image_id == 3 and len(second.boxes) == 0
    assert dataset.problems == ()


@pytest.mark.parametrize(
    ("changes", "kind", "where", "received"),
    [
        ({"annotations__0__category_id": 5}, "unknown_category", "annotations[0].category_id", "category_id=5"),
        ({"annotations__0__category_id": "9"}, "unknown_category", "annotations[0].category_id", "category_id='9'"),
        ({"annotations__1__image_id": 8}, "unknown_image", "annotations[1].image_id", "image_id=8"),
        ({"annotations__1__image_id": [7]}, "unknown_image", "annotations[1].image_id", "image_id=[7]"),
        ({"annotations__0__bbox": [float("nan"), 1, 2, 3]}, "invalid_box", "annotations[0].bbox", "nan"),
        ({"annotations__0__bbox": [float("inf"), 1, 2, 3]}, "invalid_box", "annotations[0].bbox", "inf"),
        ({"annotations__0__bbox": [1, 2, 3]}, "invalid_box", "annotations[0].bbox", "[1, 2, 3]"),
        ({"annotations__0__bbox": [1, 2, 3, "4"]}, "invalid_box", "annotations[0].bbox", "'4'"),
        ({"annotations__0__bbox": [1, 2, 3, 10**400]}, "invalid_box", "annotations[0].bbox", "[1, 2, 3"),
        ({"annotations__0__bbox": None}, "invalid_box", "annotations[0].bbox", "None"),
        ({"annotations__0__bbox": [50, 10, -30, 40]}, "negative_box", "annotations[0].bbox", "-30"),
        ({"annotations__0": 3}, "unknown_image", "annotations[0].image_id", "None"),
        ({"images__1__id": 7}, "image_listed_twice", "images[1]", "id=7"),
        ({"images__1__file_name": "a.png"}, "image_listed_twice", "images[1]", "images[0]"),
        ({"images__1__file_name": 3}, "malformed_image", "images[1]", "file_name=3"),
        ({"images__1__file_name": "../a.png"}, "unsafe_path", "images[1]", "../a.png"),
        ({"images__1__file_name": "none.png"}, "missing_image", "images[1]", "none.png"),
        ({"images__1__width": 100, "images__1__height": 200}, "size_mismatch", "images[1]", "width=100, height=200"),
    ],
)
def test_what_cannot_be_fixed_names_file_and_field(tmp_path, changes, kind, where, received):
    (found,) = [item for item in read(tmp_path, labels(**changes)).problems if not item.fixed]
    assert found.kind == kind
    assert found.where == f"{tmp_path / 'train.json'}: {where}"
    assert received in found.detail


@pytest.mark.parametrize(
    ("bbox", "kind"),
    [
        ([20, 10, 0, 40], "degenerate_box"),
        ([190, 10, 30, 40], "outside_box"),
        ([300, 10, 30, 40], "outside_box_dropped"),
    ],
)
def test_what_can_be_fixed_is_counted(tmp_path, bbox, kind):
    dataset = read(tmp_path, labels(annotations__0__bbox=bbox))
    assert dataset.problem_counts() == {kind: 1} and dataset.problems[0].fixed
    assert len(dataset.records) == 2


def test_missing_size_is_taken_from_the_file(tmp_path):
    content = labels()
    del content["images"][0]["width"]
    assert read(tmp_path, content).records[0].width == 200


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(LABELS)[:200],
        "",
        "[]",
        "3",
        '{"images": [], "annotations": []}',
        '{"images": {}, "annotations": [], "categories": []}',
        "[" * 100_000,
        "1" * 10_000,
        '{"images": [], "annotations": [], "categories": [{"id": 1}]}',
        '{"images": [], "annotations": [], "categories": [{"id": true, "name": "a"}]}',
        '{"images": [], "annotations": [], "categories": [3]}',
        '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
        '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}',
    ],
)
def test_damaged_file_is_refused_by_name_in_one_line(tmp_path, content):
    with pytest.raises(InputError, match=r"train\.json: ") as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_file_that_is_not_text_or_not_there_is_refused(tmp_path):
    (tmp_path / "train.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(InputError, match=r"train\.json: complete JSON"):
        coco_categories([tmp_path / "train.json"])
    with pytest.raises(InputError, match=r"none\.json: a readable COCO JSON"):
        coco_categories([tmp_path / "none.json"])


def test_class_order_is_given_from_outside(tmp_path):
    dataset = read(tmp_path, LABELS, categories={9: "cat", 4: "dog"})
    assert dataset.class_names == ("cat", "dog") and dataset.category_ids == (9, 4)
    assert dataset.records[0].classes.tolist() == [0, 1]


def test_categories_of_all_files_are_merged(tmp_path):
    for name, categories in (("a", {"3": "x", "1": "y"}), ("b", {"2": "z", "3": "x"})):
        listed = [{"id": int(number), "name": text} for number, text in categories.items()]
        (tmp_path / f"{name}.json").write_text(json.dumps({"categories": listed}))
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    assert list(coco_categories(files).items()) == [(1, "y"), (2, "z"), (3, "x")]
    (tmp_path / "b.json").write_text('{"categories": [{"id": 3, "name": "other"}]}')
    with pytest.raises(InputError, match=r"b\.json: categories\[0\].*'x' and 'other'"):
        coco_categories(files)


def test_splits_and_image_folders_of_both_layouts(tmp_path):
    (tmp_path / "annotations").mkdir()
    for name in ("val", "instances_train2017", "captions_train2017", "person_keypoints_train2017"):
        (tmp_path / "annotations" / f"{name}.json").touch()
    assert coco_splits(tmp_path) == {
        "train2017": tmp_path / "annotations" / "instances_train2017.json",
        "val": tmp_path / "annotations" / "val.json",
    }
    with pytest.raises(InputError, match="a folder images/"):
        coco_image_dir(tmp_path, "val")
    (tmp_path / "val").mkdir()
    assert coco_image_dir(tmp_path, "val") == tmp_path / "val"
    (tmp_path / "images" / "val").mkdir(parents=True)
    assert coco_image_dir(tmp_path, "train") == tmp_path / "images"
    assert coco_image_dir(tmp_path, "val") == tmp_path / "images" / "val"
