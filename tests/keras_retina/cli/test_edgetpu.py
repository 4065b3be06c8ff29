"""`keras-retina edgetpu`, and others that ask about any file, as a person meets them."""

from __future__ import annotations

import json

import pytest


def test_a_prediction_is_printed_and_written(keras_retina, write_tflite, classifier_layers, tmp_path):
    path = write_tflite(tmp_path / "m.tflite", *classifier_layers)
    result = keras_retina("edgetpu", path, "--json", tmp_path / "m.json")
    assert result.returncode == 0, result.stderr
    assert "maps: 5 of 5 operators on the Edge TPU" in result.stdout
    assert "compiler: not run: edgetpu_compiler is not on the PATH" in result.stdout
    written = json.loads((tmp_path / "m.json").read_text())
    assert (written["verdict"], written["subgraphs"], written["compiler"]["status"]) == ("maps", 1, "not run")
    assert written["operators"][1] == {
        **{"index": 1, "op": "CONV_2D", "output": "features", "status": "mapped", "subgraph": 0},
        **{"reason": "Mapped to Edge TPU"},
    }


def test_a_log_from_elsewhere_is_compared(keras_retina, write_tflite, classifier_layers, tmp_path):
    path, log = write_tflite(tmp_path / "m.tflite", *classifier_layers), tmp_path / "m_edgetpu.log"
    names = ("CONV_2D", "FULLY_CONNECTED", "MEAN", "QUANTIZE", "SOFTMAX")
    rows = [f"{name:<30} 1          Mapped to Edge TPU" for name in names]
    log.write_text("\n".join(["Edge TPU Compiler version 16.0.384591198", "", "Operator   Count   Status", "", *rows]))
    result = keras_retina("edgetpu", path, "--log", log)
    assert result.returncode == 0, result.stderr
    assert "compiler 16.0.384591198: compiled" in result.stdout and "as predicted" in result.stdout
    log.write_text(log.read_text().replace("SOFTMAX                        1          Mapped to", "SOFTMAX  1  Not on"))
    result = keras_retina("edgetpu", path, "--log", log)
    assert result.returncode == 1
    assert "differs: SOFTMAX: predicted 1 of 1 on the Edge TPU, compiled 0 of 1" in result.stdout
    log.write_text("nothing\n")
    result = keras_retina("edgetpu", path, "--log", log)
    assert result.returncode == 2 and "--log: expected the table" in result.stderr


def test_an_unparsable_file_is_a_result_and_a_damaged_one_is_bad_input(
    keras_retina, write_tflite, classifier_layers, tmp_path
):
    tensors, operators = classifier_layers
    newer = [("QUANTIZE", 3, ["image"], ["quantized"], None), *operators[1:]]
    result = keras_retina("edgetpu", write_tflite(tmp_path / "m.tflite", tensors, newer))
    assert result.returncode == 0
    assert (
        "does not compile: operator 0: Didn't find op for builtin opcode 'QUANTIZE' version '3'"
        in result.stdout.replace("\\", "")
    )
    (tmp_path / "cut.tflite").write_bytes((tmp_path / "m.tflite").read_bytes()[:900])
    result = keras_retina("edgetpu", tmp_path / "cut.tflite")
    assert (result.returncode, result.stdout) == (2, "")
    assert len([line for line in result.stderr.splitlines() if line.startswith("keras-retina: ")]) == 1
    assert "Traceback" not in result.stderr


TIMES = "Inference timings in us: Init: 855, First inference: 49060, Warmup (avg): 34825.1, Inference (avg): 33209.4\n"


def test_a_log_of_a_device_is_shown_with_its_name(keras_retina, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "phone.txt").write_text(TIMES)
    command = ("benchmark", "--import", "phone.txt", "--json", "d.json")
    done = keras_retina(*command, "--device", "Pixel 8")
    assert done.returncode == 0, done.stderr
    assert "Pixel 8: unnamed: mean 33.21 ms, load 0.85, first 49.06 (benchmark_model)" in done.stdout
    assert json.loads((tmp_path / "d.json").read_text())["devices"][0]["device"] == "Pixel 8"
    done = keras_retina(*command)
    assert done.returncode == 2 and "expected as many --device as --import" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("benchmark", "half.tflite", "--threads", "1"), "half.tflite: expected a whole .tflite file"),
        (("benchmark", "half.tflite", "--chart", "x.jpg"), "--chart: expected a .png file. Received: x.jpg"),
        (("benchmark", "half.tflite", "--image", "half.tflite"), "half.tflite"),
        (("benchmark",), "expected at least one .tflite file"),
        (("benchmark", "--chart", "x.png"), "--chart: expected files to draw"),
        (("evaluate", "half.tflite", "--data", "DATA"), "half.tflite: expected a .tflite file that LiteRT runs"),
        (("evaluate", "half.tflite", "--data", "DATA", "--resize", "strech"), "Did you mean 'stretch'?"),
    ],
)
def test_files_and_options_that_are_wrong_end_with_2_and_one_line(
    keras_retina, arguments, said, write_tflite, classifier_layers, tiny_coco, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    whole = write_tflite(tmp_path / "whole.tflite", *classifier_layers).read_bytes()
    (tmp_path / "half.tflite").write_bytes(whole[:900])
    places = {"DATA": str(tiny_coco)}
    result = keras_retina(*(places.get(one, one) for one in arguments))
    assert result.returncode == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("keras-retina: ")]) == 1
