"""The file of an untrained network has the operators and the work for post-processing of a trained one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge.benchmark.untrained import OVER_THRESHOLD, UntrainedLatency, fastest, untrained_mapping, write_untrained
from edge.detectors.open_file import load
from edge.export.export import export_files
from keras_retina.model.retinanet import detector_network
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.recipe import Export


@pytest.mark.parametrize(("kind", "head"), [("int8", "postprocess"), ("float32", "raw")])
def test_it_has_the_operators_of_the_exported_network(tiny_recipe, image_paths, tmp_path, kind, head):
    settings = Export(formats=(kind,), heads=(head,))
    path = tmp_path / "untrained.tflite"
    write_untrained(path, tiny_recipe.model, class_count=2, kind=kind, head=head, files=settings)
    model, spec = detector_network(tiny_recipe.model, 2), detector_spec(tiny_recipe.model, ("a", "b"))
    (exported,) = export_files(
        model, spec, out_dir=tmp_path, name="own", settings=settings, calibration_images=image_paths
    )
    one, other = (json.loads(file.with_suffix(".json").read_text()) for file in (path, exported))
    assert one["operators"] == other["operators"]
    assert [row["shape"] for row in one["outputs"]] == [row["shape"] for row in other["outputs"]]


def test_a_fifth_of_its_scores_is_over_the_threshold(tiny_recipe, tmp_path):
    path = tmp_path / "untrained.tflite"
    files = Export(score_threshold=0.05)
    write_untrained(path, tiny_recipe.model, class_count=3, kind="float32", head="raw", files=files)
    interpreter = load(path, 1)
    pixels = np.random.default_rng(1).integers(0, 256, interpreter.get_input_details()[0]["shape"], np.uint8)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], pixels)
    interpreter.invoke()
    (logits,) = (
        interpreter.get_tensor(one["index"]) for one in interpreter.get_output_details() if one["shape"][-1] == 3
    )
    assert np.mean(logits > np.log(0.05 / 0.95)) == pytest.approx(OVER_THRESHOLD, abs=0.1)


def test_it_is_timed_beside_the_first_one(tiny_recipe):
    latency_of = UntrainedLatency()
    assert len(set(latency_of(tiny_recipe.model, 2, "float32", "raw", 1, Export()))) == 1
    milliseconds, of_first = latency_of(tiny_recipe.model, 3, "float32", "raw", 1, Export())
    assert min(milliseconds, of_first) > 0
    assert milliseconds != of_first


def test_the_round_that_was_disturbed_least_counts():
    assert fastest([[6.0, 6.0, 6.0], [3.0, 3.0, 50.0], [4.0, 2.0, 4.0]]) == 3.0


def test_the_edge_tpu_runs_all_of_a_raw_file(tiny_recipe):
    mapped, operators = untrained_mapping(tiny_recipe.model, 2, files=Export(mediapipe_raw=False))
    assert mapped == operators > 50
