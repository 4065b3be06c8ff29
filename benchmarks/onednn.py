"""Milliseconds an image of a recipe's training step with oneDNN's operations off and on, in processes that alternate.

    python benchmarks/onednn.py recipes/demo.yaml [--rounds 4]

The environment variable is read when TensorFlow is imported, so every timing has a process of its own.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

import numpy as np

STEPS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--one", action="store_true", help="one timing in this process, as the others are made of")
    arguments = parser.parse_args()
    if arguments.one:
        print(milliseconds_an_image(arguments.recipe))
        return
    times: dict[str, list[float]] = {"0": [], "1": []}
    for _ in range(arguments.rounds):
        for value, found in times.items():
            command = [sys.executable, __file__, arguments.recipe, "--one"]
            environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": value}
            ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            found.append(float(ended.stdout.splitlines()[-1]))
    for value, found in times.items():
        spread = f"({min(found):.1f} .. {max(found):.1f})"
        print(f"TF_ENABLE_ONEDNN_OPTS={value}  {statistics.median(found):6.1f} ms {spread}")
    pairs = [on / off for off, on in zip(times["0"], times["1"], strict=True)]
    print(f"on / off                 {statistics.median(pairs):6.2f}    ({min(pairs):.2f} .. {max(pairs):.2f})")


def milliseconds_an_image(recipe_path: str) -> float:
    """Returns the median over `STEPS` steps on one random batch."""
    from keras_retina.legacy_keras import tf
    from keras_retina.losses import BoxLoss, FocalLoss
    from keras_retina.matching import BACKGROUND
    from keras_retina.memory import keep_freed_memory
    from keras_retina.model.retinanet import retinanet
    from keras_retina.recipe import load_recipe
    from keras_retina.train import build_optimizer

    keep_freed_memory()
    recipe = load_recipe(recipe_path)
    size, shape = recipe.training.batch_size, recipe.model.input
    model = retinanet(recipe.model, num_classes=5)
    model.compile(build_optimizer(recipe.training, 100), {"classes": FocalLoss(), "boxes": BoxLoss()})
    anchors = model.output_shape["classes"][1]
    classes = np.full((size, anchors), BACKGROUND, np.int32)
    classes[:, ::97] = 1
    boxes = np.zeros((size, anchors, 5), np.float32)
    boxes[:, ::97, 4] = 1
    images = np.random.default_rng(0).uniform(-1, 1, (size, shape.height, shape.width, 3)).astype(np.float32)
    batch = (tf.constant(images), {"classes": tf.constant(classes), "boxes": tf.constant(boxes)})
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    step = model.make_train_function()
    times = []
    for _ in range(3 + STEPS):
        start = time.perf_counter()
        step(batches)
        times.append(1000 * (time.perf_counter() - start) / size)
    return statistics.median(times[3:])


if __name__ == "__main__":
    main()
