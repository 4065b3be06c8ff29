"""The form without a custom operator: builtin operators only, and the detections of NumPy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge import runtime
from edge.edgetpu.operators import DATA_TYPE
from edge.edgetpu.predict import predict
from edge.export.export import write_detector
from edge.runtime import Detector, read_description
from edge.tflite.flatbuffer import operator_name, read_flatbuffer, tensor_type, write_flatbuffer
from edge.tflite.writer import Writer
from keras_retina.data.images import read_image
from keras_retina.recipe.recipe import Export

STATIC = Export(max_detections=50)


@pytest.fixture(scope="module")
def forms(small_networks, small_quantized, tmp_path_factory):
    """`{(kind, nms, head): path}` of a float and an int8 network."""
    folder, paths = tmp_path_factory.mktemp("forms"), {}
    for kind in ("float32", "int8"):
        for nms in ("per_class", "fast"):
            for head in ("builtin", "postprocess", "raw"):
                paths[kind, nms, head] = folder / f"{kind}_{nms}_{head}.tflite"
                settings = STATIC.model_copy(update={"nms": nms})
                write_detector(
                    paths[kind, nms, head],
                    small_networks[kind],
                    spec=small_quantized.spec,
                    kind=kind,
                    head=head,
                    settings=settings,
                )
    return paths


def assert_same(received, expected, at_least=1):
    assert len(expected.scores) >= at_least
    assert received.classes.tolist() == expected.classes.tolist()
    np.testing.assert_allclose(received.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(received.boxes, expected.boxes, atol=0.01)


@pytest.mark.parametrize("nms", ["per_class", "fast"])
def test_detections_equal_those_of_the_custom_operator_and_of_numpy(forms, image_paths, nms):
    builtin, custom, raw = (Detector(forms["float32", nms, head]) for head in ("builtin", "postprocess", "raw"))
    for image in map(read_image, image_paths):
        found = builtin.detect(image, 0.05)
        assert_same(found, custom.detect(image, 0.05), at_least=10)
        assert_same(found, raw.detect(image, 0.05))
        assert set(found.classes.tolist()) == {0, 1}


@pytest.mark.parametrize("nms", ["per_class", "fast"])
def test_int8_detections_equal_those_of_numpy_though_scores_tie(forms, image_paths, nms):
    builtin, raw = (Detector(forms["int8", nms, head]) for head in ("builtin", "raw"))
    for image in map(read_image, image_paths):
        found = builtin.detect(image, 0.1)
        assert len(np.unique(found.scores)) < len(found.scores)
        assert_same(*map(by_score_and_class, (found, raw.detect(image, 0.1))), at_least=10)


def by_score_and_class(found):
    """Without the last score: of those that tie there, the limit of detections may leave others."""
    order = np.lexsort((*found.boxes.T.round(1), found.classes, -found.scores.round(5)))
    order = order[found.scores[order] > found.scores.min() + 1e-4]
    return runtime.Detections(found.boxes[order], found.scores[order], found.classes[order])


def constant_heads(spec, logits, deltas) -> bytes:
    """A network that looks at no pixel: its heads are constants."""
    model = schema.ModelT(version=3, operatorCodes=[], buffers=[schema.BufferT()])
    model.subgraphs = [schema.SubGraphT(tensors=[], operators=[], name=b"main")]
    writer = Writer(model)
    image = writer.tensor("image", [1, spec.height, spec.width, 3], kind="uint8")
    heads = {
        name: writer.constant(values, np.float32, name=name)
        for name, values in (("boxes", deltas), ("classes", logits))
    }
    model.subgraphs[0].inputs = np.array([image], np.int32)
    outputs = [schema.TensorMapT(name=name.encode(), tensorIndex=index) for name, index in heads.items()]
    model.signatureDefs = [schema.SignatureDefT(outputs=outputs)]
    return write_flatbuffer(model)


@pytest.mark.parametrize("number", [1, 3, 80])
@pytest.mark.parametrize("nms", ["per_class", "fast"])
def test_classes_suppress_their_own_kind_only_however_many_there_are(small_quantized, tmp_path, number, nms):
    spec = dataclasses.replace(small_quantized.spec, class_names=tuple(f"class {index}" for index in range(number)))
    anchors, generator = spec.anchors(), np.random.default_rng(number)
    logits = generator.normal(-7 if number == 80 else -3, 2, (1, len(anchors), number)).astype(np.float32)
    deltas = generator.normal(0, 1, (1, len(anchors), 4)).astype(np.float32)
    path, settings = tmp_path / "builtin.tflite", Export(max_detections=1000, nms=nms)
    write_detector(
        path, constant_heads(spec, logits, deltas), spec=spec, kind="float32", head="builtin", settings=settings
    )
    found = Detector(path).detect(np.zeros((64, 64, 3), np.uint8), 0.1)

    probabilities = 1 / (1 + np.exp(-logits[0]))
    rows, classes = np.nonzero(probabilities >= 0.1)
    scores = probabilities[rows, classes]
    boxes = runtime.decode(deltas[0, rows], anchors[rows], weights=spec.coder_weights)
    if nms == "fast":
        kept = runtime.fast_suppression(boxes, scores, rows=rows, iou_threshold=0.5, limit=1000)
    else:
        kept = runtime.non_maximum_suppression(boxes, scores, classes=classes, iou_threshold=0.5, limit=1000)
    assert 20 < len(kept) < len(rows)
    clipped = np.clip(boxes, 0, 64)
    kept = kept[(clipped[kept, 2:] > clipped[kept, :2]).all(axis=1)]
    assert found.classes.tolist() == classes[kept].tolist()
    np.testing.assert_allclose(found.scores, scores[kept], atol=1e-5)
    np.testing.assert_allclose(found.boxes, clipped[kept], atol=0.01)


def test_boxes_are_clipped_before_they_suppress_where_the_description_says_so(small_quantized, tmp_path):
    spec = dataclasses.replace(small_quantized.spec, clip_boxes=True)
    anchors, generator = spec.anchors(), np.random.default_rng(0)
    logits = generator.normal(-3, 2, (1, len(anchors), 2)).astype(np.float32)
    deltas = generator.normal(0, 1, (1, len(anchors), 4)).astype(np.float32)
    found = []
    for clips in (True, False):
        for head in ("builtin", "raw"):
            path, own = tmp_path / f"{head}_{clips}.tflite", dataclasses.replace(spec, clip_boxes=clips)
            write_detector(
                path, constant_heads(own, logits, deltas), spec=own, kind="float32", head=head, settings=STATIC
            )
            found.append(Detector(path).detect(np.zeros((64, 64, 3), np.uint8), 0.1))
    assert_same(found[0], found[1], at_least=10)
    assert_same(found[2], found[3], at_least=10)
    assert found[1].scores.tolist() != found[3].scores.tolist()  # other boxes stay

    probabilities = 1 / (1 + np.exp(-logits[0]))
    rows, classes = np.nonzero(probabilities >= 0.1)
    boxes = np.clip(runtime.decode(deltas[0, rows], anchors[rows], weights=spec.coder_weights), 0, 64)
    scores = probabilities[rows, classes]
    kept = runtime.non_maximum_suppression(boxes, scores, classes=classes, iou_threshold=0.5, limit=50)
    kept = kept[(boxes[kept, 2:] > boxes[kept, :2]).all(axis=1)]
    np.testing.assert_allclose(found[1].boxes, boxes[kept], atol=0.01)


def test_an_infinite_box_leaves_the_others_in_place(small_quantized, tmp_path):
    spec = small_quantized.spec
    logits = np.full((1, len(spec.anchors()), 2), -9, np.float32)
    deltas = np.zeros((1, len(spec.anchors()), 4), np.float32)
    logits[0, [0, 300]], deltas[0, 0, 2:] = [[2, -9], [1, -9]], 1e6
    path = tmp_path / "builtin.tflite"
    write_detector(
        path, constant_heads(spec, logits, deltas), spec=spec, kind="float32", head="builtin", settings=STATIC
    )
    detector = Detector(path)
    found = detector.detect(np.zeros((64, 64, 3), np.uint8))
    assert not detector.interpreter.get_tensor(detector.interpreter.get_output_details()[0]["index"])[0, 2:].any()
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp([-2.0, -1.0])), atol=1e-5)
    np.testing.assert_allclose(found.boxes[0], [0, 0, 64, 64])


def test_no_operator_is_custom_and_all_behind_the_heads_are_float_and_static(forms):
    model = read_flatbuffer(forms["int8", "per_class", "builtin"].read_bytes())
    graph = model.subgraphs[0]
    names = [operator_name(model, operator) for operator in graph.operators]
    assert not any(code.customCode for code in model.operatorCodes)
    assert all(tensor.shapeSignature is None or -1 not in tensor.shapeSignature for tensor in graph.tensors)
    tail = graph.operators[names.index("TOPK_V2") :]
    kinds = {tensor_type(graph.tensors[index]) for operator in tail for index in (*operator.inputs, *operator.outputs)}
    assert kinds == {"float32", "int32", "bool"}
    assert {"EXP", "DIV", "NON_MAX_SUPPRESSION_V4"} <= {operator_name(model, operator) for operator in tail}


@pytest.mark.parametrize("nms", ["per_class", "fast"])
def test_the_edge_tpu_takes_the_network_and_leaves_the_tail(forms, nms):
    prediction, raw = predict(forms["int8", nms, "builtin"]), predict(forms["int8", nms, "raw"])
    assert (prediction.verdict, prediction.subgraphs, raw.verdict) == ("partial", 1, "maps")
    mapped = [operator for operator in prediction.operators if operator.status == "mapped"]
    assert len(mapped) == len(raw.operators) - 2  # the raw file ends with the heads as int8
    assert {operator.reason for operator in prediction.operators if operator.status == "cpu"} == {DATA_TYPE}


def test_outputs_are_those_of_the_postprocess_form(forms):
    built, custom = (Detector(forms["float32", "per_class", head]).interpreter for head in ("builtin", "postprocess"))
    assert built.get_signature_list() == custom.get_signature_list()
    shapes = [[detail["shape"].tolist() for detail in one.get_output_details()] for one in (built, custom)]
    assert shapes[0] == shapes[1] == [[1, 50, 4], [1, 50], [1, 50], [1]]
    runner = built.get_signature_runner("serving_default")
    assert runner(image=np.zeros((1, 64, 64, 3), np.uint8))["output_0"].dtype == np.float32


def test_unused_rows_are_zeros_and_a_high_threshold_leaves_nothing(small_quantized, tmp_path):
    path = tmp_path / "strict.tflite"
    settings = STATIC.model_copy(update={"score_threshold": 0.999999})
    write_detector(
        path, small_quantized.int8, spec=small_quantized.spec, kind="int8", head="builtin", settings=settings
    )
    detector = Detector(path)
    detector.invoke(np.full((1, 64, 64, 3), 127, np.uint8))
    outputs = [detector.interpreter.get_tensor(detail["index"]) for detail in detector.interpreter.get_output_details()]
    assert [float(np.abs(values).max()) for values in outputs] == [0, 0, 0, 0]
    assert len(detector.detect(np.zeros((30, 30, 3), np.uint8), 0.0).scores) == 0


def test_more_detections_than_the_operator_may_return_are_cut(forms, image_paths):
    image = read_image(image_paths[0])
    detector = Detector(forms["float32", "per_class", "builtin"])
    assert len(detector.detect(image, 0.01, max_detections=3).scores) == 3
    with pytest.raises(ValueError, match="Use the raw file"):
        detector.detect(image, max_detections=51)
    assert read_description(detector.path).head == "builtin"


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
def test_fast_suppression_is_that_of_numpy_on_any_number_of_threads(forms, image_paths, threads):
    custom, raw = Detector(forms["float32", "fast", "postprocess"], threads), Detector(forms["float32", "fast", "raw"])
    for image in map(read_image, image_paths[:2]):
        assert_same(custom.detect(image, 0.05), raw.detect(image, 0.05), at_least=10)
