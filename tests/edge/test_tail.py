"""The tail behind the heads, on the outputs that every client reads."""

from __future__ import annotations

import numpy as np

from edge.convert import convert_heads
from edge.export import write_detector
from edge.runtime import Detector, anchor_boxes, decode, read_image
from keras_retina.recipe import Export


def test_boxes_are_cut_at_the_border_of_the_input_and_not_moved(small_quantized, image_paths, tmp_path):
    spec = small_quantized.spec
    network = convert_heads(small_quantized.model, spec, "float32")
    for head in ("postprocess", "raw"):
        write_detector(tmp_path / f"{head}.tflite", network, spec, "float32", head, Export())
    whole, raw = (Detector(tmp_path / f"{head}.tflite") for head in ("postprocess", "raw"))
    pixels, _ = whole.prepare(read_image(image_paths[0]))
    for detector in (whole, raw):
        detector.invoke(pixels)
    boxes = whole.interpreter.get_tensor(whole.interpreter.get_output_details()[0]["index"])[0]
    decoded = decode(raw.heads()[1], anchor_boxes(raw.description), raw.description.coder_weights) / 64
    assert decoded.min() < -0.05 and decoded.max() > 1.05
    assert boxes.min() == 0 and boxes.max() == 1
    distances = np.abs(boxes[:, None] - np.clip(decoded, 0, 1)).max(axis=2)
    assert distances.min(axis=1).max() < 1e-4
