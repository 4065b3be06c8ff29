"""The page and the table of a review: complete, bounded, self-contained and safe with any names."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge.report.review.review import (
    BLUE,
    COLUMNS,
    GREEN,
    LONG_SIDE,
    RED,
    chosen,
    close_up,
    sentence,
    summary,
    write_review,
)
from keras_retina.data.records import Record
from keras_retina.evaluate.review import ClassShare, Line, Review

EVIL = '<script>alert("pwned")</script>'
BOX, FOUND = (40.0, 60.0, 80.0, 120.0), (44.0, 60.0, 84.0, 120.5)  # yxyx


@pytest.fixture
def record(tmp_path) -> Record:
    Image.fromarray(np.full([120, 200, 3], 90, np.uint8)).save(tmp_path / "a.png")
    boxes = np.array([BOX, (0, 100, 30, 130)], np.float32)
    return Record(1, tmp_path / "a.png", "a.png", 120, 200, boxes, np.zeros([2], np.int32), np.zeros([2], bool))


@pytest.fixture
def review(record) -> Review:
    lines = (
        Line("wrong_class", 0.9, "train", record, "disc", BOX, EVIL, FOUND, 0.8),
        Line("missing_label", 0.7, "val", record, None, None, "disc", FOUND, 0.6),
        Line("loose_box", 0.6, "val", record, "disc", BOX, "disc", FOUND, 0.6),
        Line("unfound_label", 0.2, "val", record, "disc", BOX, None, None, None),
    )
    return Review(lines, (ClassShare("disc", 8, 2, 1), ClassShare(EVIL, 0, 0, 0)))


def written(folder: Path, review: Review, pictures: int = 10) -> tuple[str, list[list[str]]]:
    splits = ("train", "val")
    page, table = write_review(folder, review, name="r", training_split="train", splits=splits, pictures=pictures)
    with table.open(newline="", encoding="utf-8") as file:
        return page.read_text(encoding="utf-8"), list(csv.reader(file))


def test_the_table_has_every_line_with_boxes_as_x_and_y(review, record, tmp_path):
    header, *rows = written(tmp_path / "out", review, pictures=1)[1]
    assert tuple(header) == COLUMNS
    assert [row[0] for row in rows] == ["1", "2", "3", "4"]
    first = dict(zip(header, rows[0], strict=True))
    assert [first[f"label {side}"] for side in ("x1", "y1", "x2", "y2")] == ["60.0", "40.0", "120.0", "80.0"]
    assert [first[f"found {side}"] for side in ("x1", "y1", "x2", "y2")] == ["60.0", "44.0", "120.5", "84.0"]
    assert (first["class"], first["found class"], first["suspicion"]) == ("disc", EVIL, "0.9000")
    assert first["where"] == str(record.path)
    assert [rows[1][header.index(name)] for name in ("class", "label x1")] == ["", ""]
    assert [rows[3][header.index(name)] for name in ("found class", "confidence", "found x1")] == ["", "", ""]


def test_the_page_shows_as_many_pictures_as_allowed_and_says_so(review, tmp_path):
    page, _ = written(tmp_path, review, pictures=2)
    assert page.count("<img ") == 2 and "2 of 4 lines: the first ones." in page
    page, _ = written(tmp_path, review)
    assert page.count("<img ") == 4 and "All 4 lines" in page
    page, _ = written(tmp_path, review, pictures=0)
    assert "<img " not in page and "No pictures were asked for" in page


def test_the_first_lines_are_shown_and_some_of_each_kind(review):
    wrong, missing, loose, unfound = review.lines
    lines = [wrong] * 20 + [missing] * 3 + [loose] * 20 + [unfound]
    # 16 pictures: two of each kind as far as there are (1, 2, 21, 22, 24, 25, 44), then the first that are left.
    assert chosen(lines, 16) == [*range(1, 12), 21, 22, 24, 25, 44]
    assert chosen(lines, 7) == [1, 2, 3, 4, 5, 6, 7]
    assert chosen(lines, 100) == [*range(1, 45)]
    assert chosen(lines, 0) == [] and chosen([], 5) == []


def test_the_page_loads_nothing_and_no_name_of_the_data_is_markup(review, tmp_path):
    page, _ = written(tmp_path, review)
    assert set(re.findall(r'(?:src|href)="([^":]*:)', page)) == {"data:"}
    assert "default-src 'none'" in page
    assert EVIL not in page and page.count("<script") == 1


def test_the_page_says_that_the_detector_was_trained_on_a_split(review, tmp_path):
    page, _ = written(tmp_path, review)
    assert "was trained on the labels of <code>train</code>" in page
    page, _ = write_review(tmp_path, review, name="r", training_split="train", splits=("val",), pictures=1)
    assert "was trained on the labels" not in page.read_text()


def test_a_review_without_lines_says_so(tmp_path):
    page, rows = written(tmp_path, Review((), (ClassShare("disc", 3, 0, 0),)))
    assert "agrees with every label" in page and len(rows) == 1


def test_the_label_is_green_the_finding_red_and_other_labels_blue(review):
    pixels = np.full([120, 200, 3], 90, np.uint8)
    drawn = close_up(pixels, review.lines[0])
    assert max(drawn.shape[:2]) == LONG_SIDE
    colours = {tuple(colour) for colour in drawn.reshape(-1, 3)}
    assert {GREEN, RED, BLUE} <= colours
    missing = {tuple(colour) for colour in close_up(pixels, review.lines[1]).reshape(-1, 3)}
    assert RED in missing and GREEN not in missing


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (119, 199, 120, 200), (0, 0, 120, 200), (10, 10, 10, 10)])
def test_boxes_at_the_border_or_without_area_are_drawn_too(record, box):
    line = Line("unfound_label", 0.5, "val", record, "disc", box, None, None, None)
    assert max(close_up(np.zeros([120, 200, 3], np.uint8), line).shape[:2]) == LONG_SIDE


def test_each_kind_has_a_sentence(review):
    assert [sentence(line) for line in review.lines] == [
        f"labelled disc, found as {EVIL} (80 %)",
        "disc found (60 %), not labelled",
        "labelled disc, found with another box (60 %)",
        "labelled disc, hardly found",
    ]


def test_the_summary_counts_what_is_suspicious(review):
    found = summary(review, ("train", "val"))
    assert found["suspicious"] == {"missing_label": 1, "unfound_label": 0, "wrong_class": 1, "loose_box": 1}
    assert found["classes"]["disc"] == {"labels": 8, "suspicious": 2, "share": 0.25, "missing": 1}
    assert found["classes"][EVIL]["share"] is None
    assert (found["labels"], found["lines"], found["splits"]) == (8, 4, ["train", "val"])
