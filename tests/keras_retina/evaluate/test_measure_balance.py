"""The counts of a split are those of its labels, its matched anchors and the logits of the model."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.records import Dataset, Record
from keras_retina.evaluate.class_balance import count_errors
from keras_retina.evaluate.measure_balance import measure_class_balance
from keras_retina.foundation.legacy_keras import tf
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.training import Matching

SPEC = DetectorSpec(
    class_names=("a", "b", "never seen"),
    height=64,
    width=64,
    resize="stretch",
    levels=(3, 5),
    anchor_size=3.0,
    anchor_scales=(1.0,),
    anchor_ratios=(1.0,),
    coder_weights=(10.0, 10.0, 5.0, 5.0),
)
ANCHORS = 64 + 16 + 4
LOGITS = (-2.0, 1.0, -7.0)


def constant_model(images: tf.Tensor, training: bool) -> dict[str, tf.Tensor]:
    """The same logits at every anchor."""
    assert not training
    return {"classes": tf.tile(tf.constant(LOGITS)[None, None], [tf.shape(images)[0], ANCHORS, 1])}


def dataset(folder, boxes: list[list[tuple[float, float, float, float]]], *, classes, crowd) -> Dataset:
    """Grey images with these boxes."""
    records = []
    for index, (of_image, codes, crowds) in enumerate(zip(boxes, classes, crowd, strict=True)):
        path = folder / f"{index}.png"
        Image.new("RGB", (64, 64), (90, 90, 90)).save(path)
        arrays = np.array(of_image, np.float32).reshape(-1, 4), np.array(codes, np.int32), np.array(crowds, bool)
        records.append(Record(index, path, path.name, 64, 64, *arrays))
    return Dataset("test", "val", SPEC.class_names, (1, 2, 3), tuple(records))


@pytest.fixture
def two_images(tmp_path) -> Dataset:
    # A box that equals an anchor of level 3 (24 px round the cell at 28), one crowd, and an image without objects.
    boxes = [[(16, 16, 40, 40), (44, 44, 64, 64)], []]
    return dataset(tmp_path, boxes, classes=[[1, 0], []], crowd=[[False, True], []])


def test_counts_of_a_box_that_one_anchor_matches(two_images):
    # Positive from 0.99, so that only the equal anchor is; all others stay background but those inside the crowd.
    balance = measure_class_balance(
        constant_model, SPEC, dataset=two_images, matching=Matching(positive=0.99, negative=0.99)
    )
    assert (balance.split, balance.images) == ("val", 2)
    assert balance.objects == {"a": 0, "b": 1, "never seen": 0}
    assert balance.positives == {"a": 0, "b": 1, "never seen": 0}
    assert balance.object_errors == tuple(count_errors(np.array([-LOGITS[1]])).tolist())
    background = 2 * ANCHORS - balance.ignored - 1
    wanted = count_errors(np.repeat(LOGITS, background)) + count_errors(np.array([LOGITS[0], LOGITS[2]]))
    assert balance.background_errors == tuple(wanted.tolist())
    assert balance.ignored > 0


def test_a_split_without_objects_has_only_background(tmp_path):
    empty = dataset(tmp_path, [[], []], classes=[[], []], crowd=[[], []])
    balance = measure_class_balance(constant_model, SPEC, dataset=empty, matching=Matching())
    assert sum(balance.object_errors) == 0
    assert sum(balance.background_errors) == 2 * ANCHORS * 3


def test_at_most_so_many_images_are_looked_at(two_images):
    balance = measure_class_balance(constant_model, SPEC, dataset=two_images, matching=Matching(), images=1)
    assert balance.images == 1
    assert sum(balance.background_errors) + sum(balance.object_errors) + 3 * balance.ignored == ANCHORS * 3
