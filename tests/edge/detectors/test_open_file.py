"""Opening anybody's file in a process of its own: what it costs, and one line for what LiteRT refuses or dies of."""

from __future__ import annotations

import numpy as np
import pytest

from edge.detectors.child import ChildError, run_module
from edge.detectors.open_file import example_inputs, opened, refusal
from edge.runtime import ModelFileError


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A function that writes a module `made_here` which the next process can run."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(text):
        (tmp_path / "made_here.py").write_text(text)

    return write


def test_a_task_goes_to_a_program_and_its_answer_comes_back(program):
    program("import json, os, sys; print(json.dumps({'got': json.load(sys.stdin), 'env': os.environ['COLOUR']}))")
    answer = run_module("made_here", {"name": "é\n"}, environment={"COLOUR": "red"})
    assert answer == {"got": {"name": "é\n"}, "env": "red"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "its process was ended by SIGSEGV"),
        ("import sys; print('noise', file=sys.stderr); sys.exit('the end')", "its process ended with 1: the end"),
        ("import time; time.sleep(60)", "its process did not end within 0.5 seconds"),
    ],
)
def test_a_program_that_dies_or_never_ends_is_one_line(program, text, reason):
    program(text)
    with pytest.raises(ChildError) as caught:
        run_module("made_here", {}, timeout=0.5 if "sleep" in text else None)
    assert str(caught.value) == reason


def test_a_file_that_opens_says_what_it_costs(exported):
    found = opened(exported["int8"])
    assert found["load_ms"] > 0 < found["first_ms"]
    assert found["peak_mib"] is None or found["peak_mib"] > found["base_mib"] > 0
    assert found["left"]["TFLite_Detection_PostProcess"] == 1
    assert found["operators"] == len(found["delegated"]) + sum(found["left"].values())


def test_a_file_that_litert_refuses_is_one_line(exported, tmp_path):
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(exported["int8"].read_bytes()[:60_000])
    with pytest.raises(
        ModelFileError, match=r"cut\.tflite: expected a \.tflite file that LiteRT runs\. Received: "
    ) as caught:
        opened(cut)
    assert "\n" not in str(caught.value)


def test_an_operator_of_the_edge_tpu_is_explained():
    text = refusal("Encountered unresolved custom op: edgetpu-custom-op.\nSee instructions")
    assert text.startswith("Encountered unresolved custom op: edgetpu-custom-op. See instructions")
    assert text.endswith("It is compiled for the Edge TPU; use the file it was compiled from.")


@pytest.mark.parametrize(("kind", "low", "high"), [("uint8", 0, 255), ("int8", -128, 127), ("float32", -1.0, 1.0)])
def test_an_image_fills_an_input_that_looks_like_one(kind, low, high):
    image = np.zeros((10, 20, 3), np.uint8)
    image[:, 10:] = 255
    (values,) = example_inputs([{"shape": np.array([1, 8, 8, 3]), "dtype": np.dtype(kind).type}], image)
    assert (values.dtype, values.shape, values[0, 0, 0, 0], values[0, 7, 7, 2]) == (kind, (1, 8, 8, 3), low, high)


def test_other_inputs_get_noise_that_repeats_or_zeros_for_places_in_a_table():
    details = [{"shape": np.array(shape), "dtype": kind} for shape, kind in (([1, 5], np.float32), ([2, -1], np.int32))]
    first, second = example_inputs(details), example_inputs(details)
    assert [values.dtype.name for values in first] == ["float32", "int32"]
    np.testing.assert_array_equal(first[0], second[0])
    assert first[0].std() > 0
    np.testing.assert_array_equal(first[1], np.zeros((2, 1), np.int32))
