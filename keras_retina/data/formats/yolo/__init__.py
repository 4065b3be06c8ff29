"""YOLO labels: one text file for each image, `class x_centre y_centre width height` in 0..1."""

from keras_retina.data.formats.yolo.reader import YOLO as YOLO
