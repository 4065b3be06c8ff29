"""Maps for each level are recognised, or every reading of them is named; missing anchors are never guessed."""

from __future__ import annotations

import numpy as np
import pytest

from edge.detectors.foreign import ForeignDetector, Preprocessing
from edge.detectors.heads.levels.recognise import KNOWN, recognise
from edge.detectors.heads.look import look
from edge.detectors.heads.recognise import head_facts
from edge.runtime import ModelFileError
from edge.tflite.flatbuffer import read_flatbuffer, write_flatbuffer
from keras_retina.foundation.errors import InputError

peer_levels = pytest.importorskip("peer_levels")
LevelForm, FORMS, ANCHORED = peer_levels.LevelForm, peer_levels.LEVEL_FORMS, peer_levels.ANCHORED
TINY = peer_levels.TINY


def without_names(path, target):
    target.write_bytes(write_flatbuffer(read_flatbuffer(path.read_bytes())))
    return target


@pytest.mark.parametrize("form", [form for form in FORMS if form.head not in ANCHORED], ids=lambda form: form.name)
def test_maps_without_anchors_are_recognised_whatever_their_order(network, form):
    path = network(form)
    detector = ForeignDetector(path)
    assert detector.read_as["head"] == form.head
    assert ("logits" in detector.read_as["outputs"]) == form.logits
    assert ("and their sum" in detector.read_as["outputs"]) == form.sums
    assert detector.preprocessing == Preprocessing(head=form.head, box_units="pixels")
    again = ForeignDetector(network(form, seed=1), preprocessing=detector.preprocessing)
    assert again.read_as == detector.read_as


@pytest.mark.parametrize(
    "form",
    [form for form in FORMS if form.head in ANCHORED and len(form.strides) < 4 and not form.anchors],
    ids=lambda form: form.name,
)
def test_anchors_are_named_and_never_guessed(network, form):
    with pytest.raises(InputError, match="the file has no anchors: those published for") as caught:
        ForeignDetector(network(form))
    assert f"--head {form.head}" in str(caught.value)
    detector = ForeignDetector(network(form), preprocessing=Preprocessing(head=form.head))
    assert detector.read_as["head"] == form.head
    assert "are assumed" in detector.read_as["outputs"]


@pytest.mark.parametrize(
    ("form", "heads"),
    [
        (LevelForm("yolov5-levels"), list(ANCHORED[:3])),
        (LevelForm("yolov5-levels", logits=True), list(ANCHORED[:5])),
        (LevelForm("yolov3-levels", logits=True, strides=TINY), list(ANCHORED[3:])),
    ],
)
def test_the_sigmoid_and_the_number_of_levels_say_which_families_are_left(network, form, heads):
    assert [one["name"] for one in head_facts(network(form))["readings"]] == heads


@pytest.mark.parametrize("form", [form for form in FORMS if form.anchors is not None], ids=lambda form: form.name)
def test_own_anchors_are_taken_and_said(network, form):
    preprocessing = Preprocessing(head=form.head, anchors=form.anchors)
    outputs = ForeignDetector(network(form), preprocessing=preprocessing).read_as["outputs"]
    assert f"of {len(form.anchors[0]) // 2} anchors" in outputs
    assert "anchors are those given" in outputs
    assert "assumed" not in outputs


@pytest.mark.parametrize("levels", [2, 4])
def test_anchors_of_other_levels_than_the_file_has_are_refused(network, levels):
    anchors = tuple((10.0, 20.0, 30.0, 40.0, 50.0, 60.0) for _ in range(levels))
    with pytest.raises(InputError, match=f"--anchors: expected a YOLO in maps, 3 anchors a cell on {levels} levels"):
        ForeignDetector(network(LevelForm("yolov5-levels")), preprocessing=Preprocessing(anchors=anchors))


def test_anchors_for_a_file_that_has_none_are_refused(network):
    preprocessing = Preprocessing(anchors=peer_levels.OWN_TWO)
    with pytest.raises(InputError, match="--anchors: expected a YOLO in maps, 2 anchors a cell on 3 levels"):
        ForeignDetector(network(LevelForm("yolov8-levels")), preprocessing=preprocessing)


def test_four_channels_beside_logits_are_not_taken_for_yolov6(network):
    path = network(LevelForm("yolov6-levels", apart=True, logits=True))
    with pytest.raises(ModelFileError, match="expected a known detection head"):
        ForeignDetector(path)
    assert ForeignDetector(path, preprocessing=Preprocessing(head="yolov6-levels")).read_as["head"] == "yolov6-levels"


def test_anchors_that_only_one_family_has_are_still_said_to_be_assumed(network):
    form = LevelForm("yolov5-levels", logits=True, strides=peer_levels.P6)
    outputs = ForeignDetector(network(form)).read_as["outputs"]
    assert "strides 8, 16, 32, 64" in outputs
    assert "the file has no anchors: those published for YOLOv5 are assumed" in outputs


@pytest.mark.parametrize(
    "form",
    [
        LevelForm("yolov8-levels"),
        LevelForm("yolox-levels"),
        LevelForm("nanodet-levels", "nc"),
        LevelForm("yolov8-levels", "chw", apart=True, logits=True),
        LevelForm("yolov8-levels", "chw", apart=True, sums=True),
        LevelForm("yolox-levels", "chw", apart=True, logits=True),
        LevelForm("nanodet-plus-levels", "nc", apart=True, strides=peer_levels.P6),
    ],
    ids=lambda form: form.name,
)
def test_scores_from_0_to_1_and_maps_apart_need_no_class_names(network, form, tmp_path):
    facts = head_facts(without_names(network(form), tmp_path / "unnamed.tflite"))
    assert [one["name"] for one in facts["readings"]] == [form.head]
    assert facts["problem"] is None


def test_joined_logits_need_the_number_of_classes(network, tmp_path):
    """[1, rows, columns, 67] is YOLOv8 with 3 classes, YOLOX with 62, or NanoDet with 35."""
    path = without_names(network(LevelForm("yolov8-levels", logits=True)), tmp_path / "unnamed.tflite")
    with pytest.raises(
        InputError, match="yolov8-levels: .* 3 class .*; or yolox-levels: .* 62 .*; or nanodet-levels: "
    ):
        ForeignDetector(path)
    for classes, head in ((3, "yolov8-levels"), (62, "yolox-levels"), (35, "nanodet-levels")):
        assert ForeignDetector(path, preprocessing=Preprocessing(classes=classes)).read_as["head"] == head
    with pytest.raises(InputError, match="as many class names as it has classes.*Received: 7 names"):
        ForeignDetector(path, preprocessing=Preprocessing(classes=7))
    lone = without_names(network(LevelForm("yolox-levels", logits=True)), tmp_path / "yolox.tflite")
    with pytest.raises(ModelFileError, match=r"expected a known detection head.*yolox-levels: maps \[1, rows"):
        ForeignDetector(lone)  # 8 channels fit YOLOX alone, and might be anything
    assert ForeignDetector(lone, preprocessing=Preprocessing(head="yolox-levels")).read_as["head"] == "yolox-levels"


def test_a_map_that_is_no_sum_of_scores_is_not_taken_for_one(network, seen_by_change):
    form = LevelForm("yolov8-levels", "chw", apart=True, sums=True)
    assert [head.name for head in recognise(seen_by_change(form, lambda values: values))] == ["yolov8-levels"]
    changed = seen_by_change(form, lambda values: values * 0 if values.shape[1] == 1 else values)
    assert recognise(changed) == []


@pytest.fixture
def seen_by_change(network):
    """A function that looks at a file of a form as if its outputs were changed."""
    import dataclasses

    from edge.detectors.heads.look import input_form
    from edge.detectors.open_file import load
    from edge.tflite.read_metadata import read_metadata

    def change(form, by):
        path = network(form)
        interpreter = load(path, 1)
        found = look(
            interpreter,
            input_form(path, interpreter.get_input_details()),
            model=read_flatbuffer(path.read_bytes()),
            metadata=read_metadata(path),
        )
        outputs = tuple(dataclasses.replace(output, values=by(output.values)) for output in found.outputs)
        return dataclasses.replace(found, outputs=outputs)

    return change


def test_nothing_is_found_in_an_empty_picture_above_the_highest_score(network):
    detector = ForeignDetector(network(LevelForm("yolov8-levels", apart=True)))
    assert detector.detect(np.zeros((50, 60, 3), np.uint8), 0.999).boxes.shape == (0, 4)


def test_every_head_of_levels_has_a_form_that_is_compared():
    assert {form.head for form in FORMS} == set(KNOWN)
