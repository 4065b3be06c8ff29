"""The int16 format: closer to float than int8, with the same inputs and outputs as every other file."""

from __future__ import annotations

import numpy as np
import pytest

from edge.export.export import write_detector
from edge.export.int16 import join_scales
from edge.runtime import Detector
from edge.tflite.flatbuffer import (
    constant_values,
    operator_histogram,
    operator_name,
    read_flatbuffer,
    tensor_quantization,
    tensor_type,
)
from edge.tflite.layer_names import feature_maps
from keras_retina.recipe.recipe import Export

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


@pytest.fixture(scope="module")
def files(small_quantized, tmp_path_factory):
    folder = tmp_path_factory.mktemp("int16")
    found = {}
    for kind in ("int8", "int16"):
        for head in ("raw", "postprocess"):
            found[kind, head] = folder / f"{kind}_{head}.tflite"
            write_detector(
                found[kind, head],
                getattr(small_quantized, kind),
                spec=small_quantized.spec,
                kind=kind,
                head=head,
                settings=Export(),
            )
    return found


def head_errors(small, path) -> dict[str, float]:
    detector, errors = Detector(path), {"classes": 0.0, "boxes": 0.0}
    for (image,) in small.samples():
        expected = small.model(image, training=False)
        detector.invoke(small.spec.unscale(image))
        for name, received in zip(("classes", "boxes"), detector.heads(), strict=True):
            errors[name] += float(np.mean((received - expected[name][0]) ** 2))
    return errors


def test_int16_follows_the_float_network_closer_than_int8(small_quantized, files):
    int8, int16 = (head_errors(small_quantized, files[kind, "raw"]) for kind in ("int8", "int16"))
    assert int16["classes"] < 0.5 * int8["classes"]
    assert int16["boxes"] < int8["boxes"]  # the kernels of both have 8 bits, and int8 has corrected biases


def test_weights_have_8_bits_and_feature_maps_16(small_quantized):
    model = read_flatbuffer(small_quantized.int16)
    graph = model.subgraphs[0]
    kinds = {operator_name(model, op) for op in graph.operators}
    assert kinds == {
        "CAST", "SUB", "MUL", "QUANTIZE", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "RESIZE_BILINEAR", "RESHAPE",
        "CONCATENATION", "DEQUANTIZE",
    }  # fmt: skip
    for op in graph.operators:
        types = [tensor_type(graph.tensors[index]) for index in (*op.inputs, *op.outputs) if index >= 0]
        if operator_name(model, op) in CONVOLUTIONS:
            assert types == ["int16", "int8", "int64", "int16"]
        elif operator_name(model, op) in ("ADD", "CONCATENATION"):
            assert set(types) == {"int16"}
    assert operator_histogram(model)["QUANTIZE"] == 1  # of the scaled pixels; none between two int16 maps


def test_maps_that_only_move_have_one_scale(small_quantized):
    model = read_flatbuffer(small_quantized.int16)
    for op in model.subgraphs[0].operators:
        if operator_name(model, op) in ("RESHAPE", "CONCATENATION", "RESIZE_BILINEAR"):
            tensors = [model.subgraphs[0].tensors[index] for index in (*op.inputs, *op.outputs)]
            assert len({tensor_quantization(one) for one in tensors if tensor_type(one) == "int16"}) == 1


def test_every_call_of_a_shared_layer_has_the_bias_of_the_float_network(small_quantized):
    """TensorFlow 2.21 writes one for all levels, in the scale of one."""
    model, parent = read_flatbuffer(small_quantized.int16), read_flatbuffer(small_quantized.float_network)
    graph, float_maps = model.subgraphs[0], feature_maps(parent)
    checked = 0
    for name, op in feature_maps(model).items():
        if operator_name(model, op) in CONVOLUTIONS:
            activation, weights, bias = (graph.tensors[index].quantization.scale for index in op.inputs)
            np.testing.assert_allclose(bias, activation * weights, rtol=1e-5)
            expected = constant_values(parent, int(float_maps[name].inputs[2]))
            values = constant_values(model, int(op.inputs[2])) * bias
            np.testing.assert_allclose(values, expected, atol=float(bias.max()))
            checked += "classes_prediction_pointwise" in name
    assert checked == 3


def test_input_is_camera_bytes_and_outputs_are_those_of_every_file(files):
    raw, whole = Detector(files["int16", "raw"]), Detector(files["int16", "postprocess"])
    for detector in (raw, whole):
        (image,) = detector.interpreter.get_input_details()
        assert (image["name"], image["dtype"], image["shape"].tolist()) == ("image", np.uint8, [1, 64, 64, 3])
        assert {detail["dtype"] for detail in detector.interpreter.get_output_details()} == {np.float32}
    assert raw.interpreter.get_signature_list()["serving_default"]["outputs"] == ["boxes", "classes"]
    assert whole.interpreter.get_signature_list()["serving_default"]["outputs"] == [f"output_{i}" for i in range(4)]


def test_both_forms_of_an_int16_file_find_the_same(files, image_paths):
    from keras_retina.data.images import read_image

    for path in image_paths:
        image = read_image(path)
        inside, outside = (Detector(files["int16", head]).detect(image, 0.05) for head in ("postprocess", "raw"))
        assert len(inside.scores) > 5
        np.testing.assert_allclose(inside.scores, outside.scores, atol=1e-4)


def test_pixels_are_scaled_as_for_training(small_quantized):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = read_flatbuffer(small_quantized.int16)
    names = [tensor.name for tensor in model.subgraphs[0].tensors]
    interpreter = Interpreter(
        model_content=small_quantized.int16,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    pixels = np.arange(64 * 64 * 3).reshape(1, 64, 64, 3).astype(np.uint8)
    interpreter.set_tensor(int(model.subgraphs[0].inputs[0]), pixels)
    interpreter.invoke()
    scaled = interpreter.get_tensor(names.index(b"scaled_image"))
    np.testing.assert_allclose(scaled, (pixels.astype(np.float32) - 127.5) / 127.5, atol=1e-6)


def test_int8_networks_have_nothing_to_join(small_quantized):
    model = read_flatbuffer(small_quantized.int8)
    before = operator_histogram(model)
    join_scales(model)
    assert operator_histogram(model) == before
