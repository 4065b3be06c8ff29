from __future__ import annotations

import pytest
from PIL import Image

from keras_retina.data.reading.folder import load_dataset, read_dataset


def read(tmp_path, *cells, header="image,bbox", size=""):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (200, 100)).save(tmp_path / "images" / "a.png")
    rows = "".join(f'a.png,"{cell}"{size}\n' for cell in cells)
    (tmp_path / "train.csv").write_text(f"{header}{',width,height' * bool(size)}\n{rows}")
    return read_dataset(tmp_path, "train")


@pytest.mark.parametrize("size", ["", ",200,100"])
@pytest.mark.parametrize(
    ("cells", "corners"),
    [
        (["[20, 10, 30, 30]", "[100, 50, 20, 20]"], [10, 20, 40, 50]),  # the second is no pair of corners
        (["[20, 10, 50, 40]", "[100, 50, 190, 90]"], [10, 20, 40, 50]),  # the second would leave the image
        (["(20,10,50,40)", "100 50 190 90"], [10, 20, 40, 50]),
    ],
)
def test_the_boxes_tell_what_the_numbers_are(tmp_path, cells, corners, size):
    dataset = read(tmp_path, *cells, size=size)
    assert dataset.records[0].boxes[0].tolist() == corners
    assert [item.kind for item in dataset.problems] == ["no_class_column"]


@pytest.mark.parametrize(
    "cells",
    [
        ["[20, 10, 50, 40]"],  # fits both ways
        ["[20, 10, 10, 40]", *9 * ["[100, 50, 190, 90]"]],  # one is no pair of corners, nine have no size
    ],
)
def test_boxes_that_do_not_tell_are_refused_with_the_remedy(tmp_path, cells):
    dataset = read(tmp_path, *cells)
    (found,) = dataset.problems
    assert (found.kind, found.fixed, dataset.records) == ("ambiguous_boxes", False, ())
    assert "bbox_xyxy or bbox_xywh" in found.detail


def test_one_damaged_box_among_many_does_not_decide(tmp_path):
    dataset = read(tmp_path, "[20, 10, 10, 40]", *(f"[100, 50, {190 - i}, 90]" for i in range(30)))
    assert [(item.kind, item.fixed) for item in dataset.problems if not item.fixed] == [("reversed_box", False)]
    assert len(dataset.records[0].boxes) == 30


@pytest.mark.parametrize(("name", "corners"), [("bbox_xyxy", [10, 20, 40, 50]), ("bbox_xywh", [10, 20, 50, 70])])
def test_the_name_of_the_column_decides(tmp_path, name, corners):
    dataset = read(tmp_path, "[20, 10, 50, 40]", header=f"image,{name}")
    assert dataset.records[0].boxes.tolist() == [corners]


def test_the_other_splits_help_to_tell(tmp_path):
    read(tmp_path, "[20, 10, 50, 40]")
    (tmp_path / "val.csv").write_text('image,bbox\na.png,"[100, 50, 20, 20]"\n')
    assert load_dataset(tmp_path, "train").records[0].boxes.tolist() == [[10, 20, 50, 70]]


@pytest.mark.parametrize("cell", ["[1, 2, 3]", "[1, 2, 3, x]", "[1, 2, 3, 4, 5]", "{}"])
def test_other_than_four_numbers_are_refused_by_line(tmp_path, cell):
    found = read(tmp_path, "[20, 10, 30, 30]", "[100, 50, 20, 20]", cell).problems
    assert [(item.kind, item.where) for item in found if not item.fixed] == [
        ("invalid_box", f"{tmp_path / 'train.csv'}: line 4")
    ]


@pytest.mark.parametrize("cell", ["[]", "", "nan"])
def test_no_box_is_an_image_without_objects(tmp_path, cell):
    assert read(tmp_path, cell).records[0].boxes.shape == (0, 4)
