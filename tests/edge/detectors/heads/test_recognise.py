"""Every form of every head is recognised; two readings are both named; and what is unknown is shown as it is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edge.detectors.foreign import ForeignDetector, Preprocessing
from edge.detectors.heads.look import InputForm, look
from edge.detectors.heads.postprocess import YOLO_ORDER, roles_by_values
from edge.detectors.heads.recognise import KNOWN, chosen, head_facts
from edge.detectors.open_file import opened
from edge.runtime import ModelFileError
from edge.tflite.flatbuffer import append_members, read_flatbuffer, write_flatbuffer
from edge.tflite.read_metadata import FileMetadata
from keras_retina.foundation.errors import InputError

peer_networks = pytest.importorskip("peer_networks")
Form, FORMS, NAMES = peer_networks.Form, peer_networks.FORMS, peer_networks.NAMES


def in_two_ways(form):
    return form.head.startswith("centernet") or form.head == "yolov5-nms" or form.order == YOLO_ORDER


def without_names(path, target):
    target.write_bytes(write_flatbuffer(read_flatbuffer(path.read_bytes())))
    return target


def renamed(path, target, names):
    """The file with another `metadata.json`."""
    flatbuffer = write_flatbuffer(read_flatbuffer(path.read_bytes()))
    target.write_bytes(append_members(flatbuffer, {"metadata.json": names}))
    return target


@pytest.mark.parametrize("form", [form for form in FORMS if not in_two_ways(form)], ids=lambda form: form.name)
def test_a_head_is_recognised_by_what_the_file_shows(network, form):
    detector = ForeignDetector(network(form))
    assert detector.read_as["head"] == form.head
    assert detector.class_names == NAMES
    assert ("NCHW [1, 3, 128, 192]" in detector.read_as["input"]) == form.nchw
    if form.head in ("yolov8", "yolov5", "yolo-nms"):
        assert detector.preprocessing.box_units == ("shares" if form.shares else "pixels")


@pytest.mark.parametrize(
    ("form", "heads"),
    [
        (Form("centernet"), ("centernet", "centernet-tf")),
        (Form("yolov5-nms", shares=True), ("postprocess", "yolov5-nms")),
    ],
)
def test_two_readings_are_both_named_and_an_option_chooses(network, form, heads):
    path = network(form)
    with pytest.raises(InputError, match=f"{heads[0]}: .*; or {heads[1]}: .* Say --head {heads[0]} or --head"):
        ForeignDetector(path)
    for head in heads:
        assert ForeignDetector(path, preprocessing=Preprocessing(head=head)).read_as["head"] == head


def test_the_number_of_names_tells_yolox_from_yolov8(network, tmp_path):
    """[1, n, 8] is 4 + 4 classes of YOLOv8, or 5 + 3 of YOLOX."""
    path = without_names(network(Form("yolox")), tmp_path / "unnamed.tflite")
    with pytest.raises(InputError, match="yolov8: .* 4 class scores.*; or yolox: .* 3 class scores"):
        ForeignDetector(path)
    for classes, head in ((4, "yolov8"), (3, "yolox")):
        assert ForeignDetector(path, preprocessing=Preprocessing(classes=classes)).read_as["head"] == head
    with pytest.raises(InputError, match="as many class names as it has classes, read as yolov8: .*Received: 7 names"):
        ForeignDetector(path, preprocessing=Preprocessing(classes=7))


def test_what_was_recognised_is_kept_for_the_next_opening(network):
    path = network(Form("yolov8", channels_first=True))
    first = ForeignDetector(path)
    assert first.preprocessing == Preprocessing(head="yolov8", box_units="pixels")
    again = ForeignDetector(path, preprocessing=first.preprocessing)
    assert (again.read_as, again.preprocessing) == (first.read_as, first.preprocessing)


def test_units_resize_and_channels_can_be_said(network):
    path = network(Form("yolov8", channels_first=True, shares=True))
    asked = Preprocessing(mean=10.0, std=2.0, resize="stretch", channels="bgr", box_units="pixels")
    detector = ForeignDetector(path, preprocessing=asked)
    assert detector.read_as["input"] == "float32, (pixel - 10) / 2, as given, blue first"
    assert (detector.read_as["resize"], detector.preprocessing.box_units) == ("stretch", "pixels")
    assert "in pixels" in detector.read_as["outputs"]


def test_a_head_that_does_not_fit_or_does_not_exist_is_refused(network):
    path = network(Form("fomo"))
    with pytest.raises(InputError, match=r"--head: expected outputs of yolov8: .*Received: .*float32 \[1, 16, 24, 4\]"):
        ForeignDetector(path, preprocessing=Preprocessing(head="yolov8"))
    with pytest.raises(InputError, match="--head: expected one of postprocess, .*Received: yolov9"):
        ForeignDetector(path, preprocessing=Preprocessing(head="yolov9"))


def test_another_task_is_named(network, tmp_path):
    path = network(Form("yolov8", channels_first=True))
    names = b'{"task": "segment", "names": {"0": "a", "1": "b", "2": "c"}}'
    with pytest.raises(ModelFileError, match="Received: task segment, in its metadata"):
        ForeignDetector(renamed(path, tmp_path / "segment.tflite", names))


def test_an_unknown_head_shows_names_shapes_types_and_ranges_and_what_is_known(write_tflite, tmp_path):
    tensors = {
        "image": ((1, 8, 8, 3), "float32", None),
        "shape": ((2,), "int32", [8, 24]),
        "strange": ((8, 24), "float32", None),
    }
    path = write_tflite(
        tmp_path / "strange.tflite",
        tensors,
        [("RESHAPE", 1, ["image", "shape"], ["strange"], schema.ReshapeOptionsT())],
    )
    with pytest.raises(ModelFileError) as caught:
        ForeignDetector(path)
    text = str(caught.value)
    assert "Received, for noise: float32 [8, 24] strange, 0.00" in text
    assert " to 0.99" in text
    assert all(f"{name}: " in text for name in KNOWN)
    assert "\n" not in text
    facts = head_facts(path)
    assert facts["readings"] == []
    assert facts["problem"] == text
    assert facts["seen"][0].startswith("float32 [8, 24] strange, ")


def test_inspection_names_both_readings_and_what_is_there(network, tmp_path):
    facts = head_facts(without_names(network(Form("yolox")), tmp_path / "unnamed.tflite"))
    assert [reading["name"] for reading in facts["readings"]] == ["yolov8", "yolox"]
    assert all("504 rows, one for each cell of strides 8, 16, 32" in reading["why"] for reading in facts["readings"])
    assert facts["seen"][0].startswith("float32 [1, 504, 8] ")
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(network(Form("yolox")).read_bytes()[:5000])
    assert str(cut) in head_facts(cut)["problem"]


def test_flex_operators_are_named(network, tmp_path):
    model = read_flatbuffer(network(Form("fomo")).read_bytes())
    softmax = model.operatorCodes[-1]
    softmax.builtinCode = softmax.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    softmax.customCode = b"FlexSoftmaxOfOurs"
    for operator in model.subgraphs[0].operators:
        if operator.opcodeIndex == len(model.operatorCodes) - 1:
            operator.builtinOptions, operator.builtinOptionsType = None, 0
    path = tmp_path / "flex.tflite"
    path.write_bytes(write_flatbuffer(model))
    with pytest.raises(ModelFileError, match=r"Received: TensorFlow's own, FlexSoftmaxOfOurs \(Flex\)"):
        opened(path)
    with pytest.raises(ModelFileError, match=r"FlexSoftmaxOfOurs"):
        ForeignDetector(path)


def test_a_pointer_of_git_lfs_is_called_one(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4\n")
    for refuse in (opened, ForeignDetector):
        with pytest.raises(
            ModelFileError, match="Received: a Git LFS pointer, 64 bytes that stand for it. Run git lfs"
        ):
            refuse(path)


def test_classes_and_scores_are_told_apart_by_their_values():
    boxes, count = np.zeros((1, 3, 4)), np.array([3.0])
    classes, scores = np.array([[0.0, 2, 1]]), np.array([[0.5, 0.9, 0]])
    assert roles_by_values([scores, count, boxes, classes]) == (
        ("scores", "count", "boxes", "classes"),
        "their positions: scores, count, boxes, classes",
    )
    assert roles_by_values([classes, count, boxes, classes]) is None
    assert roles_by_values([boxes, count, scores]) is None


def test_the_ends_of_rows_without_a_box_leave_units_open(network):
    """What YOLO gives for noise may be no box at all; then Ultralytics' shares are assumed, and that is said."""
    form = dataclasses.replace(Form("yolo-nms"), rows=30)
    model = read_flatbuffer(network(form).read_bytes())
    for buffer, tensor in ((model.buffers[tensor.buffer], tensor) for tensor in model.subgraphs[0].tensors):
        values = None if buffer.data is None else np.frombuffer(bytes(buffer.data), np.uint8)
        if values is not None and list(tensor.shape) == [1, 384, 1]:  # of the scores
            plan = values.view(np.float32).copy()
            plan[:] = np.where(plan == -2, -2000, 0)
            buffer.data = plan.view(np.uint8)
    path = network(form).with_name("no_box.tflite")
    names = {"metadata.json": b'{"names": ["a", "b", "c"]}'}
    path.write_bytes(append_members(write_flatbuffer(model), names))
    detector = ForeignDetector(path)
    assert "boxes in shares, assumed" in detector.read_as["outputs"]
    assert len(detector.detect(np.zeros((20, 30, 3), np.uint8), 0.01).boxes) == 0


class Unsteady:
    """An interpreter whose first run gives NaN, as LiteRT's does for some files; `later` are the runs after it."""

    def __init__(self, later):
        self.values = iter([np.full((1, 7, 336), np.nan, np.float32), *later])
        self.now = None

    def set_tensor(self, index, values):
        assert values.shape == (1, 128, 128, 3)

    def invoke(self):
        self.now = next(self.values)

    def get_output_details(self):
        return [{"name": "out", "dtype": np.float32, "index": 1, "quantization": (0.0, 0)}]

    def get_tensor(self, index):
        return self.now


@pytest.mark.parametrize(("later", "finite"), [(np.zeros((1, 7, 336), np.float32), True), (np.inf, False)])
def test_a_first_run_that_differs_is_told_and_the_second_counts(later, finite, tmp_path):
    later = np.broadcast_to(np.float32(later), (1, 7, 336))
    form = InputForm({"dtype": np.float32, "shape": np.array([1, 128, 128, 3]), "index": 0}, 128, 128, False)
    graph = schema.SubGraphT(operators=[], outputs=np.array([1], np.int32))
    seen = look(Unsteady([later]), form, model=schema.ModelT(subgraphs=[graph]), metadata=FileMetadata())
    assert not seen.steady
    assert np.isfinite(seen.outputs[0].values).all() == finite
    with pytest.raises(ModelFileError, match="a known detection head" if finite else "expected finite numbers"):
        chosen(tmp_path / "m.tflite", seen)
