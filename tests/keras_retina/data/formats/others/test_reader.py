from __future__ import annotations

import json
import sys

import pytest
from PIL import Image

from keras_retina.data.formats.others.reader import OTHER
from keras_retina.data.reading.folder import (
    available_splits,
    find_layout,
    load_dataset,
    load_split,
    open_folder,
    read_dataset,
)
from keras_retina.foundation.errors import InputError
from keras_retina.recipe.data import Data

TRAIN = {"a": [("dog", 20, 10, 50, 40), ("cat", 0, 0, 100, 100)], "b": []}
VAL = {"c": [("dog", 100, 50, 150, 100)]}


def write_images(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100)).save(path)


def labelme(image, boxes, **changes):
    shapes = [
        {"label": name, "points": [[x2, y2], [x1, y1]], "group_id": None, "shape_type": "rectangle", "flags": {}}
        for name, x1, y1, x2, y2 in boxes
    ]
    content = {"version": "5.0.1", "flags": {}, "shapes": shapes, "imagePath": image, "imageData": None}
    return json.dumps({**content, "imageHeight": 100, "imageWidth": 200, **changes})


def write_labelme(root):
    """Writes split folders with images in them; VAL has its labels in a folder of their own."""
    write_images(root, "train/a.png", "train/b.png", "val/images/c.png")
    for name, boxes in TRAIN.items():
        (root / "train" / f"{name}.json").write_text(labelme(f"{name}.png", boxes))
    (root / "val" / "json").mkdir()
    (root / "val" / "json" / "c.json").write_text(labelme("..\\images\\c.png", VAL["c"]))


def cvat(split, attribute=""):
    images, shape = "", "<box label='{}' source='manual' occluded='0' xtl='{}' ytl='{}' xbr='{}' ybr='{}'/>"
    for index, (name, boxes) in enumerate(split.items()):
        inside = "".join(shape.format(*box) for box in boxes)
        images += f'<image id="{index}" name="{name}.png" {attribute} width="200" height="100">{inside}</image>'
    return images


def cvat_file(images, labels=("dog", "cat")):
    names = "".join(f"<label><name>{name}</name><type>rectangle</type></label>" for name in labels)
    head = f'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n<meta><task><labels>{names}'
    return f"{head}</labels></task></meta>{images}</annotations>"


def write_cvat(root):
    """Writes the export of a project, whose images name their split."""
    write_images(root, "images/train/a.png", "images/train/b.png", "images/val/c.png")
    images = cvat(TRAIN, 'subset="train"') + cvat(VAL, 'subset="val"')
    (root / "annotations.xml").write_text(cvat_file(images))


def write_createml(root):
    write_images(root, "train/a.png", "train/b.png", "val/c.png")
    for split, images in (("train", TRAIN), ("val", VAL)):
        content = [
            {
                "image": f"{image}.png",
                "annotations": [
                    {
                        "label": name,
                        "coordinates": {
                            "x": (x1 + x2) / 2,
                            "y": (y1 + y2) / 2,
                            "width": x2 - x1,
                            "height": y2 - y1,
                        },
                    }
                    for name, x1, y1, x2, y2 in boxes
                ],
            }
            for image, boxes in images.items()
        ]
        (root / split / "_annotations.createml.json").write_text(json.dumps(content))


def via_regions(boxes):
    return [
        {
            "shape_attributes": {"name": "rect", "x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1},
            "region_attributes": {"class": name},
        }
        for name, x1, y1, x2, y2 in boxes
    ]


def write_via(root):
    """Writes an export for training, and a saved project whose regions are numbered, as in VIA 1, for validation."""
    write_images(root, "train/a.png", "train/b.png", "val/c.png")
    entries = {f"{n}.png1": {"filename": f"{n}.png", "size": 1, "regions": via_regions(b)} for n, b in TRAIN.items()}
    (root / "train" / "via_region_data.json").write_text(json.dumps(entries))
    regions = dict(enumerate(via_regions(VAL["c"])))
    project = {"_via_settings": {}, "_via_img_metadata": {"c.png1": {"filename": "c.png", "regions": regions}}}
    (root / "val" / "via_project.json").write_text(json.dumps(project))


WRITERS = {"LabelMe": write_labelme, "CVAT for images": write_cvat, "CreateML": write_createml, "VIA JSON": write_via}
each_kind = pytest.mark.parametrize("kind", WRITERS)


def write(kind, root):
    if kind in ("LabelMe", "CVAT for images"):
        pytest.importorskip("globox", reason="LabelMe and CVAT labels need globox (extra `formats`)")
    WRITERS[kind](root)


def boxes_of(dataset):
    return {
        record.path.stem: [
            (dataset.class_names[index], x1, y1, x2, y2)
            for index, (y1, x1, y2, x2) in zip(record.classes, record.boxes.tolist(), strict=True)
        ]
        for record in dataset.records
    }


@each_kind
def test_every_kind_gives_the_same_records(tmp_path, kind):
    write(kind, tmp_path)
    layout = find_layout(tmp_path)
    assert (layout.format, layout.kind) == ("other", kind)
    assert available_splits(tmp_path) == ["train", "val"]
    train, val = load_dataset(tmp_path, "train"), load_dataset(tmp_path, "val")
    assert boxes_of(train) == TRAIN and boxes_of(val) == VAL
    # CVAT says the order of the classes.
    assert train.class_names == val.class_names == (("dog", "cat") if kind.startswith("CVAT") else ("cat", "dog"))
    assert train.problems == val.problems == () and layout.unread() == []
    (record,) = val.records
    assert (record.height, record.width, record.boxes.dtype) == (100, 200, "float32")


@each_kind
def test_every_kind_is_found_in_a_folder_around_it(tmp_path, kind):
    write(kind, tmp_path / "export")
    assert boxes_of(load_dataset(tmp_path, "train")) == TRAIN


@each_kind
def test_a_missing_image_and_one_too_many_are_told(tmp_path, kind):
    write(kind, tmp_path)
    next(tmp_path.rglob("a.png")).rename(tmp_path / "left_over.png")
    dataset = read_dataset(tmp_path, "train")
    assert [(item.kind, item.fixed) for item in dataset.problems] == [("missing_image", False)]
    assert [(item.kind, item.where) for item in find_layout(tmp_path).unread()] == [
        ("unlabelled_image", str(tmp_path / "left_over.png"))
    ]


@each_kind
def test_a_file_that_is_cut_off_is_named(tmp_path, kind):
    write(kind, tmp_path)
    file = next(path for path in sorted(tmp_path.rglob("*")) if path.suffix in (".json", ".xml"))
    file.write_text(file.read_text()[:-2])
    with pytest.raises(
        InputError, match=rf"{file.name}: (a )?complete .* was expected.*(Is it|Is the file) cut off"
    ) as caught:
        load_dataset(tmp_path, "train")
    assert "\n" not in str(caught.value)


def test_a_file_alone_is_read(tmp_path):
    write_createml(tmp_path)
    file = tmp_path / "train" / "_annotations.createml.json"
    assert available_splits(file) == ["all"]
    assert boxes_of(load_dataset(file, "all")) == TRAIN


@pytest.mark.parametrize("kind", ["LabelMe", "CVAT for images"])
def test_without_the_library_one_line_says_how_to_get_it(tmp_path, kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "globox", None)
    WRITERS[kind](tmp_path)
    with pytest.raises(InputError, match=r"the package globox was expected.*pip install 'keras-retina\[formats\]'$"):
        load_dataset(tmp_path, "train")


@pytest.mark.parametrize(
    ("shape", "kind", "fixed"),
    [("circle", "unknown_shape", False), ("point", "shape_left_out", True), ("linestrip", "shape_left_out", True)],
)
def test_shapes_of_labelme_that_the_library_passes_over_are_told(tmp_path, shape, kind, fixed):
    pytest.importorskip("globox", reason="LabelMe labels need globox (extra `formats`)")
    write_images(tmp_path, "a.png")
    shapes = [
        {"label": "cat", "points": [[1, 1], [2, 2]], "shape_type": shape},
        {"label": "dog", "points": [[20, 10], [50, 20], [30, 40]], "shape_type": "polygon"},
    ]
    (tmp_path / "a.json").write_text(labelme("a.png", [], shapes=shapes))
    dataset = read_dataset(tmp_path, "all")
    assert boxes_of(dataset) == {"a": [("dog", 20, 10, 50, 40)]}
    (found,) = dataset.problems
    assert (found.kind, found.fixed, found.where) == (kind, fixed, f"{tmp_path / 'a.json'}: shapes[0]")


@pytest.mark.parametrize(
    ("shape", "kind", "fixed"),
    [
        ('<polygon label="cat" points="1,1;2,2;3,1"/>', "unknown_shape", False),
        ('<points label="cat" points="1,1"/>', "shape_left_out", True),
        ('<tag label="cat"/>', "shape_left_out", True),
        ('<box label="cat" xtl="1" ytl="1" xbr="9" ybr="9" rotation="30"/>', "rotated_box", False),
        ('<box label="cat" xtl="9" ytl="1" xbr="1" ybr="9"/>', "malformed_image", False),
        ('<box label="cat" xtl="9" ytl="1" xbr="x" ybr="9"/>', "malformed_image", False),
    ],
)
def test_shapes_of_cvat_that_the_library_passes_over_are_told(tmp_path, shape, kind, fixed):
    pytest.importorskip("globox", reason="CVAT labels need globox (extra `formats`)")
    write_images(tmp_path, "images/a.png")
    text = cvat_file(cvat({"a": [("dog", 20, 10, 50, 40)]}).replace("</image>", f"{shape}</image>"))
    (tmp_path / "annotations.xml").write_text(text)
    dataset = read_dataset(tmp_path, "all")
    assert [(item.kind, item.fixed) for item in dataset.problems] == [(kind, fixed)]
    assert dataset.problems[0].where == f"{tmp_path / 'annotations.xml'}: image 'a.png'"


def test_videos_of_cvat_and_entities_are_refused(tmp_path):
    pytest.importorskip("globox", reason="CVAT labels need globox (extra `formats`)")
    write_images(tmp_path, "images/a.png")
    (tmp_path / "annotations.xml").write_text(cvat_file('<track id="0" label="dog"></track>'))
    with pytest.raises(InputError, match=r"annotations\.xml: CVAT for images was expected\. Received: tracks"):
        load_dataset(tmp_path, "all")
    (tmp_path / "annotations.xml").write_text("<!DOCTYPE x []>\n" + cvat_file(cvat(VAL)))
    with pytest.raises(InputError, match=r"annotations\.xml: .*Received: a DOCTYPE"):
        load_dataset(tmp_path, "all")


def test_images_of_cvat_without_a_split_are_told(tmp_path):
    pytest.importorskip("globox", reason="CVAT labels need globox (extra `formats`)")
    write_images(tmp_path, "images/a.png", "images/b.png", "images/c.png")
    (tmp_path / "annotations.xml").write_text(cvat_file(cvat(TRAIN, 'subset="Train"') + cvat(VAL)))
    assert available_splits(tmp_path) == ["Train"]
    assert [(item.kind, item.where) for item in find_layout(tmp_path).unread()] == [
        ("not_in_any_split", f"{tmp_path / 'annotations.xml'}: image 'c.png'"),
        ("unlabelled_image", str(tmp_path / "images" / "c.png")),
    ]


@pytest.mark.parametrize(
    ("region", "kind", "fixed"),
    [
        ({"shape_attributes": {"name": "point", "cx": 1, "cy": 1}, "region_attributes": {}}, "shape_left_out", True),
        ({"shape_attributes": {"name": "rect", "x": 1}, "region_attributes": {}}, "invalid_box", False),
        ({"shape_attributes": via_regions(VAL["c"])[0]["shape_attributes"]}, "unknown_category", False),
        ("dog", "invalid_box", False),
    ],
)
def test_regions_of_via_that_give_no_box_are_told(tmp_path, region, kind, fixed):
    write_via(tmp_path)
    regions = [*via_regions(VAL["c"]), region]
    entries = {"c.png1": {"filename": "c.png", "regions": regions}}
    (tmp_path / "val" / "via_project.json").write_text(json.dumps({"_via_img_metadata": entries}))
    dataset = read_dataset(tmp_path, "val")
    assert boxes_of(dataset) == VAL
    assert [(item.kind, item.fixed) for item in dataset.problems] == [(kind, fixed)]


@pytest.mark.parametrize("annotation", [{}, {"label": "cat"}, {"label": "cat", "coordinates": {"x": 1}}, "cat", None])
def test_annotations_of_createml_without_a_box_are_told(tmp_path, annotation):
    write_createml(tmp_path)
    (file,) = (tmp_path / "val").glob("*.json")
    content = json.loads(file.read_text())
    content[0]["annotations"].append(annotation)
    file.write_text(json.dumps([*content, {"coordinates": 1}]))
    dataset = read_dataset(tmp_path, "val")
    assert boxes_of(dataset) == VAL
    assert [(item.kind, item.where, item.fixed) for item in dataset.problems] == [
        ("invalid_box", f"{file}: [0].annotations[1]", False),
        ("malformed_image", f"{file}: [1]", False),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("package.json", '{"name": "x", "version": "1.0", "flags": {}}'),
        ("labels.json", '{"images": [], "annotations": [], "categories": []}'),
        ("list.json", '[{"file": "a.png"}]'),
        ("a.xml", "<annotation><filename>a.png</filename></annotation>"),
        ("broken.json", "{"),
        ("empty.json", ""),
    ],
)
def test_files_of_other_tools_are_left_alone(tmp_path, name, text):
    write_images(tmp_path, "a.png")
    (tmp_path / name).write_text(text)
    assert OTHER.find(tmp_path) == [] and OTHER.find(tmp_path / name) == []


def test_shares_in_createml_are_one_problem_with_the_setting(tmp_path):
    write_images(tmp_path, "a.png")
    coordinates = {"x": 0.5, "y": 0.5, "width": 0.5, "height": 0.2}
    content = [{"imagefilename": "a.png", "annotation": [{"label": "dog", "coordinates": coordinates}]}]
    (tmp_path / "labels.json").write_text(json.dumps(content))
    (found,) = read_dataset(tmp_path, "all").problems
    assert (found.kind, found.fixed) == ("normalized_boxes", False) and "data.boxes=normalized" in found.detail
    dataset = load_split(open_folder(tmp_path, Data(boxes="normalized")), "all")
    assert dataset.records[0].boxes[0].tolist() == pytest.approx([40, 50, 60, 150])
