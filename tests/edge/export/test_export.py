"""The exported files: same detections in every form, and graphs that clients and devices accept."""

from __future__ import annotations

import hashlib
import json
import zipfile

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from flatbuffers import flexbuffers

from edge.detectors.open_file import delegation, load
from edge.edgetpu.predict import predict
from edge.export.convert import check_input_quantization, check_operators, convert_heads
from edge.export.export import export_files, is_exported, labels_text, write_detector
from edge.export.tails import empty_columns, postprocess_options
from edge.quantize.calibration import calibration_samples, choose_calibration_images
from edge.quantize.ranges import LOWEST_LOGIT
from edge.runtime import Detector, read_description
from edge.tflite.anchors import centre_size_anchors
from edge.tflite.flatbuffer import (
    operator_histogram,
    operator_name,
    read_flatbuffer,
    tensor_quantization,
    tensor_type,
)
from keras_retina.data.images import read_image
from keras_retina.data.records import Dataset, Record
from keras_retina.foundation.errors import InputError
from keras_retina.geometry.boxes import iou
from keras_retina.recipe.recipe import Export

FORMS = [f"{kind}{form}" for kind in ("float32", "float16", "dynamic", "int8") for form in ("", "_raw")]
BUILTIN = {"CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "RESHAPE", "RESIZE_BILINEAR", "CONCATENATION"}


def graph_of(path):
    return read_flatbuffer(path.read_bytes())


def test_every_format_and_head_is_written_with_its_description_beside(exported):
    assert list(exported) == FORMS
    for stem, path in exported.items():
        facts = json.loads(path.with_suffix(".json").read_text())
        assert facts["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert facts["size_bytes"] == path.stat().st_size
        assert f"{facts['kind']}{'_raw' if facts['head'] == 'raw' else ''}" == stem
        assert facts["input"]["dtype"] == "uint8"
        assert facts["operators"] == operator_histogram(graph_of(path))
        assert facts["detector"]["class_names"] == ["circle", "square", "<b>../cross</b>"]
    folder = exported["int8"].parent
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]


def test_int8_is_the_smallest_network_and_float32_the_largest(exported):
    sizes = {stem: path.stat().st_size for stem, path in exported.items()}
    assert sizes["int8_raw"] < 0.6 * sizes["float32_raw"]
    assert sizes["float16_raw"] < 0.65 * sizes["float32_raw"]


@pytest.mark.parametrize("kind", ["float32", "float16", "dynamic", "int8"])
def test_postprocess_and_raw_form_of_a_format_give_the_same_detections(exported, image_paths, kind):
    inside, outside = Detector(exported[kind]), Detector(exported[f"{kind}_raw"])
    for path in image_paths:
        image = read_image(path)
        a, b = inside.detect(image, 0.01), outside.detect(image, 0.01)
        assert len(a.scores) > 10
        if kind == "int8":  # equal logits give ties, whose order is free: compare as sets
            assert len(a.scores) == len(b.scores)
            np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
        else:
            assert a.classes.tolist() == b.classes.tolist()
            np.testing.assert_allclose(a.scores, b.scores, atol=1e-5)
            np.testing.assert_allclose(a.boxes, b.boxes, atol=0.01)


def matched_share(a, b, least_score: float, difference: float) -> float:
    """Share of the detections of `a` that `b` has: same class, IoU over 0.7, score within `difference`."""
    strong = a.scores >= least_score
    same = (iou(a.boxes[strong], b.boxes) > 0.7) & (a.classes[strong][:, None] == b.classes)
    near = np.abs(a.scores[strong][:, None] - b.scores) < difference
    return float((same & near).any(axis=1).mean())


@pytest.mark.parametrize(("kind", "share"), [("float16", 0.95), ("dynamic", 0.8)])
def test_small_formats_find_what_float32_finds(exported, image_paths, kind, share):
    reference, other = Detector(exported["float32"]), Detector(exported[kind])
    shares = [
        matched_share(reference.detect(image, 0.01), other.detect(image, 0.01), 0.3, 0.15)
        for image in map(read_image, image_paths)
    ]
    assert np.mean(shares) >= share


def test_float32_heads_equal_keras(exported, tiny_model, tiny_spec, image_paths):
    detector = Detector(exported["float32_raw"])
    for path in image_paths:
        pixels, _ = detector.prepare(read_image(path))
        detector.invoke(pixels)
        logits, deltas = detector.heads()
        expected = tiny_model(tiny_spec.scale(pixels), training=False)
        np.testing.assert_allclose(logits, expected["classes"][0], atol=1e-3)
        np.testing.assert_allclose(deltas, expected["boxes"][0], atol=1e-3)


def test_int8_heads_follow_keras(exported, tiny_model, tiny_spec, image_paths):
    detector = Detector(exported["int8_raw"])
    for path in image_paths:
        pixels, _ = detector.prepare(read_image(path))
        detector.invoke(pixels)
        expected = tiny_model(tiny_spec.scale(pixels), training=False)
        for received, name in zip(detector.heads(), ("classes", "boxes"), strict=True):
            correlation = np.corrcoef(received.ravel(), np.ravel(expected[name]))[0, 1]
            assert correlation > 0.8  # a random network is far noisier in 8 bits than a trained one


@pytest.mark.parametrize("kind", ["float32", "float16", "dynamic", "int8"])
def test_norms_of_the_heads_are_in_the_convolutions_of_the_file(small_per_level, small_quantized, tmp_path, kind):
    """The operators are those of the detector without them: no MUL and no ADD is left, XNNPACK takes all at once."""
    files = {}
    for name, small in (("norms", small_per_level), ("none", small_quantized)):
        data = convert_heads(small.model, small.spec, kind=kind, samples=small.samples)
        files[name] = tmp_path / f"{name}.tflite"
        files[name].write_bytes(data)
    counts = {name: operator_histogram(graph_of(path)) for name, path in files.items()}
    more = {"DEQUANTIZE": 2 * 2} if kind == "float16" else {}  # kernels of two more levels in two heads
    assert {**counts["norms"], **{op: counts["norms"][op] - number for op, number in more.items()}} == counts["none"]
    taken = {name: delegation(load(path, 1)._get_ops_details()) for name, path in files.items()}
    assert (taken["norms"].partitions, taken["norms"].left) == (taken["none"].partitions, taken["none"].left)
    assert (
        taken["norms"].partitions == 1 or kind == "float16"
    )  # which has the pixels' scaling apart, with norms or without


def test_heads_with_a_norm_for_each_level_map_to_the_edge_tpu(small_per_level, tmp_path):
    path = tmp_path / "norms_raw.tflite"
    data = convert_heads(small_per_level.model, small_per_level.spec, kind="int8", samples=small_per_level.samples)
    write_detector(path, data, spec=small_per_level.spec, kind="int8", head="raw", settings=Export(mediapipe_raw=False))
    found = predict(path)
    assert (found.verdict, found.subgraphs, found.advice) == ("maps", 1, ())


@pytest.mark.parametrize(("kind", "tolerance"), [("float32", 1e-4), ("float16", 0.02), ("dynamic", 0.3), ("int8", 0.5)])
def test_heads_with_a_norm_for_each_level_follow_keras(small_per_level, kind, tolerance):
    """Logits and deltas have deviations of about 3 and 1.5; int8 has no logits that are as good as no score."""
    data = convert_heads(small_per_level.model, small_per_level.spec, kind=kind, samples=small_per_level.samples)
    network = Interpreter(model_content=data)
    network.allocate_tensors()
    for (image,) in small_per_level.samples():
        found = network.get_signature_runner()(image=small_per_level.spec.unscale(image))
        for name, expected in small_per_level.model(image, training=False).items():
            wanted = np.maximum(expected, LOWEST_LOGIT) if (kind, name) == ("int8", "classes") else expected
            assert np.sqrt(np.mean((found[name] - wanted) ** 2)) < tolerance, name


@pytest.mark.parametrize("threads", [1, 2, 3, 4, 7])
def test_no_class_is_lost_on_any_number_of_threads(exported, image_paths, threads):
    """TFLite_Detection_PostProcess skips the score column whose index is the number of threads."""
    image = read_image(image_paths[0])
    expected = Detector(exported["float32_raw"], threads=1).detect(image, 0.01)
    found = Detector(exported["float32"], threads=threads).detect(image, 0.01)
    assert set(expected.classes.tolist()) == {0, 1, 2}
    assert found.classes.tolist() == expected.classes.tolist()
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


def test_one_and_two_classes_need_no_empty_columns():
    assert [empty_columns(number) for number in (1, 2, 3, 80)] == [0, 0, 17, 17]


@pytest.mark.parametrize("stem", FORMS)
def test_only_expected_operators_are_inside(exported, stem):
    names = set(operator_histogram(graph_of(exported[stem])))
    expected = set(BUILTIN)
    expected |= {"QUANTIZE"} if stem.startswith("int8") else {"CAST", "SUB"}
    expected |= {"DEQUANTIZE"} if stem in ("int8", "float16", "float16_raw") else set()
    tail = {"LOGISTIC", "PAD", "TFLite_Detection_PostProcess", "MINIMUM", "RELU"}
    expected |= set() if stem.endswith("_raw") else tail
    assert names == expected


@pytest.mark.parametrize("stem", ["int8", "int8_raw"])
def test_int8_network_is_int8_up_to_the_heads(exported, stem):
    graph = graph_of(exported[stem]).subgraphs[0]
    model = graph_of(exported[stem])
    dequantized = 0
    for operator in graph.operators:
        name = operator_name(model, operator)
        dequantized += name == "DEQUANTIZE"
        types = {tensor_type(graph.tensors[index]) for index in (*operator.inputs, *operator.outputs) if index >= 0}
        if name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            assert types == {"int8", "int32"}
            weights = graph.tensors[operator.inputs[1]]
            channels = weights.shape[0] if name == "CONV_2D" else weights.shape[3]
            assert len(weights.quantization.scale) == channels
            assert not np.any(weights.quantization.zeroPoint)
        elif name == "DEQUANTIZE":
            assert types == {"int8", "float32"}
        elif dequantized == 2:
            assert types <= {"float32", "int32"}
        else:
            assert types <= {"int8", "uint8", "int32"}
    assert dequantized == (2 if stem == "int8" else 0)


@pytest.mark.parametrize("stem", FORMS)
def test_input_is_camera_bytes_and_shapes_are_static(exported, stem):
    graph = graph_of(exported[stem]).subgraphs[0]
    assert [tensor_type(graph.tensors[index]) for index in graph.inputs] == ["uint8"]
    assert graph.tensors[graph.inputs[0]].shape.tolist() == [1, 128, 128, 3]
    for tensor in graph.tensors:
        assert tensor.shapeSignature is None or -1 not in tensor.shapeSignature


def test_int8_input_is_off_by_at_most_half_a_grey_level(exported):
    graph = graph_of(exported["int8"]).subgraphs[0]
    scale, zero_point = tensor_quantization(graph.tensors[graph.inputs[0]])
    pixels = np.arange(256)
    assert np.abs(scale * (pixels - zero_point) - (pixels / 127.5 - 1)).max() <= 1.001 / 255


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_postprocess_signature_and_order_fit_the_clients(exported, kind):
    """pycoral reads output_0..3 = count, scores, classes, boxes; older clients boxes, classes, scores, count."""
    interpreter = Detector(exported[kind]).interpreter
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["image"], "outputs": ["output_0", "output_1", "output_2", "output_3"]}
    }
    details = interpreter.get_output_details()
    assert [detail["shape"].tolist() for detail in details] == [[1, 50, 4], [1, 50], [1, 50], [1]]
    assert {np.dtype(detail["dtype"]).name for detail in details} == {"float32"}
    runner = interpreter.get_signature_runner("serving_default")
    outputs = runner(image=np.zeros((1, 128, 128, 3), np.uint8))
    assert [outputs[f"output_{position}"].shape for position in range(4)] == [(1,), (1, 50), (1, 50), (1, 50, 4)]
    assert (outputs["output_2"] >= 0).all()
    assert (outputs["output_2"] <= 2).all()


@pytest.mark.parametrize(("stem", "dtype"), [("float32_raw", "float32"), ("int8_raw", "uint8")])
def test_raw_file_has_two_separate_heads(exported, stem, dtype):
    interpreter = Detector(exported[stem]).interpreter
    assert interpreter.get_signature_list()["serving_default"]["outputs"] == ["boxes", "classes"]
    boxes, classes = interpreter.get_output_details()
    assert (boxes["name"], classes["name"]) == ("boxes", "classes")
    assert boxes["dtype"] == classes["dtype"] == np.dtype(dtype)
    if dtype == "uint8":
        assert boxes["quantization"][0] > 0
        assert boxes["quantization"] != classes["quantization"]


def test_anchors_inside_are_normalised_centre_and_size(tiny_spec):
    anchors = tiny_spec.anchors()
    inside = centre_size_anchors(tiny_spec)
    top = inside[:, 0] - inside[:, 2] / 2
    right = inside[:, 1] + inside[:, 3] / 2
    np.testing.assert_allclose(top * 128, anchors[:, 0], atol=1e-4)
    np.testing.assert_allclose(right * 128, anchors[:, 3], atol=1e-4)


def test_the_zip_at_the_end_holds_spec_and_labels_uncompressed(exported, tiny_spec):
    with zipfile.ZipFile(exported["int8"]) as archive:
        assert {"detector.json", "export.json", "labels.txt"} <= set(archive.namelist())
        assert archive.read("detector.json").decode() == tiny_spec.to_json()
        assert archive.read("labels.txt").decode() == "circle\nsquare\n<b>../cross</b>\n"
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert (exported["int8"].parent / "labels.txt").read_text() == "circle\nsquare\n<b>../cross</b>\n"


def test_a_line_break_in_a_class_name_does_not_shift_the_labels():
    assert labels_text(["a\nb", " c\u2028d "]) == "a b\nc d\n"


def test_weights_are_aligned_for_the_device(exported):
    """The schema asks for 16 bytes (`force_align`)."""
    from ai_edge_litert import schema_py_generated as schema

    data = exported["int8"].read_bytes()
    model = schema.Model.GetRootAs(data, 0)
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if buffer.DataLength():
            start = buffer._tab.Vector(buffer._tab.Offset(4))
            assert start % 16 == 0


def test_calibration_images_are_listed_by_name_and_hash(exported, image_paths):
    lines = (exported["int8"].parent / "calibration.txt").read_text().splitlines()
    assert [line.split("  ")[1] for line in lines] == [path.name for path in image_paths]
    assert lines[0].split("  ")[0] == hashlib.sha256(image_paths[0].read_bytes()).hexdigest()


def test_calibration_spans_the_whole_input_range_by_two_corner_pixels(image_paths, tiny_spec):
    first, second = (sample[0] for sample in calibration_samples(image_paths[:2], tiny_spec))
    assert (first.min(), first.max()) == (-1.0, 1.0)
    plain = next(iter(calibration_samples(image_paths[1:2], tiny_spec)))[0]
    assert first.shape == second.shape == (1, 128, 128, 3)
    assert np.sum(np.any(plain != second, axis=-1)) <= 2


def test_calibration_shows_every_class_and_never_repeats_an_image(tmp_path):
    def record(number, classes):
        return Record(
            image_id=number,
            path=tmp_path / f"{number}.jpg",
            file_name=f"{number}.jpg",
            height=10,
            width=10,
            boxes=np.zeros((len(classes), 4), np.float32),
            classes=np.array(classes, np.int32),
            crowd=np.zeros(len(classes), bool),
        )

    records = tuple(record(number, [2] if number == 77 else [number % 2]) for number in range(100)) + (record(100, []),)
    dataset = Dataset("d", "train", ("a", "b", "c"), (1, 2, 3), records)
    chosen = choose_calibration_images(dataset, 9)
    assert tmp_path / "77.jpg" in chosen
    assert len(set(chosen)) == len(chosen) == 9
    assert chosen == choose_calibration_images(dataset, 9)
    assert chosen != choose_calibration_images(dataset, 9, seed=1)
    assert len(choose_calibration_images(dataset, 1000)) == 101


def test_a_missing_calibration_image_is_named(tiny_model, tiny_spec, export_settings, image_paths, tmp_path):
    gone = tmp_path / "gone.png"
    with pytest.raises(InputError, match="gone.png: expected a calibration image. Received: No such file"):
        export_files(
            tiny_model,
            tiny_spec,
            out_dir=tmp_path / "out",
            name="x",
            settings=export_settings,
            calibration_images=[gone, *image_paths],
        )
    assert not list((tmp_path / "out").glob("*.tflite"))


def test_int8_files_say_how_they_were_calibrated_and_what_stayed_float(exported, image_paths):
    facts = {stem: json.loads(path.with_suffix(".json").read_text()) for stem, path in exported.items()}
    for stem in ("int8", "int8_raw"):
        assert facts[stem]["calibration_images"] == len(image_paths)
        assert facts[stem]["float_layers"] == []
    assert not {"calibration_images", "float_layers"} & set(facts["float32"])


def test_float_layers_of_the_settings_are_float_in_the_int8_and_int16_files(small_quantized, image_paths, tmp_path):
    layers = ("pyramid_lateral_4", "boxes_0_depthwise")
    settings = Export(formats=("int8", "int16"), heads=("raw",), float_layers=layers, max_detections=50)
    paths = export_files(
        small_quantized.model,
        small_quantized.spec,
        out_dir=tmp_path,
        name="x",
        settings=settings,
        calibration_images=image_paths,
    )
    assert [path.name for path in paths] == ["x_int8_raw.tflite", "x_int16_raw.tflite"]
    for path in paths:
        facts = json.loads(path.with_suffix(".json").read_text())
        assert facts["float_layers"] == list(layers)
        assert facts["calibration_images"] == len(image_paths)
        assert read_description(path).kind == facts["kind"] == path.stem.split("_")[1]
        assert is_exported(path, settings)
        assert not is_exported(path, settings.model_copy(update={"float_layers": ()}))
        Detector(path).detect(read_image(image_paths[0]))


def test_all_forms_of_a_format_are_written_with_their_suppression_and_origin(small_quantized, image_paths, tmp_path):
    settings = Export(formats=("float32",), heads=("postprocess", "raw", "builtin"), nms="fast", max_detections=50)
    origin = {"recipe_sha256": "1" * 64, "model_sha256": "2" * 64}
    model, spec = small_quantized.model, small_quantized.spec
    paths = export_files(
        model,
        spec,
        out_dir=tmp_path,
        name="x",
        settings=settings,
        calibration_images=[],
        model_name="half",
        origin=origin,
    )
    assert [path.stem for path in paths] == ["x_float32_half", "x_float32_half_raw", "x_float32_half_builtin"]
    found = [Detector(path).detect(read_image(image_paths[0]), 0.1) for path in paths]
    for path, one in zip(paths, found, strict=True):
        assert is_exported(path, settings)
        assert not is_exported(path, settings.model_copy(update={"nms": "per_class"}))
        assert json.loads(path.with_suffix(".json").read_text()).items() >= origin.items()
        assert read_description(path).nms == "fast"
        np.testing.assert_allclose(one.scores, found[0].scores, atol=1e-5)
        np.testing.assert_allclose(one.boxes, found[0].boxes, atol=0.01)


def test_a_file_from_before_there_was_a_choice_suppresses_within_classes(exported, export_settings, tmp_path):
    path = tmp_path / "old.tflite"
    path.write_bytes(exported["float32"].read_bytes())
    facts = json.loads(exported["float32"].with_suffix(".json").read_text())
    del facts["nms"]
    path.with_suffix(".json").write_text(json.dumps(facts))
    assert is_exported(path, export_settings)
    assert not is_exported(path, export_settings.model_copy(update={"nms": "fast"}))


def test_an_unknown_float_layer_is_told_before_anything_is_converted(tiny_model, tiny_spec, image_paths, tmp_path):
    settings = Export(formats=("float32", "int8"), float_layers=("Conv_1",))
    with pytest.raises(InputError, match="export.float_layers: .*Received: 'Conv_1'. Did you mean 'Conv1'"):
        export_files(
            tiny_model, tiny_spec, out_dir=tmp_path / "out", name="x", settings=settings, calibration_images=image_paths
        )
    assert not (tmp_path / "out").exists()


def test_a_file_counts_as_exported_when_it_has_the_settings(exported, export_settings, tmp_path):
    path = exported["int8"]
    assert is_exported(path, export_settings)
    assert not is_exported(path, export_settings.model_copy(update={"iou_threshold": 0.6}))
    assert is_exported(exported["float32"], export_settings.model_copy(update={"float_layers": ("plain_1_conv",)}))
    assert not is_exported(tmp_path / "none.tflite", export_settings)
    (tmp_path / "cut.tflite").write_bytes(path.read_bytes())
    assert not is_exported(tmp_path / "cut.tflite", export_settings)
    (tmp_path / "cut.json").write_text('{"kind": "int')
    assert not is_exported(tmp_path / "cut.tflite", export_settings)


def test_int8_without_calibration_images_is_refused(tiny_model, tiny_spec, export_settings, tmp_path):
    with pytest.raises(InputError, match="images of the training split"):
        export_files(tiny_model, tiny_spec, out_dir=tmp_path, name="x", settings=export_settings, calibration_images=[])


def test_int8_without_samples_is_refused(tiny_model, tiny_spec):
    with pytest.raises(ValueError, match="calibration inputs"):
        convert_heads(tiny_model, tiny_spec, kind="int8")


def test_a_description_of_another_model_is_refused(tiny_model, tiny_spec, export_settings, tmp_path, image_paths):
    import dataclasses

    other = dataclasses.replace(tiny_spec, class_names=("a", "b"))
    with pytest.raises(InputError, match="expected the heads"):
        export_files(
            tiny_model, other, out_dir=tmp_path, name="x", settings=export_settings, calibration_images=image_paths
        )


def test_a_float_operator_in_an_int8_network_is_refused(exported):
    with pytest.raises(InputError, match="int8 export: .* float operator CAST"):
        check_operators(graph_of(exported["float32_raw"]), "int8")
    with pytest.raises(InputError, match="float operator"):
        check_operators(graph_of(exported["dynamic_raw"]), "int8")


def test_a_camera_byte_quantized_too_coarsely_is_refused(exported, tiny_spec):
    model = graph_of(exported["int8"])
    quantization = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].quantization
    quantization.scale = np.array([1.1 / 127.5], np.float32)
    with pytest.raises(InputError, match="half a grey level"):
        check_input_quantization(model, tiny_spec)


def test_a_dynamic_shape_is_refused(tiny_spec):
    from keras_retina.foundation.legacy_keras import keras, tf

    image = keras.Input((128, 128, 3))
    features = keras.layers.Conv2D(3, 3)(image)
    flat = keras.layers.Lambda(lambda x: tf.reshape(x, tf.stack([tf.size(tf.where(x > 0)) * 0 + 1, -1])))(features)
    model = keras.Model(image, {"classes": flat, "boxes": features})
    with pytest.raises(InputError, match="static shapes"):
        convert_heads(model, tiny_spec, kind="float32")


def test_fast_suppression_of_three_classes_needs_no_empty_columns(tiny_spec):
    assert empty_columns(3, "fast") == 0
    options = flexbuffers.Loads(postprocess_options(tiny_spec, Export(nms="fast")))
    assert (options["num_classes"], options["use_regular_nms"]) == (3, False)
    assert flexbuffers.Loads(postprocess_options(tiny_spec, Export()))["use_regular_nms"] is True
