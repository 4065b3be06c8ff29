from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.formats.image_files import ImageFinder
from keras_retina.data.formats.voc.labels import read_voc, voc_class_names
from keras_retina.data.formats.voc.lists import VocEntry
from keras_retina.data.formats.voc.xml_file import read_labels

OBJECT = """<object><name>{name}</name><difficult>1</difficult>
<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"""
SIZE = "<size><width>200</width><height>100</height><depth>3</depth></size>"


def one_object(name="cat", x1=20, y1=10, x2=50, y2=40):
    return OBJECT.format(name=name, x1=x1, y1=y1, x2=x2, y2=y2)


def write(tmp_path, image_name="a", objects="", size=SIZE, filename=None, database="Unknown", suffix=".png"):
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (200, 100)).save(tmp_path / "JPEGImages" / f"{image_name}{suffix}", format="PNG")
    filename = f"{image_name}{suffix}" if filename is None else filename
    (tmp_path / "Annotations" / f"{image_name}.xml").write_text(
        f"<annotation><filename>{filename}</filename><source><database>{database}</database></source>\n"
        f"{size}\n{objects}</annotation>"
    )


def entries(tmp_path, names):
    return [VocEntry(f"train.txt: {name}", name, tmp_path / "Annotations" / f"{name}.xml") for name in names]


def read(tmp_path, names=("a",), class_names=("cat", "dog"), boxes="auto"):
    return read_voc(
        entries(tmp_path, names),
        ImageFinder(tmp_path / "JPEGImages"),
        split="train",
        name="pets",
        class_names=class_names,
        labels_of=read_labels,
        boxes=boxes,
    )


def test_reads_boxes_and_empty_images(tmp_path):
    write(tmp_path, "a", one_object("dog") + one_object("cat", 1.5, 2, 3, 4))
    write(tmp_path, "b")
    dataset = read(tmp_path, ("b", "a"))
    assert dataset.class_names == ("cat", "dog") and dataset.category_ids == (1, 2)
    empty, record = dataset.records
    assert (empty.image_id, empty.file_name, len(empty.boxes)) == (1, "b.png", 0)
    assert (record.image_id, record.height, record.width) == (2, 100, 200)
    assert record.boxes.tolist() == [[10, 20, 40, 50], [2, 1.5, 4, 3]]
    assert record.classes.tolist() == [1, 0]
    assert not record.crowd.any() and dataset.problems == ()


def test_vocs_own_files_count_pixels_from_one(tmp_path):
    write(tmp_path, objects=one_object(x1=1, y1=1, x2=200, y2=100), database="The VOC2007 Database")
    assert read(tmp_path).records[0].boxes.tolist() == [[0, 0, 100, 200]]


@pytest.mark.parametrize(
    ("objects", "kind", "fixed"),
    [
        (one_object(x1=50, x2=20), "reversed_box", False),
        (one_object(x1=20, x2=20), "degenerate_box", True),
        (one_object(x2=220), "outside_box", True),
        (one_object() * 2, "duplicate_box", True),
        (one_object(x1="nan"), "invalid_box", False),
        (one_object(x1="inf"), "invalid_box", False),
        (one_object(x1=""), "invalid_box", False),
        (one_object(x1="2o"), "invalid_box", False),
        ("<object><name>cat</name></object>", "invalid_box", False),
        (one_object("cow"), "unknown_category", False),
        (one_object(""), "unknown_category", False),
    ],
)
def test_problems_of_boxes_name_file_and_line(tmp_path, objects, kind, fixed):
    write(tmp_path, objects=objects)
    (found,) = read(tmp_path).problems
    assert (found.kind, found.fixed) == (kind, fixed)
    line = 4 if kind == "duplicate_box" else 3  # an object takes two lines, its copy starts on the second
    assert found.where.startswith(f"{tmp_path / 'Annotations' / 'a.xml'}: line {line}: object")


def test_parts_of_an_object_are_no_objects(tmp_path):
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>"
    write(tmp_path, objects=one_object().replace("<bndbox>", f"{part}<bndbox>"))
    assert read(tmp_path).records[0].boxes.tolist() == [[10, 20, 40, 50]]


@pytest.mark.parametrize("size", ["", "<size><width>0</width><height>0</height></size>"])
def test_missing_size_is_taken_from_the_image(tmp_path, size):
    write(tmp_path, size=size)
    dataset = read(tmp_path)
    assert dataset.records[0].width == 200
    assert [(item.kind, item.fixed) for item in dataset.problems] == [("missing_size", True)]


def test_wrong_size_is_refused(tmp_path):
    write(tmp_path, size=SIZE.replace("200", "300"))
    assert [(item.kind, item.fixed) for item in read(tmp_path).problems] == [("size_mismatch", False)]


def test_image_goes_by_the_name_of_the_xml_file(tmp_path):
    write(tmp_path, filename="other.png")
    dataset = read(tmp_path)
    assert dataset.records[0].file_name == "a.png"
    assert [(item.kind, item.fixed) for item in dataset.problems] == [("file_name_differs", True)]


@pytest.mark.parametrize("filename", ["", "a", "a.png"])
def test_file_name_without_suffix_finds_the_image(tmp_path, filename):
    write(tmp_path, filename=filename, suffix=".PNG")
    dataset = read(tmp_path)
    assert dataset.records[0].file_name == "a.PNG"


@pytest.mark.parametrize("filename", ["../../secret.png", "/etc/passwd"])
def test_file_name_that_climbs_is_not_followed(tmp_path, filename):
    write(tmp_path, filename=filename)
    assert [record.file_name for record in read(tmp_path).records] == ["a.png"]


@pytest.mark.parametrize(
    ("filename", "image", "read_as", "kinds"),
    [
        ("photo.png", "photo.png", "photo.png", set()),  # no image has the name of the XML file
        ("images/a.png", "a.png", "a.png", set()),
        ("C:\\photos\\a.png", "a.png", "a.png", set()),
        ("a.jpg", "a.png", "a.png", {"file_name_differs"}),
        ("a.png", "A.PNG", "A.PNG", {"file_name_differs"}),
        ("a.png", "cam1/a.png", "cam1/a.png", set()),
        ("none.png", "z.png", None, {"missing_image"}),
    ],
)
def test_image_is_found_by_either_name(tmp_path, filename, image, read_as, kinds):
    write(tmp_path, filename=filename)
    file = tmp_path / "JPEGImages" / image
    file.parent.mkdir(exist_ok=True)
    (tmp_path / "JPEGImages" / "a.png").rename(file)
    dataset = read(tmp_path)
    assert [record.file_name for record in dataset.records] == ([read_as] if read_as else [])
    assert set(dataset.problem_counts()) == kinds


def test_of_two_images_with_one_name_the_labelled_one_is_read(tmp_path):
    write(tmp_path)
    Image.new("RGB", (200, 100)).save(tmp_path / "JPEGImages" / "a.jpg")
    assert read(tmp_path).records[0].file_name == "a.png"


@pytest.mark.parametrize("content", ["", "<annotation><object>", "<a></a>", "{}", "<annotation>&nbsp;</annotation>"])
def test_damaged_xml_is_a_problem_of_its_image_only(tmp_path, content):
    write(tmp_path, "a", one_object("dog"))
    write(tmp_path, "b")
    (tmp_path / "Annotations" / "b.xml").write_text(content)
    dataset = read(tmp_path, ("a", "b"))
    assert len(dataset.records) == 1
    assert [(item.kind, item.fixed) for item in dataset.problems] == [("unreadable_labels", False)]
    assert "b.xml" in dataset.problems[0].detail and dataset.problems[0].where == "train.txt: b"
    assert voc_class_names(entries(tmp_path, ("a", "b")), labels_of=read_labels) == ("dog",)


def test_shares_of_the_image_are_refused_until_somebody_says_that_they_are(tmp_path):
    write(tmp_path, objects=one_object(x1=0.1, y1=0.1, x2=0.25, y2=0.5))
    (found,) = read(tmp_path).problems
    assert (found.kind, found.fixed, found.where) == ("normalized_boxes", False, "pets: train")
    dataset = read(tmp_path, boxes="normalized")
    assert dataset.problems == ()
    np.testing.assert_allclose(dataset.records[0].boxes, [[10, 20, 50, 50]], rtol=1e-6)
    np.testing.assert_allclose(read(tmp_path, boxes="pixels").records[0].boxes, [[0.1, 0.1, 0.5, 0.25]], rtol=1e-6)
