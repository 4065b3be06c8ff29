from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.formats.yolo import label_path, read_yolo, yolo_splits
from keras_retina.foundation.errors import InputError

YAML = "train: images/train\nval: images/val\nnames: [cat, dog]\n"


def write(tmp_path, yaml=YAML, split="train", **label_files):
    (tmp_path / "data.yaml").write_text(yaml)
    for name, text in label_files.items():
        for folder in ("images", "labels"):
            (tmp_path / folder / split).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100)).save(tmp_path / "images" / split / f"{name}.png")
        if text is not None:
            (tmp_path / "labels" / split / f"{name}.txt").write_text(text)


def read(tmp_path, split="train", **arguments):
    return read_yolo(tmp_path / "data.yaml", split, name="pets", **arguments)


def test_reads_boxes_and_empty_images(tmp_path):
    write(tmp_path, a="1 0.5 0.5 0.2 0.4\n\n0 0.25 0.25 0.5 0.5\n", b="", c=None)
    dataset = read(tmp_path)
    assert dataset.class_names == ("cat", "dog") and dataset.category_ids == (0, 1)
    first, second, third = dataset.records
    # 200 x 100 px: centre (100, 50), 40 wide, 40 high; then the top left quarter
    np.testing.assert_allclose(first.boxes, [[30, 80, 70, 120], [0, 0, 50, 100]], atol=1e-4)
    assert first.classes.tolist() == [1, 0] and first.file_name == "images/train/a.png"
    assert [len(second.boxes), len(third.boxes)] == [0, 0]
    assert [(item.kind, item.fixed) for item in dataset.problems] == [("no_label_file", True)]


def test_polygon_becomes_the_box_around_it(tmp_path):
    write(tmp_path, a="0 0.1 0.2 0.5 0.3 0.4 0.9\n")
    np.testing.assert_allclose(read(tmp_path).records[0].boxes, [[20, 20, 90, 100]], atol=1e-4)


@pytest.mark.parametrize(
    ("line", "kind", "fixed"),
    [
        ("0 0.5 0.5 0 0.4", "degenerate_box", True),
        ("0 0.95 0.5 0.2 0.4", "outside_box", True),
        ("0 1.5 0.5 0.2 0.4", "outside_box_dropped", True),
        ("0 0.5 0.5 -0.2 0.4", "negative_box", False),
        ("0 nan 0.5 0.2 0.4", "invalid_box", False),
        ("0 0.1 nan 0.5 0.3 0.4 0.9", "invalid_box", False),
        ("0 0.5 0.5 0.2", "invalid_box", False),
        ("0 0.5 0.5 0.2 0.4 0.9", "invalid_box", False),  # a sixth number: results with scores, not labels
        ("cat 0.5 0.5 0.2 0.4", "invalid_box", False),
        ("2 0.5 0.5 0.2 0.4", "unknown_category", False),
        ("0.5 0.5 0.5 0.2 0.4", "unknown_category", False),
        ("-1 0.5 0.5 0.2 0.4", "unknown_category", False),
        ("nan 0.5 0.5 0.2 0.4", "unknown_category", False),
    ],
)
def test_problems_name_file_and_line(tmp_path, line, kind, fixed):
    write(tmp_path, a=f"1 0.5 0.5 0.1 0.1\n{line}\n")
    dataset = read(tmp_path)
    (found,) = dataset.problems
    assert (found.kind, found.fixed) == (kind, fixed)
    assert found.where == f"{tmp_path / 'labels' / 'train' / 'a.txt'}: line 2"


def test_rounding_over_the_edge_is_no_problem(tmp_path):
    write(tmp_path, a="0 0.500001 0.5 1.000000 1.000000\n")
    dataset = read(tmp_path)
    assert dataset.problems == () and dataset.records[0].boxes.tolist()[0][3] == 200


def test_label_file_that_is_no_text_is_a_problem(tmp_path):
    write(tmp_path, a="")
    (tmp_path / "labels/train/a.txt").write_bytes(b"\xff\xfe\x00")
    assert [(item.kind, item.fixed) for item in read(tmp_path).problems] == [("unreadable_labels", False)]


def test_split_can_be_a_list_file_or_several_folders(tmp_path):
    write(tmp_path, a="", b="", c="")
    (tmp_path / "train.txt").write_text("./images/train/b.png\nimages/train/a.png\n../x.png\n/etc/passwd\n")
    (tmp_path / "data.yaml").write_text("train: train.txt\nval: [images/train]\nnames: {0: cat}\n")
    dataset = read(tmp_path)
    assert [record.file_name for record in dataset.records] == ["images/train/b.png", "images/train/a.png"]
    assert [item.kind for item in dataset.problems] == ["unsafe_path", "unsafe_path"]
    assert dataset.problems[-1].where.endswith("train.txt: line 4")
    assert len(read(tmp_path, "val").records) == 3
    assert list(yolo_splits(tmp_path)) == ["train", "val"]


def test_moved_folder_with_roboflow_and_ultralytics_paths_is_found(tmp_path):
    write(tmp_path, a="", yaml="path: ../datasets/pets\ntrain: ../images/train\nval: images/train\nnames: [cat]\n")
    assert len(read(tmp_path).records) == len(read(tmp_path, "val").records) == 1


@pytest.mark.parametrize("entry", ["../..", "/etc", "images/none", "3"])
def test_split_outside_the_folder_is_refused(tmp_path, entry):
    write(tmp_path, a="", yaml=f"train: {entry}\nnames: [cat]\n")
    with pytest.raises(InputError, match=r"data\.yaml: train: a folder or a list"):
        read(tmp_path)


@pytest.mark.parametrize(
    "yaml",
    [
        "train: [",
        "- a",
        "",
        "train: images/train",
        "train: images/train\nnames: [yes, no]",
        "train: images/train\nnames: [[a], [b]]",
        "train: images/train\nnames: {a: b}",
        "train: images/train\nnames: [a, a]",
        "train: images/train\nnames: [a]\nnc: 2",
        "train: images/train\nnames: !!python/object/apply:os.system ['true']",
    ],
)
def test_bad_yaml_is_refused_by_name_in_one_line(tmp_path, yaml):
    write(tmp_path, a="", yaml=yaml)
    with pytest.raises(InputError, match=r"data\.yaml: ") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_label_path_replaces_the_last_images_folder():
    assert label_path("images/train/a.jpg") == "labels/train/a.txt"
    assert label_path("images/images/a.b.jpg") == "images/labels/a.b.txt"
    assert label_path("train/a.jpg") == "train/a.txt"
    assert label_path("images.jpg") == "images.txt"
