"""The Python programs in the pages run as they stand, on a tiny drawn set and with a tiny network.

Each runs in a process of its own in which TensorFlow was imported first, with Keras 3 as `tf.keras`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README, GUIDE, NOTEBOOK = (ROOT / name for name in ("README.md", "docs/guides/python.md", "docs/quickstart.ipynb"))

# What a page leaves to its reader: names, my_tf_data, validation, my_images and photo.
GIVEN = """
import tensorflow as tf
assert tf.keras.__version__.startswith("3.")  # the lazy import of it happens here
from pathlib import Path
import numpy as np
from PIL import Image
from keras_retina.data.builtin.builtin import CLASS_NAMES, builtin_scenes, write_builtin_set
names = list(CLASS_NAMES)
scenes = list(builtin_scenes("train", 8, 96, 128))
signature = (
    tf.TensorSpec([None, None, 3], tf.uint8),
    {"boxes": tf.TensorSpec([None, 4], tf.float32), "classes": tf.TensorSpec([None], tf.int32)},
)
def labelled():
    for scene in scenes:
        boxes = scene.boxes.astype(np.float32).reshape(-1, 4)
        xywh = np.stack([boxes[:, 1], boxes[:, 0], boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]], axis=1)
        yield scene.image, {"boxes": xywh, "classes": scene.classes.astype(np.int32)}
my_tf_data = tf.data.Dataset.from_generator(labelled, output_signature=signature)
write_builtin_set(Path("drawn"), 2, 3, 96, 128)
validation = "drawn"
my_images = [scene.image for scene in scenes[:4]]
photo = Image.fromarray(scenes[0].image)
"""

BACKBONE = '{"name": "mobilenet_v2", "weights": "imagenet"}'
TINY = '{"name": "plain", "weights": "none", "frozen_stages": 0, "batch_norm": "trained"}'
SIZES = '"height": 320, "width": 320}'
# A plain backbone from random weights on 64 pixels: what is tested is that the program runs, not what it learns.
SMALL_HEADS = '"height": 64, "width": 64}, pyramid={"width": 8, "levels": (3, 5)}, head={"width": 8, "convolutions": 1}'


def made_small(program: str, changes: list[tuple[str, str]]) -> str:
    """Replaces sizes; one that is not there any more is an error, so that no test grows to the full size unnoticed."""
    for before, after in changes:
        assert before in program, before
        program = program.replace(before, after)
    return program


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run(program: str, folder: Path, **variables: str) -> str:
    (folder / "program.py").write_text(program, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_program_of_the_readme_runs(tmp_path):
    (program,) = python_blocks(README)
    changes = [
        (BACKBONE, TINY),
        (SIZES, SMALL_HEADS),
        ("epochs=20, steps_per_epoch=100", "epochs=2, steps_per_epoch=1"),
        ("every=5", "every=2"),
        ("batch_size=8", "batch_size=2"),
    ]
    run(GIVEN + made_small(program, changes), tmp_path)
    assert (tmp_path / "mine_int8.tflite").is_file()
    assert not (tmp_path / "mine_int8.json").exists()  # one file


def test_the_programs_of_the_guide_run_one_after_the_other(tmp_path):
    program = "\n".join(python_blocks(GUIDE))
    changes = [
        (BACKBONE, TINY),
        (SIZES, SMALL_HEADS),
        ("epochs=20, steps_per_epoch=100", "epochs=2, steps_per_epoch=1"),
        ("epochs=5, steps_per_epoch=100", "epochs=1, steps_per_epoch=3"),
        ("steps=250", "steps=2"),
        ("every=5", "every=2"),
        ("batch_size=8", "batch_size=2"),
        ("runs/mine/model.keras", "sparse.keras"),
    ]
    checks = """
again, _ = kr.load_detector("sparse.keras")
zeros = [np.mean(layer.get_weights()[0] == 0) for layer in again.layers if layer.name == "plain_5_conv"]
assert zeros[0] > 0.69, zeros
kr.save_detector(aware, spec, Path("aware.keras"))
rounding, _ = kr.load_detector("aware.keras")
batch = next(iter(train))[0]
assert np.array_equal(rounding(batch)["classes"], aware(batch)["classes"])
assert not np.array_equal(edge.float_model(aware)(batch)["classes"], aware(batch)["classes"])
from keras_retina.model.graph import multiply_adds
assert multiply_adds(smaller) <= 0.5 * multiply_adds(model)
from edge.compress.weights.clusters import clustered_model, clusters_of, strip
from edge.quantize.aware.model import quantizable
clustered = clustered_model(quantizable(model, [batch.numpy()]), 8)
train_again(clustered)
assert max(clusters_of(strip(clustered)).values()) <= 8
assert tf.keras.__version__.startswith("3.")
"""
    run(GIVEN + made_small(program, changes) + checks, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"best.weights.h5", "mine.keras", "small_int8.tflite"}


def test_the_notebook_runs_with_less_of_everything(tmp_path):
    if not NOTEBOOK.is_file():
        pytest.fail("docs/quickstart.ipynb is not there")
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    program = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    (sizes,) = re.findall(r"^IMAGES, EPOCHS, STEPS = .*$", program, re.MULTILINE)
    run(program.replace(sizes, "IMAGES, EPOCHS, STEPS = 8, 1, 1"), tmp_path, MPLBACKEND="Agg")
    assert (tmp_path / "quickstart_int8.tflite").is_file()


def test_the_notebook_is_stored_with_small_pictures():
    assert NOTEBOOK.stat().st_size < 400_000
    outputs = [cell["outputs"] for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    kinds = {output["output_type"] for cell in outputs for output in cell}
    assert "error" not in kinds
    assert sum("image/png" in output.get("data", {}) for cell in outputs for output in cell) >= 2
