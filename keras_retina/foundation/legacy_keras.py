"""The only place that imports TensorFlow and Keras 2 (`tf_keras`).

tensorflow-model-optimization works with Keras 2 only. Every module asks for `tf_keras` by name, so it does not matter
which Keras `tf.keras` is in a program that imported TensorFlow before us.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator


def _set_environment() -> None:
    """Sets what TensorFlow reads while it is imported; a program that imported it before us has decided by itself."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    # TensorFlow reports every missing GPU driver as an error; its real errors are exceptions. Set "0" to see all.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow leaves oneDNN off on processors without AVX-512; see `benchmarks/training/step_variants.py`.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


@contextlib.contextmanager
def _start_up_notes_hidden() -> Iterator[None]:
    """Keeps what C++ code prints while TensorFlow is imported off stderr; shows it if the import fails."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "3":
        yield
        return
    sys.stderr.flush()
    with tempfile.TemporaryFile() as notes:
        stderr = os.dup(2)
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except BaseException:
            notes.seek(0)
            os.write(stderr, notes.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


_set_environment()

with _start_up_notes_hidden():
    import tensorflow as tf
    import tf_keras as keras

__all__ = ["keras", "tf"]
