from __future__ import annotations

import numpy as np
import pytest

from keras_retina.data.reading.folder import available_splits, find_layout, load_dataset, read_dataset
from keras_retina.foundation.errors import InputError

CVAT = "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\nnames = data/obj.names\nbackup = backup/\n"


def check(root, name, kind):
    assert find_layout(root).kind == kind and available_splits(root) == ["train", "valid"]
    for split in ("train", "val"):
        dataset = load_dataset(root, split)
        assert dataset.class_names == ("cat", "dog") and dataset.problems == ()
        assert [record.file_name for record in dataset.records] == [name]
        np.testing.assert_allclose(dataset.records[0].boxes, [[30, 80, 70, 120]], atol=1e-4)


@pytest.mark.parametrize("start", ["data/obj_train_data/", "obj_train_data/", "/home/ann/data/obj_train_data/"])
def test_cvat_writes_paths_into_a_folder_that_is_not_there(pets, pairs, start):
    lists = {f"{split}.txt": f"{start}a.jpg\n" for split in ("train", "valid")}
    files = {"obj.data": CVAT, "obj.names": "cat\ndog\n\n", **lists}
    check(pets({**files, **pairs("obj_train_data/a.jpg", "obj_train_data/a.txt")}), "obj_train_data/a.jpg", "CVAT YOLO")


def test_darknet_keeps_everything_in_data(pets, pairs):
    files = {"data/obj.data": CVAT, "data/obj.names": "cat\ndog", "data/train.txt": "data/obj/a.jpg"}
    root = pets({**files, "data/valid.txt": "data/obj/a.jpg", "a.cfg": "", **pairs("data/obj/a.jpg", "data/obj/a.txt")})
    check(root, "data/obj/a.jpg", "darknet")


def test_a_data_file_whose_lists_are_not_here_is_no_reading(pets, pairs):
    lists = {f"{split}.txt": "obj/a.jpg" for split in ("train", "valid")}
    files = {
        "obj.data": CVAT,
        "obj.names": "cat\ndog",
        "coco.data": "train = coco/trainvalno5k.txt\nnames = coco.names",
    }
    root = pets({**files, **lists, **pairs("obj/a.jpg", "obj/a.txt")})
    check(root, "obj/a.jpg", "darknet")
    (root / "voc.data").write_text(CVAT)
    with pytest.raises(InputError, match=r"darknet \(obj\.data\) and darknet \(voc\.data\)"):
        find_layout(root)


def test_obj_data_itself_is_the_data(pets, pairs):
    lists = {f"{split}.txt": "data/obj/a.jpg" for split in ("train", "valid")}
    root = pets({"obj.data": CVAT, "obj.names": "cat\ndog", **lists, **pairs("obj/a.jpg", "obj/a.txt")})
    check(root / "obj.data", "obj/a.jpg", "darknet")


def test_lists_of_a_file_that_the_user_names_may_lead_elsewhere(pets, pairs):
    elsewhere = pets(pairs("obj/a.jpg", "obj/a.txt"), folder="elsewhere")
    lists = {f"{split}.txt": f"{elsewhere}/obj/a.jpg" for split in ("train", "valid")}
    root = pets({"obj.data": CVAT, "obj.names": "cat\ndog", **lists})
    check(root / "obj.data", "elsewhere/obj/a.jpg", "darknet")
    assert [item.kind for item in read_dataset(root, "train").problems] == ["unsafe_path"]


def test_labels_without_images_say_that_images_are_missing(pets):
    lists = {"train.txt": "data/obj_train_data/a.jpg\ndata/obj_train_data/b.jpg\n"}
    files = {"obj.data": CVAT.replace("valid", "#"), "obj.names": "cat\ndog", "obj_train_data/a.txt": "", **lists}
    with pytest.raises(InputError, match=r"none of 2.*Export them with the labels"):
        load_dataset(pets(files), "train")


@pytest.mark.parametrize("names", ["cat\n\ndog\n", "cat\ncat\n", "", "cat\n", "猫\n狗\n".encode("gbk")])
def test_bad_names_are_refused_by_file(pets, pairs, names):
    files = {"obj.data": CVAT, "obj.names": names, "train.txt": "obj/a.jpg", "valid.txt": "obj/a.jpg"}
    with pytest.raises(InputError, match=r"obj\.(names|data): "):
        load_dataset(pets({**files, **pairs("obj/a.jpg", "obj/a.txt")}), "train")


def test_another_data_file_is_no_label_file(pets):
    root = pets({"table.data": "1,2,3\n", "x.data": b"\xff\x00", "a.jpg": None})
    with pytest.raises(InputError, match="known layouts"):
        find_layout(root)
