"""Detectors that Keras saved: KerasHub's and KerasCV's."""
