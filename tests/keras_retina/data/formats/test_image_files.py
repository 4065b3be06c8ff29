from __future__ import annotations

import pytest

from keras_retina.data.formats.image_files import Found, ImageFinder, image_finder, nearest, unread_files
from keras_retina.data.formats.listing import walk_files


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    ("labelled", "name", "differs"),
    [
        ("a.jpg", "a.jpg", False),
        ("images/a.jpg", "a.jpg", False),  # with the name of the folder
        ("./a.jpg", "a.jpg", False),
        ("cam1\\b c.jpg", "cam1/b c.jpg", False),
        ("images\\cam1/b c.jpg", "cam1/b c.jpg", False),
        ("1/a.jpg", "a.jpg", True),
        ("/home/ann/photos/a.jpg", "a.jpg", True),
        ("/home/ann/images/cam1/b c.jpg", "cam1/b c.jpg", True),
        ("C:\\data\\a.jpg", "a.jpg", True),
        ("..\\..\\media\\upload\\4\\a.jpg", "a.jpg", True),
        ("cam1/b%20c.jpg", "cam1/b c.jpg", True),
        ("https://host:80/x/b%20c.jpg?token=1", "cam1/b c.jpg", True),
        ("/data/local-files/?d=set/images/a.jpg", "a.jpg", True),
        ("b c.jpg", "cam1/b c.jpg", True),  # the only one of that name
        ("A.JPG", "a.jpg", True),
        ("100%25.png", "100%25.png", False),  # on the disk as it stands
        ("what?.png", "what?.png", False),
    ],
)
def test_an_image_is_found_by_the_end_of_its_path(tmp_path, labelled, name, differs):
    touch(tmp_path / "images", "a.jpg", "cam1/b c.jpg", "cam1/c.jpg", "cam2/c.jpg", "100%25.png", "what?.png")
    assert ImageFinder(tmp_path / "images").find(labelled) == Found(name, True, differs)


@pytest.mark.parametrize("labelled", ["c.jpg", "C.JPG", "none.jpg", "../outside.jpg", "", "\0", "..", 300 * "a"])
def test_what_fits_twice_or_not_or_lies_outside_is_not_found(tmp_path, labelled):
    touch(tmp_path / "images", "cam1/c.jpg", "cam2/c.jpg", ".hidden/none.jpg")
    touch(tmp_path, "outside.jpg")
    assert not ImageFinder(tmp_path / "images").find(labelled).exists


def test_folders_in_the_name_choose_between_files_of_one_name(tmp_path):
    touch(tmp_path, "x/cam1/c.jpg", "x/cam2/c.jpg")
    assert ImageFinder(tmp_path).find("Cam2/c.jpg").name == "x/cam2/c.jpg"


def test_images_are_read_from_the_folder_that_has_most_of_them(tmp_path):
    touch(tmp_path, "one/a.jpg", "two/a.jpg", "two/b.jpg")
    folders = [tmp_path / name for name in ("none", "one", "two")]
    assert image_finder(folders, ["a.jpg", "b.jpg", "c.jpg"]).root == tmp_path / "two"
    assert image_finder(folders, ["a.jpg", "c.jpg"]).root == tmp_path / "one"
    assert image_finder(folders, []).root == tmp_path / "one"


def test_files_of_systems_and_tools_are_passed_over(tmp_path):
    kept = ["a.jpg", "b/c.jpg"]
    touch(tmp_path, *kept, "._a.jpg", "Thumbs.db", "b/desktop.ini", "__MACOSX/a.jpg", ".ipynb_checkpoints/a.jpg")
    assert [path.relative_to(tmp_path).as_posix() for path in walk_files(tmp_path)] == kept


def test_each_unused_image_and_label_is_named_once(tmp_path):
    touch(tmp_path, "a.jpg", "b.PNG", "c.json", "README.md", "masks/a.png")
    found = unread_files([tmp_path, tmp_path], {(tmp_path / "a.jpg").resolve()}, label_suffixes=(".json",), detail="x")
    assert [(item.kind, item.where, item.fixed) for item in found] == [
        ("unlabelled_image", str(tmp_path / "b.PNG"), True),
        ("stray_file", str(tmp_path / "c.json"), True),
    ]


def test_the_nearest_files_share_the_most_last_folders_in_any_case():
    paths = ["a.jpg", "cam1/a.jpg", "cam2/A.jpg", "night/CAM2/a.jpg"]
    assert nearest(paths, ("x", "cam2", "a.jpg")) == ["cam2/A.jpg", "night/CAM2/a.jpg"]
    assert nearest(paths, ("night", "cam2", "a.jpg")) == ["night/CAM2/a.jpg"]
    assert nearest(paths, ("a.jpg",)) == paths
    assert nearest([], ("a.jpg",)) == []
