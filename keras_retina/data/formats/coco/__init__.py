"""COCO detection labels. Source: https://cocodataset.org/#format-data."""

from keras_retina.data.formats.coco.layouts import COCO

__all__ = ["COCO"]
