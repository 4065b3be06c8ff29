"""A training of a recipe that can be repeated inside one process, from any seed and from slightly other weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from keras_retina.data.pipeline import training_batches
from keras_retina.data.reading.folder import load_dataset
from keras_retina.data.records import Dataset
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.foundation.machine import keep_freed_memory
from keras_retina.losses import network_for_losses
from keras_retina.model.batch_norm import set_batch_norm_momentum
from keras_retina.model.retinanet import detector_network
from keras_retina.model.spec import DetectorSpec, detector_spec
from keras_retina.model.weights.pretrained import find_weights, load_pretrained
from keras_retina.recipe.recipe import Recipe, load_recipe
from keras_retina.train.batch_norm import fold_frozen_batch_norm
from keras_retina.train.fit import compile_detector


@dataclass(frozen=True)
class Repeatable:
    """A compiled training as `keras_retina.train.train` makes it, and how to put it back to its start.

    Attributes:
        detector: shares the variables of `network`, which is fitted.
    """

    recipe: Recipe
    dataset: Dataset
    validation_set: Dataset
    data_dir: Path
    spec: DetectorSpec
    detector: keras.Model
    network: keras.Model
    optimizer_start: list[np.ndarray]

    @property
    def steps_per_epoch(self) -> int:
        return max(1, len(self.dataset.records) // self.recipe.training.batch_size)

    def batches(self, seed: int) -> tf.data.Dataset:
        """Returns the endless batches of a seed."""
        return training_batches(
            self.dataset,
            self.spec,
            augmentation=self.recipe.augmentation,
            matching=self.recipe.training.matching,
            batch_size=self.recipe.training.batch_size,
            seed=seed,
        )

    def restart(self, seed: int, *, perturbation: float = 0.0, direction: int = 0) -> None:
        """Puts weights and optimiser to the start of a training with this seed.

        Args:
            perturbation: relative; every trainable weight is multiplied by 1 plus or minus it, by chance.
            direction: which chance.
        """
        keras.utils.set_random_seed(seed)
        self.detector.set_weights(initial_detector(self.recipe, self.spec, self.data_dir).get_weights())
        generator = np.random.default_rng(direction)
        for variable in self.network.trainable_variables if perturbation else ():
            signs = generator.choice([-1.0, 1.0], variable.shape)
            variable.assign((variable.numpy() * (1 + perturbation * signs)).astype(np.float32))
        optimizer = self.network.optimizer
        for variable, value in zip(optimizer.variables, self.optimizer_start, strict=True):
            variable.assign(value)
        for average, weight in zip(
            getattr(optimizer, "_model_variables_moving_average", []), self.network.trainable_variables, strict=False
        ):
            average.assign(weight)  # it begins where the weights do

    def weights_after(self, batches: tf.data.Dataset, steps: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
        """Trains up to the last of `steps`, and yields each of them with all trainable weights, float32 `[numbers]`."""
        step, source = self.network.make_train_function(), iter(batches)
        for number in range(1, max(steps) + 1):
            step(source)
            if number in steps:
                yield number, np.concatenate([one.numpy().ravel() for one in self.network.trainable_variables])


def initial_detector(recipe: Recipe, spec: DetectorSpec, data_dir: Path) -> keras.Model:
    """Returns the detector of a recipe as a training starts with it; random weights come from the seed of Keras."""
    detector = detector_network(recipe.model, len(spec.class_names))
    source = find_weights(recipe.model.backbone, data_dir)
    load_pretrained(detector, recipe.model.backbone, source=source, class_names=spec.class_names)
    set_batch_norm_momentum(detector)
    return detector


def repeatable(recipe_path: str, data_dir: Path, *, overrides: list[str]) -> Repeatable:
    """Reads recipe and data, and compiles the training."""
    recipe = load_recipe(recipe_path, overrides)
    sets = [
        load_dataset(data_dir, split, format=recipe.data.format, classes=recipe.data.classes)
        for split in (recipe.data.train, recipe.data.validation)
    ]
    keep_freed_memory()
    keras.utils.set_random_seed(recipe.seed)
    spec = detector_spec(recipe.model, sets[0].class_names)
    detector = initial_detector(recipe, spec, data_dir)
    network = network_for_losses(fold_frozen_batch_norm(detector), recipe.training.loss, spec)
    made = Repeatable(recipe, *sets, data_dir, spec, detector, network, [])
    compile_detector(network, spec, settings=recipe.training, steps_per_epoch=made.steps_per_epoch, precision="float32")
    made.optimizer_start.extend(variable.numpy() for variable in network.optimizer.variables)
    return made
