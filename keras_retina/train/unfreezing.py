"""Gradual unfreezing: stages of the backbone that begin to learn later than the rest.

Source: Howard and Ruder, Universal Language Model Fine-tuning for Text Classification, section 3.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.model.backbones import stage_layers
from keras_retina.recipe.model import Backbone, Model


def always_frozen(settings: Model, unfreeze_at: tuple[float, ...]) -> Model:
    """Returns the model settings with the frozen stages that no fraction of `training.unfreeze_at` unfreezes."""
    remaining = settings.backbone.frozen_stages - len(unfreeze_at)
    return settings.model_copy(update={"backbone": settings.backbone.model_copy(update={"frozen_stages": remaining})})


def starts_of_variables(
    model: keras.Model, backbone: Backbone, unfreeze_at: tuple[float, ...]
) -> list[tuple[tf.Variable, float]]:
    """Returns the variables that begin to learn later, each with the share of the training that is over by then.

    Args:
        model: a detector in which only the stages of `always_frozen` are frozen.
        backbone: with all stages in `frozen_stages` that are frozen when the training begins.
        unfreeze_at: one rising fraction for each stage that is unfrozen, the deepest stage first.
    """
    stages = stage_layers(model, backbone)
    found = []
    for number, fraction in enumerate(unfreeze_at):
        for layer in stages[backbone.frozen_stages - 1 - number]:
            found += [(variable, fraction) for variable in layer.trainable_variables]
    return found


class GradualUnfreezing:
    """Stands before a Keras optimiser: `hold` names variables that stay as they are for a share of the training.

    Their moments follow the gradients from the first update on, so that Adam needs no second warm-up when they are let
    go. Neither step nor weight decay moves them before.
    """

    _starts: Mapping[Any, float] = MappingProxyType({})
    _start: float | None = None  # of the variable that is being updated

    def hold(self, starts: Sequence[tuple[tf.Variable, float]], *, updates: Callable[[], Any]) -> None:
        """Holds each variable until its share, 0 to 1, of the training is over.

        Args:
            updates: returns how many updates the training has, a number or an int32 tensor.
        """
        # Not a dictionary: Keras would track it for checkpoints.
        self._starts = MappingProxyType({self._var_key(variable): start for variable, start in starts})  # type: ignore[attr-defined]
        self._updates = updates

    @property
    def learning_rate(self) -> Any:
        rate = super().learning_rate  # type: ignore[misc]
        if self._start is None:
            return rate
        begin = tf.round(self._start * tf.cast(self._updates(), tf.float32))
        return rate * tf.cast(tf.cast(self.iterations, tf.float32) >= begin, rate.dtype)  # type: ignore[attr-defined]

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        with self._held_until(self._starts.get(self._var_key(variable))):  # type: ignore[attr-defined]
            super().update_step(gradient, variable)  # type: ignore[misc]

    def _apply_weight_decay(self, variables: Iterable[tf.Variable]) -> None:
        for variable in variables:
            with self._held_until(self._starts.get(self._var_key(variable))):  # type: ignore[attr-defined]
                super()._apply_weight_decay([variable])  # type: ignore[misc]

    @contextmanager
    def _held_until(self, start: float | None) -> Iterator[None]:
        self._start = start
        try:
            yield
        finally:
            self._start = None


def unfreezing(optimizer: type[keras.optimizers.Optimizer]) -> type[keras.optimizers.Optimizer]:
    """Returns the optimiser class with gradual unfreezing before it."""
    return type(f"Unfreezing{optimizer.__name__}", (GradualUnfreezing, optimizer), {})
