"""The real compiler's part, with a program on the PATH that prints what compiler 16 prints."""

from __future__ import annotations

import io
import json
import os
import sys
import textwrap
import zipfile

import pytest

from edge.edgetpu.compiler import compile_model, described_like, differences, facts, failure, operator_table
from edge.edgetpu.predict import predict
from edge.runtime import read_description
from edge.tflite.flatbuffer import read_flatbuffer

LOG = """Edge TPU Compiler version 16.0.384591198
Input: m.tflite
Output: m_edgetpu.tflite

Operator                       Count      Status

CONV_2D                        1          Mapped to Edge TPU
FULLY_CONNECTED                1          Mapped to Edge TPU
MEAN                           1          Mapped to Edge TPU
QUANTIZE                       1          Mapped to Edge TPU
SOFTMAX                        1          Mapped to Edge TPU
"""
OUTPUT = """Edge TPU Compiler version 16.0.384591198
Started a compilation timeout timer of 180 seconds.

Model compiled successfully in 986 ms.

Input model: m.tflite
Input size: 2.88MiB
Output model: m_edgetpu.tflite
On-chip memory used for caching model parameters: 3.86MiB
On-chip memory remaining for caching model parameters: 3.83MiB
Off-chip memory used for streaming uncached model parameters: 0.00B
Number of Edge TPU subgraphs: 1
Total number of operations: 5
Operation log: m_edgetpu.log
Compilation child process completed within timeout period.
Compilation succeeded!
"""
FAILED = """Edge TPU Compiler version 16.0.384591198
ERROR: Didn't find op for builtin opcode 'CONV_2D' version '6'. An older version of this builtin might be supported.

ERROR: Registration failed.

Invalid model: m.tflite
Model could not be parsed
"""


@pytest.fixture
def path(write_tflite, classifier_layers, tmp_path):
    return write_tflite(tmp_path / "m.tflite", *classifier_layers, metadata=b"metadata of the model")


@pytest.fixture
def compiler(tmp_path, monkeypatch, write_tflite):
    """A function that puts an `edgetpu_compiler` on the PATH: it copies a compiled file and prints what it is given."""
    tensors = {"image": ((1, 8, 8, 3), "uint8", None), "scores": ((1, 10), "int8", None)}
    compiled = write_tflite(tmp_path / "c", tensors, [("edgetpu-custom-op", 1, ["image"], ["scores"], None)])
    (tmp_path / "bin").mkdir()

    def installed(output=OUTPUT, log=LOG, status=0, seconds=0, writes=True):
        program = tmp_path / "bin" / "edgetpu_compiler"
        program.write_text(
            f"#!{sys.executable}\n"
            + textwrap.dedent(f"""
                import pathlib, shutil, sys, time
                folder = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
                stem = pathlib.Path(sys.argv[-1]).stem
                if "-s" not in sys.argv or folder.resolve() != pathlib.Path.cwd().resolve():
                    sys.exit(9)
                print({output!r}, end="")
                sys.stdout.flush()
                time.sleep({seconds})
                if {writes}:
                    shutil.copy({str(compiled)!r}, folder / (stem + "_edgetpu.tflite"))
                    (folder / (stem + "_edgetpu.log")).write_text({log!r})
                sys.exit({status})
            """)
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")

    return installed


def test_without_a_compiler_nothing_is_run(path, monkeypatch):
    monkeypatch.setenv("PATH", str(path.parent))
    compilation = compile_model(path, predict(path))
    assert (compilation.status, compilation.differences) == ("not run", ())
    assert "not on the PATH" in compilation.reason


def test_a_compiled_file_is_written_beside_the_input_and_agrees_with_the_prediction(path, compiler):
    compiler()
    compilation = compile_model(path, predict(path))
    assert (compilation.status, compilation.version, compilation.exit_status) == ("compiled", "16.0.384591198", 0)
    assert compilation.differences == ()
    assert compilation.facts["Number of Edge TPU subgraphs"] == "1"
    assert ("CONV_2D", 1, "Mapped to Edge TPU") in compilation.operators
    assert compilation.output == str(path.with_name("m_edgetpu.tflite"))
    written = read_flatbuffer(path.with_name("m_edgetpu.tflite").read_bytes())
    assert [entry.name for entry in written.metadata] == [b"TFLITE_METADATA"]
    assert bytes(written.buffers[written.metadata[0].buffer].data) == b"metadata of the model"


def test_a_table_that_differs_is_said_operator_by_operator(path, compiler):
    text = "MEAN                           1          "
    limited = text + "Operation is otherwise supported, but not mapped due to some unspecified limitation"
    compiler(log=LOG.replace(text + "Mapped to Edge TPU", limited))
    lines = compile_model(path, predict(path)).differences
    assert len(lines) == 2
    assert lines[0] == "MEAN: predicted 1, compiled 0 with 'Mapped to Edge TPU'"


def test_a_compiler_that_fails_is_a_difference_unless_it_was_predicted(path, compiler, write_tflite, classifier_layers):
    compiler(output=FAILED, status=1, writes=False)
    compilation = compile_model(path, predict(path))
    assert (compilation.status, compilation.exit_status) == ("failed", 1)
    assert "Didn't find op" in compilation.reason and "Model could not be parsed" in compilation.reason
    assert compilation.differences == ("predicted: maps; the compiler failed",)
    assert not path.with_name("m_edgetpu.tflite").exists()
    tensors, operators = classifier_layers
    newer = write_tflite(path, tensors, [("QUANTIZE", 3, ["image"], ["quantized"], None), *operators[1:]])
    assert compile_model(newer, predict(newer)).differences == ()


def test_a_file_that_was_predicted_not_to_compile_and_does_is_a_difference(
    path, compiler, write_tflite, classifier_layers
):
    compiler()
    tensors, operators = classifier_layers
    newer = write_tflite(path, tensors, [("QUANTIZE", 3, ["image"], ["quantized"], None), *operators[1:]])
    assert len(compile_model(newer, predict(newer)).differences) > 5


def test_a_success_without_a_file_is_a_failure(path, compiler):
    compiler(writes=False)
    assert compile_model(path, predict(path)).status == "failed"


def test_a_compiler_that_does_not_end_is_stopped(path, compiler):
    compiler(seconds=60)
    compilation = compile_model(path, predict(path), timeout=1)
    assert (compilation.status, compilation.reason) == ("failed", "no end after 1 s")


def test_tables_of_both_places_are_read():
    rows = operator_table(LOG)
    assert rows[0] == ("CONV_2D", 1, "Mapped to Edge TPU") and len(rows) == 5
    in_output = OUTPUT.replace("Compilation child", LOG[LOG.index("Operator") :] + "Compilation child")
    assert operator_table(in_output) == rows
    assert operator_table("Edge TPU Compiler version 16.0.384591198\n") == ()
    assert facts(OUTPUT)["On-chip memory used for caching model parameters"] == "3.86MiB"
    assert failure(OUTPUT) == ""


def test_a_custom_operator_is_compared_under_the_name_the_compiler_gives_it(write_tflite, classifier_layers, tmp_path):
    tensors, operators = classifier_layers
    floats = {**tensors, "scores": ((1, 10), "float32", None)}
    last = ("TFLite_Detection_PostProcess", 1, ["logits"], ["scores"], None)
    prediction = predict(write_tflite(tmp_path / "m.tflite", floats, [*operators[:4], last]))
    custom = "CUSTOM                         1          Operation is working on an unsupported data type"
    assert differences(prediction, operator_table(LOG.replace(LOG.splitlines()[-1], custom))) == []


def test_our_description_and_metadata_return_into_the_compiled_file(exported, compiler, tmp_path):
    original = exported["int8"].read_bytes()
    compiled = described_like(original, (tmp_path / "c").read_bytes())
    (tmp_path / "d_edgetpu.tflite").write_bytes(compiled)
    description = read_description(tmp_path / "d_edgetpu.tflite")
    assert description == read_description(exported["int8"])
    with zipfile.ZipFile(io.BytesIO(compiled)) as archive, zipfile.ZipFile(exported["int8"]) as source:
        assert archive.namelist() == source.namelist()
        export = json.loads(archive.read("export.json"))
    assert export["flatbuffer_bytes"] < len(compiled)
    assert b"TFLITE_METADATA" in [entry.name for entry in read_flatbuffer(compiled).metadata]
    assert described_like(original, compiled) == compiled  # nothing is attached twice


def test_a_foreign_file_without_description_is_left_as_it_was_compiled(
    write_tflite, classifier_layers, compiler, tmp_path
):
    foreign = write_tflite(tmp_path / "f.tflite", *classifier_layers).read_bytes()
    compiled = (tmp_path / "c").read_bytes()
    assert described_like(foreign, compiled) == compiled
