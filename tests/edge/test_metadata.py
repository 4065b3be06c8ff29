"""TFLite metadata: the structure that MediaPipe reads, and MediaPipe itself where it is installed."""

from __future__ import annotations

import flatbuffers
import numpy as np
import pytest

from edge.metadata import detector_metadata
from edge.runtime import Detector
from edge.tflite_file import read_flatbuffer
from keras_retina.data.images import read_image, resize_image


class Table:
    """A flatbuffer table read by slot number, independent of the code that wrote it."""

    def __init__(self, data: bytes, position: int | None = None) -> None:
        start = flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0) if position is None else position
        self.table = flatbuffers.table.Table(data, start)

    def _at(self, slot: int) -> int:
        return self.table.Offset(4 + 2 * slot)

    def text(self, slot: int) -> str:
        return self.table.String(self.table.Pos + self._at(slot)).decode()

    def child(self, slot: int) -> Table:
        return Table(self.table.Bytes, self.table.Indirect(self.table.Pos + self._at(slot)))

    def children(self, slot: int) -> list[Table]:
        start, number = self.table.Vector(self._at(slot)), self.table.VectorLen(self._at(slot))
        return [Table(self.table.Bytes, self.table.Indirect(start + 4 * index)) for index in range(number)]

    def byte(self, slot: int) -> int:
        return self.table.Get(flatbuffers.number_types.Int8Flags, self.table.Pos + self._at(slot))

    def integers(self, slot: int) -> list[int]:
        return self.table.GetVectorAsNumpy(flatbuffers.number_types.Uint32Flags, self._at(slot)).tolist()


def test_metadata_names_outputs_in_their_order_and_points_to_the_labels(tiny_spec):
    data = detector_metadata(tiny_spec, "labels.txt")
    assert data[4:8] == b"M001"
    graph = Table(data).children(3)[0]
    assert [tensor.text(0) for tensor in graph.children(2)] == ["image"]
    outputs = graph.children(3)
    assert [tensor.text(0) for tensor in outputs] == ["location", "category", "score", "number of detections"]
    labels = outputs[1].children(6)[0]
    assert (labels.text(0), labels.byte(2)) == ("labels.txt", 3)  # TENSOR_VALUE_LABELS


def test_metadata_says_where_left_top_right_bottom_stand_in_a_box(tiny_spec):
    boxes = Table(detector_metadata(tiny_spec, "labels.txt")).children(3)[0].children(3)[0]
    content = boxes.child(3)
    assert content.byte(0) == 3  # BoundingBoxProperties
    properties = content.child(1)
    assert properties.integers(0) == [1, 0, 3, 2]  # ours is top, left, bottom, right
    assert properties.byte(1) == 1  # BOUNDARIES


def test_every_postprocess_file_has_metadata_and_no_raw_file_has(exported):
    for stem, path in exported.items():
        names = [entry.name for entry in read_flatbuffer(path.read_bytes()).metadata]
        assert (b"TFLITE_METADATA" in names) == (not stem.endswith("_raw"))


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_mediapipe_finds_what_our_runtime_finds(exported, image_paths, kind):
    mediapipe = pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    vision, base = mediapipe.tasks.vision, mediapipe.tasks.BaseOptions
    image = resize_image(read_image(image_paths[0]), 128, 128, "stretch")  # so that MediaPipe need not resize
    options = vision.ObjectDetectorOptions(
        base_options=base(model_asset_path=str(exported[kind])), score_threshold=0.3, max_results=50
    )
    with vision.ObjectDetector.create_from_options(options) as detector:
        found = detector.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)).detections
    ours = Detector(exported[kind])
    expected = ours.detect(image, 0.3)
    assert len(found) > 5
    pairs = zip(expected.scores.tolist(), expected.classes.tolist(), strict=True)
    known = {(round(score, 5), ours.class_names[index]) for score, index in pairs}
    categories = [detection.categories[0] for detection in found]
    assert {(round(category.score, 5), category.category_name) for category in categories} <= known
    if kind == "float32":  # in int8 several detections may share the best score
        first = found[0].bounding_box
        corners = [first.origin_y, first.origin_x, first.origin_y + first.height, first.origin_x + first.width]
        np.testing.assert_allclose(corners, expected.boxes[0], atol=1.5)
