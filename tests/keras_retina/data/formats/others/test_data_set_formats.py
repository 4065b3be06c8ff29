"""Formats of data sets and trainers: KITTI, DOTA, VisDrone, OIDv4, GTSDB, Scalabel, FiftyOne, keras-yolo3."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from keras_retina.data.formats.others.reader import OTHER
from keras_retina.data.reading.folder import available_splits, find_layout, load_dataset, read_dataset
from keras_retina.foundation.errors import InputError

TRAIN = {"a": [("dog", 20, 10, 50, 40), ("cat", 0, 0, 100, 90)], "b": []}
VAL = {"c": [("dog", 100, 50, 150, 90)]}
SETS = {"train": TRAIN, "val": VAL}


def write_images(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100)).save(path)


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_kitti(root):
    """Writes KITTI's folders, with the pictures of the right camera beside the labelled left ones."""
    for split, images in SETS.items():
        for name, boxes in images.items():
            write_images(root, f"{split}/image_2/{name}.png", f"{split}/image_3/{name}.png")
            lines = [
                f"{c} 0.00 0 -1.58 {x1}.00 {y1}.0 {x2} {y2} 1.6 1.5 3.2 1 2 3 -1e-2\n" for c, x1, y1, x2, y2 in boxes
            ]
            write_text(root / split / "label_2" / f"{name}.txt", "".join(lines))


def write_dota(root):
    """Writes Roboflow's export for YOLOv5-OBB, with a description of YOLO beside it."""
    write_text(root / "data.yaml", "train: train/images\nval: val/images\nnc: 2\nnames: [cat, dog]\n")
    for split, images in SETS.items():
        for name, boxes in images.items():
            write_images(root, f"{split}/images/{name}.png")
            lines = [f"{x1} {y1} {x2} {y1} {x2} {y2} {x1} {y2} {c} 0\n" for c, x1, y1, x2, y2 in boxes]
            write_text(root / split / "labelTxt" / f"{name}.txt", "imagesource:x\ngsd:0.1\n" + "".join(lines))


def write_oidv4(root):
    for split, images in SETS.items():
        for name, boxes in images.items():
            write_images(root, f"{split}/Cat_Dog/{name}.png")
            lines = [f"{c} {x1}.0 {y1}.0 {x2}.0 {y2}.0\n" for c, x1, y1, x2, y2 in boxes]
            write_text(root / split / "Cat_Dog" / "Label" / f"{name}.txt", "".join(lines))


def write_mmrotate(root):
    for split, images in SETS.items():
        for name, boxes in images.items():
            write_images(root, f"{split}/images/{name}.png")
            lines = [f"{x1}.0 {y1}.0 {x2}.0 {y1}.0 {x2}.0 {y2}.0 {x1}.0 {y2}.0 {c} 0\n" for c, x1, y1, x2, y2 in boxes]
            write_text(root / split / "annfiles" / f"{name}.txt", "".join(lines))


def write_dota_of_a_version(root):
    for split, images in SETS.items():
        for name, boxes in images.items():
            write_images(root, f"{split}/images/{name}.png")
            lines = [f"{x1} {y1} {x2} {y1} {x2} {y2} {x1} {y2} {c} 0\n" for c, x1, y1, x2, y2 in boxes]
            write_text(root / split / "labelTxt-v1.0" / "labelTxt" / f"{name}.txt", "gsd:0.1\n" + "".join(lines))


def write_fiftyone(root):
    for split, images in SETS.items():
        labels = {}
        for name, boxes in images.items():
            write_images(root, f"{split}/data/{name}.png")
            labels[name] = [
                {
                    "label": ["cat", "dog"].index(c),
                    "bounding_box": [x1 / 200, y1 / 100, (x2 - x1) / 200, (y2 - y1) / 100],
                    "attributes": {},
                }
                for c, x1, y1, x2, y2 in boxes
            ] or None
        write_text(root / split / "labels.json", json.dumps({"classes": ["cat", "dog"], "labels": labels}))


def write_first_bdd(root):
    for split, images in SETS.items():
        for name, boxes in images.items():
            write_images(root, f"images/{split}/{name}.png")
            objects = [
                {"category": c, "id": 1, "box2d": {"x1": x1, "y1": y1, "x2": x2, "y2": y2}}
                for c, x1, y1, x2, y2 in boxes
            ]
            frames = [{"timestamp": 10000, "objects": objects}]
            write_text(root / "labels" / split / f"{name}.json", json.dumps({"name": name, "frames": frames}))


def write_image_lines(root):
    for split, images in SETS.items():
        lines = []
        for name, boxes in images.items():
            write_images(root, f"{split}/{name}.png")
            numbers = [f"{x1},{y1},{x2},{y2},{['cat', 'dog'].index(c)}" for c, x1, y1, x2, y2 in boxes]
            lines.append(" ".join([f"{name}.png", *numbers]))
        write_text(root / split / "_annotations.txt", "\n".join(lines))
        write_text(root / split / "_classes.txt", "cat\ndog\n")


def write_scalabel(root):
    for split, images in SETS.items():
        frames = []
        for name, boxes in images.items():
            write_images(root, f"images/{split}/{name}.png")
            labels = [
                {"category": c, "box2d": {"x1": x1, "y1": y1, "x2": x2, "y2": y2}, "attributes": {"occluded": False}}
                for c, x1, y1, x2, y2 in boxes
            ]
            frames.append({"name": f"{name}.png", "attributes": {"weather": "rainy"}, "labels": labels or None})
        write_text(root / "labels" / f"det_{split}.json", json.dumps(frames))


WRITERS = {
    "KITTI": write_kitti,
    "DOTA labelTxt": write_dota,
    "OIDv4 ToolKit": write_oidv4,
    "FiftyOne JSON": write_fiftyone,
    "YOLO Keras lists": write_image_lines,
    "Scalabel JSON": write_scalabel,
}
each_kind = pytest.mark.parametrize("kind", WRITERS)


def boxes_of(dataset):
    return {
        record.path.stem: [
            (dataset.class_names[index], x1, y1, x2, y2)
            for index, (y1, x1, y2, x2) in zip(record.classes, record.boxes.tolist(), strict=True)
        ]
        for record in dataset.records
    }


@each_kind
def test_every_kind_gives_the_same_records(tmp_path, kind):
    WRITERS[kind](tmp_path)
    layout = find_layout(tmp_path)
    assert (layout.format, layout.kind) == ("other", kind)
    assert available_splits(tmp_path) == ["train", "val"]
    train, val = load_dataset(tmp_path, "train"), load_dataset(tmp_path, "val")
    assert boxes_of(train) == TRAIN and boxes_of(val) == VAL
    assert train.class_names == val.class_names == ("cat", "dog")
    assert train.problems == val.problems == ()
    left_over = [] if kind != "KITTI" else ["a.png", "b.png", "c.png"]  # of the right camera
    assert [item.where.rpartition("/")[2] for item in layout.unread()] == left_over


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (write_mmrotate, "DOTA labelTxt"),
        (write_dota_of_a_version, "DOTA labelTxt"),
        (write_first_bdd, "Scalabel JSON"),
    ],
)
def test_other_layouts_of_these_kinds_give_the_same_boxes(tmp_path, write, kind):
    write(tmp_path)
    layout = find_layout(tmp_path)
    assert layout.kind == kind and available_splits(tmp_path) == ["train", "val"]
    train, val = load_dataset(tmp_path, "train"), load_dataset(tmp_path, "val")
    assert boxes_of(train)["a"] == TRAIN["a"] and boxes_of(val) == VAL
    assert layout.unread() == [] and set(boxes_of(train)) == {"a", "b"}


def test_the_signs_of_gtsdb_are_called_by_their_numbers(tmp_path):
    write_images(tmp_path, "00000.ppm", "00001.ppm")
    write_text(tmp_path / "gt.txt", "00000.ppm;20;10;50;40;11\n00000.ppm;0;0;99;90;2\n")
    dataset = load_dataset(tmp_path, "all")
    assert find_layout(tmp_path).kind == "GTSDB" and dataset.class_names == ("2", "11")
    assert boxes_of(dataset) == {"00000": [("11", 20, 10, 50, 40), ("2", 0, 0, 99, 90)]}
    assert [item.where.rpartition("/")[2] for item in find_layout(tmp_path).unread()] == ["00001.ppm"]


def test_a_damaged_line_of_gtsdb_is_told_with_its_number(tmp_path):
    write_images(tmp_path, "00000.ppm")
    write_text(tmp_path / "gt.txt", "00000.ppm;20;10;50;40;11\n00000.ppm;20;10;x;40;11\n")
    (found,) = read_dataset(tmp_path, "all").problems
    assert found.kind == "invalid_box" and found.where.endswith("gt.txt: line 2") and not found.fixed


@pytest.mark.parametrize(
    "label",
    [{"label": 2}, {"label": -1}, {"bounding_box": [0, 0, 1]}, {"bounding_box": ["a", 0, 1, 1]}, {"label": 0.5}],
)
def test_a_label_of_fiftyone_without_class_or_numbers_is_told(tmp_path, label):
    write_images(tmp_path, "data/a.png")
    good = {"label": 0, "bounding_box": [0.1, 0.2, 0.3, 0.4]}
    content = {"classes": ["cat", "dog"], "labels": {"a": [good, {**good, **label}]}}
    write_text(tmp_path / "labels.json", json.dumps(content))
    (found,) = read_dataset(tmp_path, "all").problems
    assert (found.kind, found.fixed) == ("invalid_box", False) and "'a'[1]" in found.where


def test_names_in_place_of_numbers_are_classes_of_fiftyone(tmp_path):
    write_images(tmp_path, "data/a.png")
    content = {"classes": None, "labels": {"a": [{"label": "cat", "bounding_box": [0.1, 0.2, 0.3, 0.4]}]}}
    write_text(tmp_path / "labels.json", json.dumps(content))
    ((name, *box),) = boxes_of(load_dataset(tmp_path, "all"))["a"]
    assert name == "cat" and box == pytest.approx([20, 20, 80, 60])


def test_a_photo_in_two_folders_of_classes_has_the_boxes_of_both(tmp_path):
    write_images(tmp_path, "train/Cat/a.png", "train/Dog/a.png", "train/Dog/b.png")
    write_text(tmp_path / "train" / "Cat" / "Label" / "a.txt", "Cat 1 2 30 40")
    write_text(tmp_path / "train" / "Dog" / "Label" / "a.txt", "Dog 5 6 70 80")
    write_text(tmp_path / "train" / "Dog" / "Label" / "b.txt", "Dog 5 6 70 80")
    dataset = load_dataset(tmp_path, "train")
    assert [record.path.relative_to(tmp_path).as_posix() for record in dataset.records] == [
        "train/Cat/a.png", "train/Dog/b.png"
    ]  # fmt: skip
    assert boxes_of(dataset)["a"] == [("Cat", 1, 2, 30, 40), ("Dog", 5, 6, 70, 80)]
    (found,) = dataset.problems
    assert (found.kind, found.fixed) == ("copy_joined", True) and "'train/Cat/a.png'" in found.detail
    assert find_layout(tmp_path).unread() == []


def test_other_photos_of_one_name_stay_apart(tmp_path):
    write_images(tmp_path, "train/Cat/a.png")
    write_text(tmp_path / "train" / "Cat" / "Label" / "a.txt", "Cat 1 2 30 40")
    write_text(tmp_path / "train" / "Dog" / "Label" / "a.txt", "Dog 5 6 70 80")
    Image.new("RGB", (200, 100), "red").save(tmp_path / "train" / "Dog" / "a.png")
    dataset = load_dataset(tmp_path, "train")
    assert [len(record.boxes) for record in dataset.records] == [1, 1] and dataset.problems == ()


def test_the_left_camera_is_read_of_kitti(tmp_path):
    write_kitti(tmp_path)
    assert {record.path.parent.name for record in load_dataset(tmp_path, "train").records} == {"image_2"}


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != "FiftyOne JSON"])  # it has a test of its own
@pytest.mark.parametrize("line", ["dog 1 2", "a.png 1,2,3,4,9", '[{"name": 3}]'])
def test_a_line_that_is_none_of_its_format_is_named(tmp_path, kind, line):
    WRITERS[kind](tmp_path)
    file = sorted(path for path in tmp_path.rglob("*") if path.name in ("a.txt", "_annotations.txt", "det_train.json"))[
        0
    ]
    if file.suffix == ".json":
        content = json.loads(file.read_text())
        file.write_text(json.dumps([*content, {"name": 3}, {"name": "a.png", "labels": [{"box2d": {"x1": 1}}]}]))
    else:
        file.write_text(f"{file.read_text()}\n{line}\n")
    unfixed = [item for item in read_dataset(tmp_path, "train").problems if not item.fixed]
    assert unfixed and all(item.where.startswith(str(file)) for item in unfixed)
    assert all("expected. Received: " in item.detail for item in unfixed)


def test_visdrone_has_its_own_classes_and_regions_that_are_not_judged(tmp_path):
    root = tmp_path / "VisDrone2019-DET-train"
    write_images(root, "images/a.png")
    lines = ["20,10,30,30,1,4,0,0", "0,0,50,60,0,0,0,0", "60,10,5,5,0,11,0,0", "70,10,20,30,1,9,0,1,"]
    write_text(root / "annotations" / "a.txt", "\n".join(lines))
    dataset = load_dataset(tmp_path, "all")
    assert len(dataset.class_names) == 10 and dataset.class_names[3] == "car"
    (record,) = dataset.records
    objects = ~record.crowd
    assert [dataset.class_names[index] for index in record.classes[objects]] == ["car", "bus"]
    assert record.boxes[objects].tolist() == [[10, 20, 40, 50], [10, 70, 40, 90]]
    regions = record.boxes[record.crowd].tolist()  # one crowd of every class
    assert regions == [[0, 0, 60, 50]] * 10 + [[10, 60, 15, 65]] * 10
    assert sorted(record.classes[record.crowd]) == sorted([*range(10), *range(10)])


def test_the_two_folders_of_visdrone_are_its_splits(tmp_path):
    for split, name in (("train", "a"), ("val", "b")):
        write_images(tmp_path / f"VisDrone2019-DET-{split}", f"images/{name}.png")
        write_text(tmp_path / f"VisDrone2019-DET-{split}" / "annotations" / f"{name}.txt", "20,10,30,30,1,4,0,0")
    assert available_splits(tmp_path) == ["train", "val"]
    assert boxes_of(load_dataset(tmp_path, "val")) == {"b": [("car", 20, 10, 50, 40)]}


def test_regions_that_kitti_does_not_care_about_are_crowds_of_every_class(tmp_path):
    write_kitti(tmp_path)
    file = tmp_path / "train" / "label_2" / "b.txt"
    file.write_text("DontCare -1 -1 -10 10.0 20.0 60.0 70.0 -1 -1 -1 -1000 -1000 -1000 -10\n")
    dataset = load_dataset(tmp_path, "train")
    record = next(record for record in dataset.records if record.path.stem == "b")
    assert record.crowd.all() and record.classes.tolist() == [0, 1] and dataset.class_names == ("cat", "dog")


def test_a_turned_box_is_read_as_the_upright_one_around_it(tmp_path):
    write_images(tmp_path, "images/a.png")
    write_text(tmp_path / "labelTxt" / "a.txt", "50 10 90 50 50 90 10 50 small-vehicle 1")
    assert boxes_of(load_dataset(tmp_path, "all")) == {"a": [("small-vehicle", 10, 10, 90, 90)]}


def test_classes_of_several_words_are_read_from_oidv4(tmp_path):
    write_images(tmp_path, "train/Traffic light/a.png")
    write_text(tmp_path / "train" / "Traffic light" / "Label" / "a.txt", "Traffic light 1.0 2.0 30.5 40.0")
    assert boxes_of(load_dataset(tmp_path, "train")) == {"a": [("Traffic light", 1, 2, 30.5, 40)]}


def test_lanes_of_scalabel_are_left_out_and_counted(tmp_path):
    write_scalabel(tmp_path)
    file = tmp_path / "labels" / "det_val.json"
    content = json.loads(file.read_text())
    content[0]["labels"] += [{"category": "lane", "poly2d": []}, {"category": "rider", "box2d": None}]
    content[0]["labels"][0]["attributes"] = {"crowd": True}
    file.write_text(json.dumps({"frames": content}))
    dataset = read_dataset(tmp_path, "val")
    assert [(item.kind, item.fixed) for item in dataset.problems] == [("shape_left_out", True)] * 2
    assert dataset.records[0].crowd.tolist() == [True]


def test_a_list_without_class_names_says_where_to_write_them(tmp_path):
    write_image_lines(tmp_path)
    for file in tmp_path.rglob("_classes.txt"):
        file.unlink()
    with pytest.raises(InputError, match=r"_annotations.txt: a file with the class names was expected.*_classes.txt"):
        load_dataset(tmp_path, "train")


def test_paths_with_spaces_and_a_list_alone_are_read(tmp_path):
    write_images(tmp_path, "my photos/a b.png")
    write_text(tmp_path / "model_data" / "my_classes.txt", "cat\n")
    write_text(tmp_path / "train.txt", "/home/ann/my photos/a b.png 1,2,30,40,0 5,6,7,8,0\n")
    assert boxes_of(load_dataset(tmp_path, "train")) == {"a b": [("cat", 1, 2, 30, 40), ("cat", 5, 6, 7, 8)]}
    assert boxes_of(load_dataset(tmp_path / "train.txt", "all")) == {
        "a b": [("cat", 1, 2, 30, 40), ("cat", 5, 6, 7, 8)]
    }


@pytest.mark.parametrize("text", ["notes about 1 2 3 4", "0 0.5 0.5 0.1 0.1", "", "a 1 2 3", "1,2,3", "a.png\nb.png\n"])
def test_text_files_without_an_image_or_of_another_kind_are_left_alone(tmp_path, text):
    write_images(tmp_path, "images/a.png")
    write_text(tmp_path / "labels" / "notes.txt", text)
    assert OTHER.find(tmp_path) == [] and OTHER.find(tmp_path / "labels" / "notes.txt") == []


@pytest.mark.parametrize("kind", ["KITTI", "DOTA labelTxt", "OIDv4 ToolKit"])
def test_a_label_file_without_its_image_is_told(tmp_path, kind):
    WRITERS[kind](tmp_path)
    for image in tmp_path.rglob("c.png"):  # the only one of val
        image.unlink()
    (found,) = read_dataset(tmp_path, "val").problems
    assert (found.kind, found.fixed) == ("missing_image", False) and "'c.jpg'" in found.detail


@pytest.mark.parametrize("kind", ["KITTI", "DOTA labelTxt", "OIDv4 ToolKit"])
def test_empty_label_files_say_nothing_of_the_format(tmp_path, kind):
    WRITERS[kind](tmp_path)
    folder = next(tmp_path.rglob("b.txt")).parent
    images = next(tmp_path.rglob("b.png")).parent
    for number in range(30):
        write_text(folder / f"0{number}.txt", "")
        write_images(images, f"0{number}.png")
    dataset = load_dataset(tmp_path, "train")
    assert find_layout(tmp_path).kind == kind and len(dataset.records) == 32
    assert {name: boxes for name, boxes in boxes_of(dataset).items() if boxes} == {"a": TRAIN["a"]}


def test_one_empty_file_does_not_make_it_yolo(tmp_path):
    write_images(tmp_path, "images/a.png", "images/b.png")
    write_text(tmp_path / "labels" / "a.txt", "")
    write_text(tmp_path / "labels" / "b.txt", "car 0 0 0 20 10 50 40 0 0 0 0 0 0 0")
    assert find_layout(tmp_path).kind == "KITTI"
    assert boxes_of(load_dataset(tmp_path, "all")) == {"a": [], "b": [("car", 20, 10, 50, 40)]}


def test_of_several_images_with_the_name_the_one_in_the_usual_folder_is_read_and_a_tie_is_told(tmp_path):
    write_images(tmp_path, "train/depth/a.png", "train/images/a.png", "val/images/a.png", "val/preview/a.png")
    for split in ("train", "val"):
        write_text(tmp_path / split / "annotations" / "a.txt", "20,10,30,30,1,4,0,0")
    for split in ("train", "val"):
        (record,) = load_dataset(tmp_path, split).records
        assert record.path.parent == tmp_path / split / "images"
    (tmp_path / "val" / "images").rename(tmp_path / "val" / "left")
    (found,) = read_dataset(tmp_path, "val").problems
    assert (found.kind, found.fixed) == ("ambiguous_image", False)


@pytest.mark.parametrize(
    "line",
    [
        "Apple 0.95 1 2 30 40",  # a detection with its score
        "Car 0.0 0 0.0 1 2 30 40",
        "a photograph of one large dog on 1 2 3 4",
        "dog 0.5 0.5 0.6 0.7",  # shares
        "0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 5e-05",  # YOLO
        "1 2 3 4 5 6 7 8 nan",
        "10,20,60,20,60,70,10,70.5",
        "a" + 60000 * " " + "b",
    ],
)
def test_lines_of_other_formats_are_not_taken(tmp_path, line):
    write_images(tmp_path, "images/a.png")
    write_text(tmp_path / "labels" / "a.txt", line)
    assert OTHER.find(tmp_path) == []


def test_kitti_with_bare_points_and_dota_of_later_versions_are_read(tmp_path):
    write_images(tmp_path, "images/a.png")
    write_text(tmp_path / "labels" / "a.txt", "Car 0 0 .5 1 2 30 40 1 1 1 1 1 1 1")
    assert boxes_of(load_dataset(tmp_path, "all")) == {"a": [("Car", 1, 2, 30, 40)]}
    write_text(tmp_path / "labels" / "a.txt", "acquisition dates:2016\nimagesource:x\ngsd:1\n1 2 9 2 9 8 1 8 ship 0")
    assert boxes_of(load_dataset(tmp_path, "all")) == {"a": [("ship", 1, 2, 9, 8)]}


def test_a_json_file_for_each_video_is_read_whole(tmp_path):
    for number in range(25):
        write_images(tmp_path, f"images/train/v{number:02}.png")
        box = {"x1": 1, "y1": 2, "x2": 30, "y2": 40}
        content = [{"name": f"v{number:02}.png", "labels": [{"category": "car", "box2d": box}]}]
        write_text(tmp_path / "labels" / "train" / f"v{number:02}.json", json.dumps(content))
    assert len(load_dataset(tmp_path, "train").records) == 25


def test_class_names_come_from_the_data_and_not_from_a_list_above_it(tmp_path):
    root = tmp_path / "data"
    write_images(root, "a.png")
    write_text(root / "train.txt", "a.png 1,2,30,40,1")
    write_text(root / "model_data" / "classes.txt", "cat\ndog\n")
    write_text(tmp_path / "coco_classes.txt", "person\nbicycle\n")
    assert boxes_of(load_dataset(root, "train")) == {"a": [("dog", 1, 2, 30, 40)]}


def test_the_three_folders_of_visdrone_are_its_splits(tmp_path):
    for split in ("train", "val", "test-dev"):
        write_images(tmp_path / f"VisDrone2019-DET-{split}", f"images/{split}.png")
        write_text(tmp_path / f"VisDrone2019-DET-{split}" / "annotations" / f"{split}.txt", "20,10,30,30,1,4,0,0")
    assert available_splits(tmp_path) == ["train", "val", "test"]
