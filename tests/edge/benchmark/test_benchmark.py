"""The whole of benchmark on two files that run and two that do not: rows, profile, chart, and what a person is told."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from edge.benchmark.benchmark import benchmark, refused
from edge.benchmark.chart import write_chart
from edge.tflite.graph import graph_work, read_graphs
from keras_retina.cli.benchmark import against_line, parse_threads, profile_lines, show_benchmark, split_lines
from keras_retina.foundation.errors import InputError


@pytest.fixture(scope="module")
def files(exported, write_tflite, tmp_path_factory):
    """`int8` of ours, a little file of anybody, one compiled for the Edge TPU, and half a file."""
    folder = tmp_path_factory.mktemp("files")
    tensors = {"x": ((1, 8), "float32", None), "y": ((1, 8), "float32", None)}
    little = write_tflite(folder / "little.tflite", tensors, [("LOGISTIC", 1, ["x"], ["y"], None)])
    compiled = write_tflite(folder / "coral.tflite", tensors, [("edgetpu-custom-op", 1, ["x"], ["y"], None)])
    (folder / "half.tflite").write_bytes(exported["int8"].read_bytes()[:70_000])
    return [exported["int8"], little, compiled, folder / "half.tflite"]


@pytest.fixture(scope="module")
def result(files, image_paths):
    return benchmark(files, (1,), rounds=1, image=image_paths[0], openings=1)


def test_files_that_run_are_measured_and_the_others_say_why(result, files):
    ours, little, compiled, half = result["rows"]
    assert [row["file"] for row in result["rows"]] == [str(path) for path in files]
    assert all(row["machine"] == result["machine"] and row["threads"] == 1 for row in result["rows"])
    for row in (ours, little):
        assert row["status"] == "measured"
        assert 0 < row["min_ms"] <= row["median_ms"] <= row["p95_ms"]
        assert row["load_ms"] > 0 < row["first_ms"]
        assert row["peak_share"] == pytest.approx(row["gmacs"] / result["peak_gmacs"]["1"], abs=1e-3)
    assert (compiled["status"], compiled["median_ms"]) == ("not run", None)
    assert "compiled for the Edge TPU; use the file it was compiled from" in compiled["reason"]
    assert "half.tflite: expected a whole .tflite file" in half["reason"]
    assert refused(result) == [compiled["reason"], half["reason"]]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_only_a_detector_has_a_split_and_only_later_files_are_compared(result):
    ours, little, *_ = result["rows"]
    assert ours["prepare_ms"] > 0 < ours["postprocess_ms"]
    assert little["prepare_ms"] is None
    assert ours["against_first"] is None
    assert little["against_first"]["verdict"] == "too few rounds"
    assert (little["multiply_adds"], little["gmacs"]) == (0, 0.0)
    assert ours["uncounted"] == {"TFLite_Detection_PostProcess": 1}


def test_the_profile_has_every_operator_with_its_work(result, files):
    profile, of_little = result["profiles"]
    work = graph_work(read_graphs(files[0])[0])
    assert [one["multiply_adds"] for one in profile["operators"]] == list(work.multiply_adds)
    assert all(one["ms"] is not None for one in profile["operators"])
    assert profile["sum_ms"] == pytest.approx(sum(one["ms"] for one in profile["operators"]), abs=1e-3)
    assert sum(kind["count"] for kind in profile["by_operator"]) == len(profile["operators"])
    post = next(one for one in profile["operators"] if one["op"] == "TFLite_Detection_PostProcess")
    assert post["delegated"] is False
    assert [one["op"] for one in of_little["operators"]] == ["LOGISTIC"]


def test_the_chart_is_a_picture_even_of_nothing(result, tmp_path):
    write_chart(tmp_path / "b.png", result)
    with Image.open(tmp_path / "b.png") as picture:
        assert (picture.format, picture.width) == ("PNG", 1320)
    write_chart(tmp_path / "nothing.png", {**result, "rows": [], "profiles": []})
    assert (tmp_path / "nothing.png").is_file()


def test_a_person_sees_each_number_once(result, capsys):
    show_benchmark(result)
    printed = capsys.readouterr().out
    assert "tiny_int8.tflite" in printed
    assert "half.tflite" not in printed
    assert "detect = prepare" in printed
    assert "TFLite_Detection_PostProcess" in printed
    assert len(split_lines([row for row in result["rows"] if row["status"] == "measured"])) == 1
    assert profile_lines([{"file": "a/b.tflite", "threads": 2, "reason": "it died"}])[1:] == [
        "b.tflite, 2 threads: no profile: it died"
    ]
    against = {"share": 0.8, "low": 0.75, "high": 1.02, "verdict": "no difference"}
    assert against_line(against) == "0.800 x (0.750 to 1.020), no difference"
    assert against_line(None) == ""


def test_bad_input_is_refused_before_anything_runs(files):
    with pytest.raises(InputError, match="expected at least one .tflite file"):
        benchmark([])
    with pytest.raises(InputError, match="expected each file once. Received: .*little.tflite twice"):
        benchmark([files[1], files[0], files[1]])
    with pytest.raises(InputError, match=r"--threads: expected whole numbers from 1, each once. Received: \[0\]"):
        benchmark(files, [0])
    with pytest.raises(InputError, match="--rounds: expected at least 1"):
        benchmark(files, [1], rounds=0)
    with pytest.raises(InputError, match="Received: '1,x'"):
        parse_threads("1,x")
    assert parse_threads("1,2") == [1, 2]
