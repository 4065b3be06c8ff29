"""MediaPipe Tasks, the client that phones use, finds in our files what our runtime finds."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edge import runtime
from edge.export.export import write_detector
from edge.runtime import Detections, Detector
from keras_retina.data.images import read_image
from keras_retina.data.resize import resize_image
from keras_retina.geometry.boxes import iou
from keras_retina.recipe.recipe import Export

mediapipe = pytest.importorskip("mediapipe", reason="MediaPipe is not installed")

SCORE, ENLARGED = 0.3, 8
SETTINGS = Export(max_detections=200, score_threshold=0.1)
THEIR_IOU_THRESHOLD = 0.3  # of MediaPipe's own suppression, which its Python client cannot set


@pytest.fixture(scope="module")
def write_form(small_quantized, small_networks, tmp_path_factory):
    """A function (kind, head, changes of the settings) -> path."""
    folder = tmp_path_factory.mktemp("mediapipe")

    def write(kind, head, **changes):
        path = folder / f"{kind}_{head}_{'_'.join(map(str, changes.values()))}.tflite"
        if not path.exists():
            settings = SETTINGS.model_copy(update=changes)
            write_detector(
                path, small_networks[kind], spec=small_quantized.spec, kind=kind, head=head, settings=settings
            )
        return path

    return write


def found_by_mediapipe(path, pixels, names) -> Detections:
    """Boxes are in pixels of the network input.

    The pixels are enlarged by a whole number, so that MediaPipe's resizing gives them back exactly, and that its boxes,
    which are whole pixels of the image, are finer than the input's.
    """
    image = np.ascontiguousarray(pixels.repeat(ENLARGED, axis=0).repeat(ENLARGED, axis=1))
    options = mediapipe.tasks.vision.ObjectDetectorOptions(
        base_options=mediapipe.tasks.BaseOptions(model_asset_path=str(path)), score_threshold=SCORE
    )
    with mediapipe.tasks.vision.ObjectDetector.create_from_options(options) as detector:
        found = detector.detect(mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image)).detections
    rows = []
    for detection in found:
        box = detection.bounding_box
        corners = [box.origin_y, box.origin_x, box.origin_y + box.height, box.origin_x + box.width]
        # Detections of the same box are one with several categories.
        rows += [(corners, one.score, names.index(one.category_name)) for one in detection.categories]
    rows = [row for row in rows if row[0][2] > row[0][0] and row[0][3] > row[0][1]]  # ours are never empty
    boxes, scores, classes = zip(*rows, strict=True)
    return Detections(np.array(boxes, np.float32) / ENLARGED, np.array(scores), np.array(classes))


def matches(found: Detections, expected: Detections) -> np.ndarray:
    """Returns bool `[found, expected]`: the same class, IoU of at least 0.9 and a score within 0.05."""
    same = found.classes[:, None] == expected.classes
    return same & (iou(found.boxes, expected.boxes) >= 0.9) & (np.abs(found.scores[:, None] - expected.scores) <= 0.05)


def assert_same(found: Detections, expected: Detections):
    """Every detection has a counterpart on the other side, but for slivers at an edge, whose IoU is one of rounding."""
    assert len(expected.scores) >= 5
    assert len(found.scores) == len(expected.scores)
    pairs = matches(found, expected)
    assert pairs[:, sides(expected) >= 2].any(axis=0).all()
    assert pairs[sides(found) >= 2].any(axis=1).all()


def sides(detections: Detections) -> np.ndarray:
    """Returns the shorter side of each box."""
    return (detections.boxes[:, 2:] - detections.boxes[:, :2]).min(axis=1)


@pytest.fixture(scope="module")
def pictures(image_paths):
    return [resize_image(read_image(path), 64, width=64, mode="stretch") for path in image_paths[:3]]


@pytest.mark.parametrize("head", ["postprocess", "builtin"])
@pytest.mark.parametrize("kind", ["float32", "int8", "int16"])
def test_mediapipe_finds_the_same_in_a_file_with_detections(write_form, pictures, kind, head):
    path = write_form(kind, head)
    ours = Detector(path)
    for pixels in pictures:
        assert_same(found_by_mediapipe(path, pixels, ours.class_names), ours.detect(pixels, SCORE))


def as_mediapipe_decodes(path, pixels, iou_threshold: float) -> Detections:
    """A raw file in NumPy: fast suppression; then corners left of or above the input move to its edge, sizes stay."""
    detector = Detector(path)
    detector.invoke(pixels[None])
    logits, deltas = detector.heads()
    probabilities = 1 / (1 + np.exp(-logits))
    rows, classes = np.nonzero(probabilities >= SCORE)
    scores = probabilities[rows, classes]
    boxes = runtime.decode(
        deltas[rows], runtime.anchor_boxes(detector.description)[rows], weights=(10.0, 10.0, 5.0, 5.0)
    )
    kept = runtime.fast_suppression(boxes, scores, rows=rows, iou_threshold=iou_threshold, limit=10_000)
    corners, sizes = np.clip(boxes[:, :2], 0, 64), np.minimum(boxes[:, 2:] - boxes[:, :2], 64)
    return Detections(np.concatenate([corners, corners + sizes], axis=1)[kept], scores[kept], classes[kept])


@pytest.mark.parametrize("kind", ["float32", "int16"])
def test_in_a_raw_file_mediapipe_finds_what_fast_suppression_at_its_threshold_does(write_form, pictures, kind):
    """These heads are float, so that no two scores tie."""
    path = write_form(kind, "raw")
    for pixels in pictures:
        found = found_by_mediapipe(path, pixels, Detector(path).class_names)
        assert_same(found, as_mediapipe_decodes(path, pixels, THEIR_IOU_THRESHOLD))


@pytest.mark.parametrize("kind", ["float32", "int8", "int16"])
def test_every_mediapipe_detection_of_a_raw_file_is_one_of_ours(write_form, pictures, kind):
    """Whatever the suppression: box, class and score are decoded alike, and the class is the best of its anchor."""
    path = write_form(kind, "raw")
    for pixels in pictures:
        found = found_by_mediapipe(path, pixels, Detector(path).class_names)
        pairs = matches(found, as_mediapipe_decodes(path, pixels, 1.0))
        assert len(found.scores) >= 5
        assert pairs[sides(found) >= 2].any(axis=1).all()


def test_boxes_inside_the_image_are_the_same_in_raw_and_postprocess_files(write_form, pictures):
    """docs/how_it_works/files.md says what differs: suppression, and boxes beyond the left or upper edge."""
    settings = {"nms": "fast", "iou_threshold": THEIR_IOU_THRESHOLD}
    for pixels in pictures:
        whole, raw = (
            found_by_mediapipe(write_form("float32", head, **settings), pixels, ("disc", "square"))
            for head in ("postprocess", "raw")
        )
        inside = ((whole.boxes > 0.5) & (whole.boxes < 63.5)).all(axis=1)
        assert inside.sum() > 3
        assert matches(whole, raw)[inside].any(axis=1).all()


def test_real_photographs_give_the_same_in_all_forms(write_form, shared_data):
    for photograph in sorted((shared_data / "bccd" / "images").glob("*.jpg"))[:2]:
        pixels = resize_image(read_image(photograph), 64, width=64, mode="stretch")
        whole, raw = write_form("float32", "postprocess"), write_form("float32", "raw")
        names = Detector(whole).class_names
        assert_same(found_by_mediapipe(whole, pixels, names), Detector(whole).detect(pixels, SCORE))
        expected = as_mediapipe_decodes(raw, pixels, THEIR_IOU_THRESHOLD)
        assert_same(found_by_mediapipe(raw, pixels, names), expected)


def test_labels_reach_mediapipe_in_any_alphabet(small_networks, small_quantized, pictures, tmp_path):
    spec = dataclasses.replace(small_quantized.spec, class_names=("Zelle ö", "细胞"))
    for head in ("postprocess", "raw"):
        path = tmp_path / f"{head}.tflite"
        write_detector(path, small_networks["float32"], spec=spec, kind="float32", head=head, settings=SETTINGS)
        assert set(found_by_mediapipe(path, pictures[0], spec.class_names).classes.tolist()) == {0, 1}
