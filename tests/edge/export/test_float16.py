"""float16 kernels: nearest neighbours, sums that stay, and a file that is closer to float32 for it."""

from __future__ import annotations

import numpy as np
import pytest

from edge.export.convert import convert_heads
from edge.export.float16 import halve_kernels, rounded_to_half
from edge.runtime import Detector
from edge.tflite.flatbuffer import operator_name, read_flatbuffer, tensor_type
from keras_retina.foundation.errors import InputError


def edge_kernels(seed: int = 0) -> np.ndarray:
    """Depthwise kernels [1, 3, 3, 64] that sum to zero, as edge detectors do."""
    kernels = np.random.default_rng(seed).normal(0, 2, (1, 3, 3, 64))
    return (kernels - kernels.mean(axis=(1, 2), keepdims=True)).astype(np.float32)


def test_no_weight_leaves_the_two_halves_beside_it():
    kernels = edge_kernels()
    spacing = np.spacing(np.abs(kernels).astype(np.float16)).astype(np.float64)
    half = rounded_to_half(kernels)
    assert half.dtype == np.float16 and half.shape == kernels.shape
    assert (np.abs(half - kernels.astype(np.float64)) <= spacing).all()


def test_flat_areas_stay_flat_under_a_kernel_that_sums_to_zero():
    kernels = edge_kernels()
    kept = np.abs(rounded_to_half(kernels).astype(np.float64).sum(axis=(1, 2)))
    plain = np.abs(kernels.astype(np.float16).astype(np.float64).sum(axis=(1, 2)))
    assert kept.mean() < 0.3 * plain.mean()


def test_every_input_of_an_ordinary_convolution_keeps_its_own_sum():
    kernels = np.random.default_rng(1).normal(0, 1, (8, 3, 3, 16)).astype(np.float32)
    exact = kernels.astype(np.float64).sum(axis=(1, 2))
    kept = np.abs(rounded_to_half(kernels).astype(np.float64).sum(axis=(1, 2)) - exact)
    plain = np.abs(kernels.astype(np.float16).astype(np.float64).sum(axis=(1, 2)) - exact)
    assert kept.mean() < 0.2 * plain.mean()


@pytest.mark.parametrize("kernel", [np.zeros((4, 3, 3, 2)), np.full((1, 3, 3, 5), 0.5), np.ones((3, 1, 1, 7)) / 3])
def test_halves_and_single_weights_are_rounded_to_nearest(kernel):
    np.testing.assert_array_equal(rounded_to_half(kernel.astype(np.float32)), kernel.astype(np.float16))


def test_the_largest_half_is_not_moved_to_infinity():
    kernel = np.array([65504.0, 65504.0, 0.25, 15.0], np.float32).reshape(1, 2, 2, 1)
    assert np.isfinite(rounded_to_half(kernel)).all()


def test_kernels_are_stored_once_and_biases_stay_float32(exported):
    model = read_flatbuffer(exported["float16_raw"].read_bytes())
    graph = model.subgraphs[0]
    convolutions = [op for op in graph.operators if operator_name(model, op) in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    expanded = [op for op in graph.operators if operator_name(model, op) == "DEQUANTIZE"]
    assert {int(op.inputs[1]) for op in convolutions} == {int(op.outputs[0]) for op in expanded}
    assert len(expanded) < len(convolutions)  # heads shared by the levels
    assert {tensor_type(graph.tensors[op.inputs[0]]) for op in expanded} == {"float16"}
    biases = [graph.tensors[op.inputs[2]] for op in convolutions]
    assert all(tensor_type(bias) == "float32" and model.buffers[bias.buffer].data is not None for bias in biases)


def test_the_file_is_closer_to_float32_than_that_of_tensorflow(tiny_model, tiny_spec, exported, image_paths, tmp_path):
    from edge.export.convert import _converter
    from edge.export.export import write_detector
    from keras_retina.data.images import read_image
    from keras_retina.foundation.legacy_keras import tf
    from keras_retina.recipe.recipe import Export

    converter = _converter(tiny_model, tiny_spec, camera_bytes=True)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]
    theirs = tmp_path / "theirs_float16_raw.tflite"
    write_detector(theirs, converter.convert(), spec=tiny_spec, kind="float16", head="raw", settings=Export())

    def logits(path) -> np.ndarray:
        detector, found = Detector(path), []
        for image in map(read_image, image_paths):
            detector.invoke(detector.prepare(image)[0])
            found.append(detector.heads()[0])
        return np.stack(found)

    expected = logits(exported["float32_raw"])
    ours, plain = (np.square(logits(path) - expected).mean() for path in (exported["float16_raw"], theirs))
    assert ours < plain


def test_a_weight_beyond_float16_is_refused_with_its_name(tiny_model, tiny_spec):
    model = read_flatbuffer(convert_heads(tiny_model, tiny_spec, kind="float32"))
    graph = model.subgraphs[0]
    first = next(op for op in graph.operators if operator_name(model, op) == "CONV_2D")
    buffer = model.buffers[graph.tensors[first.inputs[1]].buffer]
    weights = np.frombuffer(bytes(buffer.data), np.float32).copy()
    weights[0] = 1e5
    buffer.data = weights.view(np.uint8)
    with pytest.raises(InputError, match="below 65504. Received: 100000 in 'retinanet/"):
        halve_kernels(model)
