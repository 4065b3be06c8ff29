"""Backbones inside `.tflite` files of any origin: found by the shapes of convolutions, compared by running."""
