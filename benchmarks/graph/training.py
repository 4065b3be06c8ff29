"""The trainings that `choice.py` compares: the same recipe, steps and seed, with another pyramid or anchors."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_retina.data.checks.fit_anchors import best_ious, fit_anchors, input_boxes
from keras_retina.data.pipeline import training_batches
from keras_retina.data.records import Dataset
from keras_retina.foundation.files.writing import replacing
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.foundation.machine import keep_freed_memory
from keras_retina.losses import network_for_losses
from keras_retina.model.batch_norm import set_batch_norm_momentum
from keras_retina.model.calls import Place, rebuild
from keras_retina.model.graph import calls_of, output_places
from keras_retina.model.retinanet import detector_network
from keras_retina.model.spec import DetectorSpec, detector_spec
from keras_retina.model.weights.pretrained import find_weights, load_pretrained
from keras_retina.recipe.model import Anchors, Model
from keras_retina.recipe.recipe import Recipe, dump_recipe, load_recipe
from keras_retina.train.batch_norm import estimate_batch_norm, fold_frozen_batch_norm
from keras_retina.train.fit import compile_detector, fit_detector

logger = logging.getLogger(__name__)

WEIGHTS = "model.weights.h5"


@dataclass(frozen=True)
class Training:
    """How the pyramid enlarges a level (`nearest`, `bilinear`, `transposed`), and the anchors of a cell."""

    upsampling: str = "bilinear"
    anchors_per_cell: int = 9


TRAININGS = {
    "bilinear": Training(),
    "nearest": Training(upsampling="nearest"),
    "transposed": Training(upsampling="transposed"),
    "anchors_6": Training(anchors_per_cell=6),
    "anchors_3": Training(anchors_per_cell=3),
}


class TransposedUpsampling(keras.layers.Layer):
    """Doubles height and width by a 2x2 transposed convolution of stride 2, as many channels out as in, without bias.

    It starts as nearest upsampling. TFLite has no cheaper one: its TRANSPOSE_CONV has no groups, so that every output
    channel reads all input channels. It is no subclass of Conv2D, whose kernel has its channels the other way round.
    """

    def build(self, input_shape: tf.TensorShape) -> None:
        channels = int(input_shape[-1])
        self.kernel = self.add_weight("kernel", (2, 2, channels, channels))  # [height, width, outputs, inputs]
        self.kernel.assign(tf.broadcast_to(tf.eye(channels), self.kernel.shape))
        super().build(input_shape)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        batch, (_, height, width, channels) = tf.shape(inputs)[0], inputs.shape
        shape = tf.stack([batch, 2 * height, 2 * width, channels])
        outputs = tf.nn.conv2d_transpose(inputs, self.kernel, shape, 2, "SAME")
        return tf.ensure_shape(outputs, [inputs.shape[0], 2 * height, 2 * width, channels])


def variant_recipe(base: Recipe, training: Training, *, train_set: Dataset) -> Recipe:
    """Returns the recipe with the variant's anchors, fitted at its input size, and its interpolation if it has one."""
    model = base.model.model_copy(
        update={"anchors": fitted_anchors(base.model, train_set, per_cell=training.anchors_per_cell)}
    )
    if training.upsampling != "transposed":
        pyramid = model.pyramid.model_copy(update={"upsampling": training.upsampling})
        model = model.model_copy(update={"pyramid": pyramid})
    return base.model_copy(update={"model": model, "expected": None, "compress": {}})


def fitted_anchors(model: Model, train_set: Dataset, *, per_cell: int) -> Anchors:
    """Returns the best anchors, by mean IoU with the training boxes, of every number of scales times ratios."""
    boxes, classes = input_boxes(train_set, model)
    found = []
    for scales, ratios in itertools.product(range(1, per_cell + 1), repeat=2):
        if scales * ratios != per_cell or max(scales, ratios) > 3:
            continue
        start = Anchors(
            size=model.anchors.size,
            scales=tuple(2 ** (step / scales) for step in range(scales)),
            ratios=tuple(np.geomspace(0.5, 2, ratios).tolist()) if ratios > 1 else (1.0,),
        )
        fitted = fit_anchors(boxes, classes, model=model.model_copy(update={"anchors": start}))
        ious = best_ious(boxes, model.model_copy(update={"anchors": fitted}))
        found.append((float(ious.mean()), fitted))
    return max(found, key=lambda pair: pair[0])[1]


def variant_model(recipe: Recipe, training: Training, *, number_of_classes: int) -> keras.Model:
    """Builds the detector of a variant, every layer that variants share with the same random weights."""
    keras.utils.set_random_seed(recipe.seed)
    model = detector_network(recipe.model, number_of_classes)
    return with_transposed_upsampling(model) if training.upsampling == "transposed" else model


def with_transposed_upsampling(model: keras.Model) -> keras.Model:
    """Returns a model of the same layers with TransposedUpsampling for every UpSampling2D."""

    def layer_of(name: str) -> keras.layers.Layer:
        layer = model.get_layer(name)
        return TransposedUpsampling(name=name) if isinstance(layer, keras.layers.UpSampling2D) else layer

    image = keras.Input(model.input_shape[1:], name=model.input_names[0])
    tensors: dict[Place, Any] = {(model.input_names[0], 0): image}
    rebuild(calls_of(model), tensors, layer_of=layer_of)
    return keras.Model(image, {name: tensors[place] for name, place in output_places(model).items()}, name=model.name)


def train_variant(
    base: Recipe,
    training: Training,
    *,
    train_set: Dataset,
    validation_set: Dataset,
    folder: Path,
    data_dir: Path,
) -> None:
    """Trains a variant, or finishes an interrupted training, as `train` does; writes recipe and weights.

    The library's own function builds and saves only what recipes can say, so its steps are repeated here.
    """
    if (folder / WEIGHTS).exists():
        logger.info(f"{folder.name}: done before, skipped")
        return
    recipe = variant_recipe(base, training, train_set=train_set)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    settings, spec = recipe.training, detector_spec(recipe.model, train_set.class_names)
    keep_freed_memory()
    steps = settings.steps_per_epoch or len(train_set.records) // settings.batch_size
    detector = variant_model(recipe, training, number_of_classes=len(train_set.class_names))
    load_pretrained(detector, recipe.model.backbone, source=find_weights(recipe.model.backbone, data_dir))
    set_batch_norm_momentum(detector)
    network = network_for_losses(fold_frozen_batch_norm(detector), settings.loss, spec)
    compile_detector(network, spec, settings=settings, steps_per_epoch=steps, precision="float32")

    def batches(first_step: int) -> tf.data.Dataset:
        return training_batches(
            train_set,
            spec,
            augmentation=recipe.augmentation,
            matching=settings.matching,
            batch_size=settings.batch_size,
            seed=recipe.seed,
            first_sample=first_step * settings.batch_size,
            cache_mebibytes=recipe.data.cache_mebibytes,
        )

    fit_detector(
        network,
        detector,
        spec=spec,
        settings=settings,
        steps=steps,
        batches=batches,
        validation_set=validation_set,
        train_dir=folder / "train",
    )
    estimate_batch_norm(detector, batches(settings.epochs * steps))
    with replacing(folder / WEIGHTS) as unfinished:
        detector.save_weights(unfinished)


def load_variant(folder: Path, training: Training, *, class_names: tuple[str, ...]) -> tuple[keras.Model, DetectorSpec]:
    """Opens what `train_variant` wrote."""
    recipe = load_recipe(folder / "recipe.yaml")
    model = variant_model(recipe, training, number_of_classes=len(class_names))
    model.load_weights(folder / WEIGHTS)
    return model, detector_spec(recipe.model, class_names)
