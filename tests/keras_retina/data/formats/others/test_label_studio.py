"""Label Studio's JSON, JSON-MIN and CSV hold percentages; each gives the same boxes in pixels of 200 x 100 images."""

from __future__ import annotations

import csv
import io
import json

import pytest
from PIL import Image

from keras_retina.data.formats.others.label_studio import without_upload
from keras_retina.data.reading.folder import find_layout, load_dataset, read_dataset

SIZE = {"original_width": 200, "original_height": 100}
DOG = {"x": 10, "y": 20, "width": 15, "height": 30, "rotation": 0, "rectanglelabels": ["dog"]}
CAT = {"points": [[0, 0], [50, 10], [25, 40]], "closed": True, "polygonlabels": ["cat"]}
BOXES = [("dog", 20, 20, 50, 50), ("cat", 0, 0, 100, 40)]
ADDRESSES = {"a.png": "/data/upload/1/1a2b3c4d-a.png", "b ü.png": "/data/local-files/?d=photos/b%20%C3%BC.png"}


def write_images(root, names=ADDRESSES):
    (root / "images").mkdir(parents=True)
    for name in names:
        Image.new("RGB", (200, 100)).save(root / "images" / name)


def as_json(shapes):
    results = [{"type": "x", "from_name": "label", **SIZE, "value": shape} for shape in shapes]
    return [
        {"id": number, "annotations": [{"was_cancelled": False, "result": results if number == 0 else []}],
         "data": {"image": address}}
        for number, address in enumerate(ADDRESSES.values())
    ]  # fmt: skip


def as_json_min(shapes):
    return [
        {"image": address, "id": number, "annotator": 1, "lead_time": 2.5,
         **({"label": [{**shape, **SIZE} for shape in shapes]} if number == 0 else {})}
        for number, address in enumerate(ADDRESSES.values())
    ]  # fmt: skip


def as_csv(shapes):
    text = io.StringIO()
    writer = csv.DictWriter(text, ["image", "id", "label", "annotator", "annotation_id", "lead_time"])
    writer.writeheader()
    for task in as_json_min(shapes):
        writer.writerow({**task, "label": json.dumps(task["label"]) if "label" in task else ""})
    return text.getvalue()


def write(root, form, shapes):
    write_images(root)
    texts = {"json": json.dumps(as_json(shapes)), "min": json.dumps(as_json_min(shapes)), "csv": as_csv(shapes)}
    (root / f"project-1.{'csv' if form == 'csv' else 'json'}").write_text(texts[form], encoding="utf-8")


each_form = pytest.mark.parametrize("form", ["json", "min", "csv"])


@each_form
def test_every_export_gives_the_same_boxes(tmp_path, form):
    write(tmp_path, form, [DOG, CAT])
    layout = find_layout(tmp_path)
    assert (layout.kind, layout.splits) == (f"Label Studio {'CSV' if form == 'csv' else 'JSON'}", ("all",))
    dataset = load_dataset(tmp_path, "all")
    assert dataset.class_names == ("cat", "dog")
    labelled, empty = dataset.records
    found = [
        (dataset.class_names[index], x1, y1, x2, y2)
        for index, (y1, x1, y2, x2) in zip(labelled.classes, labelled.boxes.tolist(), strict=True)
    ]
    assert found == BOXES and len(empty.boxes) == 0
    assert (labelled.path.name, empty.path.name) == ("a.png", "b ü.png")
    assert layout.unread() == []


@each_form
def test_shapes_that_are_no_boxes_are_told(tmp_path, form):
    turned = {**DOG, "rotation": 30}
    brush = {"format": "rle", "rle": [1, 2], "brushlabels": ["dog"]}
    write(tmp_path, form, [DOG, turned, brush, {"x": 1, "y": 2, "keypointlabels": ["eye"]}, {**DOG, "x": None}])
    problems = read_dataset(tmp_path, "all").problems
    kinds = {item.kind: item.fixed for item in problems if item.kind != "file_name_differs"}
    assert kinds == {"rotated_box": False, "unknown_shape": False, "shape_left_out": True, "invalid_box": False}


def test_of_several_annotations_the_first_that_was_not_cancelled_is_read_and_counted(tmp_path):
    write_images(tmp_path)
    tasks = as_json([DOG])
    kept = tasks[0]["annotations"][0]
    tasks[0]["annotations"] = [{**kept, "was_cancelled": True, "result": []}, kept, {**kept, "result": []}]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    dataset = load_dataset(tmp_path, "all")
    assert len(dataset.records[0].boxes) == 1
    assert dataset.problem_counts()["several_annotations"] == 1


def test_the_name_before_the_upload():
    assert without_upload("data/upload/1/1a2b3c4d-cat.jpg") == "data/upload/1/cat.jpg"
    assert without_upload("cat-1.jpg") == "cat-1.jpg"
