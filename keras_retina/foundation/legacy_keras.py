"""The only place that imports TensorFlow and Keras 2 (`tf_keras`).

tensorflow-model-optimization works with Keras 2 only. Every module asks for `tf_keras` by name, so it does not matter
which Keras `tf.keras` is in a program that imported TensorFlow before us.
"""

from __future__ import annotations

import contextlib
import os
import sys

from keras_retina.foundation.native_notes import native_notes_hidden


def _set_environment() -> None:
    """Sets what TensorFlow reads while it is imported; a program that imported it before us has decided by itself."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    # TensorFlow reports every missing GPU driver as an error; its real errors are exceptions. Set "0" to see all.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow leaves oneDNN off on processors without AVX-512; see `benchmarks/training/step_variants.py`.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


_set_environment()

with native_notes_hidden() if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "3" else contextlib.nullcontext():
    import tensorflow as tf
    import tf_keras as keras

__all__ = ["keras", "tf"]
