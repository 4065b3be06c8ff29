"""How a backbone is built, cut at the pyramid levels and frozen by stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from keras_retina.foundation.legacy_keras import keras

WeightsOf = Callable[[str], list[np.ndarray]]
"""The name of a layer -> its weights in a file."""


@dataclass(frozen=True)
class BackboneKind:
    """How one backbone is built, cut at the pyramid levels and frozen by stages.

    Attributes:
        build: called as `build(settings, include_top=False, weights=..., input_tensor=...)`, or with `input_shape`:
            the arguments of `keras.applications`, whose layer names a file of weights has too.
        features: names of the layers whose outputs are C3, C4 and C5 (strides 8, 16, 32).
        stages: first layer of each stage after the stem. Freezing n stages freezes the stem and n - 1 of these.
        rewritten: `{layer: function}`. The function looks up weights of the file and returns those of that layer that
            give the same output for our input, RGB in [-1, 1].
    """

    build: Callable[..., keras.Model]
    features: tuple[str, str, str]
    stages: tuple[str, str, str, str]
    rewritten: Mapping[str, Callable[[WeightsOf], list[np.ndarray]]] = field(default_factory=dict)
