from __future__ import annotations

import copy
import json

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.formats.coco.categories import file_categories, merge_categories
from keras_retina.data.formats.coco.json_file import load_json
from keras_retina.data.formats.coco.labels import read_coco
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


def read(tmp_path, content, boxes="auto"):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (200, 100)).save(tmp_path / name)
    file = tmp_path / "train.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    loaded = load_json(file)
    categories = merge_categories([file_categories(loaded, file)])
    return read_coco(
        loaded, file, image_folders=[tmp_path], split="train", name="pets", categories=categories, boxes=boxes
    )


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
        ({"annotations__0__category_id": "cat"}, "unknown_category", "annotations[0].category_id", "category_id='cat'"),
        ({"annotations__0__category_id": 9.5}, "unknown_category", "annotations[0].category_id", "category_id=9.5"),
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
        ({"images__1__file_name": "a.png"}, "image_listed_twice", "images[1]", "'a.png' with id=3, and with id=7 at"),
        ({"images__1__file_name": "A.PNG"}, "image_listed_twice", "images[1]", "train.json: images[0]"),
        ({"images__1__file_name": 3}, "malformed_image", "images[1]", "file_name=3"),
        ({"images__1__file_name": ""}, "unsafe_path", "images[1]", "''"),
        (
            {"images__1__file_name": "../../etc/passwd"},
            "missing_image",
            "images[1]",
            "'etc/passwd', which is",
        ),
        ({"images__1__file_name": "/" + 300 * "a"}, "missing_image", "images[1]", "which is not there"),
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


@pytest.mark.parametrize(
    "changes",
    [
        {"images__0__id": "7", "annotations__0__image_id": 7.0, "annotations__1__image_id": "7"},
        {"categories__0__id": "9", "annotations__0__category_id": 9.0, "categories__1__id": 4.0},
        {"images__0__width": "200", "images__1__height": 100.0, "annotations__1__iscrowd": True},
    ],
)
def test_whole_numbers_may_be_written_as_text_or_with_a_point(tmp_path, changes):
    dataset, plain = read(tmp_path, labels(**changes)), read(tmp_path, LABELS)
    assert dataset.problems == () and dataset.category_ids == (4, 9)
    for one, other in zip(dataset.records, plain.records, strict=True):
        assert (one.image_id, one.boxes.tolist(), one.classes.tolist(), one.crowd.tolist()) == (
            *(other.image_id, other.boxes.tolist(), other.classes.tolist(), other.crowd.tolist()),
        )


def test_ids_that_are_texts_are_numbered_for_results_files(tmp_path):
    content = labels(
        images__0__id="000a",
        annotations__0__image_id="000a",
        annotations__1__image_id="000a",
        categories__0__id="cat-id",
    )
    content["annotations"][0]["category_id"] = "cat-id"
    dataset = read(tmp_path, content)
    assert [record.image_id for record in dataset.records] == [1, 2]
    assert dataset.class_names == ("dog", "cat") and dataset.category_ids == (4, 5)
    assert dataset.records[0].classes.tolist() == [1, 0]
    assert [(item.kind, item.fixed) for item in dataset.problems] == [("ids_numbered", True)]


def test_what_a_box_does_not_need_may_be_missing(tmp_path):
    content = labels()
    for annotation in content["annotations"]:
        del annotation["iscrowd"], annotation["id"]
    for image in content["images"]:
        del image["width"], image["height"]
    dataset = read(tmp_path, content)
    assert dataset.problems == () and len(dataset.records[0].boxes) == 2


@pytest.mark.parametrize(
    "segmentation",
    [
        [[20, 10, 50, 10, 50, 50], [20, 10, 30, 20, 25, 50]],
        [20, 10, 50, 10, 50, 50],
        {"size": [100, 200], "counts": [20 * 100 + 10, *(29 * [40, 60]), 40, 20_000 - 2010 - 29 * 100 - 40]},
    ],
)
def test_without_bbox_the_box_is_around_the_segmentation(tmp_path, segmentation):
    content = labels(annotations__0__bbox=[], annotations__0__segmentation=segmentation)
    dataset = read(tmp_path, content)
    assert dataset.records[0].boxes[0].tolist() == [10, 20, 50, 50]
    assert [(item.kind, item.fixed) for item in dataset.problems] == [("box_from_segmentation", True)]
    content["annotations"][0]["bbox"] = [0, 0, 5, 5]  # a labelled box is kept
    assert read(tmp_path, content).records[0].boxes[0].tolist() == [0, 0, 5, 5]


def test_numbers_up_to_one_are_refused_until_somebody_says_what_they_are(tmp_path):
    content = labels(annotations__0__bbox=[0.1, 0.1, 0.15, 0.4], annotations__1__bbox=[0, 0, 1, 1])
    dataset = read(tmp_path, content)
    (found,) = dataset.problems
    assert (found.kind, found.fixed, found.where) == ("normalized_boxes", False, str(tmp_path / "train.json"))
    assert "--set data.boxes=normalized" in found.detail
    shares = read(tmp_path, content, boxes="normalized")
    assert shares.problems == ()
    np.testing.assert_allclose(shares.records[0].boxes, [[10, 20, 50, 50], [0, 0, 100, 200]])
    pixels = read(tmp_path, content, boxes="pixels")
    assert pixels.problems == ()
    np.testing.assert_allclose(pixels.records[0].boxes, [[0.1, 0.1, 0.5, 0.25], [0, 0, 1, 1]], rtol=1e-6)


def test_a_number_over_one_or_no_box_at_all_is_not_refused(tmp_path):
    assert read(tmp_path, labels(annotations__0__bbox=[0.1, 0.1, 0.3, 1.5])).problem_counts() == {}
    empty = labels()
    empty["annotations"] = []
    assert read(tmp_path, empty).problem_counts() == {}
    nothing = labels(annotations__0__bbox=[0, 0, 0, 0], annotations__1__bbox=[0, 0, 0, 0])
    assert read(tmp_path, nothing).problem_counts() == {"degenerate_box": 2}
