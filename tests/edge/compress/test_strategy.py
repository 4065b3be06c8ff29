"""A fine-tuning runs on the devices that the training ran on."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_retina.model.saving import load_detector

# In a fresh process, because logical devices must be set up before TensorFlow starts.
REPLICAS = """
import sys
from pathlib import Path
from keras_retina.foundation.legacy_keras import keras, tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from edge.compress import fine_tune
from edge.stages import compress_stage
from keras_retina.cli.output import show_log
from keras_retina.model.retinanet import detector_network
from keras_retina.model.saving import save_detector
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.recipe import recipe_from_fields
from keras_retina.run.folder import start_run

data, out = sys.argv[1:]
fit = {"epochs": 1, "learning_rate": 0.01, "warmup_steps": 0, "evaluate_every": 1}
half = {"channels": {"keep": 0.5, "criterion": "l1"}, "fine_tune": fit | {"distillation": 1.0}}
sparse = {"sparsity": {"amount": 0.5, "spread": "even"}, "fine_tune": fit}
ways = {
    "one_device": {"half": half},
    "mirrored": {
        "half": half,
        "sparse": sparse,
        "few": {"clusters": {"number": 4}, "fine_tune": fit},
        "rounded": {"quantize": {"calibration_images": 2}, "fine_tune": fit},
    },
}
fitted = fine_tune.fit_detector

def told(network, *arguments, **named):
    print(network.name, type(network.trainable_variables[0]).__name__, network.optimizer.iterations.numpy())
    fitted(network, *arguments, **named)

fine_tune.fit_detector = told
for strategy, models in ways.items():
    recipe = recipe_from_fields({
        "name": "tiny",
        "model": {
            "backbone": {"name": "plain", "weights": "none", "frozen_stages": 0, "batch_norm": "trained"},
            "input": {"height": 64, "width": 64},
            "pyramid": {"width": 16, "levels": [3, 5]},
            "head": {"width": 16, "convolutions": 1},
        },
        "training": {
            "strategy": strategy, "batch_size": 4, "steps_per_epoch": 2, "optimizer": "sgd", "clip_norm": None,
            "checkpoint": "last", "weight_average": None,
        },
        "compress": models,
    }, "here")
    # BatchNorm frozen: trained, each replica would see the statistics of its own half.
    backbone = recipe.model.backbone.model_copy(update={"batch_norm": "frozen"})
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"backbone": backbone})})
    run = start_run(Path(out) / strategy, recipe, data_dir=Path(data), command="test", overwrite=False)
    keras.utils.set_random_seed(1)
    spec = detector_spec(recipe.model, ("disc", "square"))
    save_detector(detector_network(recipe.model, 2), spec, run.model)
    print("strategy", strategy)
    show_log()
    compress_stage(run)
"""


@pytest.fixture(scope="module")
def compressed(tiny_coco, tmp_path_factory) -> tuple[Path, str]:
    """The run folders `one_device` and `mirrored`, and what was printed."""
    out = tmp_path_factory.mktemp("strategies")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", REPLICAS, str(tiny_coco), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return out, done.stdout


def test_a_pruned_model_is_fitted_alike_on_one_device_and_on_two(compressed):
    """With plain SGD the weights after two steps tell the size of the gradients, which Adam would hide."""
    out, _ = compressed
    folders = [out / strategy / "compress" / "half" for strategy in ("one_device", "mirrored")]
    histories = []
    for folder in folders:
        with (folder / "train" / "history.csv").open(newline="", encoding="utf-8") as file:
            histories.append(list(csv.DictReader(file)))
    for column in ("loss", "classes_loss", "boxes_loss"):
        assert float(histories[0][0][column]) == pytest.approx(float(histories[1][0][column]), rel=1e-4), column
    (one, _), (two, _) = (load_detector(folder / "model.keras") for folder in folders)
    for weight, same in zip(one.weights, two.weights, strict=True):
        np.testing.assert_allclose(weight, same, rtol=1e-3, atol=2e-5, err_msg=weight.name)
    start, _ = load_detector(folders[0] / "pruned.keras")
    moved = [not np.array_equal(before, after) for before, after in zip(start.weights, one.weights, strict=True)]
    assert any(moved)


def test_every_way_to_a_smaller_model_is_fitted_on_all_devices(compressed):
    out, printed = compressed
    one, _, two = printed.partition("strategy mirrored")
    assert "MirroredVariable" not in one
    assert sum(" MirroredVariable 0" in line.replace("Auto", "") for line in two.splitlines()) == 4
    for name in ("half", "sparse", "few", "rounded"):
        assert (out / "mirrored" / "compress" / name / "metrics.json").is_file()
