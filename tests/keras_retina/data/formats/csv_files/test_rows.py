from __future__ import annotations

import pytest
from PIL import Image

from keras_retina.data.formats.csv_files.reader import CSV
from keras_retina.data.reading.folder import read_dataset
from keras_retina.data.records import Reading
from keras_retina.foundation.errors import InputError

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def write(tmp_path, text, folder="images", images=("a.png", "b.png")):
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name in images:
        Image.new("RGB", (200, 100)).save(tmp_path / folder / name)
    (tmp_path / "train.csv").write_text(text, encoding="utf-8")


def read(tmp_path, text, *, boxes="auto", **places):
    write(tmp_path, text, **places)
    (layout,) = CSV.find(tmp_path)
    return layout.read("train", Reading(boxes=boxes))


def summary(dataset):
    return [(record.file_name, record.boxes.tolist(), record.classes.tolist()) for record in dataset.records]


EXPECTED = [("a.png", [[10, 20, 40, 50], [1, 2, 3, 4]], [1, 0]), ("b.png", [], [])]


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "a.png,200,100,dog,20,10,50,40\nb.png,200,100,,,,,\na.png,200,100,cat,2,1,4,3\n",
        "\ufeff" + HEADER.replace(",", ";") + "a.png;200;100;dog;20;10;50;40\nb.png\na.png;200;100;cat;2;1;4;3\n",
        "class,image_path,x1,y1,x2,y2\ndog,a.png,20,10,50,40\ncat,a.png,2,1,4,3\n,b.png,,,,\n",
        "a.png,20,10,50,40,dog\na.png,2,1,4,3,cat\nb.png,,,,,\n",
        "b.png,,,,,\n\na.png, 20, 10, 50, 40, dog\na.png,2,1,4,3,cat\n",
        '"a.png","20","10","50","40","dog"\r\na.png,2,1,4,3,cat\r\nb.png\r\n',
        "File Name\tX Min\tY Min\tX Max\tY Max\tLabel\n"
        "a.png\t20\t10\t50\t40\tdog\na.png\t2\t1\t4\t3\tcat\nb.png\t\t\t\t\t\n",
        "img|x0|y0|x1|y1|label\na.png|20|10|50|40|dog\na.png|2|1|4|3|cat\nb.png|nan|nan|nan|nan|nan\n",
        "image_id,x,y,w,h,class\na.png,20,10,30,30,dog\na.png,2,1,2,2,cat\nb.png,,,,,\n",
        "image,label,left,width,top,height\na.png,dog,20,30,10,30\na.png,cat,2,2,1,2\nb.png,,,,,\n",
        "image,label,x_center,y_center,width,height\na.png,dog,35,25,30,30\na.png,cat,3,2,2,2\nb.png,,,,,\n",
        "image;class;xmin;ymin;xmax;ymax\na.png;dog;20,0;10,0;50,0;40,0\na.png;cat;2,0;1,0;4,0;3,0\nb.png;;;;;\n",
        'image_id,width,height,bbox,label\na.png,200,100,"[20.0, 10.0, 30.0, 30.0]",dog\n'
        'a.png,200,100,"[2, 1, 2, 2]",cat\nb.png,200,100,,\n',
        "image_name,BoxesString,class\na.png,20 10 50 40,dog\na.png,2 1 4 3,cat\nb.png,no_box,\n",
    ],
)
def test_every_style_gives_the_same_records(tmp_path, text):
    dataset = read(tmp_path, text)
    assert sorted(summary(dataset)) == EXPECTED
    assert dataset.class_names == ("cat", "dog") and dataset.category_ids == (1, 2)
    assert dataset.problems == ()


def test_decimal_commas_are_numbers_between_semicolons(tmp_path):
    dataset = read(tmp_path, "a.png;20,5;10,25;50,5;40,75;dog\n")
    assert summary(dataset) == [("a.png", [[10.25, 20.5, 40.75, 50.5]], [0])]


def test_several_boxes_in_a_cell(tmp_path):
    dataset = read(tmp_path, "image_name,BoxesString,domain\na.png,20 10 50 40;2 1 4 3,1\nb.png,no_box,2\n")
    assert summary(dataset) == [("a.png", [[10, 20, 40, 50], [1, 2, 3, 4]], [0, 0]), ("b.png", [], [])]
    assert dataset.class_names == ("object",)
    assert [(item.kind, item.fixed) for item in dataset.problems] == [("no_class_column", True)]


@pytest.mark.parametrize("folder", ["images/train", "images", "train", ".", "photos", "train_images"])
def test_images_are_found_in_any_folder(tmp_path, folder):
    dataset = read(tmp_path, "a.png,20,10,50,40,dog\n", folder=folder)
    assert len(dataset.records) == 1 and dataset.problems == ()


@pytest.mark.parametrize(
    ("row", "kind", "fixed"),
    [
        ("a.png,200,100,cat,50,10,20,40", "reversed_box", False),
        ("a.png,200,100,cat,20,10,20,40", "degenerate_box", True),
        ("a.png,200,100,cat,20,10,250,40", "outside_box", True),
        ("a.png,200,100,dog,1,2,3,4", "duplicate_box", True),
        ("a.png,200,100,cat,nan,10,50,40", "invalid_box", False),
        ("a.png,200,100,cat,,10,50,40", "invalid_box", False),
        ("a.png,200,100,cat,,,,", "invalid_box", False),
        ("a.png,200,100,,20,10,50,40", "unknown_category", False),
        ("a.png,300,100,cat,20,10,50,40", "size_mismatch", False),
        ("a.png,200,100,,,,,", "empty_row", True),
    ],
)
def test_problems_name_file_and_line(tmp_path, row, kind, fixed):
    (found,) = read(tmp_path, f"{HEADER}a.png,200,100,dog,1,2,3,4\n{row}\n").problems
    assert (found.kind, found.fixed, found.where) == (kind, fixed, f"{tmp_path / 'train.csv'}: line 3")


def test_class_that_the_class_file_lacks_is_refused(tmp_path):
    (tmp_path / "classes.csv").write_text("cat,0\ndog,1\n")
    (found,) = read(tmp_path, "a.png,20,10,50,40,cow\n").problems
    assert (found.kind, found.fixed, found.where) == ("unknown_category", False, f"{tmp_path / 'train.csv'}: line 1")


def test_empty_image_listed_twice_is_refused(tmp_path):
    assert [item.kind for item in read(tmp_path, "a.png,,,,,\na.png,,,,,\n").problems] == ["image_listed_twice"]


def test_paths_that_leave_the_folder_and_missing_files_are_refused(tmp_path):
    dataset = read(tmp_path, "a.png,1,2,3,4,cat\n../x.png,1,2,3,4,cat\n/etc/passwd,1,2,3,4,cat\nno.png,1,2,3,4,cat\n")
    assert [item.kind for item in dataset.problems] == ["unsafe_path", "unsafe_path", "missing_image"]
    assert len(dataset.records) == 1


BOXES_IN_SHARES = "image,class,xmin,ymin,xmax,ymax\na.png,dog,0.1,0.1,0.25,0.4\n"


def test_boxes_in_shares_where_pixels_are_meant_are_one_problem_with_the_setting(tmp_path):
    dataset = read(tmp_path, BOXES_IN_SHARES)
    (found,) = dataset.problems
    assert (found.kind, found.fixed, dataset.records) == ("normalized_boxes", False, ())
    assert found.where == str(tmp_path / "train.csv") and "--set data.boxes=normalized" in found.detail


@pytest.mark.parametrize(
    "text",
    [
        BOXES_IN_SHARES,
        "a.png,0.1,0.1,0.25,0.4,dog\n",
        "image,class,x,y,w,h\na.png,dog,0.1,0.1,0.15,0.3\n",
        'image,class,bbox\na.png,dog,"[0.1, 0.1, 0.15, 0.3]"\na.png,dog,"[0.6, 0.1, 0.1, 0.3]"\n',
    ],
)
def test_the_setting_turns_shares_into_pixels(tmp_path, text):
    dataset = read(tmp_path, text, boxes="normalized")
    assert dataset.records[0].boxes[0].tolist() == pytest.approx([10, 20, 40, 50])
    assert dataset.problems == ()


def test_pixels_are_obeyed_too(tmp_path):
    dataset = read(tmp_path, "a.png,0,0,1,1,dog\n", boxes="pixels")
    assert summary(dataset) == [("a.png", [[0, 0, 1, 1]], [0])]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('a.png,1,2,3,4,cat\na.png,"1,2,3\n', "line 2: rows of CSV were expected"),
        ("a.png,1,2,3,4,\xe9\n", "line 1: text in UTF-8"),
    ],
)
def test_damaged_file_is_refused_by_line(tmp_path, text, line):
    write(tmp_path, text)
    (tmp_path / "train.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=rf"train\.csv: {line}") as caught:
        read_dataset(tmp_path, "train")
    assert "\n" not in str(caught.value)


def test_utf16_of_a_spreadsheet_is_read(tmp_path):
    write(tmp_path, "")
    (tmp_path / "train.csv").write_bytes("a.png\t20\t10\t50\t40\télan\n".encode("utf-16"))
    assert read_dataset(tmp_path, "train").class_names == ("élan",)
