from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as masks

from keras_retina.data.formats.coco.segmentation import box_around, read_segmentations


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        [],
        {},
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5]],
        [[1, 2, 3, 4, 5, "6"]],
        [[1, 2, 3, 4, 5, float("nan")]],
        [[1, 2, 3, 4, 5, 6], 7],
        {"size": [0, 3], "counts": [0]},
        {"size": [2, 3], "counts": [1, 2]},
        {"size": [2, 3], "counts": [6]},
        {"size": [2, 3], "counts": [7, -1]},
        {"size": [2, 3], "counts": "~~~"},
        {"size": [2, 3], "counts": "oooo"},  # the last number does not end
        {"size": "ab", "counts": "0"},
        {"size": [2, 3]},
    ],
)
def test_what_is_no_outline_has_no_box(segmentation):
    assert box_around(segmentation) is None


def test_compressed_masks_have_the_box_of_their_pixels():
    pixels = np.zeros((5, 7), np.uint8, order="F")
    pixels[1:4, 2:6] = 1
    encoded = masks.encode(pixels)
    assert box_around({"size": [5, 7], "counts": encoded["counts"].decode()}) == [2, 1, 4, 3]


def test_outlines_are_there_for_those_who_need_them(tmp_path):
    outline = [[1, 2, 3, 4, 5, 6]]
    annotations = [{"image_id": 7, "segmentation": outline}, {"image_id": "7"}, {"image_id": 8, "segmentation": []}, {}]
    (tmp_path / "a.json").write_text(json.dumps({"annotations": annotations}))
    assert read_segmentations(tmp_path / "a.json") == {7: [outline, None], 8: [None]}
