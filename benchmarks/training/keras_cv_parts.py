"""Our random view and IoU against keras-cv's, on the same images and boxes, interleaved in one run.

    python benchmarks/training/keras_cv_parts.py [--rounds 5]

keras-cv is used where it is as good; this is the measurement behind `data/augmentation.py` and `matching.py`.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from keras_retina.data.augment.view import random_view
from keras_retina.foundation.legacy_keras import tf
from keras_retina.geometry.anchors import AnchorGrid
from keras_retina.geometry.matching import match
from keras_retina.recipe.data import Augmentation
from keras_retina.recipe.training import Matching

HEIGHT, WIDTH, BATCH, BOXES = 384, 512, 8, 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    import keras_cv  # after legacy_keras, which selects Keras 2

    random = np.random.default_rng(0)
    images = random.integers(0, 256, (BATCH, 480, 640, 3), np.uint8)
    corners = random.uniform(0, 380, (BATCH, BOXES, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + random.uniform(20, 100, (BATCH, BOXES, 2))], -1).astype(np.float32)
    classes = np.zeros((BATCH, BOXES), np.int32)
    grid = AnchorGrid(HEIGHT, WIDTH, (3, 7), 3.0)
    anchors, groups = tf.constant(grid.boxes()), grid.groups()

    settings = Augmentation()
    ours = tf.data.Dataset.from_tensor_slices((images, boxes)).repeat().enumerate()
    ours = ours.map(
        lambda i, item: random_view(
            item[0], item[1], height=HEIGHT, width=WIDTH, resize="stretch", settings=settings, seed=tf.stack([0, i])
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    layers = [
        keras_cv.layers.RandomFlip("horizontal", bounding_box_format="yxyx"),
        keras_cv.layers.JitteredResize((HEIGHT, WIDTH), (0.7, 1.4), bounding_box_format="yxyx"),
        keras_cv.layers.RandomColorDegeneration(0.2),
        keras_cv.layers.RandomContrast((0, 255), 0.2),
        keras_cv.layers.RandomBrightness(0.15, (0, 255)),
    ]

    def keras_cv_view(image: tf.Tensor, box: tf.Tensor, label: tf.Tensor) -> dict:
        sample = {"images": tf.cast(image, tf.float32), "bounding_boxes": {"boxes": box, "classes": label}}
        for layer in layers:
            sample = layer(sample)
        return sample

    theirs = tf.data.Dataset.from_tensor_slices((images, boxes, classes.astype(np.float32))).repeat()
    theirs = theirs.batch(BATCH).map(keras_cv_view, num_parallel_calls=tf.data.AUTOTUNE)

    our_views, their_views = iter(ours.batch(BATCH)), iter(theirs)
    crowd = tf.zeros([1, BOXES], tf.bool)
    our_match = tf.function(
        lambda: match(anchors, boxes[:1], classes=classes[:1], ignored=crowd, matching=Matching(), groups=groups)
    )
    their_iou = tf.function(lambda: keras_cv.bounding_box.compute_iou(boxes[0], anchors, bounding_box_format="yxyx"))
    parts: dict[str, Callable[[], object]] = {
        f"random view, {BATCH} images, ours": lambda: next(our_views),
        f"random view, {BATCH} images, keras-cv": lambda: next(their_views),
        f"whole matching, {BOXES} boxes x {len(anchors)} anchors, ours": our_match,
        "IoU matrix alone, same boxes, keras-cv": their_iou,
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for name, run in parts.items():
        try:
            run()
        except (TypeError, ValueError, tf.errors.OpError) as error:
            print(f"{name}: failed, {' '.join(str(error).split())[:160]}")
            seconds.pop(name)
    for _ in range(rounds):
        for name, values in seconds.items():
            start = time.perf_counter()
            for _ in range(5):
                parts[name]()
            values.append((time.perf_counter() - start) / 5)
    for name, values in seconds.items():
        print(f"{name:<62} {1000 * statistics.median(values):8.1f} ms")


if __name__ == "__main__":
    main()
