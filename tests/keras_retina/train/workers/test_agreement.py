"""Two real processes that have another recipe, other data or other first weights are refused before the first step."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from keras_retina.data.builtin.builtin import write_builtin_set
from keras_retina.data.reading.folder import load_dataset
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.retinanet import detector_network
from keras_retina.model.saving import save_detector
from keras_retina.model.spec import detector_spec
from keras_retina.recipe.recipe import Recipe, dump_recipe, recipe_from_fields
from keras_retina.train.workers.launch import local_cluster

WORKER = """
import json, os, sys
from pathlib import Path
from keras_retina.data.reading.folder import load_dataset
from keras_retina.foundation.errors import InputError
from keras_retina.recipe.recipe import load_recipe
from keras_retina.train.train import train
from keras_retina.train.workers.cluster import training_cluster
from keras_retina.train.workers.job import joined

recipe, run_dir, lines = load_recipe(Path("../tiny.yaml")), Path("../run"), []
cluster = training_cluster(recipe.training)

def refuse(act):
    try:
        act()
    except InputError as error:
        lines.append(str(error))

def with_its_own_recipe():
    own = recipe.model_copy(update={"seed": recipe.seed + cluster.index})
    with joined(cluster, own, run_dir=run_dir):
        pass

refuse(with_its_own_recipe)
with joined(cluster, recipe, run_dir=run_dir) as job:
    refuse(lambda: job.agree_on_data(lambda: {"train": load_dataset("data", "train")}))
    # From here on the data are the same; what `start.keras` holds is not.
    same = {name: load_dataset("../0/data", name) for name in ("train", "val")}
    job.agree_on_data(lambda: same)
    refuse(lambda: train(recipe, same["train"], validation_set=same["val"], run_dir=run_dir, job=job))
print(json.dumps(lines))
"""


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """A plain network of width 8 that starts from a file in the working directory."""
    fields = {
        "name": "tiny",
        "model": {
            "backbone": {"name": "plain", "weights": "start.keras", "frozen_stages": 0, "batch_norm": "trained"},
            "input": {"height": 64, "width": 64},
            "pyramid": {"width": 8, "levels": [3, 5]},
            "head": {"width": 8, "convolutions": 1},
        },
        "training": {"epochs": 1, "batch_size": 2, "steps_per_epoch": 1, "warmup_steps": 0, "strategy": "multi_worker"},
    }
    return recipe_from_fields(fields, "test")


def test_workers_that_do_not_mean_the_same_are_refused_before_the_first_step_with_what_differs(recipe, tmp_path):
    """In the folder of each worker lie data of another seed, and a `start.keras` of other weights."""
    (tmp_path / "tiny.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    clusters = local_cluster(2)
    for index in range(2):
        folder = tmp_path / str(index)
        write_builtin_set(folder / "data", 4, 1, 64, 64, seed=index)
        spec = detector_spec(recipe.model, load_dataset(folder / "data", "train").class_names)
        keras.utils.set_random_seed(index)
        save_detector(detector_network(recipe.model, len(spec.class_names)), spec, folder / "start.keras")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER],
            cwd=tmp_path / str(index),
            env={**os.environ, "TF_CONFIG": cluster.tf_config(), "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, cluster in enumerate(clusters)
    ]
    said = [worker.communicate(timeout=300) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    first, second = (json.loads(out.splitlines()[-1]) for out, _ in said)
    assert first == second  # all workers say the same
    for line, name in zip(first, ("recipe", "data", "weights to start from"), strict=True):
        assert line.startswith(
            f"workers: expected the same {name} on all of them. Received: {clusters[0].name(1)} has "
        )
        assert "\n" not in line
    left = {path.name for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert left == {"0.log", "1.log"}  # no checkpoint, no history: nobody made a step
