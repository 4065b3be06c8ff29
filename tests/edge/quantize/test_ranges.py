"""Ranges of int8 activations: least square error, written into the file without changing what it computes."""

from __future__ import annotations

import numpy as np
import pytest

from edge.export.convert import _converter
from edge.quantize.ranges import (
    LOWEST_LOGIT,
    ROOM_ABOVE,
    Histogram,
    best_range,
    class_logits,
    class_range,
    observed_values,
    set_ranges,
)
from edge.runtime import Detector
from edge.tflite.flatbuffer import operator_name, read_flatbuffer, tensor_quantization, tensor_type


def histogram_of(*batches: np.ndarray) -> Histogram:
    histogram = Histogram()
    for batch in batches:
        histogram.add(np.asarray(batch, np.float32))
    return histogram


def square_error(values: np.ndarray, low: float, high: float) -> float:
    step = (high - low) / 255
    rounded = np.round((np.clip(values, low, high) - low) / step) * step + low
    return float(((rounded - values) ** 2).mean())


def test_the_histogram_grows_and_keeps_every_count_at_its_place():
    histogram = histogram_of(np.full((10, 1), 0.25), np.full((30, 1), -100.0), np.full((5, 1), 3.0))
    assert (histogram.low, histogram.high, histogram.limit) == (-100.0, 3.0, 128.0)
    bins = np.flatnonzero(histogram.counts)
    assert histogram.counts[bins].tolist() == [30, 10, 5]
    centres = (bins - 1024 + 0.5) * 128 / 1024
    np.testing.assert_allclose(centres, [-100, 0.25, 3.0], atol=128 / 1024)


def test_a_large_map_is_sampled_from_all_channels():
    """40 channels and a stride of 40 would look at one channel only."""
    values = np.zeros((1, 200, 200, 40), np.float32)
    values[..., 39] = 1.0
    histogram = histogram_of(values)
    assert histogram.counts[histogram.counts > 0].min() / histogram.counts.sum() == pytest.approx(1 / 40, rel=0.05)


def test_a_long_tail_is_clipped_and_a_uniform_map_is_not():
    generator = np.random.default_rng(0)
    tailed = generator.standard_t(3, (1000, 30))
    low, high = best_range(histogram_of(tailed))
    assert tailed.min() < low < 0 < high < tailed.max()
    assert square_error(tailed, low, high) < 0.95 * square_error(tailed, tailed.min(), tailed.max())
    uniform = generator.uniform(-3, 5, (1000, 30))
    np.testing.assert_allclose(best_range(histogram_of(uniform)), (-3, 5), atol=0.01)


def test_the_best_range_is_close_to_the_best_of_all_ranges():
    values = np.random.default_rng(1).standard_t(3, (2000, 20))
    low, high = best_range(histogram_of(values))
    tried = [square_error(values, values.min() * a, values.max() * b) for a in (0.1, 0.3, 1) for b in (0.1, 0.3, 1)]
    assert square_error(values, low, high) <= 1.05 * min(tried)


def test_a_map_without_negative_values_starts_at_zero():
    assert best_range(histogram_of(np.random.default_rng(0).uniform(0, 6, (100, 8))))[0] == 0.0


def test_class_logits_keep_the_highest_and_lose_what_no_threshold_lets_through():
    assert class_range(histogram_of(np.array([[-16.0, -5.0], [-4.0, 5.25]]))) == (-7.0, 5.75)
    assert class_range(histogram_of(np.array([[-3.0, -2.0]]))) == (-3.0, 0.5)


@pytest.fixture(scope="module")
def int8_graph(exported):
    return read_flatbuffer(exported["int8_raw"].read_bytes())


def test_every_convolution_and_sum_of_the_network_is_observed(tiny_model, tiny_spec, image_paths, int8_graph):
    from edge.quantize.calibration import calibration_samples

    network = _converter(tiny_model, tiny_spec, camera_bytes=False).convert()
    values = observed_values(network, calibration_samples(image_paths[:1], tiny_spec))
    graph = int8_graph.subgraphs[0]
    kinds = ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD")
    names = {graph.tensors[op.outputs[0]].name for op in graph.operators if operator_name(int8_graph, op) in kinds}
    assert set(values) == names
    ranges = [best_range(histogram) for histogram in values.values()]
    assert all(low <= 0 <= high for low, high in ranges)  # both 0 for a map that ReLU6 left empty


def test_the_class_output_reaches_above_the_highest_logit(tiny_model, tiny_spec, image_paths, int8_graph):
    from edge.quantize.calibration import calibration_samples

    outputs = {entry.name: entry.tensorIndex for entry in int8_graph.signatureDefs[0].outputs}
    scale, zero_point = tensor_quantization(int8_graph.subgraphs[0].tensors[outputs[b"classes"]])
    logits = [tiny_model(image, training=False)["classes"] for (image,) in calibration_samples(image_paths, tiny_spec)]
    assert (255 - zero_point) * scale == pytest.approx(max(0.0, np.max(logits)) + ROOM_ABOVE, abs=2 * scale)
    assert -zero_point * scale == pytest.approx(max(LOWEST_LOGIT, np.min(logits)), abs=2 * scale)


def test_the_class_logits_are_the_maps_of_the_class_head(tiny_model, tiny_spec, image_paths):
    from edge.quantize.calibration import calibration_samples
    from keras_retina.foundation.legacy_keras import tf

    converter = _converter(tiny_model, tiny_spec, camera_bytes=False)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: calibration_samples(image_paths[:1], tiny_spec)
    names = class_logits(read_flatbuffer(converter.convert()))
    assert names and all(b"classes" in name or name.startswith(b"StatefulPartitionedCall") for name in names)
    assert not any(b"boxes_" in name for name in names)


def test_requantizing_keeps_biases_and_shared_scales_right(int8_graph, exported):
    model = read_flatbuffer(exported["int8_raw"].read_bytes())
    graph = model.subgraphs[0]

    def bias_values() -> list[np.ndarray]:
        kinds = ("CONV_2D", "DEPTHWISE_CONV_2D")
        biases = [graph.tensors[op.inputs[2]] for op in graph.operators if operator_name(model, op) in kinds]
        return [model.buffers[bias.buffer].data.view(np.int32) * bias.quantization.scale for bias in biases]

    before = bias_values()
    names = [
        graph.tensors[op.outputs[0]].name
        for op in graph.operators
        if operator_name(model, op) in ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD")
    ]
    changed = set_ranges(model, {name: (-1.0 - index, 3.0 + index) for index, name in enumerate(names)})
    assert changed > 20
    for old, new in zip(before, bias_values(), strict=True):
        np.testing.assert_allclose(new, old, atol=0.01)  # half a step of the new, deliberately coarse scales
    for op in graph.operators:
        kind = operator_name(model, op)
        tensors = [graph.tensors[i] for i in (*op.inputs, *op.outputs) if tensor_type(graph.tensors[i]) == "int8"]
        if kind in ("RESHAPE", "CONCATENATION", "RESIZE_BILINEAR"):
            assert len({tensor_quantization(tensor) for tensor in tensors}) == 1, kind
        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            activation, weights, bias = (graph.tensors[i].quantization.scale for i in op.inputs)
            np.testing.assert_allclose(bias, activation * weights, rtol=1e-5)


def test_the_first_input_of_a_sum_does_not_get_the_range_of_the_sum(int8_graph):
    """TensorFlow 2.21 adds in place and then logs the sum as the range of that input."""
    graph = int8_graph.subgraphs[0]
    differ = [
        tensor_quantization(graph.tensors[op.inputs[0]]) != tensor_quantization(graph.tensors[op.outputs[0]])
        for op in graph.operators
        if operator_name(int8_graph, op) == "ADD"
    ]
    assert all(differ)


def test_less_noise_than_with_the_ranges_of_tensorflow(tiny_model, tiny_spec, image_paths, exported, tmp_path):
    from edge.export.export import write_detector
    from edge.quantize.calibration import calibration_samples
    from keras_retina.data.images import read_image
    from keras_retina.foundation.legacy_keras import tf
    from keras_retina.recipe.recipe import Export

    converter = _converter(tiny_model, tiny_spec, camera_bytes=False)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.representative_dataset = lambda: calibration_samples(image_paths, tiny_spec)
    converter.inference_input_type = tf.uint8
    plain = tmp_path / "plain_int8_raw.tflite"
    write_detector(plain, converter.convert(), spec=tiny_spec, kind="int8", head="raw", settings=Export())

    def noise(path) -> float:
        detector, errors = Detector(path), []
        for image in map(read_image, image_paths):
            pixels, _ = detector.prepare(image)
            detector.invoke(pixels)
            expected = tiny_model(tiny_spec.scale(pixels), training=False)["boxes"][0]
            errors.append(np.mean((detector.heads()[1] - expected) ** 2))
        return float(np.mean(errors))

    assert noise(exported["int8_raw"]) < 0.9 * noise(plain)
