"""The training step of a recipe on one random batch: what the benchmarks of the step alone time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from keras_retina.foundation.legacy_keras import tf
from keras_retina.foundation.machine import keep_freed_memory
from keras_retina.geometry.matching import BACKGROUND
from keras_retina.losses import BoxLoss, FocalLoss
from keras_retina.model.retinanet import detector_network
from keras_retina.recipe.recipe import Recipe
from keras_retina.train.batch_norm import fold_frozen_batch_norm
from keras_retina.train.optimizer import build_optimizer
from keras_retina.train.workers.devices import in_precision

CLASSES = 5
EVERY_POSITIVE = 97  # one anchor in so many is an object


def random_step(
    recipe: Recipe, is_folded: bool = True, *, is_compiled_by_xla: bool = False, precision: str = "float32"
) -> Callable[[], object]:
    """Returns a function that makes one step, as training does; it has been traced and run already."""
    keep_freed_memory()
    size, shape = recipe.training.batch_size, recipe.model.input
    model = detector_network(recipe.model, CLASSES)
    model = in_precision(model, precision)
    model = fold_frozen_batch_norm(model) if is_folded else model
    losses = {"classes": FocalLoss(), "boxes": BoxLoss()}
    model.compile(build_optimizer(recipe.training, 100), losses, jit_compile=is_compiled_by_xla)
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
