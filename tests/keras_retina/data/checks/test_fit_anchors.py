from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from keras_retina.data.checks.fit_anchors import best_ious, coverage, fit_anchors, input_boxes
from keras_retina.data.records import Dataset, Record
from keras_retina.foundation.errors import InputError
from keras_retina.geometry.anchors import AnchorGrid
from keras_retina.geometry.boxes import iou
from keras_retina.recipe.model import Anchors, Input, Model, Pyramid
from keras_retina.recipe.recipe import recipe_from_fields


def model(height=256, width=256, resize="stretch", levels=(3, 7), **anchors):
    return Model(
        input=Input(height=height, width=width, resize=resize),
        pyramid=Pyramid(levels=levels),
        anchors=Anchors(**anchors),
    )


def grid_ious(boxes, settings):
    """The oracle: every box with every anchor."""
    chosen = settings.anchors
    anchors = AnchorGrid(
        settings.input.height,
        settings.input.width,
        settings.pyramid.levels,
        chosen.size,
        chosen.scales,
        chosen.ratios,
    ).boxes()
    return np.concatenate([iou(box[None], anchors).max(axis=1) for box in boxes])


def random_boxes(count, height=256, width=256, seed=0):
    """Also boxes at the border, smaller than the smallest anchor and as large as the input."""
    generator = np.random.default_rng(seed)
    corners = generator.uniform(-20, [height + 20, width + 20], (2, count, 2))
    small = corners[0] + generator.uniform(1, 20, (count, 2))
    corners[1] = np.where(generator.random((count, 1)) < 0.4, small, corners[1])
    boxes = np.clip(np.concatenate([corners.min(axis=0), corners.max(axis=0)], axis=1), 0, [height, width] * 2)
    return boxes[np.all(boxes[:, 2:] - boxes[:, :2] > 0.5, axis=1)].astype(np.float32)


def boxes_of_shape(height, width, count=200, side=256, seed=0):
    top_left = np.random.default_rng(seed).uniform(0, [side - height, side - width], (count, 2))
    return np.concatenate([top_left, top_left + [height, width]], axis=1).astype(np.float32)


def on_cell_centres(*halves):
    """Boxes of these half heights and widths in turn, centred on cells of level 3, where the position costs nothing."""
    centres = np.stack(np.meshgrid(np.arange(44, 220, 8), np.arange(44, 220, 8)), -1).reshape(-1, 2)
    half = np.array(halves)[np.arange(len(centres)) % len(halves)]
    return np.concatenate([centres - half, centres + half], axis=1).astype(np.float32)


def one_class(boxes):
    return np.zeros(len(boxes), np.int32)


def dataset(*images):
    """Each image: (height, width, [(class, y1, x1, y2, x2, crowd), ...])."""
    records = []
    for number, (height, width, rows) in enumerate(images):
        boxes = np.array([row[1:5] for row in rows], np.float32).reshape(-1, 4)
        classes, crowd = np.array([row[0] for row in rows], np.int32), np.array([row[5] for row in rows], bool)
        records.append(Record(number, Path("a.png"), "a.png", height, width, boxes, classes, crowd))
    return Dataset("made", "train", ("cat", "dog"), (1, 2), tuple(records))


@pytest.mark.parametrize(
    "settings",
    [
        model(),
        model(128, 384, size=2.0),
        model(256, 128, levels=(4, 6), size=4.0, scales=(1.0, 1.5), ratios=(0.2, 3.0)),
    ],
)
def test_best_ious_are_the_maxima_over_every_anchor_of_the_grid(settings):
    boxes = random_boxes(300, settings.input.height, settings.input.width)
    np.testing.assert_allclose(best_ious(boxes, settings), grid_ious(boxes, settings), atol=2e-6)


def test_best_iou_by_hand():
    # Level 3 has a cell centre at (12, 12). Size 2 is 16 x 16 pixels there: [4, 4, 20, 20].
    settings = model(size=2.0, scales=(1.0,), ratios=(1.0,))
    boxes = np.array([[4, 4, 20, 20], [4, 4, 20, 12], [6, 4, 22, 20]], np.float32)
    # the same; half of it; 2 pixels off: 14 / 18
    np.testing.assert_allclose(best_ious(boxes, settings), [1, 0.5, 14 / 18], atol=1e-6)


def test_boxes_are_taken_at_the_input_size_without_crowd():
    images = (40, 20, [(1, 20, 0, 40, 20, False), (0, 0, 0, 10, 10, True)]), (64, 64, [])
    for resize, expected in (("stretch", [32, 0, 64, 64]), ("letterbox", [32, 0, 64, 32])):
        boxes, classes = input_boxes(dataset(*images), model(64, 64, resize, levels=(3, 5)))
        np.testing.assert_allclose(boxes, [expected])
        assert classes.tolist() == [1] and boxes.dtype == np.float32


@pytest.mark.parametrize(
    "rows",
    [
        [],  # nothing
        [(0, 0, 0, 10, 10, True)],  # only crowd
        [(0, 5, 5, 5, 9, False)],  # only without area
    ],
)
def test_a_split_without_boxes_is_refused_by_name(rows):
    with pytest.raises(InputError, match=r"made: .* was expected\. Received: split='train'.*choose another"):
        input_boxes(dataset((40, 20, rows)), model())


def test_no_boxes_cannot_be_fitted():
    with pytest.raises(InputError, match=r"Received: boxes=\[\]"):
        fit_anchors(np.zeros((0, 4), np.float32), np.zeros(0, np.int32), model=model())


def test_one_shape_on_cell_centres_gives_its_ratio_and_side():
    boxes = on_cell_centres([36, 9])  # 72 x 18: ratio 4, side 36 = 4.5 strides of level 3
    fitted = fit_anchors(boxes, one_class(boxes), model=model(size=4.0, scales=(1.0,), ratios=(1.0,)))
    assert fitted.size == pytest.approx(4.5, rel=0.03)
    assert fitted.ratios[0] == pytest.approx(4, rel=0.03)
    assert fitted.scales == (1.0,)


def test_two_shapes_on_cell_centres_give_both_ratios_and_sides():
    boxes = on_cell_centres([8, 16], [20, 10])  # 16 x 32 and 40 x 20
    fitted = fit_anchors(boxes, one_class(boxes), model=model(scales=(1.0, 1.2), ratios=(0.9, 1.1)))
    np.testing.assert_allclose(fitted.ratios, (0.5, 2.0), rtol=0.03)
    sides = fitted.size * np.array(fitted.scales) * 8
    np.testing.assert_allclose(sides, np.sqrt([16 * 32, 40 * 20]), rtol=0.03)


@pytest.mark.parametrize("seed", range(5))
def test_fitted_anchors_are_never_worse_on_the_boxes_they_were_fitted_to(seed):
    boxes = random_boxes(150, seed=seed)
    classes = (np.arange(len(boxes)) % 3 == 0).astype(np.int32)
    own = model()
    fitted = own.model_copy(update={"anchors": fit_anchors(boxes, classes, model=own)})
    before, after = (coverage(grid_ious(boxes, one), classes, class_names=("a", "b")) for one in (own, fitted))
    assert after["mean_iou"] >= before["mean_iou"]
    for name in ("a", "b"):
        assert after["classes"][name]["poor_share"] <= before["classes"][name]["poor_share"]
    assert (len(fitted.anchors.scales), len(fitted.anchors.ratios)) == (3, 3)


def test_a_class_of_few_boxes_is_not_given_up_for_the_mean():
    many, few = boxes_of_shape(40, 40, 300), boxes_of_shape(100, 20, 4, seed=1)
    boxes, classes = np.concatenate([many, few]), np.repeat([0, 1], [300, 4]).astype(np.int32)
    own = model(scales=(1.0,), ratios=(1.0, 5.0))
    fitted = own.model_copy(update={"anchors": fit_anchors(boxes, classes, model=own)})
    assert np.count_nonzero(best_ious(few, fitted) < 0.5) <= np.count_nonzero(best_ious(few, own) < 0.5)


def test_scales_stay_within_an_octave_where_the_boxes_alone_would_spread_them():
    boxes = np.concatenate([boxes_of_shape(64, 64, 400), boxes_of_shape(56, 70, 400), boxes_of_shape(24, 24, 40)])
    classes = np.repeat([0, 0, 1], [400, 400, 40]).astype(np.int32)
    fitted = fit_anchors(boxes, classes, model=model(levels=(3, 5), size=3.0))
    assert 1.5 < max(fitted.scales) <= 2 ** (2.5 / 3) + 1e-3


def test_anchors_that_are_already_best_come_back_unchanged():
    own = model(size=3.0, scales=(1.0,), ratios=(0.5, 2.0))
    heights, widths = 24 * np.sqrt([[0.5], [2.0]]), 24 / np.sqrt([[0.5], [2.0]])
    halves = np.concatenate([heights, widths], axis=1) / 2
    boxes = np.concatenate([100 - halves, 100 + halves], axis=1).astype(np.float32)  # 100: a cell centre of level 3
    assert best_ious(boxes, own).min() > 0.999
    assert fit_anchors(boxes, one_class(boxes), model=own) is own.anchors


def test_the_numbers_are_rounded_start_at_scale_one_and_stay_the_same():
    boxes = random_boxes(200, seed=3)
    own = model(scales=(1.0, 2.0), ratios=(0.1, 0.2))
    fitted = fit_anchors(boxes, one_class(boxes), model=own)
    assert fitted == fit_anchors(boxes, one_class(boxes), model=own)
    values = [fitted.size, *fitted.scales, *fitted.ratios]
    assert values == [round(value, 3) for value in values]
    assert fitted.scales[0] == 1.0 and list(fitted.scales) == sorted(fitted.scales)


@pytest.mark.parametrize("box", [[100, 100, 100.01, 255], [0, 0, 256, 256], [10, 10, 12, 12]])
def test_a_single_extreme_box_is_fitted_with_valid_numbers(box):
    boxes = np.array([box], np.float32)
    fitted = fit_anchors(boxes, one_class(boxes), model=model())
    assert Anchors.model_validate(fitted.model_dump()) == fitted
    after = best_ious(boxes, model().model_copy(update={"anchors": fitted}))
    assert after >= best_ious(boxes, model())


def test_sides_do_not_climb_to_a_finer_level_just_for_its_grid():
    boxes = boxes_of_shape(80, 80)  # 5 strides of level 4, 2.5 of level 5
    fitted = fit_anchors(boxes, one_class(boxes), model=model(size=3.0, scales=(1.0,), ratios=(1.0,)))
    assert fitted.size <= 3 * 2**0.5 + 0.001


def test_the_search_goes_on_from_the_mean_shape_to_the_best():
    # The mean logarithm of the ratios is that of 4 ** 0.2 = 1.32, but most boxes are square.
    boxes = on_cell_centres([16, 16], [16, 16], [16, 16], [16, 16], [32, 8])
    fitted = fit_anchors(boxes, one_class(boxes), model=model(scales=(1.0,), ratios=(3.0,)))
    assert fitted.ratios[0] == pytest.approx(1, rel=0.04)


def test_coverage_by_hand_and_none_for_a_class_without_boxes():
    found = coverage(np.array([0.5, 0.25, 1.0], np.float32), np.array([0, 0, 2]), class_names=("cat", "dog", "cow"))
    assert (found["boxes"], found["poor_share"]) == (3, pytest.approx(1 / 3))
    assert found["classes"] == {
        "cat": {"boxes": 2, "poor_share": 0.5, "mean_iou": 0.375},  # just 0.5 is enough
        "dog": {"boxes": 0, "poor_share": None, "mean_iou": None},
        "cow": {"boxes": 1, "poor_share": 0.0, "mean_iou": 1.0},
    }


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("name: r\nmodel: {input: {height: 128, width: 128}}\n")
    return path


def keras_retina(*arguments, blocked=()):
    """Runs the command line in a process in which importing a `blocked` module is an error."""
    code = f"import sys\nfor name in {list(blocked)}: sys.modules[name] = None\n"
    code += "from keras_retina.cli.app import main\nmain()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, timeout=300, env=os.environ
    )


def test_the_verb_prints_a_snippet_that_measures_as_reported_and_needs_no_tensorflow(tiny_coco, recipe_file, tmp_path):
    arguments = ("fit-anchors", recipe_file, "--data", tiny_coco, "--json", tmp_path / "fit.json")
    result = keras_retina(*arguments, "--set", "model.anchors.size=9.0", blocked=("tensorflow", "tf_keras"))
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "fit.json").read_text())
    assert report["already_best"] is False
    assert list(report["splits"]) == ["train", "val"]

    lines = result.stdout.splitlines()
    start = lines.index("model:")
    fields = yaml.safe_load("\n".join(lines[start : start + 2]))
    assert fields["model"]["anchors"] == report["anchors"]["after"]
    fitted = recipe_from_fields(
        {"name": "r", "model": {"input": {"height": 128, "width": 128}, **fields["model"]}}, "snippet"
    )
    from keras_retina.data.reading.folder import load_dataset

    boxes, _ = input_boxes(load_dataset(tiny_coco, "val"), fitted.model)
    train, val = report["splits"]["train"], report["splits"]["val"]
    assert val["after"]["mean_iou"] == pytest.approx(grid_ious(boxes, fitted.model).mean(), abs=1e-5)
    assert train["after"]["mean_iou"] > train["before"]["mean_iou"]
    assert lines[-1].startswith("next: keras-retina run ") and "'model.anchors={size: " in lines[-1]


def test_the_verb_refuses_a_split_without_boxes_in_one_line(tiny_coco, recipe_file, tmp_path):
    labels = json.loads((tiny_coco / "annotations" / "val.json").read_text())
    (tmp_path / "data" / "annotations").mkdir(parents=True)
    (tmp_path / "data" / "images").symlink_to(tiny_coco / "images")
    for split in ("train", "val"):
        (tmp_path / "data" / "annotations" / f"{split}.json").write_text(json.dumps({**labels, "annotations": []}))
    result = keras_retina("fit-anchors", recipe_file, "--data", tmp_path / "data")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "Received: split='train'" in line


def test_anchors_of_an_imported_detector_are_not_fitted():
    model = Model(anchors={"offset": 0.0, "whole_pixels": True})
    boxes = np.array([[10.0, 10.0, 60.0, 60.0]], np.float32)
    with pytest.raises(InputError, match="Received: offset=0.0, whole_pixels=True, clip=False"):
        fit_anchors(boxes, np.zeros(1, np.int32), model)
