"""The training step of a recipe on one random batch: what the benchmarks of the step alone time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_retina.legacy_keras import tf
from keras_retina.losses import BoxLoss, FocalLoss
from keras_retina.matching import BACKGROUND
from keras_retina.memory import keep_freed_memory
from keras_retina.model.folding import fold_frozen_batch_norm
from keras_retina.model.retinanet import retinanet
from keras_retina.recipe import Recipe
from keras_retina.train import build_optimizer

CLASSES = 5
EVERY_POSITIVE = 97  # one anchor in so many is an object


def random_step(recipe: Recipe) -> Callable[[], object]:
    """Returns a function that makes one step; it has been traced and run already."""
    keep_freed_memory()
    size, shape = recipe.training.batch_size, recipe.model.input
    model = fold_frozen_batch_norm(retinanet(recipe.model, CLASSES))
    model.compile(build_optimizer(recipe.training, 100), {"classes": FocalLoss(), "boxes": BoxLoss()})
    anchors = model.output_shape["classes"][1]
    classes = np.full((size, anchors), BACKGROUND, np.int32)
    classes[:, ::EVERY_POSITIVE] = 1
    boxes = np.zeros((size, anchors, 5), np.float32)
    boxes[:, ::EVERY_POSITIVE, 4] = 1
    images = np.random.default_rng(0).uniform(-1, 1, (size, shape.height, shape.width, 3)).astype(np.float32)
    batch = (tf.constant(images), {"classes": tf.constant(classes), "boxes": tf.constant(boxes)})
    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    step = model.make_train_function()
    for _ in range(3):
        step(batches)
    return lambda: step(batches)
