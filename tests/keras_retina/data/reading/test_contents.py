"""A place without known labels is refused with what to do about it."""

from __future__ import annotations

import re

import pytest

from keras_retina.data.reading.contents import unknown_contents


def write(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.mark.parametrize(
    ("files", "advice"),
    [
        (("images/a.jpg", "README.txt"), "There are images and no labels: draw boxes"),
        (("train/cat/a.jpg", "val/dog/b.JPG"), "There are images and no labels: draw boxes"),
        (("classes.txt", "labels/a.txt"), r"There are no images: put them beside the labels, such as labels/a\.txt"),
        (("a.rar",), r"Unpack a\.rar, and give the folder"),
        (("images/a.jpg", "labels.7z"), r"Unpack labels\.7z, and give the folder"),
        (("image_2/a.png", "label_2/a.txt"), r"If label_2/a\.txt holds labels, convert them to COCO JSON or YOLO"),
        (("notes.docx",), r"Check the path\.$"),
    ],
)
def test_what_is_there_tells_what_to_do(tmp_path, files, advice):
    text = unknown_contents(write(tmp_path, *files))
    assert text.startswith("none of them, but ")
    assert re.search(advice, text), text


def test_an_empty_folder_and_files_of_the_system(tmp_path):
    assert unknown_contents(write(tmp_path, ".DS_Store", "__MACOSX/._a.jpg")) == "an empty folder. Check the path."


@pytest.mark.parametrize(
    ("file", "advice"),
    [
        ("a.7z", "Unpack it, and give the folder."),
        ("a.JPG", "Give the folder with the images and their labels."),
        ("a.parquet", "Give the data folder, or convert the labels to COCO JSON."),
    ],
)
def test_a_file_that_is_no_data(tmp_path, file, advice):
    assert unknown_contents(write(tmp_path, file) / file) == f"a file that is none of them. {advice}"


def test_names_with_control_characters_stay_one_line(tmp_path):
    assert "\n" not in unknown_contents(write(tmp_path, "a\nb.mat", "c.jpg"))
