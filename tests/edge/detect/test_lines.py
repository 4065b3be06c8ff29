"""JSON lines: what is in them and where they go."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge.detect.lines import Latencies, detection_line, open_lines
from edge.runtime import Detections
from keras_retina.foundation.errors import InputError

FOUND = Detections(
    np.array([[1, 2.004, 3, 4], [5, 6, 7, 8]], np.float32), np.array([0.98768, 0.5], np.float32), np.array([1, 0])
)


def test_a_line_has_labels_scores_boxes_and_tracks_where_there_are_some():
    line = detection_line({"file": "a\nb.png"}, FOUND, class_names=("cat", "dog"))
    assert line.count("\n") == 1 and line.endswith("\n")
    assert json.loads(line) == {
        "file": "a\nb.png",
        "detections": [
            {"label": "dog", "score": 0.9877, "box": [1, 2, 3, 4]},
            {"label": "cat", "score": 0.5, "box": [5, 6, 7, 8]},
        ],
    }
    tracked = json.loads(detection_line({"frame": 3}, FOUND, class_names=("cat", "dog"), tracks=[7, 9]))
    assert [row["track"] for row in tracked["detections"]] == [7, 9]


def test_nothing_found_is_an_empty_list():
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32))
    for tracks in (None, []):
        assert json.loads(detection_line({"frame": 0}, nothing, class_names=("cat",), tracks=tracks)) == {
            "frame": 0,
            "detections": [],
        }


def test_lines_go_to_the_folder_a_file_or_standard_output(tmp_path, capsys):
    for target in (None, str(tmp_path / "own.jsonl"), "-"):
        with open_lines(target, tmp_path) as stream:
            stream.write("{}\n")
    assert (tmp_path / "detections.jsonl").read_text() == (tmp_path / "own.jsonl").read_text() == "{}\n"
    assert capsys.readouterr().out == "{}\n"
    with open_lines(str(tmp_path / "new" / "x"), tmp_path):
        assert (tmp_path / "new" / "x").is_file()
    with pytest.raises(InputError, match="--json-lines"), open_lines(str(tmp_path / "new"), tmp_path):
        pass


def test_latencies_are_counted_by_the_millisecond_and_summed_up():
    """Of 1 to 100 ms: nearest ranks 50, 95 and 100."""
    latencies = Latencies()
    assert latencies.summary() == ""
    with pytest.raises(ValueError, match="at least one latency"):
        latencies.percentile(50)
    for milliseconds in reversed(range(1, 101)):
        latencies.add(milliseconds + 0.2)
    assert [latencies.percentile(percent) for percent in (1, 50, 95, 100)] == [1, 50, 95, 100]
    assert latencies.summary() == "from frame to line: median 50 ms, 95 % within 95 ms, longest 100 ms"
    alone = Latencies()
    alone.add(7.4)
    assert alone.percentile(50) == alone.percentile(100) == 7
