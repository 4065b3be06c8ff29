"""Anchors are read from numbers, YOLOv5's model file and Darknet's network file; what is none is one line."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.detectors.heads.levels.own_anchors import parse_anchors
from keras_retina.foundation.errors import InputError

DARKNET = """[net]
width=320
[convolutional]
filters=24
[yolo]
mask = 2,3
anchors = 10,14,  23,27,  37,58,  81.5,82
classes=3
[convolutional]
filters=24
[yolo]
mask = 0,1
anchors = 10,14,  23,27,  37,58,  81.5,82  # of all levels
classes=3
"""


def test_numbers_are_levels_of_widths_and_heights():
    assert parse_anchors("10,14,23,27/37,58,81.5,82") == ((10, 14, 23, 27), (37, 58, 81.5, 82))
    assert parse_anchors("10, 14") == ((10, 14),)


def test_darknet_chooses_by_mask_and_the_finest_level_comes_first(tmp_path):
    path = tmp_path / "own.cfg"
    path.write_text(DARKNET)
    assert parse_anchors(str(path)) == ((10, 14, 23, 27), (37, 58, 81.5, 82))


def test_a_model_file_of_yolov5_has_a_list_for_each_level(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "nc: 3\nanchors:\n  - [10,13, 16,30]  # P3/8\n  - [30,61, 62,45]\nbackbone: [[-1, 1, Conv, [64]]]\n"
    )
    assert parse_anchors(str(path)) == ((10, 13, 16, 30), (30, 61, 62, 45))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "--anchors: expected positive widths and heights"),
        ("10,x", "--anchors: expected positive"),
        ("10,20/30", "as many on each level"),
        ("10,20,30/10,20,30", "as many on each level"),
        ("10,-20", "--anchors: expected positive"),
        ("10,nan", "--anchors: expected positive"),
        ("10,inf", "--anchors: expected positive"),
        ("missing.yaml", "missing.yaml, nothing there"),
        ("missing.cfg", "missing.cfg, nothing there"),
    ],
)
def test_what_is_no_anchors_is_one_line(text, match):
    with pytest.raises(InputError, match=match) as caught:
        parse_anchors(text)
    assert "Write w,h" in str(caught.value) or "Correct the path" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.yaml", "anchors: 3", "a list for each level. Received: 3"),
        ("a.yaml", "nc: 3", "a list for each level. Received: None"),
        ("a.yaml", "[1, 2", "expected a file with anchors"),
        ("a.yaml", "anchors: [[1, 2], [3]]", "as many on each level"),
        ("a.cfg", "[net]\nwidth=3", "no \\[yolo\\] section"),
        ("a.cfg", "[yolo]\nanchors=1,2\nmask=0,1", "mask='0,1' beside 2 numbers"),
        ("a.cfg", "[yolo]\nanchors=1,2\nmask=-1", "mask='-1' beside 2 numbers"),
        ("a.cfg", "[yolo]\nanchors=1,2", "mask=None beside 2 numbers"),
        ("a.cfg", b"\xff\xfe", "expected a file with anchors"),
    ],
)
def test_a_file_without_anchors_is_one_line_with_its_name(tmp_path, name, text, match):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InputError, match=match) as caught:
        parse_anchors(str(path))
    assert str(path) in str(caught.value)


@settings(deadline=None, max_examples=150, derandomize=True)
@given(st.text(alphabet="0123456789.,/-einfa \n=#[]yolomsk", max_size=60), st.sampled_from(("", ".cfg", ".yaml")))
def test_any_text_is_anchors_or_one_line(tmp_path_factory, text, suffix):
    written = text
    if suffix:
        path = tmp_path_factory.getbasetemp() / f"any{suffix}"
        path.write_text("[yolo]\n" + text if suffix == ".cfg" else "anchors: " + text)
        written = str(path)
    try:
        levels = parse_anchors(written)
    except InputError as error:
        assert len(str(error)) < 1000
    else:
        assert len({len(level) for level in levels}) == 1 and len(levels[0]) % 2 == 0
        assert all(0 < side < float("inf") for level in levels for side in level)
