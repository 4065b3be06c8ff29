from __future__ import annotations

import pytest

from keras_retina.data.formats.voc.lists import LabelFolder, find_lists, listed_entries
from keras_retina.foundation.errors import InputError


def label_folder(tmp_path, *stems):
    for stem in stems:
        file = tmp_path / "Annotations" / f"{stem}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return LabelFolder(tmp_path / "Annotations")


def entries(tmp_path, text, folder):
    (tmp_path / "train.txt").write_text(text, encoding="utf-8")
    return listed_entries(tmp_path / "train.txt", folder)


@pytest.mark.parametrize(
    ("line", "stem"),
    [
        ("a", "a"),
        ("a.jpg", "a"),
        ("a.JPG", "a"),
        ("a.xml", "a"),
        ('"photo 1"', "photo 1"),  # as CVAT writes it
        ("photo 1", "photo 1"),  # no flag
        ("a  1", "a"),
        ("a -1", "a"),
        ("photo 1 -1", "photo 1"),
        ("./JPEGImages/a.jpg", "a"),
        ("/home/ann/VOC2007/JPEGImages/a.jpg", "a"),
        ("images\\cam1\\b.jpg", "cam1/b"),
        ("JPEGImages/a.jpg Annotations/a.xml", "a"),
        ("images/other.jpg Annotations/a.xml", "a"),
        ("v1.2", "v1.2"),  # a name with a point, no suffix
    ],
)
def test_a_line_names_a_file_with_or_without_folder_suffix_and_flag(tmp_path, line, stem):
    folder = label_folder(tmp_path, "a", "cam1/b", "photo 1", "v1.2")
    (entry,), problems = entries(tmp_path, f"\n{line}\n", folder)
    assert (entry.stem, entry.file, problems) == (stem, tmp_path / "Annotations" / f"{stem}.xml", [])


def test_a_name_listed_twice_names_the_list_and_both_lines(tmp_path):
    kept, (found,) = entries(tmp_path, "a\nb\n\na.jpg\n", label_folder(tmp_path, "a", "b"))
    assert [entry.stem for entry in kept] == ["a", "b"]
    assert (found.kind, found.where, found.fixed) == ("image_listed_twice", f"{tmp_path}/train.txt: line 4", False)
    assert f"{tmp_path}/train.txt: line 1" in found.detail and ".xml" not in found.detail


@pytest.mark.parametrize("line", ["none", "../../none", "..", "\0", "A"])
def test_a_name_without_labels_is_refused_by_list_and_line(tmp_path, line):
    kept, (found,) = entries(tmp_path, f"a\n{line}\n", label_folder(tmp_path, "a"))
    assert [entry.stem for entry in kept] == ["a"]
    assert (found.kind, found.where, found.fixed) == ("missing_labels", f"{tmp_path}/train.txt: line 2", False)


def test_a_list_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "train.txt").write_bytes(b"a\n\xff\xfd\n")
    with pytest.raises(InputError, match=r"train\.txt: line 2: text in UTF-8"):
        listed_entries(tmp_path / "train.txt", label_folder(tmp_path, "a"))
    with pytest.raises(InputError, match=r"none\.txt: a list of image names"):
        listed_entries(tmp_path / "none.txt", label_folder(tmp_path, "a"))


def test_lists_of_one_class_are_no_splits(tmp_path):
    folder = tmp_path / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    (folder / "train.txt").write_text("a\n")
    (folder / "cat_train.txt").write_text("\na -1\n")
    (folder / "night_train.txt").write_text("b\n")
    (folder / "empty.txt").write_text("")
    (tmp_path / "ImageSets" / "Layout").mkdir()
    (tmp_path / "ImageSets" / "Layout" / "layout.txt").write_text("a 1\n")
    assert sorted(find_lists(tmp_path)) == ["empty", "night_train", "train"]


def test_lists_may_lie_in_image_sets_or_beside_the_folders(tmp_path):
    for name in ("trainval.txt", "val.txt", "classes.txt"):
        (tmp_path / name).write_text("a\n")
    assert sorted(find_lists(tmp_path)) == ["trainval", "val"]
    (tmp_path / "ImageSets").mkdir()
    (tmp_path / "ImageSets" / "test.txt").write_text("a\n")
    assert find_lists(tmp_path) == {"test": tmp_path / "ImageSets" / "test.txt"}
