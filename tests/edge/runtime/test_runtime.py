"""The one-file runtime: same geometry as the training package, and clear refusals of files that are not ours."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge import runtime
from edge.runtime import Description, Detector, ModelFileError, read_description
from keras_retina.data.images import read_image
from keras_retina.data.resize import resize_image, resize_transform
from keras_retina.geometry import anchors, boxes

SLOW = settings(deadline=None, max_examples=25, derandomize=True)


def a_description(**changes) -> Description:
    fields = {
        "class_names": ("a", "b"),
        "height": 128,
        "width": 192,
        "resize": "stretch",
        "levels": (3, 6),
        "anchor_size": 3.0,
        "anchor_scales": (1.0, 2 ** (1 / 3), 2 ** (2 / 3)),
        "anchor_ratios": (0.5, 1.0, 2.0),
        "coder_weights": (10.0, 10.0, 5.0, 5.0),
        "kind": "float32",
        "head": "raw",
        "score_threshold": 0.01,
        "iou_threshold": 0.5,
        "max_detections": 100,
    }
    return Description(**{**fields, **changes})


@pytest.mark.parametrize("levels", [(3, 6), (3, 7), (4, 5)])
def test_anchors_equal_those_of_the_training_package(levels):
    description = a_description(levels=levels, height=256, width=384)
    expected = anchors.AnchorGrid(256, 384, levels, 3.0, description.anchor_scales, description.anchor_ratios).boxes()
    np.testing.assert_array_equal(runtime.anchor_boxes(description), expected)


def test_anchors_of_imported_detectors_equal_those_of_the_training_package():
    description = a_description(anchor_size=4.0, anchor_offset=0.0, anchor_whole_pixels=True)
    grid = anchors.AnchorGrid(128, 192, (3, 6), 4.0, offset=0.0, whole_pixels=True)
    np.testing.assert_array_equal(runtime.anchor_boxes(description), grid.boxes())
    clipped = anchors.AnchorGrid(128, 192, (3, 6), 4.0, clip=True)
    description = a_description(anchor_size=4.0, anchor_clip=True)
    np.testing.assert_array_equal(runtime.anchor_boxes(description), clipped.boxes())


def test_decode_equals_that_of_the_training_package():
    generator = np.random.default_rng(0)
    reference = runtime.anchor_boxes(a_description())
    deltas = generator.normal(size=reference.shape).astype(np.float32)
    expected = boxes.decode(deltas, reference, weights=(10.0, 10.0, 5.0, 5.0))
    np.testing.assert_allclose(runtime.decode(deltas, reference, weights=(10.0, 10.0, 5.0, 5.0)), expected, rtol=1e-6)


@pytest.mark.parametrize("mode", ["stretch", "letterbox"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 300), (128, 192), (129, 64), (480, 640), (1000, 3)])
def test_resize_equals_that_of_the_training_package(mode, shape):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    resized, scales = runtime.resize_image(image, 128, width=192, mode=mode)
    np.testing.assert_array_equal(resized, resize_image(image, 128, width=192, mode=mode))
    assert scales == resize_transform(*shape, height=128, width=192, mode=mode)


@pytest.mark.parametrize("bands", [2, 3, 4])
@pytest.mark.parametrize("shape", [(1, 1), (96, 64), (128, 300), (130, 417), (131, 7), (480, 640), (769, 99)])
def test_an_image_resized_in_bands_equals_the_one_resized_at_once(shape, bands):
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    at_once, _ = runtime.resize_image(image, 128, width=192, mode="stretch")
    with ThreadPoolExecutor(2) as workers:
        banded, _ = runtime.resize_image(image, 128, width=192, mode="stretch", workers=workers, bands=bands)
    np.testing.assert_array_equal(banded, at_once)


def test_read_image_equals_that_of_the_training_package_also_with_exif_and_alpha(tmp_path):
    pixels = np.random.default_rng(2).integers(0, 256, (20, 30, 4), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels[..., :3]).save(tmp_path / "rotated.jpg", exif=exif)
    Image.fromarray(pixels).save(tmp_path / "alpha.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png")
    for name in ("rotated.jpg", "alpha.png", "grey.png"):
        np.testing.assert_array_equal(runtime.read_image(tmp_path / name), read_image(tmp_path / name))


def test_read_image_refuses_16_bit_pixels(tmp_path):
    Image.fromarray(np.full((4, 4), 1000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match="8-bit pixels. Received: mode=I;16"):
        runtime.read_image(tmp_path / "deep.png")


def plain_suppression(all_boxes, scores, classes, threshold, limit):
    """The definition, one pair at a time."""
    kept = []
    for index in sorted(range(len(scores)), key=lambda index: -scores[index]):
        rivals = [other for other in kept if classes[other] == classes[index]]
        if all(boxes.iou(all_boxes[[index]], all_boxes[[other]])[0, 0] <= threshold for other in rivals):
            kept.append(index)
    return kept[:limit]


@SLOW
@given(seed=st.integers(0, 10_000), number=st.integers(0, 30), threshold=st.sampled_from([0.1, 0.5, 0.9]))
def test_suppression_equals_the_definition(seed, number, threshold):
    generator = np.random.default_rng(seed)
    corners = generator.uniform(0, 20, (number, 2))
    all_boxes = np.concatenate([corners, corners + generator.uniform(1, 20, (number, 2))], axis=1).astype(np.float32)
    scores = generator.permutation(number).astype(np.float32)
    classes = generator.integers(0, 3, number)
    kept = runtime.non_maximum_suppression(all_boxes, scores, classes=classes, iou_threshold=threshold, limit=10)
    assert kept.tolist() == plain_suppression(all_boxes, scores, classes, threshold, 10)


def test_suppression_of_infinite_boxes_does_not_fail():
    inf = np.float32(np.inf)
    all_boxes = np.array([[-inf, -inf, inf, inf], [-inf, 0, inf, 4], [0, 0, 4, 4]], np.float32)
    kept = runtime.non_maximum_suppression(
        all_boxes, np.array([0.9, 0.8, 0.7]), classes=np.zeros(3, int), iou_threshold=0.5, limit=10
    )
    assert kept[0] == 0


def test_boxes_are_inside_the_image_and_scores_descend(exported, image_paths):
    image = read_image(image_paths[1])
    for stem in ("float32", "float32_raw"):
        found = Detector(exported[stem]).detect(image, runtime.EVALUATION_SCORE_THRESHOLD)
        assert len(found.scores) > 5
        assert (found.boxes >= 0).all()
        assert (found.boxes <= [120, 160, 120, 160]).all()
        assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()
        assert (np.diff(found.scores) <= 0).all()
        assert found.boxes.dtype == found.scores.dtype == np.float32
        assert found.classes.dtype == np.int32


def test_thresholds_and_limits_hold(exported, image_paths):
    image = read_image(image_paths[0])
    for stem in ("float32", "float32_raw"):
        detector = Detector(exported[stem])
        everything = detector.detect(image, 0.01)
        strict = detector.detect(image, 0.5)
        assert strict.scores.tolist() == [score for score in everything.scores.tolist() if score >= 0.5]
        assert len(detector.detect(image, 0.01, max_detections=3).scores) == 3
        assert len(detector.detect(image, 1.0).scores) == 0


def test_a_postprocess_file_refuses_settings_it_cannot_follow(exported, image_paths):
    image = read_image(image_paths[0])
    detector = Detector(exported["float32"])
    with pytest.raises(ValueError, match="Use the raw file"):
        detector.detect(image, iou_threshold=0.9)
    with pytest.raises(ValueError, match="Use the raw file"):
        detector.detect(image, max_detections=51)
    raw = Detector(exported["float32_raw"])
    assert len(raw.detect(image, 0.01, iou_threshold=0.9, max_detections=200).scores) > len(
        raw.detect(image, 0.01, iou_threshold=0.1, max_detections=200).scores
    )


@pytest.mark.parametrize("image", [np.zeros((0, 5, 3), np.uint8), np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3))])
def test_an_image_of_another_kind_is_refused(exported, image):
    with pytest.raises(ValueError, match="uint8 RGB image"):
        Detector(exported["float32"]).detect(image)


def test_a_batch_and_a_score_in_percent_are_refused_with_advice(exported, image_paths):
    detector = Detector(exported["float32"])
    with pytest.raises(ValueError, match="Pass one image, without the batch axis"):
        detector.detect(np.zeros((2, 5, 5, 3), np.uint8))
    for score in (30, -0.1, float("nan")):
        with pytest.raises(ValueError, match=f"a score from 0 to 1. Received: score_threshold={score}"):
            detector.detect(image_paths[0], score_threshold=score)


def damaged(path: Path, where: Path, position: int) -> Path:
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    target = where / "damaged.tflite"
    target.write_bytes(data)
    return target


def test_damaged_and_foreign_files_are_refused_with_one_line(exported, tmp_path):
    good = exported["float32"]
    (tmp_path / "text.tflite").write_text("not a model\n" * 100)
    (tmp_path / "empty.tflite").write_bytes(b"")
    (tmp_path / "half.tflite").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    size = json.loads(good.with_suffix(".json").read_text())["size_bytes"]
    assert size == good.stat().st_size
    paths = [tmp_path / f"{name}.tflite" for name in ("text", "empty", "half", "mis\nsing")]
    paths.append(damaged(good, tmp_path, size // 2))
    for path in paths:
        with pytest.raises(ModelFileError, match="expected a") as caught:
            Detector(path)
        assert "\n" not in str(caught.value)
        assert path.name.replace("\n", " ") in str(caught.value)


def test_a_file_without_our_description_is_refused(exported, tmp_path):
    from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer

    bare = tmp_path / "bare.tflite"
    bare.write_bytes(write_flatbuffer(read_flatbuffer(exported["float32"].read_bytes())))
    with pytest.raises(ModelFileError, match="no usable description"):
        Detector(bare)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("height", 10**9),
        ("height", "128"),
        ("levels", [3, 60]),
        ("class_names", []),
        ("class_names", [1]),
        ("anchor_scales", [float("nan")]),
        ("anchor_ratios", [1.0] * 1000),
        ("coder_weights", [10.0]),
        ("resize", "../crop"),
        ("anchor_size", None),
    ],
)
def test_an_impossible_description_is_refused(exported, tmp_path, tiny_spec, export_settings, field, value):
    from edge.tflite.flatbuffer import append_members
    from keras_retina.foundation.files.reading import sha256_of

    flatbuffer = b"\x00\x00\x00\x00TFL3"
    spec = {**json.loads(tiny_spec.to_json()), field: value}
    export = {"kind": "int8", "head": "raw", "score_threshold": 0.01, "iou_threshold": 0.5, "max_detections": 10}
    export |= {"flatbuffer_bytes": len(flatbuffer), "flatbuffer_sha256": sha256_of(flatbuffer)}
    members = {"detector.json": json.dumps(spec).encode(), "export.json": json.dumps(export).encode()}
    path = tmp_path / "strange.tflite"
    path.write_bytes(append_members(flatbuffer, members))
    with pytest.raises(ModelFileError, match="no usable description"):
        read_description(path)


def test_a_description_too_large_to_be_ours_is_not_unpacked(tmp_path):
    from edge.tflite.flatbuffer import append_members

    path = tmp_path / "bomb.tflite"
    path.write_bytes(append_members(b"\x00\x00\x00\x00TFL3", {"detector.json": b" " * (runtime.MEMBER_LIMIT + 1)}))
    with pytest.raises(ModelFileError, match="larger than"):
        read_description(path)


def test_a_network_that_does_not_fit_its_description_is_refused(exported, tmp_path, tiny_spec, export_settings):
    import dataclasses

    from edge.export.export import described
    from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer

    flatbuffer = write_flatbuffer(read_flatbuffer(exported["float32_raw"].read_bytes()))
    other = dataclasses.replace(tiny_spec, class_names=("only one",))
    path = tmp_path / "other.tflite"
    path.write_bytes(described(flatbuffer, other, kind="float32", head="raw", settings=export_settings))
    with pytest.raises(ModelFileError, match="not the described"):
        Detector(path)


def test_the_file_runs_alone_without_tensorflow_and_without_this_package(exported, image_paths, tmp_path):
    copy = tmp_path / "detect_on_a_pi.py"
    copy.write_bytes(Path(runtime.__file__).read_bytes())
    blocked = tmp_path / "sitecustomize.py"
    blocked.write_text(
        "import sys\n"
        "for name in ('tensorflow', 'keras', 'tf_keras', 'keras_retina', 'edge'):\n"
        "    sys.modules[name] = None\n"
    )
    command = [sys.executable, str(copy), str(exported["int8"]), str(image_paths[0]), "--score", "0.01"]
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}
    )
    rows = json.loads(result.stdout)
    found = Detector(exported["int8"]).detect(read_image(image_paths[0]), 0.01)
    assert [row["score"] for row in rows] == [round(score, 4) for score in found.scores.tolist()]
    assert set(rows[0]) == {"label", "score", "box"}


def test_a_missing_interpreter_is_named(monkeypatch):
    for name in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match="pip install ai-edge-litert"):
        runtime._interpreter_module()


def test_thresholds_are_those_of_the_training_package():
    from keras_retina.evaluate import coco as thresholds

    assert runtime.EVALUATION_SCORE_THRESHOLD == thresholds.EVALUATION_SCORE_THRESHOLD
    assert runtime.SHOW_SCORE_THRESHOLD == thresholds.SHOW_SCORE_THRESHOLD


def test_fast_suppression_leaves_the_best_class_of_each_anchor_and_suppresses_any_class():
    all_boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [1, 1, 11, 11], [50, 50, 60, 60]], np.float32)
    rows, scores = np.array([4, 4, 5, 9]), np.array([0.3, 0.8, 0.7, 0.2])
    assert runtime.fast_suppression(all_boxes, scores, rows=rows, iou_threshold=0.5, limit=10).tolist() == [1, 3]
    assert runtime.fast_suppression(all_boxes, scores, rows=rows, iou_threshold=0.9, limit=10).tolist() == [1, 2, 3]
    assert runtime.fast_suppression(all_boxes, scores, rows=rows, iou_threshold=0.9, limit=1).tolist() == [1]
    assert (
        runtime.fast_suppression(all_boxes[:0], scores[:0], rows=rows[:0], iou_threshold=0.5, limit=10).tolist() == []
    )
