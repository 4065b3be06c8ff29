"""Detectors that were trained with other libraries, as ours."""

from keras_retina.model.imports.original import Original, build, names_of_outputs
from keras_retina.model.imports.sources import read_original

__all__ = ["Original", "build", "names_of_outputs", "read_original"]
