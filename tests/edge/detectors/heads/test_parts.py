"""Boxes, best scores and classes in outputs of their own are told apart, also where int8 rounds all scores to 0."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge.detectors.heads.grid import cells
from edge.detectors.heads.head import Output, Seen
from edge.detectors.heads.tables import parts
from edge.tflite.read_metadata import FileMetadata

PLACES = cells((8, 16, 32), 64, width=96)  # 126 cells
CORNERS = np.concatenate([PLACES[:, :2] - 8, PLACES[:, :2] + 8], axis=1)[None].astype(np.float32)
NOTHING = np.zeros((1, len(PLACES)), np.float32)


def seen_of(names, arrays):
    outputs = tuple(Output(name, "float32", values) for name, values in zip(names, arrays, strict=True))
    return Seen(64, 96, outputs, schema.ModelT(), FileMetadata())


def test_the_best_score_of_a_row_is_read_with_its_class_and_corners_as_yxyx():
    scores, classes = NOTHING.copy(), NOTHING.copy()
    scores[0, [5, 90]], classes[0, 5] = (0.9, 0.4), 2
    (head,) = parts.recognise(seen_of(("a", "b", "c"), (classes, CORNERS, scores + 0.001)))
    assert head.name == "yolo-best"
    found = head.read([classes, CORNERS, scores], 0.3)
    assert found.scores.tolist() == pytest.approx([0.9, 0.4])
    assert found.classes.tolist() == [2, 0]
    assert found.boxes[0].tolist() == CORNERS[0, 5, [1, 0, 3, 2]].tolist()


def test_scores_that_are_all_0_are_known_by_the_name_of_the_classes():
    (head,) = parts.recognise(seen_of(("boxes", "class_idx", "scores"), (CORNERS, NOTHING, NOTHING)))
    scores = NOTHING.copy()
    scores[0, 7] = 0.5
    assert head.read([CORNERS, NOTHING, scores], 0.3).scores.tolist() == pytest.approx([0.5])
    assert parts.recognise(seen_of(("boxes", "b", "c"), (CORNERS, NOTHING, NOTHING))) == []
