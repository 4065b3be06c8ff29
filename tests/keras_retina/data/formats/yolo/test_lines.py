from __future__ import annotations

import math

import numpy as np
import pytest

from keras_retina.data.formats.yolo.lines import read_lines, settle
from keras_retina.data.reading.folder import find_layout, open_folder, read_split
from keras_retina.data.records import Reading
from keras_retina.recipe.data import Data

NAMES = {0: "cat", 1: "dog"}


def lines(text, keypoints=None, names=NAMES):
    index = {number: place for place, number in enumerate(names)}
    return read_lines(text, "a.txt", class_index=index, names=names, keypoints=keypoints)


def boxes(text, **arguments):
    found, problems = lines(text, **arguments)
    assert problems == []
    return [(line.box.class_index, *(round(value, 6) for value in line.box.corners)) for line in found]


@pytest.mark.parametrize(
    "text",
    [
        "1 0.5 0.5 0.2 0.4",
        "1\t0.5\t0.5\t0.2\t0.4\r\n\r\n",
        "1.0 0.5 0.5 0.2 0.4\n",
        "  1  0.5 0.5 0.2 0.4  ",
        "1 0.5 0.5 0.2 0.4 0.93",  # a confidence or a track
        "1 0.4 0.3 0.6 0.3 0.6 0.7 0.4 0.7",  # four corners of a turned box
        "1 0.4 0.3 0.6 0.5 0.5 0.7",  # a polygon
    ],
)
def test_every_kind_of_line_gives_the_upright_box(text):
    assert boxes(text) == [(1, 0.3, 0.4, 0.7, 0.6)]


@pytest.mark.parametrize("points", ["0.1 0.1 0.9 0.9", "0.1 0.1 2 0.9 0.9 0", "0.1 0.1 0.9 0.9 0.3 0.3"])
def test_key_points_are_no_part_of_the_box(points):
    text = f"1 0.5 0.5 0.2 0.4 {points}"
    count = 3 if len(points.split()) == 6 and "2" not in points.split() else 2
    assert boxes(text, keypoints=(count, 3)) == [(1, 0.3, 0.4, 0.7, 0.6)]


def test_pose_sets_refuse_a_line_with_another_number_of_key_points():
    found, problems = lines("1 0.5 0.5 0.2 0.4 0.1 0.1", keypoints=(17, 3))
    assert found == [] and "kpt_shape=[17, 3]" in problems[0].detail


def test_class_numbers_with_a_gap_are_numbered_without_it():
    assert boxes("7 0.5 0.5 0.2 0.4", names={2: "cat", 7: "dog"})[0][0] == 1


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("0 0.5 0.5 -0.2 0.4", "negative_box"),
        ("0 0.5 0.5 0.2", "invalid_box"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "invalid_box"),
        ("cat 0.5 0.5 0.2 0.4", "invalid_box"),
        ("0,0.5,0.5,0.2,0.4", "invalid_box"),
        ("2 0.5 0.5 0.2 0.4", "unknown_category"),
        ("0.5 0.5 0.5 0.2 0.4", "unknown_category"),
        ("-1 0.5 0.5 0.2 0.4", "unknown_category"),
        ("nan 0.5 0.5 0.2 0.4", "unknown_category"),
    ],
)
def test_what_cannot_be_read_names_file_and_line(line, kind):
    found, (wrong,) = lines(f"1 0.5 0.5 0.1 0.1\n{line}\n")
    assert len(found) == 1
    assert (wrong.kind, wrong.where, wrong.fixed) == (kind, "a.txt: line 2", False)


def test_the_message_of_a_class_without_a_name_lists_eight_names():
    many = {number: f"c{number}" for number in range(20)}
    _, (wrong,) = lines("99 0.5 0.5 0.2 0.4", names=many)
    assert "class=99. Valid: 0 (c0)" in wrong.detail and wrong.detail.endswith("7 (c7), ...")


def test_a_polygon_that_is_not_finite_gives_no_box_in_its_finite_part():
    (line,), _ = lines("0 0.1 nan 0.5 0.3 0.4 0.9")
    assert all(map(math.isnan, line.box.corners))


def split(*texts, values="auto"):
    files = [lines(text)[0] for text in texts]
    return settle(files, values, where="train")


def test_a_sixth_number_of_every_line_is_told_once():
    found, (told,) = split("0 0.5 0.5 0.2 0.4 0.9\n1 0.5 0.5 0.1 0.1 0.8", "", "1 0.5 0.5 0.1 0.1 7")
    assert [len(own) for own in found] == [2, 0, 1]
    assert (told.kind, told.where, told.fixed) == ("sixth_number", "train", True)


def test_a_sixth_number_of_some_lines_is_refused_there():
    found, (wrong,) = split("0 0.5 0.5 0.2 0.4", "1 0.5 0.5 0.1 0.1 0.8")
    assert [len(own) for own in found] == [1, 0]
    assert (wrong.kind, wrong.where, wrong.fixed) == ("invalid_box", "a.txt: line 1", False)


@pytest.mark.parametrize("text", ["0 50 35 60 50", "0 0.5 0.5 0.2 3", "0 1.6 0.5 0.2 0.2", "0 9 9 30 9 30 60"])
def test_values_that_are_no_shares_are_one_problem_that_names_the_setting(text):
    found, (wrong,) = split("0 0.5 0.5 0.2 0.4", text, text)
    assert [len(own) for own in found] == [1, 0, 0]
    assert (wrong.kind, wrong.fixed) == ("pixel_boxes", False)
    assert "2 of 3 boxes, first at a.txt: line 1" in wrong.detail and "--set data.boxes=pixels" in wrong.detail


def test_values_a_little_over_one_stay_shares():
    assert split("0 1.000001 0.5 1.2 1.5\n0 1.4 1.4 1 1")[1] == []


def test_the_user_decides_between_pixels_and_shares():
    assert split("0 50 35 60 50", values="pixels")[1] == split("0 50 35 60 50", values="normalized")[1] == []
    found, (wrong,) = split("0 0.5 0.5 0.2 0.4", values="pixels")
    assert (wrong.kind, wrong.fixed) == ("normalized_boxes", False)
    assert split("", values="pixels") == ([()], [])


def folder(pets, text):
    return pets({"classes.txt": "cat\ndog\n", "images/a.png": None, "labels/a.txt": text})


def test_pixels_are_centre_and_size(pets):
    root = folder(pets, "1 100 50 40 40\n")
    (record,) = find_layout(root).read("all", Reading(boxes="pixels")).records
    np.testing.assert_allclose(record.boxes, [[30, 80, 70, 120]])
    assert read_split(open_folder(root, Data(boxes="pixels")), "all").problems == ()
    assert [item.kind for item in read_split(open_folder(root), "all").problems] == ["pixel_boxes"]


@pytest.mark.parametrize(
    ("line", "kind", "fixed"),
    [
        ("0 0.5 0.5 0 0.4", "degenerate_box", True),
        ("0 0.95 0.5 0.2 0.4", "outside_box", True),
        ("0 1.5 0.5 0.2 0.4", "outside_box_dropped", True),
        ("0 nan 0.5 0.2 0.4", "invalid_box", False),
        ("0 inf 0.5 0.2 0.4", "invalid_box", False),
        ("0 0.1 nan 0.5 0.3 0.4 0.9", "invalid_box", False),
    ],
)
def test_the_rules_for_boxes_of_all_formats_hold(pets, line, kind, fixed):
    root = folder(pets, f"1 0.5 0.5 0.1 0.1\n{line}\n")
    (found,) = read_split(open_folder(root), "all").problems
    assert (found.kind, found.fixed) == (kind, fixed)
    assert found.where == f"{root / 'labels' / 'a.txt'}: line 2"


def test_rounding_over_the_edge_is_no_problem(pets):
    dataset = read_split(open_folder(folder(pets, "0 0.500001 0.5 1.000000 1.000000\n")), "all")
    assert dataset.problems == () and dataset.records[0].boxes.tolist()[0][3] == 200
