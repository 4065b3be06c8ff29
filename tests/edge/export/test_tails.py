"""The tail behind the heads, on the outputs that every client reads."""

from __future__ import annotations

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from edge.export.convert import convert_heads
from edge.export.export import is_exported, write_detector
from edge.export.tails import PICKS, POSTPROCESS
from edge.runtime import Detector, anchor_boxes, decode, non_maximum_suppression, read_image
from edge.tflite.flatbuffer import operator_name, read_flatbuffer
from keras_retina.recipe.recipe import Export


@pytest.fixture(scope="module")
def network(small_quantized) -> bytes:
    return convert_heads(small_quantized.model, small_quantized.spec, kind="float32")


def test_boxes_are_cut_at_the_border_of_the_input_and_not_moved(network, small_quantized, image_paths, tmp_path):
    spec = small_quantized.spec
    for head in ("postprocess", "raw"):
        write_detector(tmp_path / f"{head}.tflite", network, spec=spec, kind="float32", head=head, settings=Export())
    whole, raw = (Detector(tmp_path / f"{head}.tflite") for head in ("postprocess", "raw"))
    pixels, _ = whole.prepare(read_image(image_paths[0]))
    for detector in (whole, raw):
        detector.invoke(pixels)
    boxes = whole.interpreter.get_tensor(whole.interpreter.get_output_details()[0]["index"])[0]
    decoded = decode(raw.heads()[1], anchor_boxes(raw.description), weights=raw.description.coder_weights) / 64
    assert decoded.min() < -0.05 and decoded.max() > 1.05
    assert boxes.min() == 0 and boxes.max() == 1
    distances = np.abs(boxes[:, None] - np.clip(decoded, 0, 1)).max(axis=2)
    assert distances.min(axis=1).max() < 1e-4


def best_of_cells(logits: np.ndarray, per_cell: int, candidates: int) -> np.ndarray:
    """Returns the rows that a file with `candidates` keeps, sorted: the plain way."""
    highest = logits.max(axis=1).reshape(-1, per_cell)  # [cells, per_cell]
    cells = np.arange(len(highest))
    if len(cells) > candidates:
        groups = candidates // PICKS
        by_score = np.argsort(-highest.max(axis=1), kind="stable")
        cells = np.concatenate([by_score[by_score % groups == group][:PICKS] for group in range(groups)])
    return np.sort(cells * per_cell + highest[cells].argmax(axis=1))


@pytest.mark.parametrize(
    "count", [756, 100, 80, 20]
)  # 756 anchors in 84 cells: all, one of each, of 20 and of 5 groups
@pytest.mark.filterwarnings("ignore:.*experimental_preserve_all_tensors")
def test_the_best_anchor_of_each_cell_and_the_best_cells_of_each_group_are_candidates(
    network, small_quantized, image_paths, tmp_path, monkeypatch, count
):
    monkeypatch.setattr("edge.export.tails.CANDIDATES", count)
    monkeypatch.setattr("edge.export.tails.FEW_ANCHORS", count)
    spec, settings = small_quantized.spec, Export(max_detections=20)
    for head in ("raw", "postprocess"):
        write_detector(tmp_path / f"{head}.tflite", network, spec=spec, kind="float32", head=head, settings=settings)
    raw, whole = (Detector(tmp_path / f"{head}.tflite") for head in ("raw", "postprocess"))
    pixels, _ = raw.prepare(read_image(image_paths[0]))
    raw.invoke(pixels)
    logits, deltas = raw.heads()
    rows = np.arange(756) if count == 756 else best_of_cells(logits, 9, count)
    interpreter = Interpreter(str(tmp_path / "postprocess.tflite"), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    graph = read_flatbuffer((tmp_path / "postprocess.tflite").read_bytes())
    (custom,) = (one for one in graph.subgraphs[0].operators if operator_name(graph, one) == POSTPROCESS)
    given = interpreter.get_tensor(custom.inputs[0])[0]
    assert len(given) == len(rows) == {756: 756, 100: 84, 80: 80, 20: 20}[count]
    assert sorted(given.tolist()) == sorted(deltas[rows].tolist())
    found = whole.detect(read_image(image_paths[0]), 0.01)
    scores, boxes = (
        1 / (1 + np.exp(-logits[rows])),
        decode(deltas[rows], anchor_boxes(raw.description)[rows], weights=(10, 10, 5, 5)),
    )
    of, kind = np.nonzero(scores >= 0.01)
    kept = non_maximum_suppression(boxes[of], scores[of, kind], classes=kind, iou_threshold=0.5, limit=20)
    assert len(kept) == len(found.scores) > 10
    np.testing.assert_allclose(found.scores, scores[of, kind][kept], atol=1e-5)
    np.testing.assert_array_equal(found.classes, kind[kept])


def test_a_file_of_few_anchors_gives_all_to_its_post_processing(network, small_quantized, tmp_path):
    write_detector(
        tmp_path / "file.tflite",
        network,
        spec=small_quantized.spec,
        kind="float32",
        head="postprocess",
        settings=Export(),
    )
    graph = read_flatbuffer((tmp_path / "file.tflite").read_bytes())
    (custom,) = (one for one in graph.subgraphs[0].operators if operator_name(graph, one) == POSTPROCESS)
    assert [graph.subgraphs[0].tensors[index].shape.tolist()[-2] for index in custom.inputs] == [756] * 3
    assert "ARG_MAX" not in [operator_name(graph, one) for one in graph.subgraphs[0].operators]


def test_a_raw_file_without_the_metadata_for_mediapipe_is_smaller_and_the_same_detector(
    network, small_quantized, image_paths, tmp_path
):
    found = {}
    for choice in (True, False):
        settings, path = Export(mediapipe_raw=choice), tmp_path / f"{choice}.tflite"
        write_detector(path, network, spec=small_quantized.spec, kind="float32", head="raw", settings=settings)
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
        write_detector(
            path,
            small_networks["int8"],
            spec=small_quantized.spec,
            kind="int8",
            head="raw",
            settings=Export(mediapipe_raw=choice),
        )
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
