"""Boxes come back to the pixels of each image, whatever its shape and however it was resized."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.records import Dataset, Record
from keras_retina.data.resize import resize_transform
from keras_retina.evaluate.predict import detect_function, network_input, predict_dataset
from keras_retina.foundation.legacy_keras import keras, tf
from keras_retina.geometry.boxes import encode, yxyx_to_xywh
from keras_retina.model.spec import DetectorSpec

SPEC = DetectorSpec(
    class_names=("a", "b"),
    height=64,
    width=96,
    resize="stretch",
    levels=(3, 5),
    anchor_size=3.0,
    anchor_scales=(1.0,),
    anchor_ratios=(1.0,),
    coder_weights=(10.0, 10.0, 5.0, 5.0),
)
SHAPES = ((64, 96), (300, 200), (50, 170), (97, 31))


@pytest.fixture
def images(tmp_path) -> Dataset:
    """One black image of each shape with a white object, its box in the record."""
    records = []
    for index, (height, width) in enumerate(SHAPES):
        box = np.array([height * 0.2, width * 0.3, height * 0.7, width * 0.9]).round()
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[int(box[0]) : int(box[2]), int(box[1]) : int(box[3])] = 255
        path = tmp_path / f"{index}.png"
        Image.fromarray(pixels).save(path)
        boxes, classes, crowd = box[None].astype(np.float32), np.array([1]), np.array([False])
        records.append(Record(10 + index, path, path.name, height, width, boxes, classes, crowd))
    return Dataset("test", "val", ("a", "b"), (5, 9), tuple(records))


def bright_box(images: np.ndarray) -> dict[str, np.ndarray]:
    """A detector that finds the bright pixels of each network input."""
    boxes = []
    for image in images:
        rows, columns = np.nonzero(image[..., 0] > 127)
        boxes.append([rows.min(), columns.min(), rows.max() + 1, columns.max() + 1])
    count = len(images)
    padded = np.zeros((count, 3, 4), np.float32)
    padded[:, 0] = boxes
    return {
        "boxes": padded,
        "scores": np.full((count, 3), 0.5, np.float32),
        "classes": np.ones((count, 3), np.int32),
        "count": np.ones(count, np.int32),
    }


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_a_box_found_in_the_network_input_is_the_box_of_the_image(images, resize: str):
    spec = dataclasses.replace(SPEC, resize=resize)
    results = predict_dataset(bright_box, spec, dataset=images)
    assert [result["image_id"] for result in results] == [10, 11, 12, 13]
    for record, result in zip(images.records, results, strict=True):
        scale_y, scale_x = resize_transform(record.height, record.width, height=64, width=96, mode=resize)
        error = np.abs(np.array(result["bbox"]) - yxyx_to_xywh(record.boxes)[0])
        assert (error <= np.array([1, 1, 2, 2]) / np.tile([scale_x, scale_y], 2)).all(), record.file_name
        assert result["category_id"] == 9
        assert result["score"] == 0.5


@pytest.mark.parametrize("resize", ["stretch", "letterbox"])
def test_boxes_of_the_whole_input_are_clipped_to_the_image(images, resize: str):
    def everything(batch: np.ndarray) -> dict[str, np.ndarray]:
        found = bright_box(batch)
        found["boxes"][:, 0] = [-20, -30, 500, 600]
        return found

    for record, result in zip(
        images.records,
        predict_dataset(everything, dataclasses.replace(SPEC, resize=resize), dataset=images),
        strict=True,
    ):
        assert result["bbox"] == [0, 0, record.width, record.height]


def test_a_box_in_the_padding_of_a_letterbox_is_dropped_as_on_a_device(images):
    spec = dataclasses.replace(SPEC, resize="letterbox")
    tall = dataclasses.replace(images, records=images.records[1:2])  # 300 x 200: of 96 columns it fills 43

    def beside(inputs: np.ndarray) -> dict[str, np.ndarray]:
        boxes = np.array([[[10, 60, 30, 90], [10, 5, 30, 40]]], np.float32)
        return {"boxes": boxes, "scores": np.array([[0.9, 0.8]]), "classes": np.ones((1, 2), int), "count": [2]}

    found = predict_dataset(beside, spec, dataset=tall)
    assert [one["score"] for one in found] == [0.8]


def test_only_as_many_rows_as_were_found_are_results(images):
    def nothing(batch: np.ndarray) -> dict[str, np.ndarray]:
        return {**bright_box(batch), "count": np.zeros(len(batch), np.int32)}

    assert predict_dataset(nothing, SPEC, dataset=images) == []


def test_every_image_is_seen_once_in_batches_that_may_end_short(images):
    many = dataclasses.replace(images, records=images.records * 5)
    sizes = []

    def counting(batch: np.ndarray) -> dict[str, np.ndarray]:
        assert batch.dtype == np.uint8
        assert batch.shape[1:] == (64, 96, 3)
        sizes.append(len(batch))
        return bright_box(batch)

    assert len(predict_dataset(counting, SPEC, dataset=many)) == 20
    assert sizes == [8, 8, 4]


def test_the_network_input_is_the_resized_image_in_bytes(images):
    pixels = network_input(images.records[0], SPEC)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (64, 96, 3))
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(images.records[0].path)))


def painted_model(boxes: np.ndarray, anchors_chosen: list[int], logits: list[float]) -> keras.Model:
    """Outputs the deltas of `boxes` at the chosen anchors for any image, brighter images with higher scores."""
    anchors = SPEC.anchors()
    deltas = np.zeros((len(anchors), 4), np.float32)
    scores = np.full((len(anchors), 2), -20, np.float32)
    for box, anchor, score in zip(boxes, anchors_chosen, logits, strict=True):
        deltas[anchor] = encode(box, anchors[anchor], weights=SPEC.coder_weights)
        scores[anchor, 1] = score

    class Painted(keras.layers.Layer):
        def call(self, image):
            mean = tf.reduce_mean(image, axis=[1, 2, 3])[:, None, None]  # -1 .. 1
            return {"classes": scores + mean, "boxes": deltas + 0.0 * mean}

    image = keras.Input((64, 96, 3))
    return keras.Model(image, Painted()(image))


def test_detect_decodes_suppresses_and_normalises_pixels():
    boxes = np.array([[8, 16, 40, 48], [9, 16, 41, 48], [20, 60, 50, 90]], np.float32)
    detect = detect_function(painted_model(boxes, [5, 6, 100], [2.0, 1.0, 0.0]), SPEC)
    black, white = np.zeros((1, 64, 96, 3), np.uint8), np.full((1, 64, 96, 3), 255, np.uint8)
    found = detect(np.concatenate([black, white]))
    assert found["count"].tolist() == [2, 2]  # the second box overlaps the first
    np.testing.assert_allclose(found["boxes"][0, :2], boxes[[0, 2]], atol=1e-2)
    assert found["classes"][0, :2].tolist() == [1, 1]
    expected = 1 / (1 + np.exp(-np.array([[2 - 1, 0 - 1], [2 + 1, 0 + 1]])))  # pixels 0 and 255 are -1 and 1
    np.testing.assert_allclose(found["scores"][:, :2], expected, atol=1e-5)


def test_a_smaller_last_batch_is_not_traced_again_and_has_its_own_rows_alone(monkeypatch):
    traced = []
    scale = DetectorSpec.scale
    monkeypatch.setattr(DetectorSpec, "scale", lambda spec, images: traced.append(images.shape) or scale(spec, images))
    detect = detect_function(painted_model(np.array([[8, 16, 40, 48]], np.float32), [5], [2.0]), SPEC)
    white = np.full((3, 64, 96, 3), 255, np.uint8)
    whole, last = detect(white), detect(white[:1])
    assert traced == [(3, 64, 96, 3)]
    assert last["count"].tolist() == [1] and last["boxes"].shape == (1, 100, 4)
    assert last["scores"][0, 0] == whole["scores"][0, 0]
    assert detect(white[:0])["count"].tolist() == []


def test_detect_keeps_as_many_as_asked_for():
    boxes = np.array([[8, 16, 40, 48], [20, 60, 50, 90]], np.float32)
    detect = detect_function(painted_model(boxes, [5, 100], [2.0, 1.0]), SPEC, max_detections=1)
    found = detect(np.zeros((1, 64, 96, 3), np.uint8))
    assert found["boxes"].shape == (1, 1, 4)
    np.testing.assert_allclose(found["boxes"][0, 0], boxes[0], atol=1e-2)


def test_detect_sees_later_changes_of_the_weights():
    image = keras.Input((64, 96, 3))
    count = len(SPEC.anchors())
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    classes = keras.layers.Dense(count * 2, bias_initializer=keras.initializers.Constant(-9), name="scores")(pooled)
    model = keras.Model(
        image,
        {
            "classes": keras.layers.Reshape((count, 2))(classes),
            "boxes": keras.layers.Reshape((count, 4))(keras.layers.Dense(count * 4)(pooled)),
        },
    )
    detect = detect_function(model, SPEC)
    grey = np.full((1, 64, 96, 3), 127, np.uint8)
    assert detect(grey)["count"].tolist() == [0]
    model.get_layer("scores").bias.assign(np.full(count * 2, 3, np.float32))
    assert detect(grey)["count"][0] > 0
