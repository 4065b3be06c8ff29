"""The only place that imports TensorFlow and Keras 2 (`tf_keras`): `from keras_retina.legacy_keras import keras, tf`.

tensorflow-model-optimization works with Keras 2 only, and keras-cv reads `TF_USE_LEGACY_KERAS` when it is imported.
"""

from __future__ import annotations

import os
import sys


def _require_legacy_keras() -> None:
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and os.environ.get("TF_USE_LEGACY_KERAS") not in {"1", "true", "True"}:
        raise ImportError(
            "keras_retina needs Keras 2 (tf_keras), but TensorFlow was imported first with Keras 3. "
            "Received: TF_USE_LEGACY_KERAS=" + repr(os.environ.get("TF_USE_LEGACY_KERAS")) + ". "
            "Import keras_retina.legacy_keras before tensorflow, or set TF_USE_LEGACY_KERAS=1 in the environment."
        )
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


_require_legacy_keras()

import tensorflow as tf  # noqa: E402
import tf_keras as keras  # noqa: E402

__all__ = ["keras", "tf"]
