from __future__ import annotations

import pytest
from PIL import Image

from keras_retina.data.formats.csv_file import csv_class_names, csv_splits, read_csv
from keras_retina.foundation.errors import InputError

HEADER = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def read(tmp_path, text, class_names=("cat", "dog"), folder="images", images=("a.png", "b.png")):
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    for name in images:
        Image.new("RGB", (200, 100)).save(tmp_path / folder / name)
    (tmp_path / "train.csv").write_text(text, encoding="utf-8")
    return read_csv(tmp_path / "train.csv", tmp_path, split="train", name="pets", class_names=class_names)


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
    ],
)
def test_every_style_gives_the_same_records(tmp_path, text):
    dataset = read(tmp_path, text)
    assert sorted(summary(dataset)) == EXPECTED
    assert dataset.class_names == ("cat", "dog") and dataset.category_ids == (1, 2)
    assert dataset.problems == ()


@pytest.mark.parametrize("folder", ["images/train", "images", "train", "."])
def test_images_are_found_in_the_usual_folders(tmp_path, folder):
    assert len(read(tmp_path, "a.png,20,10,50,40,dog\n", folder=folder).records) == 1


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
        ("a.png,200,100,cow,20,10,50,40", "unknown_category", False),
        ("a.png,300,100,cat,20,10,50,40", "size_mismatch", False),
        ("a.png,200,100,,,,,", "empty_row", True),
    ],
)
def test_problems_name_file_and_line(tmp_path, row, kind, fixed):
    (found,) = read(tmp_path, f"{HEADER}a.png,200,100,dog,1,2,3,4\n{row}\n").problems
    assert (found.kind, found.fixed, found.where) == (kind, fixed, f"{tmp_path / 'train.csv'}: line 3")


def test_empty_image_listed_twice_is_refused(tmp_path):
    assert [item.kind for item in read(tmp_path, "a.png,,,,,\na.png,,,,,\n").problems] == ["image_listed_twice"]


def test_paths_that_leave_the_folder_and_missing_files_are_refused(tmp_path):
    dataset = read(tmp_path, "a.png,1,2,3,4,cat\n../x.png,1,2,3,4,cat\n/etc/passwd,1,2,3,4,cat\nno.png,1,2,3,4,cat\n")
    assert [item.kind for item in dataset.problems] == ["unsafe_path", "unsafe_path", "missing_image"]
    assert len(dataset.records) == 1


@pytest.mark.parametrize("text", ["filename,class,xmin,ymin,xmax\na,b,1,2,3\n", "a,b,c\nd,e,f\n", 'a.png,"1,2,3\n'])
def test_what_is_no_label_table_is_refused_by_name(tmp_path, text):
    with pytest.raises(InputError, match=r"train\.csv: ") as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_empty_file_has_no_records(tmp_path):
    assert read(tmp_path, "").records == ()


def test_class_names_are_sorted_or_those_of_the_class_file(tmp_path):
    (tmp_path / "train_labels.csv").write_text("a.png,1,2,3,4,zebra\nb.png,,,,,\n")
    (tmp_path / "val.csv").write_text("a.png,1,2,3,4,ant\n")
    assert list(csv_splits(tmp_path)) == ["train", "val"]
    assert csv_class_names(tmp_path) == ("ant", "zebra")
    (tmp_path / "classes.csv").write_text("zebra,0\nant,1\n")
    assert list(csv_splits(tmp_path)) == ["train", "val"]
    assert csv_class_names(tmp_path) == ("zebra", "ant")


@pytest.mark.parametrize("text", ["zebra,0\nant,0\n", "zebra,0\nzebra,1\n", "zebra\n", "zebra,x\n", ",0\n"])
def test_bad_class_file_is_refused_by_line(tmp_path, text):
    (tmp_path / "classes.csv").write_text(text)
    with pytest.raises(InputError, match=r"classes\.csv: line [12]: name,id"):
        csv_class_names(tmp_path)
