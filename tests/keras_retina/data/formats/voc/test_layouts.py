"""Every layout in which VOC labels come, as their tools write them, read as a user reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from keras_retina.data.formats.voc import VOC, xml_file
from keras_retina.data.reading.folder import available_splits, find_layout, load_dataset, read_dataset
from keras_retina.foundation.errors import InputError

DOG = "<object><name>dog</name><bndbox><xmin>20</xmin><ymin>10</ymin><xmax>50</xmax><ymax>50.5</ymax></bndbox></object>"
CAT = "<object><name>cat</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>99</xmax><ymax>50</ymax></bndbox></object>"


def write_text(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def write(root, labels, image, objects=DOG):
    size = "<size><width>200</width><height>100</height><depth>3</depth></size>"
    name = Path(image).name
    content = f"<annotation><folder>x</folder><filename>{name}</filename><path>/home/ann/{name}</path>{size}{objects}"
    write_text(root / labels, f"{content}</annotation>")
    (root / image).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (200, 100)).save(root / image)


# name: (train labels, train image, val labels, val image, lists, kind)
SPLIT_LAYOUTS = {
    "Pascal VOC": (
        *("Annotations/a.xml", "JPEGImages/a.png", "Annotations/b.xml", "JPEGImages/b.png"),
        {"ImageSets/Main/train.txt": "a", "ImageSets/Main/val.txt": "b", "ImageSets/Main/cat_val.txt": "b 1"},
        "Pascal VOC",
    ),
    "lists without Main": (
        *("Annotations/a.xml", "JPEGImages/a.png", "Annotations/b.xml", "JPEGImages/b.png"),
        {"ImageSets/train.txt": "a.png", "ImageSets/val.txt": "JPEGImages/b.png"},
        "Pascal VOC",
    ),
    "lists beside the folders": (
        *("annotations/xmls/a.xml", "images/a.png", "annotations/xmls/b.xml", "images/b.png"),
        {"train.txt": "images/a.png annotations/xmls/a.xml", "val.txt": "images/b.png annotations/xmls/b.xml"},
        "Pascal VOC",
    ),
    "Roboflow": ("train/a.xml", "train/a.png", "valid/b.xml", "valid/b.png", {}, "Roboflow VOC"),
    "folders in split folders": (
        *("train/annotations/a.xml", "train/images/a.png", "val/Annotations/a.xml", "val/JPEGImages/a.png"),
        *({}, "VOC in split folders"),
    ),
    "split folders in folders": (
        *("Annotations/train/a.xml", "Images/train/a.png", "Annotations/val/a.xml", "Images/val/a.png"),
        *({}, "VOC with label folders"),
    ),
    "split folders of images": ("images/train/a.xml", "images/train/a.png", "images/test/b.xml", "images/test/b.png")
    + ({"data/label_map.pbtxt": ""}, "Roboflow VOC"),
}

WHOLE_LAYOUTS = {
    "LabelImg": ("a.xml", "a.png", "LabelImg VOC"),
    "LabelImg in a folder of images": ("images/a.xml", "images/a.png", "LabelImg VOC"),
    "LabelImg with frames in folders": ("cam1/a.xml", "cam1/a.png", "LabelImg VOC"),
    "two folders": ("annotations/a.xml", "images/a.png", "VOC without lists"),
    "other letter case": ("ANNOTATIONS/a.XML", "IMAGES/a.png", "VOC without lists"),
    "xmls": ("xmls/a.xml", "img/a.png", "VOC without lists"),
    "labels": ("labels/a.xml", "images/a.png", "VOC without lists"),
    "frames in folders": ("Annotations/cam1/a.xml", "JPEGImages/cam1/a.png", "VOC without lists"),
    "images on top": ("Annotations/a.xml", "a.png", "VOC without lists"),
    "other image folder": ("Annotations/a.xml", "my photos/a.png", "VOC without lists"),
}


@pytest.mark.parametrize("layout", SPLIT_LAYOUTS)
def test_layouts_with_splits(tmp_path, layout):
    train_labels, train_image, other_labels, other_image, lists, kind = SPLIT_LAYOUTS[layout]
    write(tmp_path, train_labels, train_image)
    write(tmp_path, other_labels, other_image, objects=CAT)
    for name, text in lists.items():
        write_text(tmp_path / name, text)
    layout = find_layout(tmp_path)
    assert layout.kind == kind and len(layout.splits) == 2
    other = "test" if "test" in layout.splits else "val"
    for split, image, box, index in (
        ("train", train_image, [10, 20, 50.5, 50], 1),
        (other, other_image, [0, 0, 50, 99], 0),
    ):
        dataset = load_dataset(tmp_path, split)
        assert dataset.class_names == ("cat", "dog") and dataset.problems == ()
        (record,) = dataset.records
        assert record.path.samefile(tmp_path / image)
        assert record.boxes.tolist() == [box] and record.classes.tolist() == [index]
    assert layout.unread() == []


@pytest.mark.parametrize("layout", WHOLE_LAYOUTS)
def test_layouts_without_splits(tmp_path, layout):
    labels, image, kind = WHOLE_LAYOUTS[layout]
    write(tmp_path, labels, image)
    write(tmp_path, labels.replace("a.", "c."), image.replace("a.", "c."), objects="")
    (tmp_path / "README.txt").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / ".ipynb_checkpoints").mkdir()
    assert find_layout(tmp_path).kind == kind
    assert available_splits(tmp_path) == ["all"]
    dataset = load_dataset(tmp_path, "all")
    assert dataset.problems == ()
    assert [record.path.name for record in dataset.records] == ["a.png", "c.png"]
    assert dataset.records[0].boxes.tolist() == [[10, 20, 50.5, 50]] and len(dataset.records[1].boxes) == 0
    assert find_layout(tmp_path).unread() == []


def test_the_one_list_of_cvat_is_no_split(tmp_path):
    write(tmp_path, "Annotations/a.xml", "JPEGImages/a.png")
    write_text(tmp_path / "ImageSets" / "Main" / "default.txt", "a\n")
    assert available_splits(tmp_path) == ["all"]
    assert len(load_dataset(tmp_path, "all").records) == 1


@pytest.mark.parametrize(
    "roots",
    [
        ("VOCdevkit/VOC2007", "VOCdevkit/VOC2012"),
        ("VOC2007", "VOC2012"),
        ("VOCtrainval_06-Nov-2007/VOCdevkit/VOC2007", "VOCtrainval_11-May-2012/VOCdevkit/VOC2012"),
    ],
)
def test_two_years_are_two_ways_to_read(tmp_path, roots):
    for root, name in zip(roots, ("a", "b"), strict=True):
        write(tmp_path / root, f"Annotations/{name}.xml", f"JPEGImages/{name}.png")
        for split in ("train", "trainval"):
            write_text(tmp_path / root / "ImageSets" / "Main" / f"{split}.txt", name)
    with pytest.raises(InputError, match="Received: VOC2007 and VOC2012.*data.format='VOC2007', or 'VOC2012'"):
        load_dataset(tmp_path, "train")
    dataset = load_dataset(tmp_path, "trainval", format="VOC2012")
    assert dataset.name == "VOC2012" and [record.file_name for record in dataset.records] == ["b.png"]
    assert [record.file_name for record in load_dataset(tmp_path / roots[0], "train").records] == ["a.png"]


def test_one_year_beside_other_folders_is_read(tmp_path):
    write(tmp_path, "VOCdevkit/VOC2007/Annotations/a.xml", "VOCdevkit/VOC2007/JPEGImages/a.png")
    write_text(tmp_path / "VOCdevkit/VOC2007/ImageSets/Main/train.txt", "a")
    (tmp_path / "VOCdevkit" / "VOCcode").mkdir()
    assert len(load_dataset(tmp_path, "train").records) == 1


def test_what_is_not_read_is_named(tmp_path):
    write(tmp_path, "Annotations/a.xml", "JPEGImages/a.png")
    write(tmp_path, "Annotations/b.xml", "JPEGImages/b.png")
    write(tmp_path, "Annotations/c.xml", "JPEGImages/c.png")
    write(tmp_path, "old/d.xml", "JPEGImages/d.png")
    (tmp_path / "JPEGImages" / "c.png").unlink()
    write_text(tmp_path / "ImageSets" / "Main" / "train.txt", "a")
    found = find_layout(tmp_path).unread()
    assert [(item.kind, Path(item.where).name, item.fixed) for item in found] == [
        ("not_in_any_split", "b.xml", True),
        ("label_without_image", "c.xml", True),
        ("unlabelled_image", "d.png", True),
        ("stray_file", "d.xml", True),
    ]


def test_each_file_is_parsed_once_for_a_split_and_damage_is_told_once(tmp_path, monkeypatch):
    for name in ("a", "b"):
        write(tmp_path, f"Annotations/{name}.xml", f"JPEGImages/{name}.png")
        write_text(tmp_path / "ImageSets" / "Main" / f"{name}.txt", name)
    write_text(tmp_path / "Annotations" / "b.xml", "<annotation>")
    parsed = []
    read_xml = xml_file.read_xml
    monkeypatch.setattr(xml_file, "read_xml", lambda file: parsed.append(file.name) or read_xml(file))
    assert read_dataset(tmp_path, "b").problem_counts() == {"unreadable_labels": 1}
    assert sorted(parsed) == ["a.xml", "b.xml"]


@pytest.mark.parametrize(
    "files",
    [
        {"annotations/a.json": "{}"},
        {"annotations.xml": "<annotations></annotations>", "a.jpg": ""},
        {"labels/a.txt": "0 0.5 0.5 1 1", "images/a.jpg": ""},
        {"voc/Annotations/a.xml": "<annotation></annotation>", "images/a.jpg": ""},
    ],
)
def test_folders_of_other_formats_are_not_voc(tmp_path, files):
    for name, content in files.items():
        write_text(tmp_path / name, content)
    assert VOC.find(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda root: (root / "images" / "a.png").unlink(), r"a\.xml: an image file in .*images was expected"),
        (lambda root: (root / "annotations" / "a.xml").write_text(""), r"a\.xml: .*complete XML was expected"),
    ],
)
def test_a_broken_folder_names_the_file(tmp_path, change, message):
    write(tmp_path, "annotations/a.xml", "images/a.png")
    change(tmp_path)
    with pytest.raises(InputError, match=message):
        load_dataset(tmp_path, "all")


def test_label_folders_named_after_splits_find_the_images_of_their_split(tmp_path):
    write(tmp_path, "train_annotations/1.xml", "train/1.png", DOG)
    write(tmp_path, "val_annotations/1.xml", "val/1.png", CAT)
    assert available_splits(tmp_path) == ["train", "val"]
    for split in ("train", "val"):
        (record,) = load_dataset(tmp_path, split).records
        assert record.path.parent.name == split
    assert find_layout(tmp_path).unread() == []


def test_folders_of_which_only_some_name_a_split_are_one_set(tmp_path):
    write(tmp_path, "night_train/1.xml", "night_train/1.png")
    write(tmp_path, "day/2.xml", "day/2.png")
    assert available_splits(tmp_path) == ["all"]
    assert len(load_dataset(tmp_path, "all").records) == 2
