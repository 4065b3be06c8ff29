"""The tail behind the heads, on the outputs that every client reads."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edge.convert import convert_heads
from edge.export import is_exported, write_detector
from edge.runtime import Detector, anchor_boxes, decode, read_image
from edge.tail import POSTPROCESS
from edge.tflite_file import operator_name, read_flatbuffer
from keras_retina.recipe import Export


@pytest.fixture(scope="module")
def network(small_quantized) -> bytes:
    return convert_heads(small_quantized.model, small_quantized.spec, "float32")


def test_boxes_are_cut_at_the_border_of_the_input_and_not_moved(network, small_quantized, image_paths, tmp_path):
    spec = small_quantized.spec
    for head in ("postprocess", "raw"):
        write_detector(tmp_path / f"{head}.tflite", network, spec, "float32", head, Export())
    whole, raw = (Detector(tmp_path / f"{head}.tflite") for head in ("postprocess", "raw"))
    pixels, _ = whole.prepare(read_image(image_paths[0]))
    for detector in (whole, raw):
        detector.invoke(pixels)
    boxes = whole.interpreter.get_tensor(whole.interpreter.get_output_details()[0]["index"])[0]
    decoded = decode(raw.heads()[1], anchor_boxes(raw.description), raw.description.coder_weights) / 64
    assert decoded.min() < -0.05 and decoded.max() > 1.05
    assert boxes.min() == 0 and boxes.max() == 1
    distances = np.abs(boxes[:, None] - np.clip(decoded, 0, 1)).max(axis=2)
    assert distances.min(axis=1).max() < 1e-4


def test_the_best_anchors_alone_give_the_same_detections(network, small_quantized, image_paths, tmp_path, monkeypatch):
    """Of 756 anchors, the 200 of highest score hold all that 20 boxes are chosen from."""
    settings, spec = Export(max_detections=20), small_quantized.spec
    files = {}
    for name, count in (("all", 756), ("best", 200)):
        monkeypatch.setattr("edge.tail.CANDIDATES", count)
        path = tmp_path / f"{name}.tflite"
        write_detector(path, network, spec, "float32", "postprocess", settings)
        graph = read_flatbuffer(path.read_bytes())
        (custom,) = (one for one in graph.subgraphs[0].operators if operator_name(graph, one) == POSTPROCESS)
        assert [graph.subgraphs[0].tensors[index].shape.tolist()[-2] for index in custom.inputs] == [count] * 3
        files[name] = Detector(path)
    for path in image_paths:
        whole, best = (files[name].detect(read_image(path), 0.01) for name in ("all", "best"))
        assert len(whole.scores) == 20
        np.testing.assert_array_equal(best.scores, whole.scores)
        np.testing.assert_array_equal(best.boxes, whole.boxes)
        np.testing.assert_array_equal(best.classes, whole.classes)


@pytest.mark.parametrize("count", [80, 200, 750])  # 756 anchors: 10, 25 and 93 groups, which leaves 4, 19 and 81 places
@pytest.mark.filterwarnings("ignore:.*experimental_preserve_all_tensors")
def test_the_best_eight_of_every_group_are_chosen(network, small_quantized, image_paths, tmp_path, monkeypatch, count):
    monkeypatch.setattr("edge.tail.CANDIDATES", count)
    write_detector(tmp_path / "file.tflite", network, small_quantized.spec, "float32", "postprocess", Export())
    interpreter = Interpreter(str(tmp_path / "file.tflite"), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    detector = Detector(tmp_path / "file.tflite")
    pixels, _ = detector.prepare(read_image(image_paths[0]))
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    operators = {}
    graph = read_flatbuffer((tmp_path / "file.tflite").read_bytes())
    for operator in graph.subgraphs[0].operators:
        operators.setdefault(operator_name(graph, operator), operator)  # the first of each
    highest = interpreter.get_tensor(operators["REDUCE_MAX"].outputs[0]).ravel()
    chosen = interpreter.get_tensor(operators["GATHER"].inputs[1])
    groups = count // 8
    expected = [
        place * groups + group
        for group in range(groups)
        for place in np.argsort(-highest[group::groups], kind="stable")[:8]
    ]
    assert len(highest) == 756
    assert sorted(chosen.tolist()) == sorted(expected)


def test_a_raw_file_without_the_metadata_for_mediapipe_is_smaller_and_the_same_detector(
    network, small_quantized, image_paths, tmp_path
):
    found = {}
    for choice in (True, False):
        settings, path = Export(mediapipe_raw=choice), tmp_path / f"{choice}.tflite"
        write_detector(path, network, small_quantized.spec, "float32", "raw", settings)
        found[choice] = (Detector(path).detect(read_image(image_paths[0])), path.stat().st_size)
        assert is_exported(path, settings)
        assert not is_exported(path, Export(mediapipe_raw=not choice))
    np.testing.assert_array_equal(found[True][0].boxes, found[False][0].boxes)
    assert len(found[True][0].boxes) > 0
    assert found[True][1] - found[False][1] >= 24 * len(small_quantized.spec.anchors())


def test_an_int8_raw_file_that_is_not_mediapipes_ends_in_int8_and_finds_the_same(
    small_networks, small_quantized, image_paths, tmp_path
):
    detectors, operators = {}, {}
    for choice in (True, False):
        path = tmp_path / f"{choice}.tflite"
        write_detector(path, small_networks["int8"], small_quantized.spec, "int8", "raw", Export(mediapipe_raw=choice))
        detectors[choice] = Detector(path)
        graph = read_flatbuffer(path.read_bytes())
        operators[choice] = [operator_name(graph, one) for one in graph.subgraphs[0].operators]
    types = {
        choice: [detail["dtype"] for detail in detector.interpreter.get_output_details()]
        for choice, detector in detectors.items()
    }
    assert types == {True: [np.uint8, np.uint8], False: [np.int8, np.int8]}
    assert operators[True].count("QUANTIZE") == operators[False].count("QUANTIZE") + 2
    assert "DEQUANTIZE" not in operators[False]
    for path in image_paths:
        mine, other = (detectors[choice].detect(read_image(path), 0.05) for choice in (True, False))
        assert len(mine.scores) > 0
        np.testing.assert_array_equal(mine.boxes, other.boxes)
        np.testing.assert_array_equal(mine.scores, other.scores)
        np.testing.assert_array_equal(mine.classes, other.classes)
