from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from keras_retina.data.formats.repair import (
    LabelledBox,
    LabelledImage,
    build_records,
    problem,
    refuse_unfixed,
    repair_boxes,
    safe_path,
    skip_bad_images,
    turn_boxes,
)
from keras_retina.data.images import read_image
from keras_retina.data.records import Problem
from keras_retina.foundation.errors import InputError


def repair(*corners, classes=None, height=100, width=200):
    classes = np.zeros(len(corners), int) if classes is None else np.array(classes)
    where = [f"box {index}" for index in range(len(corners))]
    boxes, kept, problems = repair_boxes(
        np.array(corners, float).reshape(-1, 4), classes, height=height, width=width, where=where
    )
    assert boxes.dtype == np.float32
    return boxes.tolist(), kept.tolist(), [(item.kind, item.where, item.fixed) for item in problems]


def labelled(file_name, *corners, size=None, where="labels: line 1", normalized=False):
    boxes = tuple(LabelledBox(f"{where} box {index}", box, 0) for index, box in enumerate(corners))
    return LabelledImage(where, 1, file_name, size, boxes, normalized)


@pytest.mark.parametrize(
    ("corners", "expected", "kind"),
    [
        ((10, 20, 30, 40), (10, 20, 30, 40), None),
        ((0, 0, 100, 200), (0, 0, 100, 200), None),  # the whole image
        ((10, 20, 10, 40), None, "degenerate_box"),  # a line
        ((10, 20, 10, 20), None, "degenerate_box"),  # a point
        ((-5, -6, 30, 40), (0, 0, 30, 40), "outside_box"),
        ((10, 20, 130, 240), (10, 20, 100, 200), "outside_box"),
        ((10, 20, 100.05, 200.05), (10, 20, 100, 200), None),  # the rounding of a label file
        ((10, 300, 30, 320), None, "outside_box_dropped"),
        ((100, 20, 120, 40), None, "outside_box_dropped"),  # touches the edge from outside
        ((-30, 20, -10, 40), None, "outside_box_dropped"),
    ],
)
def test_one_box(corners, expected, kind):
    boxes, kept, problems = repair(corners)
    assert boxes == ([list(map(float, expected))] if expected else [])
    assert kept == ([0] if expected else [])
    assert problems == ([(kind, "box 0", True)] if kind else [])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_box_that_is_not_finite_is_not_fixed(value):
    boxes, _, problems = repair((10, 20, 30, 40), (10, 20, value, 40))
    assert boxes == [[10, 20, 30, 40]]
    assert problems == [("invalid_box", "box 1", False)]


@pytest.mark.parametrize("corners", [(30, 40, 10, 20), (30, 20, 10, 40), (10, 40, 30, 20)])
def test_reversed_corners_are_not_guessed(corners):
    boxes, kept, problems = repair((10, 20, 30, 40), corners)
    assert (boxes, kept) == ([[10, 20, 30, 40]], [0])
    assert problems == [("reversed_box", "box 1", False)]


def test_exact_copy_is_dropped_within_a_class_only():
    box = (10, 20, 30, 40)
    boxes, kept, problems = repair(box, box, box, (10, 20, 30, 41), classes=[0, 0, 1, 0])
    assert kept == [0, 2, 3]
    assert problems == [("duplicate_box", "box 1", True)]
    assert len(boxes) == 3


def test_image_without_boxes():
    assert repair() == ([], [], [])
    boxes, kept, _ = repair_boxes(np.zeros((0, 4)), np.zeros(0, int), height=10, width=10, where=[])
    assert boxes.shape == (0, 4) and kept.shape == (0,)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(st.lists(st.tuples(*[st.floats(-300, 300, width=32)] * 4, st.integers(0, 1)), max_size=12))
def test_repaired_boxes_are_valid_and_stay_as_they_are(rows):
    corners = np.array([row[:4] for row in rows], float).reshape(-1, 4)
    classes = np.array([row[4] for row in rows], int)
    boxes, kept, problems = repair_boxes(corners, classes, height=100, width=200, where=[""] * len(rows))
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert (boxes >= 0).all() and (boxes <= [100, 200, 100, 200]).all()
    assert len({(*box, label) for box, label in zip(boxes.tolist(), classes[kept].tolist(), strict=True)}) == len(boxes)
    dropped = {"reversed_box", "degenerate_box", "outside_box_dropped", "duplicate_box"}
    assert len(rows) - len(kept) == sum(item.kind in dropped for item in problems)  # nothing silently
    again, kept_again, problems_again = repair_boxes(
        boxes, classes[kept], height=100, width=200, where=[""] * len(kept)
    )
    assert (again == boxes).all() and len(kept_again) == len(kept) and not problems_again


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_of_the_stored_frame_turn_with_the_pixels(tmp_path, orientation):
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[4:14, 30:50] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    upright = read_image(tmp_path / "a.png")
    rows, columns = np.nonzero(upright[..., 0])
    expected = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]
    assert turn_boxes(np.array([[4, 30, 14, 50]]), 40, width=60, orientation=orientation).tolist() == [expected]

    # The labels give the stored size: the box turns. They give the upright size: it stays.
    (record,), problems = build_records([labelled("a.png", (4, 30, 14, 50), size=(40, 60))], tmp_path)
    assert record.boxes.tolist() == [expected] and (record.height, record.width) == (60, 40)
    assert [item.kind for item in problems] == ["exif_rotated_image"] and problems[0].fixed
    (record,), problems = build_records([labelled("a.png", (4, 30, 14, 40), size=(60, 40))], tmp_path)
    assert record.boxes.tolist() == [[4, 30, 14, 40]]
    assert [item.kind for item in problems] == ["exif_rotated_image"]


def test_size_that_contradicts_the_file_is_refused(tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "a.png")
    records, (found,) = build_records([labelled("a.png", size=(60, 40))], tmp_path)  # swapped without EXIF
    assert not records and (found.kind, found.fixed) == ("size_mismatch", False)
    assert "width=40, height=60, but the file is 60x40" in found.detail


def test_normalized_boxes_are_scaled_by_the_upright_size(tmp_path):
    Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    (record,), problems = build_records([labelled("a.png", (0.1, 0.25, 0.5, 0.75), normalized=True)], tmp_path)
    assert record.boxes.tolist() == [[10, 50, 50, 150]] and not problems


def test_image_without_objects_is_kept(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (record,), problems = build_records([labelled("a.png")], tmp_path)
    assert record.boxes.shape == (0, 4) and record.classes.shape == (0,) and record.crowd.shape == (0,)
    assert not problems


def test_grey_image_is_read_and_counted(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    records, (found,) = build_records([labelled("a.png")], tmp_path)
    assert len(records) == 1 and (found.kind, found.fixed) == ("non_rgb_image", True)


def test_bad_images_give_problems_and_the_others_records(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "good.png")
    (tmp_path / "empty.png").write_bytes(b"")
    content = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    names = ["missing.png", "empty.png", "cut.png", "good.png", "./good.png", "../good.png"]
    records, problems = build_records([labelled(name) for name in names], tmp_path)
    assert [record.file_name for record in records] == ["good.png"]
    assert [item.kind for item in problems] == [
        "missing_image",
        "unreadable_image",
        "unreadable_image",
        "image_listed_twice",
        "unsafe_path",
    ]
    assert not any(item.fixed for item in problems)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../a", "b/../../a", "/etc/passwd", "C:\\a.png", "C:a.png", "..\\a.png", "\\a", "a\0b"]
)
def test_name_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="inside the data folder"):
        safe_path(tmp_path, name)


def test_link_on_the_disk_may_lead_out_of_the_folder(tmp_path):
    root = tmp_path / "data"
    (root / "in").mkdir(parents=True)
    (tmp_path / "linked.png").write_bytes(b"")
    (root / "out.png").symlink_to(tmp_path / "linked.png")
    (root / "folder").symlink_to(tmp_path)
    assert safe_path(root, "out.png") == root / "out.png"
    assert safe_path(root, "folder/linked.png") == root / "folder" / "linked.png"
    assert safe_path(root, "in\\a.png") == root / "in" / "a.png"  # written on Windows


def test_refusal_names_the_first_problem_and_counts_the_others():
    problems = [
        Problem("outside_box", "f: line 1", "clipped", True),
        Problem("invalid_box", "f: line 2", "numbers expected.", False),
        Problem("invalid_box", "f: line 3", "numbers expected.", False),
    ]
    with pytest.raises(InputError, match=r"^f: line 2: numbers expected\. 1 more such problems; check-data"):
        refuse_unfixed(problems)
    with pytest.raises(InputError, match=r"^f: line 3: numbers expected\.$"):
        refuse_unfixed(problems[2:])
    refuse_unfixed(problems[:1])


def test_problem_texts_are_one_printable_line():
    made = problem("kind", "a\nb", detail="red \x1b[31m text\r", fixed=True)
    assert made.where == "a\\nb" and made.detail == "red \\x1b[31m text\\r"


def test_an_image_that_is_missing_or_damaged_comes_with_what_to_do(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    (images / "bad.png").write_bytes(b"no picture")
    _, problems = build_records([labelled("none.png"), labelled("bad.png")], images)
    assert all(item.detail.endswith("To leave such images out: --set data.bad_images=skip") for item in problems)
    assert not any("--set" in item.detail for item in skip_bad_images(problems))  # it is set then
    (tmp_path / "train.zip").touch()
    _, (packed,) = build_records([labelled("none.png")], images)
    assert packed.detail.endswith("Received: 'none.png', which is not there. Unpack train.zip, if it is in there.")
    _, (nowhere,) = build_records([labelled("none.png")], tmp_path / "none" / "images")
    assert nowhere.kind == "missing_image"
