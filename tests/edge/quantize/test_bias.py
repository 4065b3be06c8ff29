"""Biases take back what rounded kernels and clipped ranges shift: every channel has the mean that it has in float."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from edge.export.convert import balanced_model, float_heads, quantize_heads
from edge.quantize import bias
from edge.quantize.bias import (
    CONVOLUTIONS,
    LEAST_VALUES,
    FloatValues,
    correct_biases,
    float_values,
)
from edge.quantize.calibration import calibration_samples
from edge.quantize.feature_values import keeping_interpreter, run_on
from edge.tflite.flatbuffer import (
    constant_values,
    operator_name,
    read_flatbuffer,
    tensor_quantization,
    write_flatbuffer,
)
from edge.tflite.layer_names import feature_maps


@pytest.fixture(scope="module")
def networks(tiny_model, tiny_spec, image_paths):
    """The float network, the int8 one without correction, and the calibration inputs."""
    samples = partial(calibration_samples, image_paths[:2], tiny_spec)
    balanced = balanced_model(tiny_model, samples)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge.export.convert.correct_biases", lambda *_, **__: 0)
        rounded = quantize_heads(balanced, tiny_spec, kind="int8", samples=samples)
    return float_heads(balanced, tiny_spec), rounded, samples


@pytest.fixture(scope="module")
def corrected(networks, tiny_spec) -> bytes:
    float_network, rounded, samples = networks
    model = read_flatbuffer(rounded)
    assert correct_biases(model, float_network, samples=samples(), spec=tiny_spec) > 20
    return write_flatbuffer(model)


def mean_shifts(model, expected, *, pixels):
    """Returns by name how far each channel is below its float mean, from runs of the whole network."""
    maps, received = feature_maps(model), {name: [] for name in expected}
    interpreter = keeping_interpreter(write_flatbuffer(model))
    for image in pixels:
        run_on(interpreter, image)
        for name, values in received.items():
            index = int(maps[name].outputs[0])
            scale, zero_point = tensor_quantization(model.subgraphs[0].tensors[index]) or (1.0, 0)
            values.append((interpreter.get_tensor(index).astype(np.float32) - zero_point) * scale)
    return {name: expected[name].shift_of(values) for name, values in received.items()}


def shifts_in_steps(network: bytes, networks, spec) -> dict[str, np.ndarray]:
    """How far each channel is from its float mean, in steps of its feature map."""
    float_network, _, samples = networks
    model, images = read_flatbuffer(network), [image for (image,) in samples()]
    expected = float_values(model, float_network, images=images)
    found = mean_shifts(model, expected, pixels=[spec.unscale(image) for image in images])
    scales = {}
    for name, operator in feature_maps(model).items():
        scales[name], _ = tensor_quantization(model.subgraphs[0].tensors[operator.outputs[0]]) or (1.0, 0)
    return {name: np.abs(shift) / scales[name] for name, shift in found.items()}


def test_corrected_channels_have_the_mean_of_the_float_network(networks, corrected, tiny_spec):
    before, after = (shifts_in_steps(network, networks, tiny_spec) for network in (networks[1], corrected))
    assert before.keys() == after.keys()
    # What is left is the rounding of each value: the mean of many of them is far under a step.
    assert np.concatenate(list(after.values())).mean() < 0.05
    assert np.concatenate(list(before.values())).mean() > 3 * np.concatenate(list(after.values())).mean()


def test_a_bias_that_is_wrong_by_two_steps_is_put_right(networks, corrected, tiny_spec):
    float_network, rounded, samples = networks
    wrong, expected = read_flatbuffer(rounded), read_flatbuffer(corrected)
    name, operator = next(
        (name, one) for name, one in feature_maps(wrong).items() if operator_name(wrong, one) in CONVOLUTIONS
    )
    index = int(operator.inputs[2])
    scale, _ = tensor_quantization(wrong.subgraphs[0].tensors[operator.outputs[0]])
    steps = wrong.subgraphs[0].tensors[index].quantization.scale
    bias._add_to_bias(wrong, index, np.full(len(steps), 2 * scale))
    correct_biases(wrong, float_network, samples=samples(), spec=tiny_spec)
    right = constant_values(expected, int(feature_maps(expected)[name].inputs[2]))
    found = constant_values(wrong, int(feature_maps(wrong)[name].inputs[2]))
    seen = float_values(wrong, float_network, images=[image for (image,) in samples()])[name].count >= LEAST_VALUES
    assert seen.any()
    assert np.abs((found - right) * steps / scale)[seen].max() < 0.5


def test_only_biases_of_convolutions_change(networks, corrected):
    before, after = read_flatbuffer(networks[1]), read_flatbuffer(corrected)
    for one, other in zip(feature_maps(before).values(), feature_maps(after).values(), strict=True):
        is_convolution = operator_name(before, one) in CONVOLUTIONS
        for position, (index, same) in enumerate(zip(one.inputs, other.inputs, strict=True)):
            if index < 0 or (is_convolution and position == 2):
                continue
            values, others = constant_values(before, int(index)), constant_values(after, int(same))
            assert (values is None) == (others is None)
            assert values is None or (values == others).all()


def test_layers_are_corrected_before_those_that_read_them(networks):
    model = read_flatbuffer(networks[1])
    names = {name for name, one in feature_maps(model).items() if operator_name(model, one) in CONVOLUTIONS}
    groups = [list(group.convolutions) for group in bias._groups_in_order(model, names) if group.convolutions]
    assert sorted(name for group in groups for name in group) == sorted(names)
    assert len(groups[0]) == 1  # the one that reads the image
    readers = {int(one.outputs[0]): name for name, one in feature_maps(model).items() if name in names}
    number = {name: place for place, group in enumerate(groups) for name in group}
    for name, operator in feature_maps(model).items():
        before = readers.get(int(operator.inputs[0]))
        if name in names and before is not None:
            assert number[before] < number[name]


def test_running_part_by_part_gives_the_biases_of_running_the_whole_network_each_time(networks, corrected, tiny_spec):
    float_network, rounded, samples = networks
    model, images = read_flatbuffer(rounded), [image for (image,) in samples()]
    pixels = [tiny_spec.unscale(image) for image in images]
    expected = float_values(model, float_network, images=images)
    for group in bias._groups_in_order(model, set(expected)):
        shifts = mean_shifts(model, {name: expected[name] for name in group.convolutions}, pixels=pixels)
        for name, operator in group.convolutions.items():
            bias._add_to_bias(model, int(operator.inputs[2]), shifts[name])
    assert write_flatbuffer(model) == corrected


def test_means_by_hand():
    """Channel 0: 2, 3 and 4 count, and int8 has 1 less. Channel 1: nothing is between the limits."""
    values = FloatValues(np.zeros(2), np.zeros(2, np.int64))
    one = np.array([[0.0, 9.0], [2.0, 9.0], [3.0, -9.0], [4.0, 0.0]])
    for _ in range(LEAST_VALUES):
        values.add(one.reshape(2, 2, 2), low=0.0, high=9.0)
    assert values.count.tolist() == [3 * LEAST_VALUES, 0]
    np.testing.assert_allclose(values.shift_of([one - 1.0] * LEAST_VALUES), [1.0, 0.0])


def test_a_channel_with_too_few_values_keeps_its_bias():
    values = FloatValues(np.zeros(2), np.zeros(2, np.int64))
    rows = np.full((LEAST_VALUES, 2), 1.0)
    rows[0, 1] = 9.0
    values.add(rows, low=0.0, high=9.0)
    np.testing.assert_allclose(values.shift_of([rows - 0.5]), [0.5, 0.0])


def test_no_image_changes_nothing(networks, tiny_spec):
    model = read_flatbuffer(networks[1])
    assert correct_biases(model, networks[0], samples=[], spec=tiny_spec) == 0
    assert write_flatbuffer(model) == write_flatbuffer(read_flatbuffer(networks[1]))


def test_a_network_that_only_a_delegate_can_run_keeps_its_biases_with_a_warning(
    networks, tiny_spec, monkeypatch, caplog
):
    def refused(network):
        raise RuntimeError("no_integer_overflow_from_quantization was not true")

    monkeypatch.setattr(bias, "keeping_interpreter", refused)
    model = read_flatbuffer(networks[1])
    with caplog.at_level("WARNING"):
        assert correct_biases(model, networks[0], samples=networks[2](), spec=tiny_spec) == 0
    assert "the biases are only rounded" in caplog.text
    assert write_flatbuffer(model) == write_flatbuffer(read_flatbuffer(networks[1]))
