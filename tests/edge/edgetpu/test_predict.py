"""Whole predictions: the three verdicts, partial mapping, memory, damaged and foreign files."""

from __future__ import annotations

import random

import numpy as np
import pytest

from edge.edgetpu.operators import DATA_TYPE, LATER_SUBGRAPH, LIMITATION, MAPPED, NOT_SUPPORTED, VERSION
from edge.edgetpu.predict import ACTIVATION_MEMORY, PARAMETER_MEMORY, predict
from keras_retina.foundation.errors import InputError


@pytest.fixture
def model(write_tflite, classifier_layers, tmp_path):
    """A function that writes the classifier with tensors and operators replaced, and predicts it."""

    def made(tensors=None, operators=None, **options):
        own_tensors, own_operators = classifier_layers
        layers = list(own_operators)
        for position, layer in (operators or {}).items():
            layers[position : position + 1] = [layer]
        return predict(write_tflite(tmp_path / "m.tflite", {**own_tensors, **(tensors or {})}, layers, **options))

    return made


def statuses(prediction):
    return [operator.reason for operator in prediction.operators]


def test_a_quantized_classifier_maps_completely(model):
    prediction = model()
    assert (prediction.verdict, prediction.subgraphs, prediction.problem) == ("maps", 1, "")
    assert statuses(prediction) == [MAPPED] * 5
    assert [operator.op for operator in prediction.operators][:2] == ["QUANTIZE", "CONV_2D"]
    assert prediction.operators[1].output == "features"
    assert [operator.index for operator in prediction.operators] == [0, 1, 2, 3, 4]
    assert prediction.advice == ()


def test_bytes_are_weights_with_four_for_the_bias_of_a_channel_and_the_largest_tensor_that_is_computed(model):
    prediction = model()
    assert prediction.parameter_bytes == 4 * 27 + 4 * 4 + 40 + 4 * 10
    assert (prediction.largest_activation_bytes, prediction.largest_activation) == (256, "features")


def test_the_dictionary_has_the_keys_that_are_promised(model):
    result = model().to_dict()
    assert {"verdict", "subgraphs", "operators", "parameter_bytes", "largest_activation_bytes"} <= result.keys()
    assert {"index", "op", "output", "status", "reason"} <= result["operators"][0].keys()


def test_what_stands_behind_an_unsupported_operator_is_left_on_the_cpu(model):
    prediction = model(operators={2: ("HARD_SWISH", 1, ["features"], ["mean"], None)})
    assert (prediction.verdict, prediction.subgraphs, prediction.partitions) == ("partial", 1, 2)
    assert statuses(prediction) == [MAPPED, MAPPED, NOT_SUPPORTED, LATER_SUBGRAPH, LATER_SUBGRAPH]
    assert [operator.status for operator in prediction.operators] == ["mapped", "mapped", "cpu", "cpu", "cpu"]
    assert prediction.parameter_bytes == 4 * 27 + 4 * 4
    assert len(prediction.advice) == 2


def test_float_at_both_ends_leaves_the_middle_mapped(model):
    floats = {"image": ((1, 8, 8, 3), "float32", None), "scores": ((1, 10), "float32", None)}
    prediction = model(floats, {4: ("DEQUANTIZE", 2, ["logits"], ["scores"], None)})
    assert statuses(prediction) == [LIMITATION, MAPPED, MAPPED, MAPPED, DATA_TYPE]
    assert (prediction.verdict, prediction.subgraphs) == ("partial", 1)


def test_a_float_file_compiles_and_maps_nothing(model, classifier_layers):
    tensors, operators = classifier_layers
    floats = {name: (shape, "int32" if name == "axes" else "float32", v) for name, (shape, _, v) in tensors.items()}
    prediction = model(floats, {0: ("RELU", 1, ["image"], ["quantized"], None)})
    assert (prediction.verdict, prediction.subgraphs, prediction.partitions) == ("partial", 0, 0)
    assert statuses(prediction) == [DATA_TYPE] * 5
    assert prediction.parameter_bytes == 4 * (4 * 27 + 4 + 40)
    assert prediction.largest_activation_bytes == 4 * 256


def test_an_old_uint8_file_maps(model, classifier_layers):
    tensors, _ = classifier_layers
    old = {name: (shape, "uint8" if kind == "int8" else kind, v) for name, (shape, kind, v) in tensors.items()}
    assert model(old, {3: ("FULLY_CONNECTED", 1, ["mean", "matrix", None], ["logits"], None)}).verdict == "maps"


@pytest.mark.parametrize(
    ("name", "version"),
    [("CONV_2D", 6), ("QUANTIZE", 3), ("TRANSPOSE_CONV", 4), ("EXP", 2), ("FULLY_CONNECTED", 10), ("RESHAPE", 2)],
)
def test_an_operator_version_newer_than_the_compiler_makes_the_file_unparsable(model, name, version):
    prediction = model(operators={0: (name, version, ["image"], ["quantized"], None)})
    assert (prediction.verdict, prediction.subgraphs) == ("unparsable", 0)
    assert f"operator 0: Didn't find op for builtin opcode '{name}' version '{version}'" in prediction.problem
    assert {operator.status for operator in prediction.operators} == {"cpu"}
    assert prediction.operators[0].reason.startswith("Didn't find op")
    assert prediction.operators[1].reason == "Model could not be parsed"
    assert len(prediction.advice) == 1


@pytest.mark.parametrize(("name", "version"), [("CONV_2D", 5), ("QUANTIZE", 2), ("TRANSPOSE_CONV", 3), ("EXP", 1)])
def test_the_version_before_is_parsed(model, name, version):
    prediction = model(operators={0: (name, version, ["image"], ["quantized"], None)})
    assert "find op" not in prediction.problem


def test_a_version_that_parses_but_is_not_mapped_has_its_own_status(model):
    prediction = model(operators={0: ("ADD", 4, ["image", "image"], ["quantized"], None)})
    assert prediction.operators[0].reason == VERSION
    assert prediction.verdict == "partial"


@pytest.mark.parametrize("name", ["GELU", "STABLEHLO_ADD"])
def test_an_operator_that_the_compiler_has_never_heard_of_makes_the_file_unparsable(model, name):
    prediction = model(operators={0: (name, 1, ["image"], ["quantized"], None)})
    assert (prediction.verdict, name in prediction.problem) == ("unparsable", True)


def test_a_size_that_is_computed_makes_the_file_unparsable(model):
    sizes = {"size": ((2,), "int32", None)}
    prediction = model(sizes, {2: ("RESHAPE", 1, ["features", "size"], ["mean"], None)})
    assert prediction.verdict == "unparsable"
    assert "a graph that has dynamic-sized tensors: tensor 6 'mean' of RESHAPE" in prediction.problem
    assert prediction.operators[0].reason == "Model failed in Tflite interpreter"


@pytest.mark.parametrize("name", ["NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5"])
def test_suppression_has_a_static_shape_when_its_limit_is_a_constant(model, name):
    tensors = {
        "boxes": ((20, 4), "float32", None),
        "limit": ((), "int32", [5]),
        "computed": ((), "int32", None),
        "kept": ((5,), "int32", None),
        "number": ((), "int32", None),
    }

    def suppress(limit):
        return {4: (name, 1, ["boxes", "scores", limit, "bias", "bias"], ["kept", "number"], None)}

    static = model(tensors, suppress("limit"))
    assert (static.verdict, static.subgraphs, static.operators[4].reason) == ("partial", 1, DATA_TYPE)
    dynamic = model(tensors, suppress("computed"))
    assert dynamic.verdict == "unparsable"
    assert f"dynamic-sized tensors: tensor 13 'kept' of {name}" in dynamic.problem


def test_a_dimension_that_is_not_known_makes_the_file_unparsable(model):
    prediction = model({"image": ((-1, 8, 8, 3), "uint8", None)})
    assert prediction.verdict == "unparsable"
    assert "tensor 0 'image'" in prediction.problem


def test_a_batch_above_one_stays_on_the_cpu(model, classifier_layers):
    tensors, _ = classifier_layers
    batch = {name: ((4, *shape[1:]), kind, v) for name, (shape, kind, v) in tensors.items() if v is None}
    prediction = model(batch)
    assert (prediction.verdict, prediction.subgraphs) == ("partial", 1)
    assert prediction.operators[1].reason.startswith("Tensor has unsupported rank")


def test_the_detection_operator_stays_on_the_cpu_and_an_unknown_custom_operator_stops_the_compiler(model):
    floats = {"scores": ((1, 10), "float32", None)}
    known = model(floats, {4: ("TFLite_Detection_PostProcess", 1, ["logits"], ["scores"], None)})
    assert (known.verdict, known.operators[4].reason) == ("partial", DATA_TYPE)
    unknown = model(floats, {4: ("Atan", 1, ["logits"], ["scores"], None)})
    assert (unknown.verdict, unknown.problem) == ("unparsable", "operator 4: Encountered unresolved custom op: Atan")


def test_a_compiled_file_is_not_compiled_again(model):
    assert "before" in model(operators={0: ("edgetpu-custom-op", 1, ["image"], ["quantized"], None)}).problem


def test_operators_of_further_subgraphs_stay_on_the_cpu(model):
    prediction = model(more_subgraphs=1)
    assert (prediction.verdict, len(prediction.operators)) == ("partial", 10)
    assert [operator.subgraph for operator in prediction.operators] == [0] * 5 + [1] * 5
    assert statuses(prediction)[5:] == [LATER_SUBGRAPH] * 5


def test_memory_beyond_the_chip_is_advised_against(model):
    wide = {"matrix": ((2_100_000, 4), "int8", np.ones((2_100_000, 4)))}
    prediction = model({**wide, "logits": ((1, 2_100_000), "int8", None), "scores": ((1, 2_100_000), "int8", None)})
    assert prediction.parameter_bytes > PARAMETER_MEMORY
    assert any(
        "streamed" in line and "at least 3 Edge TPUs, edgetpu_compiler -n 3" in line for line in prediction.advice
    )
    large = model({"image": ((1, 1100, 1000, 3), "uint8", None), "quantized": ((1, 1100, 1000, 3), "int8", None)})
    assert large.largest_activation_bytes == 3_300_000 > ACTIVATION_MEMORY
    assert any("activation" in line for line in large.advice)


def test_a_padded_sum_is_warned_of(model):
    layers = {
        2: ("PAD", 2, ["features", "amounts"], ["mean"], None),
        3: ("ADD", 2, ["mean", "features"], ["logits"], None),
    }
    prediction = model({"amounts": ((4, 2), "int32", [[0, 0], [0, 1], [0, 0], [0, 0]])}, layers)
    assert any("PAD that feeds an ADD" in line for line in prediction.advice)


def test_a_file_cut_off_or_changed_anywhere_is_bad_input_or_predicted(write_tflite, classifier_layers, tmp_path):
    data = write_tflite(tmp_path / "m.tflite", *classifier_layers).read_bytes()
    generator, damaged, refused = random.Random(7), tmp_path / "d.tflite", 0
    for number in range(600):
        changed = bytearray(data[: generator.randrange(len(data))] if number % 2 else data)
        for _ in range(number % 5 if number % 2 else 1 + number % 5):
            if changed:
                changed[generator.randrange(len(changed))] = generator.randrange(256)
        damaged.write_bytes(changed)
        try:
            predict(damaged)
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert 100 < refused < 600


@pytest.mark.parametrize("size", [0, 3, 8, 1000, 100_000])
@pytest.mark.parametrize("mark", [b"", b"\x1c\x00\x00\x00TFL3"])
def test_random_bytes_are_bad_input(tmp_path, size, mark):
    path = tmp_path / "random.tflite"
    path.write_bytes(mark + np.random.default_rng(size).integers(0, 256, size, np.uint8).tobytes())
    with pytest.raises(InputError, match=r"expected a whole \.tflite file"):
        predict(path)


def test_a_missing_file_and_a_folder_are_bad_input(tmp_path):
    for path, received in ((tmp_path / "none.tflite", "no such file"), (tmp_path, "a folder")):
        with pytest.raises(InputError, match=f"Received: {received}"):
            predict(path)


def test_a_model_without_operators_is_bad_input(write_tflite, tmp_path):
    with pytest.raises(InputError, match="no operators"):
        predict(write_tflite(tmp_path / "m.tflite", {"image": ((1, 8), "int8", None)}, []))


def test_our_raw_int8_file_maps_and_the_postprocess_file_all_but_its_float_tail(exported):
    raw, whole = predict(exported["int8_raw"]), predict(exported["int8"])
    assert (raw.verdict, raw.subgraphs) == ("maps", 1)
    assert whole.verdict == "partial"
    left = [operator.op for operator in whole.operators if operator.status == "cpu"]
    tail = ["LOGISTIC", "PAD", "TFLite_Detection_PostProcess", "ADD", "MINIMUM", "RELU"]
    anchors = [*["ADD", "RESHAPE"] * 4, "CONCATENATION"]
    assert left == ["DEQUANTIZE", "DEQUANTIZE", *anchors, *tail]
    assert {operator.reason for operator in whole.operators if operator.status == "cpu"} == {DATA_TYPE}
    assert predict(exported["float32"]).subgraphs == predict(exported["dynamic"]).subgraphs == 0
