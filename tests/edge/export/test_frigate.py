"""Frigate's `cpu` and `edgetpu` detectors read a file by the position of its outputs, and its labels by number."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edge.export.export import labelmap_text
from edge.runtime import Detector
from keras_retina.data.images import read_image

ROWS, LEAST_SCORE = 20, 0.4  # of frigate/detectors/plugins/cpu_tfl.py


def read_as_frigate(path, pixels, least_score):
    """Rows of class, score and box in the order of the file: the first 20, up to the first score that is too low."""
    interpreter = Interpreter(str(path), num_threads=3)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    outputs = [interpreter.get_tensor(detail["index"])[0] for detail in interpreter.get_output_details()]
    boxes, classes, scores, count = outputs
    rows = []
    for index in range(min(int(count), ROWS)):
        if scores[index] < least_score:
            break
        rows.append([classes[index], scores[index], *boxes[index]])
    return np.array(rows, np.float32).reshape(-1, 6)


@pytest.mark.parametrize("stem", ["int8", "float32"])
@pytest.mark.parametrize("least_score", [LEAST_SCORE, 0.05])
def test_frigate_finds_what_the_runtime_finds(exported, image_paths, stem, least_score):
    detector, found = Detector(exported[stem], threads=3), 0  # as Frigate: equal scores depend on it
    height, width = detector.description.height, detector.description.width
    for path in image_paths:
        pixels, _ = detector.prepare(read_image(path))
        assert pixels.dtype == np.uint8 and pixels.shape == (1, height, width, 3)  # nhwc, rgb
        rows = read_as_frigate(exported[stem], pixels, least_score)
        expected = detector.detect(pixels[0], least_score)
        rows = rows[np.lexsort((rows[:, 3], rows[:, 2], rows[:, 0], -rows[:, 1]))]
        visible = (rows[:, 4:] > rows[:, 2:4]).all(axis=1)
        assert len(rows) == min(len(expected.scores), ROWS) or not visible.all()
        rows, number = rows[visible], int(visible.sum())
        np.testing.assert_array_equal(rows[:, 1], expected.scores[:number])
        if len(np.unique(expected.scores)) == len(expected.scores) or len(expected.scores) <= ROWS:
            np.testing.assert_array_equal(rows[:, 0], expected.classes[:number])
            scale = np.array([height, width, height, width])
            np.testing.assert_allclose(rows[:, 2:] * scale, expected.boxes[:number], atol=1e-3)
        found += number
    assert found > 0 or least_score == LEAST_SCORE  # this network is not trained


def labels_of_frigate(text, unknown=91):
    """Its `load_labels`: numbers before the names where the first line begins with one."""
    labels = dict.fromkeys(range(unknown), "unknown")
    lines = text.splitlines(keepends=True)
    if lines[0].split(" ", maxsplit=1)[0].isdigit():
        return labels | {int(line.split(" ", maxsplit=1)[0]): line.split(" ", maxsplit=1)[1].strip() for line in lines}
    return labels | {number: line.strip() for number, line in enumerate(lines)}


@pytest.mark.parametrize("names", [("cat", "dog"), ("7 seas", "cat"), ("10", "20"), ("red car", "two\nlines")])
def test_frigate_reads_every_name_whatever_it_begins_with(names):
    labels = labels_of_frigate(labelmap_text(names))
    assert [labels[number] for number in range(len(names))] == [" ".join(name.split()) for name in names]
    assert labels[len(names)] == "unknown"
