from __future__ import annotations

import pytest

from keras_retina.data.formats.listing import (
    files_in,
    folders_in,
    is_image,
    is_visible,
    label_folders,
    list_folder,
    walk_files,
)


@pytest.fixture
def folder(tmp_path):
    """A folder with data, and with what systems and notebooks leave in it."""
    for name in ("b/a.jpg", "B2/x.json", "a.JPG", "Thumbs.db", ".DS_Store", "c.json", "__MACOSX/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    for name in (".ipynb_checkpoints", "lost+found", "d.json"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.jpg").touch()
    return tmp_path


def test_files_of_systems_are_no_data():
    assert not any(map(is_visible, (".git", "__MACOSX", "Thumbs.db", "desktop.ini", "$RECYCLE.BIN")))
    assert all(map(is_visible, ("thumbs.jpg", "macosx", "images", "_annotations.coco.json")))


def test_an_image_is_told_by_its_suffix():
    assert all(map(is_image, ("a.jpg", "b/a.PNG", "a.b.webp")))
    assert not any(map(is_image, ("a.txt", "jpg", "a.jpg.json")))


def test_a_folder_is_listed_by_name(folder):
    assert list_folder(folder) == list_folder(str(folder))
    assert list_folder(folder).files == ("a.JPG", "c.json")
    assert list_folder(folder).folders == ("B2", "b", "d.json")
    assert folders_in(folder) == [folder / "B2", folder / "b", folder / "d.json"]
    assert files_in(folder, (".json",)) == [folder / "c.json"]
    assert [path.relative_to(folder).as_posix() for path in walk_files(folder)] == [
        *("a.JPG", "c.json", "B2/x.json", "b/a.jpg", "d.json/a.jpg")
    ]


def test_what_is_no_folder_holds_nothing(folder):
    for place in (folder / "none", folder / "c.json"):
        assert (list_folder(place).files, list_folder(place).folders) == ((), ())
        assert folders_in(place) == files_in(place, (".json",)) == list(walk_files(place)) == []


def test_a_name_in_other_letters_is_found_where_it_is_the_only_one(folder):
    listed = list_folder(folder)
    assert (listed.file("a.jpg"), listed.file("C.JSON"), listed.file("b.jpg")) == ("a.JPG", "c.json", None)
    assert (listed.folder("b2"), listed.folder("B")) == ("B2", "b")
    (folder / "A.jpg").touch()
    assert list_folder(folder).file("a.jpg") is None
    assert list_folder(folder).file("A.jpg") == "A.jpg"


def test_folders_for_labels_and_splits_are_looked_into_two_deep(tmp_path):
    for name in ("train/labels/deep", "labels/val", "other/labels"):
        (tmp_path / name).mkdir(parents=True)
    found = label_folders(tmp_path, ("labels",), around=(), suffixes=(".csv",))
    assert [path.relative_to(tmp_path).as_posix() for path in found] == [
        *(".", "labels", "labels/val", "train", "train/labels")
    ]


def test_one_folder_around_all_of_the_data_is_left_to_be_opened(tmp_path):
    (tmp_path / "data").mkdir()
    assert label_folders(tmp_path, ("data",), around=("data",), suffixes=(".csv",)) == []
    assert label_folders(tmp_path, ("data",), around=(), suffixes=(".csv",)) == [tmp_path, tmp_path / "data"]
    (tmp_path / "a.csv").touch()
    assert label_folders(tmp_path, ("data",), around=("data",), suffixes=(".csv",)) == [tmp_path, tmp_path / "data"]
