"""`run` ends with a command that its run can follow."""

from edge.verify.rows import Row
from keras_retina.cli.train import smallest_file

KERAS = Row("model.keras", "keras", status="verified")


def row(file, size_bytes, status="verified"):
    return Row(file, "int8", size_bytes=size_bytes, status=status)


def test_the_suggested_file_is_the_smallest_that_was_verified():
    rows = [
        KERAS,
        row("a_float32.tflite", 30),
        row("a_int8.tflite", 12),
        row("a_int8_raw.tflite", 11),
        row("a_int8_half.tflite", 6, status="failed"),
        row("a_int8_sparse_qat.tflite", 10),
    ]
    assert smallest_file(rows) == "a_int8_sparse_qat.tflite"


def test_a_file_of_heads_is_suggested_where_there_is_no_other():
    rows = [row("a_float32_raw.tflite", 30), row("a_int8_builtin.tflite", 10), row("a_int8_raw.tflite", 11)]
    assert smallest_file(rows) == "a_int8_builtin.tflite"


def test_nothing_is_suggested_when_no_file_was_verified():
    assert smallest_file([KERAS, row("a_int8.tflite", 9, "not run")]) is None
