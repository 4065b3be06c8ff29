from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.report.charts import (
    BOTTOM,
    LEFT,
    RIGHT,
    TOP,
    Point,
    Series,
    line_chart,
    nice_ticks,
    padded_range,
    scatter_chart,
    tick_texts,
)
from edge.report.formatting import breakable, code, diff_class, duration, megabytes, milliseconds, ratio, signed
from edge.report.labels import place_names

quick = settings(deadline=None, max_examples=60, derandomize=True)


@pytest.mark.parametrize(
    ("low", "high", "count", "expected"),
    [
        (0, 1, 4, [0, 0.25, 0.5, 0.75, 1]),
        (0, 1, 5, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (1, 40, 5, [10, 20, 30, 40]),
        (59.9, 61.2, 4, [60, 60.5, 61]),
        (-3, 3, 3, [-2, 0, 2]),
        (7, 7, 4, [7]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(low, high, count, expected):
    assert nice_ticks(low, high, count=count) == pytest.approx(expected)


@quick
@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(1, 8))
def test_ticks_ascend_inside_the_range_and_are_few(low, width, count):
    high = low + width
    ticks = nice_ticks(low, high, count=count)
    step = max((b - a for a, b in zip(ticks, ticks[1:], strict=False)), default=0)
    assert ticks == sorted(ticks) and len(ticks) <= count + 2
    assert all(low - 1e-6 * step - 1e-9 <= tick <= high + 1e-6 * step + 1e-9 for tick in ticks)


@pytest.mark.parametrize(
    ("ticks", "texts"),
    [
        ([0, 0.25, 0.5], ["0.00", "0.25", "0.50"]),
        ([0, 10, 20], ["0", "10", "20"]),
        ([0, 0.0005, 0.001], ["0", "5e-4", "1e-3"]),
        ([0, 0.00025], ["0", "2.5e-4"]),
        ([], []),
    ],
)
def test_ticks_have_the_digits_that_tell_them_apart(ticks, texts):
    assert tick_texts(ticks) == texts


def test_a_range_is_never_empty_and_does_not_go_below_zero_without_need():
    assert padded_range([5.0]) == (4.5, 5.5)
    assert padded_range([0.0]) == (0.0, 1.0)
    assert padded_range([1.0, 11.0], share=0.5) == (0.0, 16.0)
    assert padded_range([2.0, 4.0], from_zero=True, share=0.5) == (0.0, 5.0)
    assert padded_range([-2.0, 2.0], share=0.25) == (-3.0, 3.0)


def test_a_line_is_placed_by_the_linear_map_of_its_ranges():
    chart = line_chart(
        "c",
        "t",
        description="d",
        series=[Series("s", 1, [(0, 0), (1, 1)])],
        x_label="x",
        x_range=(0, 1),
        y_range=(0, 1),
        size=(300, 200),
    )
    points = re.search(r'polyline[^>]*points="([^"]*)"', chart).group(1)
    corners = [float(value) for pair in points.split() for value in pair.split(",")]
    assert corners == pytest.approx([LEFT, 200 - BOTTOM, 300 - RIGHT, TOP])


def test_values_that_are_not_finite_are_left_out_of_a_line():
    line = Series("s", 1, [(0, 0), (1, math.nan), (2, math.inf), (3, 1)], dots=True)
    chart = line_chart("c", "t", description="d", series=[line], x_label="x", x_range=(0, 3), y_range=(0, 1))
    assert chart.count("<circle") == 2 and "nan" not in chart and "inf" not in chart


@pytest.mark.parametrize("points", [[], [(1.0, 2.0)]])
def test_a_line_without_extent_is_still_a_chart(points):
    tree = ElementTree.fromstring(
        line_chart(
            "c", "t", description="d", series=[Series("s", 0, points)], x_label="x", x_range=(0, 2), y_range=(0, 2)
        )
    )
    assert len(tree.findall("polyline")) == 0 and len(tree.findall("circle")) == len(points)


def test_charts_are_well_formed_and_escape_every_text():
    evil = '<script>alert("1")</script>&\''
    charts = [
        line_chart(
            "c",
            evil,
            description=evil,
            series=[Series(evil, 0, [(0, 0), (1, 1)], True, True, (1, 1))] * 2,
            x_label=evil,
            x_range=(0, 1),
            y_range=(0, 1),
        ),
        scatter_chart(
            "c",
            evil,
            description=evil,
            points=[Point(evil, 0, 0.5, 0.5)],
            x_label=evil,
            x_range=(0, 1),
            y_range=(0, 1),
            y_label=evil,
        ),
    ]
    for chart in charts:
        tree = ElementTree.fromstring(chart)
        assert tree.find("title").text == evil and tree.find("desc").text == evil
        assert tree.get("role") == "img" and not list(tree.iter("script"))


def test_points_on_one_spot_share_a_label_and_labels_do_not_cover_each_other():
    points = [Point("int8", 4, 2, 50), Point("twin", 4, 2, 50), Point("near", 1, 2.3, 50), Point("far", 2, 8, 55)]
    tree = ElementTree.fromstring(
        scatter_chart("c", "t", description="d", points=points, x_label="MB", x_range=(0, 10), y_range=(45, 60))
    )
    names = [element for element in tree.iter("text") if element.get("class") == "name"]
    assert [element.text for element in names] == ["int8, twin", "near", "far"]
    assert_apart(names)


def assert_apart(names):
    """Names at 6.4 units a character and 12 high."""
    boxes = []
    for element in names:
        width = 6.4 * len(element.text)
        left = float(element.get("x")) - width * {"start": 0, "middle": 0.5, "end": 1}[element.get("text-anchor")]
        boxes.append((left, float(element.get("y")), left + width))
    for index, (left, y, right) in enumerate(boxes):
        for other_left, other_y, other_right in boxes[:index]:
            assert left >= other_right - 0.2 or right <= other_left + 0.2 or abs(y - other_y) >= 11.8


@settings(quick, max_examples=15)
@given(
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10), st.integers(1, 24)), min_size=6, max_size=14),
    st.sampled_from([1.0, 0.2, 0.02]),
)
def test_names_of_many_points_are_all_there_inside_the_chart_and_cover_neither_names_nor_points(drawn, spread):
    points = [Point("n" * length, 0, 5 + (x - 5) * spread, 5 + (y - 5) * spread) for x, y, length in drawn]
    tree = ElementTree.fromstring(
        scatter_chart("c", "t", description="d", points=points, x_label="MB", x_range=(0, 10), y_range=(0, 10))
    )
    names = [element for element in tree.iter("text") if element.get("class") == "name"]
    assert sum(element.text.count("n") for element in names) >= min(sum(length for _, _, length in drawn), 20)
    assert len(names) <= len(points)
    assert_apart(names)
    assert all(LEFT <= float(element.get("x")) <= 400 and 20 <= float(element.get("y")) <= 226 for element in names)


def test_names_that_do_not_fit_beside_their_point_get_a_line_to_it():
    points, inside = [(100.0, 50.0)] * 9, (0.0, 0.0, 200.0, 100.0)
    places = place_names(points, ["a" * 6] * 9, markers=points[:1], inside=inside)
    assert None not in places
    lines = [place for place in places if place.line is not None]
    assert 1 <= len(lines) <= 5
    for place in lines:
        x1, y1, x2, y2 = place.line
        assert math.hypot(x1 - 100, y1 - 50) == pytest.approx(5)
        left, top, right, bottom = place.box
        assert left - 1e-6 <= x2 <= right + 1e-6 and top - 1e-6 <= y2 <= bottom + 1e-6


def test_a_name_that_fits_nowhere_is_left_out():
    assert place_names([(5, 5)], ["a" * 20], markers=[(5, 5)], inside=(0, 0, 50, 50)) == [None]


def test_numbers_have_sensible_digits():
    assert [signed(value) for value in (1.25, -0.51, -0.04, 0.0, None)] == ["+1.2", "−0.5", "0.0", "0.0", "–"]
    assert [ratio(value) for value in (0.98999, 0.99, 1.0, None)] == ["98.9 %", "99.0 %", "100.0 %", "–"]
    assert [megabytes(value) for value in (2_961_408, 99_999, None)] == ["2.96 MB", "100.0 kB", "–"]
    assert [milliseconds(value) for value in (3.456, 14.48, 131.6, None)] == ["3.46 ms", "14.5 ms", "132 ms", "–"]
    assert [duration(value) for value in (61.0, 2400.0, 9000.0)] == [("61", "s"), ("40", "min"), ("2.5", "h")]


def test_differences_are_marked_at_half_a_point_and_beyond_the_limit():
    marks = [diff_class(value, 2.0) for value in (-2.1, -2.0, -0.5, -0.4, 0.4, 0.5)]
    assert marks == ["drop", "loss", "loss", "", "", "gain"]


def test_file_names_break_at_their_parts_and_stay_escaped():
    assert breakable("a_<b>.tflite") == "a_<wbr>&lt;b&gt;<wbr>.tflite"


def test_commands_in_backticks_become_code_and_stay_escaped():
    assert code("Run `a <b>` now <i>`") == "Run <code>a &lt;b&gt;</code> now &lt;i&gt;<code></code>"
