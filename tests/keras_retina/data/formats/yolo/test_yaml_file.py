from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from keras_retina.data.reading.folder import available_splits, find_layout, load_dataset, read_dataset
from keras_retina.foundation.errors import InputError

NAMES = "names: [cat, dog]\n"
MIDDLE = [[30, 80, 70, 120]]  # of `1 0.5 0.5 0.2 0.4` in 200 x 100 pixels


def split_folders(pairs, *, split_first):
    files = {}
    for split in ("train", "val"):
        for name in ("b", "a"):
            image, label = (
                (f"{split}/images", f"{split}/labels") if split_first else (f"images/{split}", f"labels/{split}")
            )
            files |= pairs(f"{image}/{name}.jpg", f"{label}/{name}.txt")
    return files


def check(data, names=("a.jpg", "b.jpg"), splits=("train", "val")):
    assert available_splits(data) == list(splits)
    for split in splits:
        dataset = load_dataset(data, split)
        assert dataset.class_names == ("cat", "dog") and dataset.problems == ()
        assert [record.path.name for record in dataset.records] == list(names)
        for record in dataset.records:
            assert record.path.is_file()
            np.testing.assert_allclose(record.boxes, MIDDLE, atol=1e-4)
            assert record.classes.tolist() == [1]


@pytest.mark.parametrize(
    "paths",
    [
        "train: images/train\nval: images/val",
        "train: ./images/train/\nval: images/val/",
        "path: .\ntrain: images/train\nval: images/val",
        "path: ../datasets/pets\ntrain: images/train\nval: images/val",  # Ultralytics, moved
        "path: /content/datasets/pets\ntrain: images/train\nval: images/val",
        "train: /kaggle/input/pets/images/train\nval: /kaggle/input/pets/images/val",
        "train: 'C:\\Users\\ann\\pets\\images\\train'\nval: 'C:\\Users\\ann\\pets\\images\\val'",
        "train: ../images/train\nval: ../images/val",
        "train: [images/train]\nval: [images/val]",
        "train: images/train/*.jpg\nval: images/val/*",
        "train: images/tr*\nval: images/v*",
        "train: images/train  # val is found beside it",
        "train: images/train\nvalidation: images/val\ntest: images/test",
        "train: images/train\nval: images/val\ntest:\ndownload: |\n  import os\nnc: 2",
    ],
)
@pytest.mark.parametrize("file", ["data.yaml", "pets.yml"])
def test_paths_of_every_kind_are_found(pets, pairs, paths, file):
    root = pets({file: f"{paths}\n{NAMES}", "README.yaml": "a: 1", **split_folders(pairs, split_first=False)})
    splits = ("train", "validation") if "validation" in paths else ("train", "val")
    check(root, splits=splits)
    check(root / file, splits=splits)


@pytest.mark.parametrize(
    "paths",
    [
        "train: ../train/images\nval: ../val/images\ntest: ../test/images",  # Roboflow: test is not there
        "train: train/images\nval: val/images",
        "train: train\nval: val",
        "train: pets/train/images\nval: pets/val/images",
    ],
)
def test_folders_of_splits_with_images_and_labels_in_them(pets, pairs, paths):
    check(pets({"data.yaml": f"{paths}\n{NAMES}", **split_folders(pairs, split_first=True)}))


def test_an_absolute_path_that_is_there(pets, pairs):
    root = pets(split_folders(pairs, split_first=False))
    (root / "data.yaml").write_text(f"path: {root}\ntrain: images/train\nval: {root}/images/val\n{NAMES}")
    check(root)


def test_a_split_that_was_moved_is_not_found_as_another_one(pets, pairs):
    files = pairs("images/a.jpg", "labels/a.txt")
    root = pets({"data.yaml": f"train: /content/train/images\nval: /content/val/images\n{NAMES}", **files})
    with pytest.raises(InputError, match=r"data\.yaml: val: a folder or a list inside .*Correct the path"):
        load_dataset(root, "val")


def test_roboflow_names_its_kind_and_calls_its_split_valid(pets, pairs):
    files = {**pairs("train/images/a.jpg", "train/labels/a.txt"), **pairs("valid/images/a.jpg", "valid/labels/a.txt")}
    root = pets({"data.yaml": f"train: ../train/images\nroboflow: {{version: 1}}\n{NAMES}", **files})
    assert find_layout(root).kind == "Roboflow YOLO"
    assert available_splits(root) == ["train", "valid"]
    assert len(load_dataset(root, "val").records) == 1


@pytest.mark.parametrize(
    "start", ["images/train/", "./images/train/", "/home/ann/pets/images/train/", "data/images/train/"]
)
@pytest.mark.parametrize("place", ["", "lists/"])
def test_lists_of_images(pets, pairs, start, place):
    files = split_folders(pairs, split_first=False)
    lists = {
        f"{place}train.txt": f"{start}b.jpg\r\n\n{start}a.jpg",
        f"{place}val.txt": "../images/val/b.jpg\nimages/val/a.jpg",
    }
    root = pets({"data.yaml": f"train: {place}train.txt\nval: [{place}val.txt]\n{NAMES}", **lists, **files})
    if not place:
        (root / "val.txt").write_text("images/val/b.jpg\nimages\\val\\a.jpg\n")
    check(root, names=("b.jpg", "a.jpg"))


def test_a_list_may_not_climb_out_of_the_folder(pets, pairs):
    pets({"x.jpg": None}, folder="other")
    lists = {"train.txt": "images/a.jpg\n../other/x.jpg\n/etc/passwd\n"}
    files = pairs("images/a.jpg", "labels/a.txt")
    root = pets({"data.yaml": f"train: train.txt\nval: images\n{NAMES}", **lists, **files})
    dataset = read_dataset(root, "train")
    assert [record.file_name for record in dataset.records] == ["images/a.jpg"]
    assert [item.kind for item in dataset.problems] == ["unsafe_path", "unsafe_path"]
    assert dataset.problems[-1].where.endswith("train.txt: line 3")


def test_a_list_with_other_upper_and_lower_case_is_counted(pets, pairs):
    files = {**pairs("images/A.jpg", "labels/a.TXT"), "train.txt": "images/a.JPG\n"}
    dataset = load_dataset(pets({"data.yaml": f"train: train.txt\n{NAMES}", **files}), "train")
    assert dataset.records[0].file_name == "images/A.jpg" and dataset.records[0].classes.tolist() == [1]
    assert [(item.kind, item.fixed) for item in dataset.problems] == [("other_case", True)]


def test_a_list_without_any_of_its_images_is_refused_once(pets):
    root = pets({"data.yaml": f"train: train.txt\n{NAMES}", "train.txt": "data/a.jpg\ndata/b.jpg\n"})
    with pytest.raises(InputError, match=r"none of 2, not even 'data/a\.jpg'"):
        read_dataset(root, "train")


def test_the_user_may_name_a_file_whose_images_lie_elsewhere(pets, pairs):
    elsewhere = pets(split_folders(pairs, split_first=False), folder="elsewhere/pets")
    text = f"path: {elsewhere}\ntrain: images/train\nval: images/val\n{NAMES}"
    code = pets({"pets.yaml": text}, folder="code")
    check(code / "pets.yaml")
    dataset = load_dataset(code / "pets.yaml", "train")
    assert dataset.name == "pets"
    assert dataset.records[0].file_name == "elsewhere/pets/images/train/a.jpg"
    with pytest.raises(InputError, match=r"It is outside: name the file itself, --data .*pets\.yaml"):
        load_dataset(code, "train")


@pytest.mark.parametrize("entry", ["../..", "/etc", "images/none", "3", "'../../*.jpg'", "{a: b}"])
def test_a_split_that_is_not_inside_the_folder_is_refused(pets, entry):
    root = pets({"data.yaml": f"train: {entry}\n{NAMES}", "images/a.jpg": None})
    with pytest.raises(InputError, match=r"data\.yaml: train: a folder or a list"):
        load_dataset(root, "train")


def test_linked_folders_and_files_are_read_and_circles_end(pets, pairs):
    elsewhere = pets({**pairs("images/a.jpg", "labels/a.txt"), "photos/b.jpg": None}, folder="elsewhere")
    root = pets({"data.yaml": f"train: images/train\nval: images/val\n{NAMES}", "labels/val/b.txt": "1 .5 .5 .2 .4"})
    for kind in ("images", "labels"):
        (root / kind).mkdir(exist_ok=True)
        (root / kind / "train").symlink_to(elsewhere / kind)
    (elsewhere / "images" / "up").symlink_to(root)
    (elsewhere / "images" / "self").symlink_to(elsewhere / "images")
    (root / "images" / "val").mkdir()
    (root / "images" / "val" / "b.jpg").symlink_to(elsewhere / "photos" / "b.jpg")
    (root / "images" / "val" / "self").symlink_to(root / "images" / "val")
    train, val = load_dataset(root, "train"), load_dataset(root, "val")
    assert [record.file_name for record in val.records] == ["images/val/b.jpg"]
    assert train.records[0].file_name == "images/train/a.jpg"
    np.testing.assert_allclose(train.records[0].boxes, MIDDLE, atol=1e-4)
    np.testing.assert_allclose(val.records[0].boxes, MIDDLE, atol=1e-4)


def test_two_files_that_differ_are_two_readings_and_copies_are_one(pets, pairs):
    files = split_folders(pairs, split_first=False)
    text = "train: images/train\nval: images/val\n"
    root = pets({"data.yaml": f"{text}{NAMES}", "copy.yaml": f"path: .\n{text}names: {{0: cat, 1: dog}}\n", **files})
    assert find_layout(root).kind == "YOLO"
    (root / "other.yaml").write_text(f"{text}names: [one, two]\n")
    with pytest.raises(InputError, match=r"YOLO \(data\.yaml\) and YOLO \(other\.yaml\)"):
        find_layout(root)
    assert load_dataset(root, "train", format="YOLO (other.yaml)").class_names == ("one", "two")


def test_a_file_for_data_that_is_not_here_is_no_reading(pets, pairs):
    files = split_folders(pairs, split_first=False)
    text = "train: images/train\nval: images/val\n"
    root = pets({"pets.yaml": f"{text}{NAMES}", "coco.yaml": "train: coco/x\nval: coco/y\nnames: [a]\n", **files})
    check(root)


def test_images_without_a_label_file_have_no_objects_unless_all_of_them_have_none(pets, pairs):
    files = {**pairs("images/train/a.jpg", "labels/train/a.txt"), "images/train/b.jpg": None, "images/val/c.jpg": None}
    root = pets({"data.yaml": f"train: images/train\nval: images/val\n{NAMES}", **files, "labels/val/x.txt": ""})
    dataset = load_dataset(root, "train")
    assert [len(record.boxes) for record in dataset.records] == [1, 0]
    assert [(item.kind, item.fixed) for item in dataset.problems] == [("no_label_file", True)]
    (wrong,) = read_dataset(root, "val").problems
    assert (wrong.kind, wrong.fixed) == ("no_label_files", False)
    assert "labels/val or images/val" in wrong.detail


def test_a_pose_set_is_read_by_its_kpt_shape(pets, pairs):
    files = pairs("images/a.jpg", "labels/a.txt", "1 0.5 0.5 0.2 0.4 0.1 0.1 2 0.9 0.9 1\n")
    check(
        pets({"data.yaml": f"train: images\nkpt_shape: [2, 3]\n{NAMES}", **files}), names=("a.jpg",), splits=("train",)
    )


@pytest.mark.parametrize(
    "names",
    [
        "names: [cat, dog]",
        "names:\n  0: cat\n  1: dog",
        "names: {'1': dog, '0': cat}",
        "names: cat, dog",
        "names: '[cat, dog]'",
        "names: classes.txt",
        "names: /home/ann/pets/classes.txt",
        "nc: 2",
        "",
    ],
)
def test_class_names_of_every_kind(pets, pairs, names):
    files = {} if "cat" in names else {"classes.txt": "cat\ndog\n"}
    root = pets({"data.yaml": f"train: images\n{names}\n", **files, **pairs("images/a.jpg", "labels/a.txt")})
    check(root, names=("a.jpg",), splits=("train",))


def test_names_that_are_nowhere_are_asked_for(pets, pairs):
    files = pairs("images/a.jpg", "labels/a.txt", "0 .5 .5 .2 .4\n2 .5 .5 .2 .4\nx\n")
    root = pets({"data.yaml": "train: images\nnc: 3\n", **files})
    with pytest.raises(
        InputError, match=r"data\.yaml: names: a name .* 3 of them.*2 class numbers up to 2.*classes\.txt"
    ):
        load_dataset(root, "train")


def test_a_class_number_of_one_text_is_one_class(pets, pairs):
    files = pairs("images/a.jpg", "labels/a.txt", "0 .5 .5 .2 .4")
    assert load_dataset(pets({"data.yaml": "train: images\nnames: cat\n", **files}), "train").class_names == ("cat",)


def test_an_archive_of_roboflow(tmp_path, monkeypatch, pets, pairs):
    monkeypatch.setenv("KERAS_RETINA_CACHE", str(tmp_path / "cache"))
    text = f"train: ../train/images\nval: ../val/images\ntest: ../test/images\nnc: 2\n{NAMES}"
    root = pets({"data.yaml": text, **split_folders(pairs, split_first=True)})
    check(Path(shutil.make_archive(str(tmp_path / "export"), "zip", root)))


@pytest.mark.parametrize(
    "yaml",
    [
        "train: [",
        "- a",
        "",
        "train: images",
        "train: images\nnames: [yes, no]",
        "train: images\nnames: [[a], [b]]",
        "train: images\nnames: [a, ~]",
        "train: images\nnames: {a: b}",
        "train: images\nnames: {0: a, '0': b}",
        "train: images\nnames: [a, a]",
        "train: images\nnames: [a]\nnc: 2",
        "train: images\nnames: !!python/object/apply:os.system ['true']",
    ],
)
def test_a_bad_file_is_refused_in_one_line(pets, yaml):
    root = pets({"data.yaml": yaml, "images/a.jpg": None})
    with pytest.raises(InputError) as caught:
        load_dataset(root, "train")
    assert "\n" not in str(caught.value)
    if yaml not in ("- a", ""):
        assert "data.yaml: " in str(caught.value)


def test_a_file_in_another_encoding_is_named(pets, pairs):
    text = f"train: images\n{NAMES}# 狗\n".encode("gbk")
    root = pets({"pets.yaml": text, **pairs("images/a.jpg", "labels/a.txt")})
    with pytest.raises(InputError, match=r"pets\.yaml: line 3: text in UTF-8 was expected.*GB18030"):
        load_dataset(root, "train")


@pytest.mark.parametrize("names", ["[no, 007, 1.10]", "{0: no, 1: 007, 2: 1.10}", "[no, 007, 1.10] # Yes"])
def test_names_are_the_texts_that_are_written(pets, pairs, names):
    root = pets({"data.yaml": f"train: images\nnames: {names}\n", **pairs("images/a.jpg", "labels/a.txt")})
    assert load_dataset(root, "train").class_names == ("no", "007", "1.10")


def test_labels_of_turned_boxes_in_labeltxt_are_not_of_yolo(pets):
    files = {"data.yaml": "train: ../train/images\nnames: [a, b]\n", "train/images/a.jpg": None}
    root = pets({**files, "train/labelTxt/a.txt": "0 0 9 0 9 9 0 9 a 0\n"})
    assert find_layout(root).kind == "DOTA labelTxt"
