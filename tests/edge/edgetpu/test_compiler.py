"""The real compiler's part, with a program on the PATH that prints what compiler 16 prints."""

from __future__ import annotations

import io
import json
import os
import sys
import textwrap
import zipfile

import pytest

from edge.edgetpu.compiler import compared, compile_model, described_like
from edge.edgetpu.log import read_log, set_differences
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

    def installed(output=OUTPUT, log=LOG, status=0, seconds=0, writes=True, searches=False):
        program = tmp_path / "bin" / "edgetpu_compiler"
        program.write_text(
            f"#!{sys.executable}\n"
            + textwrap.dedent(f"""
                import pathlib, shutil, sys, time
                folder = pathlib.Path(sys.argv[sys.argv.index("-o") + 1])
                stem = pathlib.Path(sys.argv[-1]).stem
                if {searches} != ("-d" in sys.argv):
                    sys.exit(8)
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
    compilation = compile_model(path, predict(path))
    assert compilation.differences == ("MEAN: predicted 1 of 1 on the Edge TPU, compiled 0 of 1",)
    assert len(compilation.notes) == 1


def test_another_reason_for_the_cpu_is_a_note_and_no_difference(path, write_tflite, classifier_layers):
    prediction = predict(with_float_scores(path, write_tflite, classifier_layers))
    row = "SOFTMAX                        1          "
    compilation = compared(
        prediction, read_log(LOG.replace(f"{row}Mapped to Edge TPU", f"{row}Operation not supported"))
    )
    assert compilation.differences == ()
    assert compilation.notes == ("SOFTMAX: 1 with 'Operation not supported', predicted 0",)


def with_float_scores(path, write_tflite, classifier_layers):
    tensors, operators = classifier_layers
    return write_tflite(path, {**tensors, "scores": ((1, 10), "float32", None)}, operators)


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
    assert len(compile_model(newer, predict(newer)).differences) == 5  # kinds of operators


def test_a_success_without_a_file_is_a_failure(path, compiler):
    compiler(writes=False)
    assert compile_model(path, predict(path)).status == "failed"


def test_a_compiler_that_does_not_end_is_stopped(path, compiler):
    compiler(seconds=60)
    compilation = compile_model(path, predict(path), timeout=1)
    assert (compilation.status, compilation.reason) == ("failed", "no end after 1 s")


def test_tables_of_both_places_are_read():
    rows = read_log(LOG).operators
    assert rows[0] == ("CONV_2D", 1, "Mapped to Edge TPU") and len(rows) == 5
    in_output = OUTPUT.replace("Compilation child", LOG[LOG.index("Operator") :] + "Compilation child")
    assert read_log(in_output).operators == rows
    assert read_log("Edge TPU Compiler version 16.0.384591198\n").operators == ()
    assert read_log(OUTPUT).facts["On-chip memory used for caching model parameters"] == "3.86MiB"
    assert read_log(OUTPUT).failure == ""


SEARCHED = """Edge TPU Compiler version 16.0.384591198
Searching for valid delegate with step 1
Try to compile segment with 5 ops
Started a compilation timeout timer of 180 seconds.
ERROR: Restored original execution plan after delegate application failure.
Compilation failed: Compilation failed due to large activation tensors in model.
Compilation child process completed within timeout period.
Compilation failed!
Try to compile segment with 4 ops
Intermediate tensors: logits,other
Started a compilation timeout timer of 180 seconds.
"""


def test_a_search_passes_the_option_and_says_what_it_left_out(path, compiler):
    compiler(output=SEARCHED + OUTPUT[OUTPUT.index("Started") :], searches=True)
    compilation = compile_model(path, predict(path), search=True)
    assert (compilation.status, compilation.differences) == ("compiled", ())
    assert compilation.notes == (
        "-d tried 2 times and left the last 1 operators to the CPU; the part for the Edge TPU ends at logits, other",
    )


def test_a_search_that_found_nothing_says_why_its_last_try_failed(path, compiler):
    compiler(output=SEARCHED + "Internal compiler error. Aborting!\n", status=1, writes=False, searches=True)
    compilation = compile_model(path, predict(path), search=True)
    assert (compilation.status, compilation.reason) == ("failed", "Internal compiler error. Aborting!")


def test_tables_of_several_segments_are_added(path):
    table = LOG[LOG.index("Operator") :]
    log = read_log(f"{OUTPUT}{table}{OUTPUT}{table}")
    lines = set_differences(predict(path), log)
    assert lines[0] == "CONV_2D: predicted 1 of 1 on the Edge TPU, compiled 2 of 2" and len(lines) == 5


def test_a_custom_operator_is_compared_under_the_name_the_compiler_gives_it(write_tflite, classifier_layers, tmp_path):
    tensors, operators = classifier_layers
    floats = {**tensors, "scores": ((1, 10), "float32", None)}
    last = ("TFLite_Detection_PostProcess", 1, ["logits"], ["scores"], None)
    prediction = predict(write_tflite(tmp_path / "m.tflite", floats, [*operators[:4], last]))
    custom = "CUSTOM                         1          Operation is working on an unsupported data type"
    log = read_log(LOG.replace(LOG.splitlines()[-1], custom))
    assert (compared(prediction, log).differences, compared(prediction, log).notes) == ((), ())


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
