"""Logs of LiteRT's own tools from a device: every form they have had, and what makes their figures doubtful."""

from __future__ import annotations

import pytest

from edge.benchmark.device_log import beside, read_device_log
from keras_retina.foundation.errors import InputError

# The lines that carry figures, as benchmark_model has printed them since 2020; numbers are made up.
BENCHMARK_MODEL = """STARTING!
Log parameter values verbosely: [0]
Num threads: [4]
Graph: [/data/local/tmp/mine_int8.tflite]
Use gpu: [0]
#threads used for CPU inference: [4]
Loaded model /data/local/tmp/mine_int8.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: Replacing 120 out of 125 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 3 partitions for subgraph 0.
The input model file size (MB): 2.53
Initialized session in 17.187ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=15 first=49060 curr=33682 min=32825 max=49060 avg=34825.1 std=3930

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=32891 curr=33978 min=32641 max=34005 avg=33209.4 std=450 p5=32700 median=33100 p95=33900

Inference timings in us: Init: 17187, First inference: 49060, Warmup (avg): 34825.1, Inference (avg): 33209.4
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE.
Memory footprint delta from the start of the tool (MB): init=4.21094 overall=46.0859
"""
LITERT = """2026-11-30 12:44:36 INFO benchmark_litert_model: Model:           /home/pi/mine_int8.tflite
2026-11-30 12:44:36 INFO benchmark_litert_model: Model size:      2.53 MB
2026-11-30 12:44:36 INFO benchmark_litert_model: Accelerators:    CPU
2026-11-30 12:44:36 INFO benchmark_litert_model: Num threads:     2
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.

========================================
 BENCHMARK RESULTS
========================================
Model initialization:  16.14 ms
Warmup (first):        7.61 ms
Warmup (avg):          6.50 ms (5 runs)
Inference (avg):       6.40 ms (50 runs)
Inference (min):       6.20 ms
Inference (max):       7.00 ms
Inference (median):    6.38 ms
Inference (std):       0.10 ms
Inference (p5):        6.25 ms
Inference (p95):       6.60 ms
Throughput:            22.90 MB/s
Fully accelerated:     False
========================================
"""


@pytest.fixture
def runs(tmp_path):
    def read(text, device="Phone"):
        (tmp_path / "log.txt").write_text(text)
        return read_device_log(tmp_path / "log.txt", device)

    return read


def test_benchmark_model_is_read_in_milliseconds(runs):
    (run,) = runs(BENCHMARK_MODEL)
    assert (run.device, run.log, run.tool, run.file) == ("Phone", "log.txt", "benchmark_model", "mine_int8.tflite")
    assert (run.median_ms, run.p95_ms, run.min_ms, run.max_ms, run.std_ms) == (33.1, 33.9, 32.641, 34.005, 0.45)
    assert (run.mean_ms, run.runs, run.threads, run.size_mb) == (pytest.approx(33.2094), 50, 4, 2.53)
    assert (run.load_ms, run.first_ms, run.warmup_ms) == (17.187, 49.06, pytest.approx(34.8251))
    assert (run.accelerator, run.delegated, run.memory_mib, run.notes) == ("XNNPACK", "120/125", 46.0859, ())


def test_an_older_log_has_no_median_and_one_warm_up(runs):
    text = BENCHMARK_MODEL.replace(" p5=32700 median=33100 p95=33900", "").replace(
        "count=15 first=49060 curr=33682 min=32825 max=49060 avg=34825.1 std=3930", "count=1 curr=3512391"
    )
    text = text.replace("Memory footprint delta from the start of the tool", "Peak memory footprint")
    (run,) = runs(text.replace("avg=33209.4", "avg=2.95034e+06").replace("(avg): 33209.4", "(avg): 2.95034e+06"))
    assert (run.median_ms, run.runs, run.mean_ms, run.memory_mib) == (None, 50, pytest.approx(2950.34), 46.0859)


@pytest.mark.parametrize(
    "prefix", ["I tflite  : ", "I/tflite  ( 1234): ", "11-30 12:44:36.123  1234  1240 I tflite  : "]
)
def test_lines_of_logcat_are_read(runs, prefix):
    text = "".join(f"{prefix}{line}\r\n" for line in BENCHMARK_MODEL.splitlines())
    (run,), (plain,) = runs(text), runs(BENCHMARK_MODEL)
    assert run == plain


def test_the_line_of_times_alone_is_enough(runs):
    line = "Inference timings in us: Init: 855, First inference: 49060, Warmup (avg): 34825.1, Inference (avg): 33209.4"
    (run,) = runs(line)
    assert (run.file, run.mean_ms, run.runs) == ("unnamed", pytest.approx(33.2094), None)


def test_litert_benchmark_is_read(runs):
    (run,) = runs(LITERT)
    assert (run.tool, run.file, run.threads, run.runs) == ("litert-benchmark", "mine_int8.tflite", 2, 50)
    assert (run.mean_ms, run.median_ms, run.p95_ms, run.load_ms, run.first_ms) == (6.4, 6.38, 6.6, 16.14, 7.61)
    assert (run.size_mb, run.accelerator, run.notes) == (2.53, "CPU", ())


def test_the_benchmark_model_of_litert_is_read(runs):
    """litert/tools/benchmark_litert_model.h prints through LiteRT's logger; it has no unit behind the deviation."""
    results = LITERT[LITERT.index("Model init") : LITERT.index("Inference (median)")] + "Inference (std):      0.10\n"
    results += "Throughput:           22.90 MB/s\nInit footprint:       4.00 MB\nOverall footprint:    11.50 MB\n"
    lines = ["Loading model from: /data/local/tmp/mine_int8.tflite", "", "========== BENCHMARK RESULTS =========="]
    text = "".join(f"INFO: [benchmark_litert_model.h:94] {line}\n" for line in (*lines, *results.splitlines()))
    (run,) = runs(text)
    assert (run.tool, run.file, run.runs) == ("benchmark_model of LiteRT", "mine_int8.tflite", 50)
    assert (run.mean_ms, run.median_ms, run.std_ms, run.memory_mib) == (6.4, None, 0.1, 11.5)
    counts = "count=50 first=6300 curr=6400 min=6200 max=7000 avg=6400 std=100 p5=6250 median=6380 p95=6600\n"
    (run,) = runs(f"STARTING!\n{counts}{text}")
    assert (run.median_ms, run.p95_ms) == (6.38, 6.6)


def test_several_runs_in_one_log(runs):
    other = BENCHMARK_MODEL.replace("mine_int8", "mine_float32").replace("median=33100", "median=50000")
    found = runs(BENCHMARK_MODEL + other)
    assert [(run.file, run.median_ms, run.memory_mib) for run in found] == [
        ("mine_int8.tflite", 33.1, 46.0859),
        ("mine_float32.tflite", 50.0, 46.0859),
    ]
    found = runs(LITERT + LITERT.replace("mine_int8", "second"))
    assert [run.file for run in found] == ["mine_int8.tflite", "second.tflite"]


def test_doubtful_figures_are_said(runs):
    (run,) = runs(
        BENCHMARK_MODEL.replace("std=450", "std=9000").replace("Warmup (avg): 34825.1", "Warmup (avg): 25000")
    )
    assert len(run.notes) == 2
    assert "27 % of the mean" in run.notes[0] and "warm-up (25.00 ms)" in run.notes[1]


@pytest.mark.parametrize("text", ["", "STARTING!\nFailed to load model\n", "BENCHMARK RESULTS\n", "count=50 first=1\n"])
def test_a_log_without_a_result_is_refused(runs, text):
    with pytest.raises(InputError, match="'Inference timings in us' or 'BENCHMARK RESULTS'. Received: .*log.txt"):
        runs(text)


def test_a_missing_log_is_refused(tmp_path):
    with pytest.raises(InputError, match="--import: expected a log. Received: .*no.txt"):
        read_device_log(tmp_path / "no.txt", "Phone")


def test_it_is_held_against_the_same_file_on_as_many_threads(runs):
    (run,) = runs(BENCHMARK_MODEL)
    rows = [
        {"file": f"runs/{name}.tflite", "threads": threads, "status": status}
        for name, threads, status in (
            ("other", 4, "measured"),
            ("mine_int8", 1, "measured"),
            ("mine_int8", 4, "measured"),
            ("mine_int8", 2, "measured"),
        )
    ]
    assert beside(run, rows) is rows[2]
    assert beside(run, rows[:2]) is rows[1]
    assert beside(run, rows[:1]) is None
    assert beside(run, [rows[2] | {"status": "not run"}]) is None
