"""AP of a file on a folder, on a split, and on a tf.data of the same images."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from edge.detectors.evaluation import evaluate_tflite
from edge.runtime import Detector, as_array
from keras_retina.data.images import read_image
from keras_retina.data.reading.folder import load_dataset
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf


@pytest.fixture(scope="module")
def labelled(exported, image_paths, tmp_path_factory):
    """A COCO folder whose labels are what the float file finds best, so that AP is neither 0 nor 100."""
    folder = tmp_path_factory.mktemp("found")
    (folder / "images").mkdir()
    (folder / "annotations").mkdir()
    detector, images, annotations = Detector(exported["float32"]), [], []
    for number, path in enumerate(image_paths, start=1):
        image = read_image(path)
        Image.fromarray(image).save(folder / "images" / path.name)
        images.append({"id": number, "file_name": path.name, "height": image.shape[0], "width": image.shape[1]})
        found = detector.detect(image, 0.01)
        for box, index in list(zip(found.boxes.tolist(), found.classes.tolist(), strict=True))[::7]:
            y1, x1, y2, x2 = box
            bbox = [x1, y1, x2 - x1, y2 - y1]
            common = {"image_id": number, "category_id": index + 1, "area": bbox[2] * bbox[3], "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, "bbox": bbox, **common})
    categories = [{"id": index + 1, "name": name} for index, name in enumerate(detector.class_names)]
    labels = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "val.json").write_text(json.dumps(labels))
    return folder


def test_all_kinds_of_data_give_the_same_ap(exported, labelled):
    split = load_dataset(labelled, "val")

    def images():
        for record in split.records:
            yield read_image(record.path), {"boxes": record.boxes, "classes": record.classes}

    signature = (
        tf.TensorSpec([None, None, 3], tf.uint8),
        {"boxes": tf.TensorSpec([None, 4], tf.float32), "classes": tf.TensorSpec([None], tf.int32)},
    )
    stream = tf.data.Dataset.from_generator(images, output_signature=signature)
    found = [evaluate_tflite(exported["float32"], data) for data in (str(labelled), split, stream)]
    assert found[0] == found[1] == found[2]
    assert 0 < found[0]["AP"] < 100


def test_other_classes_are_refused(exported, tiny_coco):
    with pytest.raises(InputError, match="disc"):
        evaluate_tflite(exported["float32"], tiny_coco)


def test_a_detector_takes_arrays_paths_and_pillow_images(exported, image_paths):
    detector = Detector(exported["float32"])  # int8 has equal scores, which come in any order
    expected = detector.detect(read_image(image_paths[1]), 0.01)
    assert len(expected.boxes)
    for image in (image_paths[1], str(image_paths[1]), Image.open(image_paths[1])):
        found = detector.detect(image, 0.01)
        np.testing.assert_array_equal(found.boxes, expected.boxes)
    (of_all,) = detector.detect_all([image_paths[1]], 0.01)
    np.testing.assert_array_equal(of_all.scores, expected.scores)


def test_a_grey_pillow_image_becomes_rgb_and_an_array_stays_as_it_is():
    assert as_array(Image.new("L", (4, 3), 9)).tolist() == np.full((3, 4, 3), 9).tolist()
    array = np.zeros((3, 4, 3), np.uint8)
    assert as_array(array) is array
