"""Rows of verify.json: their names, and that what is written is read as it was."""

from __future__ import annotations

import dataclasses
import json

import pytest

from edge.verify.result import Gate, Parity, Split, VerifyResult, read_result
from edge.verify.rows import Latency, Row
from keras_retina.evaluate.coco import STATISTICS
from keras_retina.foundation.errors import InputError

AP = {**dict.fromkeys(STATISTICS, 50.0), "AP_large": None}
FULL = Row(
    file="x_int8_half.tflite",
    kind="int8",
    model="half",
    sha256="ab" * 32,
    ap=AP,
    per_class={"a": 50.0, "b": None},
    size_bytes=2000,
    gzip_bytes=1000,
    latency=Latency(12.3, 15.0, 2, "a laptop", 20.0),
    status="failed",
    reason="AP",
    nms="fast",
    multiply_adds=5,
    parameters=6,
    zeros=0.0,
    values_per_channel=16,
)


@pytest.mark.parametrize(
    ("row", "label", "key", "results"),
    [
        (Row("model.keras", "keras"), "Keras", "keras", "keras"),
        (Row("compress/half/model.keras", "keras", "half"), "half Keras", "half_keras", "keras_half"),
        (Row("x_int8.tflite", "int8"), "int8", "int8", "x_int8"),
        (Row("x_int8_raw.tflite", "int8"), "int8 · raw heads", "int8_raw", "x_int8_raw"),
        (Row("x_int16_builtin.tflite", "int16"), "int16 · builtin operators", "int16_builtin", "x_int16_builtin"),
        (Row("x_int8_half_raw.tflite", "int8", "half"), "half int8 · raw heads", "half_int8_raw", "x_int8_half_raw"),
        (Row("x_int8_q.tflite", "int8_qat", "q"), "q int8 QAT", "q_int8_qat", "x_int8_q"),
        (Row("theirs.tflite", "other", "theirs", also=True), "theirs", "theirs_other", "theirs"),
    ],
)
def test_each_row_has_names_of_its_own(row, label, key, results):
    assert (row.label, row.key, row.results_name) == (label, key, results)


@pytest.mark.parametrize("form", ["", "_raw", "_builtin"])
def test_only_a_file_with_the_post_process_stands_for_its_network(form):
    assert Row(f"x_int8{form}.tflite", "int8").other_form is bool(form)


def test_a_row_is_read_as_it_was_written():
    other = Row("t.tflite", "other", "t", also=True, read_as={"labels": "t.txt"})
    for row in (FULL, other, Row("model.keras", "keras"), Row("x.tflite", "unknown", reason="no such file")):
        assert Row.from_json(json.loads(json.dumps(row.to_json())), "here") == row


def test_the_fields_of_a_row_are_those_of_the_contract_in_this_order():
    common = ["file", "kind", "model", "sha256", *STATISTICS, "per_class", "size_bytes", "gzip_bytes", "latency_ms"]
    common += ["status", "reason"]
    assert list(Row("x.tflite", "int8").to_json()) == common
    assert list(FULL.to_json()) == [*common, "nms", "multiply_adds", "parameters", "zeros", "values_per_channel"]
    other = Row("t.tflite", "other", also=True, read_as={}, multiply_adds=5)
    assert list(other.to_json()) == [*common, "also", "read_as", "multiply_adds"]
    assert list(FULL.to_json()["latency_ms"]) == ["median", "p95", "threads", "machine", "end_to_end_median"]


def test_values_without_a_meaning_are_not_measured():
    fields = FULL.to_json() | {"AP_large": -1, "AP": float("nan"), "size_bytes": float("inf"), "latency_ms": {}}
    row = Row.from_json(fields | {"per_class": {"a": -1.0}, "reason": None}, "here")
    assert (row.ap["AP_large"], row.ap["AP"], row.size_bytes, row.latency, row.reason) == (None, None, None, None, "")
    assert row.per_class == {"a": None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": None}, r"here\.file: expected a text. Received: None"),
        ({"file": ""}, r"here\.file: expected a file name"),
        ({"file": "ä" * 101}, "at most 200 bytes"),
        ({"kind": 8}, r"here\.kind: expected a text"),
        ({"model": ["half"]}, r"here\.model: expected a text or null"),
        ({"status": "passed"}, "one of verified, failed, not run"),
        ({"AP": "50"}, r"here\.AP: expected a number or null. Received: '50'"),
        ({"AP": True}, r"here\.AP: expected a number"),
        ({"per_class": {"a": 100.5}}, r"here\.per_class\.a: expected an AP in percent, at most 100. Received: 100\.5"),
        ({"per_class": [1]}, r"here\.per_class: expected an object"),
        ({"latency_ms": 12.0}, r"here\.latency_ms: expected an object"),
        ({"latency_ms": {"median": "fast"}}, r"here\.latency_ms\.median: expected a number"),
        ({"read_as": "mine"}, r"here\.read_as: expected an object"),
        ({"zeros": 10**400}, r"here\.zeros: expected a number"),
    ],
)
def test_a_damaged_row_is_one_line(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        Row.from_json(FULL.to_json() | changes, "here")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_a_row_of_another_type_is_one_line():
    with pytest.raises(InputError, match=r"rows\[1\]: expected an object. Received: 5"):
        VerifyResult.from_json({"rows": [FULL.to_json(), 5]}, "here")


@pytest.mark.parametrize("parity", [None, Parity("r", "x_float32_raw.tflite", 8, 1e-6, None, False, "boxes differ")])
def test_a_result_is_read_as_it_was_written(tmp_path, parity):
    result = VerifyResult(Split("drawn", "val", 5, "cd"), Gate("AP", False), parity, (FULL, Row("m.keras", "keras")))
    path = tmp_path / "verify.json"
    assert read_result(path) is None
    path.write_text(json.dumps(result.to_json()))
    assert read_result(path) == result


@pytest.mark.parametrize("passed", [None, "yes", 1, False])
def test_only_a_gate_that_says_so_has_passed(passed):
    assert not VerifyResult.from_json({"rows": [], "gate": {"passed": passed}}, "here").gate.passed


def test_a_row_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        FULL.status = "verified"
