"""The detector as a user asks for it: settings and class names in, a network with pretrained weights out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import keras
from keras_retina.model.batch_norm import set_batch_norm_momentum
from keras_retina.model.retinanet import detector_network
from keras_retina.model.spec import DetectorSpec, detector_spec
from keras_retina.model.weights.pretrained import find_weights, load_pretrained
from keras_retina.recipe.model import Model


def retinanet(settings: Model | Mapping[str, Any], class_names: Sequence[str]) -> tuple[keras.Model, DetectorSpec]:
    """Builds a RetinaNet with pretrained weights and returns it with its description.

    The model is an ordinary functional `tf_keras.Model`. Its input is float32 `[batch, height, width, 3]`, RGB in
    [-1, 1]. Its outputs are `{"classes": [batch, anchors, len(class_names)] logits, "boxes": [batch, anchors, 4]}`,
    the boxes as offsets from the anchors. Stages and BatchNorm of the backbone are frozen as `settings.backbone` says.
    The description goes with the model to every other function.

    Args:
        settings: what the section `model` of a recipe holds, or a dictionary of it. `backbone.weights` is `"none"`,
            the path of a file, or a name that `keras-retina weights` lists, such as `"imagenet"`: looked for in the
            folder that the environment variable KERAS_RETINA_WEIGHTS names, then downloaded where Keras has it.
        class_names: the name of each class, in the order of the labels.

    Raises:
        InputError: an impossible setting, no class, a class named twice, or weights that are missing or of another
            network.

    Source: Lin et al., Focal Loss for Dense Object Detection, section 4.
    """
    settings = settings if isinstance(settings, Model) else Model(**settings)
    names = _checked(class_names)
    model = detector_network(settings, len(names))
    load_pretrained(model, settings.backbone, source=find_weights(settings.backbone, None), class_names=names)
    set_batch_norm_momentum(model)
    return model, detector_spec(settings, names)


def _checked(class_names: Sequence[str]) -> tuple[str, ...]:
    names = tuple(class_names) if isinstance(class_names, Iterable) and not isinstance(class_names, str) else ()
    twice = sorted({name for name in names if names.count(name) > 1}, key=str)
    if not names or twice or not all(isinstance(name, str) for name in names):
        raise InputError(
            "class_names: expected a list with the name of each class once. "
            f"Received: class_names={class_names!r}. For two classes: ['cat', 'dog']."
        )
    return names
