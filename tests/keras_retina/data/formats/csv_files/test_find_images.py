from __future__ import annotations

import pytest

from keras_retina.data.formats.csv_files.find_images import (
    SeveralFilesError,
    find_image,
    image_folder,
    image_folders,
)
from keras_retina.data.formats.image_files import list_images


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def find(root, name, *, split="train", folder="images"):
    found = find_image(name, root / folder, files=list_images(root), split=split)
    return None if found is None else ((found.folder / found.name).relative_to(root).as_posix(), found.name, found.how)


@pytest.mark.parametrize(
    ("name", "path", "relative", "how"),
    [
        ("a.jpg", "images/a.jpg", "a.jpg", "there"),
        ("x/b.png", "images/x/b.png", "x/b.png", "there"),
        ("x\\b.png", "images/x/b.png", "x/b.png", "there"),
        ("b.png", "images/x/b.png", "b.png", "there"),
        ("gs://bucket/images/x/b.png", "images/x/b.png", "images/x/b.png", "tail"),
        ("C:\\Users\\Ann\\x\\b.png", "images/x/b.png", "x/b.png", "tail"),
        ("/home/ann/b.png", "images/x/b.png", "b.png", "tail"),
        ("../images/a.jpg", "images/a.jpg", "images/a.jpg", "tail"),
        ("a", "images/a.jpg", "a.jpg", "suffix"),
        ("v1.2", "images/v1.2.jpg", "v1.2.jpg", "suffix"),
        ("A.JPG", "images/a.jpg", "a.jpg", "case"),
        ("X/B.png", "images/x/b.png", "x/b.png", "case"),
    ],
)
def test_one_file_fits(tmp_path, name, path, relative, how):
    make(tmp_path, "images/a.jpg", "images/x/b.png", "images/v1.2.jpg", ".trash/b.png", "b.txt")
    assert find(tmp_path, name) == (path, relative, how)


@pytest.mark.parametrize("name", ["", "/", "c.jpg", "a.png", "b", "/etc/passwd", "..", "\0"])
def test_no_file_fits(tmp_path, name):
    make(tmp_path, "images/a.jpg", "b.txt")
    assert find(tmp_path, name) is None


def test_the_folder_of_the_split_tells_files_apart(tmp_path):
    make(tmp_path, "train_images/1.jpg", "test_images/1.jpg", "old/1.jpg")
    assert find(tmp_path, "1")[0] == "train_images/1.jpg"
    assert find(tmp_path, "1", split="TEST")[0] == "test_images/1.jpg"
    with pytest.raises(SeveralFilesError, match=r"1\.jpg and "):
        find(tmp_path, "1", split="val")


def test_the_longest_end_that_is_the_same_counts(tmp_path):
    make(tmp_path, "one/cam/1.jpg", "two/cam/1.jpg")
    assert find(tmp_path, "/data/two/cam/1.jpg") == ("two/cam/1.jpg", "two/cam/1.jpg", "tail")


def test_letter_case_counts_where_both_are_there(tmp_path):
    make(tmp_path, "one/a.jpg", "one/A.jpg")
    assert find(tmp_path, "A.jpg") == ("one/A.jpg", "A.jpg", "there")


def test_folders_of_the_split_come_first(tmp_path):
    make(tmp_path, "images/valid/1.jpg", "images/train/1.jpg", "labels/val.csv")
    folders = image_folders(tmp_path, tmp_path / "labels", split="val")
    assert [path.relative_to(tmp_path).as_posix() for path in folders] == ["images/valid", "labels", "images", "."]
    assert image_folder(folders, ["1.jpg"]) == tmp_path / "images" / "valid"
    assert image_folder(folders, []) == tmp_path / "images" / "valid"
