"""Every value of an index that no image can have is refused with file, line, field and value."""

from __future__ import annotations

import math

import pytest

from keras_retina.data.checks.dataset import check_dataset
from keras_retina.data.formats.packs.pack import read_pack
from keras_retina.data.images import read_image
from keras_retina.data.reading.record_image import read_record_image
from keras_retina.foundation.errors import InputError

BOX = [1.0, 2.0, 11.0, 12.0]


def labels(*boxes, classes=None, crowd=None) -> dict:
    count = len(boxes)
    return {
        "boxes": list(boxes),
        "classes": [0] * count if classes is None else classes,
        "crowd": crowd or [False] * count,
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (labels([1.0, math.nan, 2.0, 3.0]), r"boxes\[0\]: expected finite corners\. Received: boxes\[0\]=\[1\.0, nan"),
        (labels(BOX, [1.0, 2.0, math.inf, 3.0]), r"boxes\[1\]: expected finite corners\. .*inf"),
        (labels([1.0, 2.0, 1e300, 3.0]), r"boxes\[0\]: expected finite corners"),
        (
            labels([11.0, 2.0, 1.0, 12.0]),
            r"boxes\[0\]: expected y1 < y2 and x1 < x2\. Received: boxes\[0\]=\[11\.0, 2\.0",
        ),
        (labels([1.0, 2.0, 1.0, 12.0]), r"boxes\[0\]: expected y1 < y2"),
        (labels(BOX, [1.0, 2.0, 11.0, 31.0]), r"boxes\[1\]: expected corners inside the 30x30 image"),
        (labels([-1.0, 2.0, 11.0, 12.0]), r"boxes\[0\]: expected corners inside"),
        (labels([1, 2, 3]), r"boxes\[0\]: expected four numbers"),
        (labels([1, 2, 3, "4"]), r"boxes\[0\]: expected four numbers"),
        (labels([1, 2, 3, 10**400]), r"boxes: expected numbers that a float can hold"),
        ({"boxes": None}, r"boxes: expected a list\. Received: boxes=None"),
        (labels(BOX, classes=[-1]), r"classes\[0\]: expected an index of 2 classes\. Received: classes\[0\]=-1"),
        (labels(BOX, BOX, classes=[0, 2]), r"classes\[1\]: expected an index of 2 classes\. Received: classes\[1\]=2"),
        (labels(BOX, classes=[0.5]), r"classes\[0\]: expected an index"),
        (labels(BOX, classes=[True]), r"classes\[0\]: expected an index"),
        (labels(BOX, classes=[0, 1]), r"number of classes: expected 1, one for each box\. Received: .*=2"),
        (labels(BOX, classes=[]), r"number of classes: expected 1"),
        (labels(BOX, crowd=[False, True]), r"number of crowd: expected 1, one for each box"),
        (labels(BOX, crowd=["no"]), r"crowd\[0\]: expected true or false"),
        ({"height": 0}, r"height: expected a whole number from 1 to 100000000\. Received: height=0"),
        ({"width": 0}, r"width: expected a whole number from 1"),
        ({"height": 10**5, "width": 10**5}, r"width: expected a whole number from 1 to 1000\. Received: width=100000"),
        ({"width": ...}, r"width: expected a whole number .* Received: width=None"),
        ({"height": 30.5}, r"height: expected a whole number"),
        ({"image_id": 2**63}, r"image_id: expected a whole number"),
        ({"image_id": 10**4000}, r"image_id: expected a whole number .* Received: image_id=a huge number"),
        ({"image_id": 90}, r"image_id: expected another one than that of .*val-00000\.jsonl: line 1\. .*image_id=90"),
        ({"file_name": ""}, r"file_name: expected a name"),
        ({"file_name": 3}, r"file_name: expected a name"),
        ({"offset": -1}, r"offset: expected a whole number from 0 to \d+\. Received: offset=-1"),
        ({"offset": 10**9}, r"offset: expected a whole number from 0 to \d+\."),
        ({"length": 0}, r"length: expected a whole number from 1 to \d+\. Received: length=0"),
        ({"length": 10**9}, r"length: expected a whole number from 1 to \d+\."),
        ({"checksum": -1}, r"checksum: expected a whole number from 0 to 4294967295"),
    ],
)
def test_a_wrong_value_is_refused_with_file_line_and_field(copy, change_entry, fields, message: str):
    change_entry(2, **fields)
    with pytest.raises(InputError, match=rf"val-00000\.jsonl: line 2: {message}") as error:
        read_pack(copy, "val")
    assert len(str(error.value)) < 500
    assert "\n" not in str(error.value)


def test_a_line_that_is_no_object_is_refused(copy, change_entry, renew_checksum):
    index = change_entry(2)
    text = index.read_text(encoding="utf-8").splitlines()
    for line, message in (("[]", "entry: expected an object"), ("{", "the JSON that"), ("[" * 99_999, "the JSON that")):
        change_entry(1)
        index.write_text("\n".join([line, *text[1:]]), encoding="utf-8")
        with pytest.raises(InputError, match=r"val-00000\.jsonl: the index of"):
            read_pack(copy, "val")  # the checksum comes first
        renew_checksum(index)
        with pytest.raises(InputError, match=rf"val-00000\.jsonl: line 1: {message}"):
            read_pack(copy, "val")
        index.write_text("\n".join(text), encoding="utf-8")


def test_more_or_fewer_lines_than_images_are_refused(copy, change_entry, renew_checksum):
    index = change_entry(2)
    index.write_text(index.read_text(encoding="utf-8") * 2, encoding="utf-8")
    renew_checksum(index)
    with pytest.raises(
        InputError, match=r"val-00000\.jsonl: lines: expected 3, one for each image\. Received: lines=6"
    ):
        read_pack(copy, "val")


def test_boxes_that_touch_the_border_are_taken(copy, change_entry):
    change_entry(2, **labels([0, 0, 30, 30], [0.0, 0.0, 30.00001, 29.5], classes=[0, 1]))
    assert read_pack(copy, "val").records[1].boxes.shape == (2, 4)
    change_entry(2, **labels())
    assert read_pack(copy, "val").records[1].boxes.shape == (0, 4)


def test_an_image_of_another_size_than_its_entry_is_named_when_it_is_read(copy, change_entry):
    change_entry(2, height=60, width=60)
    record = read_pack(copy, "val").records[1]
    read_image(record.path)  # which is whole
    with pytest.raises(InputError, match=r"val-00000\.tfrecord: val_1\.jpg: an image of 60 x 60 .* Received: 30 x 30"):
        read_record_image(record)


def test_check_data_names_an_image_of_another_size_and_a_wrong_index(copy, change_entry):
    change_entry(2, height=60, width=60)
    (report,) = check_dataset(copy, ["val"]).splits
    (found,) = (item for item in report.problems if item.kind == "size_mismatch")
    assert "an image of 60 x 60 was expected, as its labels say. Received: 30 x 30" in found.detail
    assert not found.fixed
    change_entry(2, height=0)
    (error,) = check_dataset(copy, ["val"]).unusable
    assert "line 2: height: expected a whole number" in error
