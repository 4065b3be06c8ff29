from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_retina.data.formats.csv_files.reader import CSV
from keras_retina.data.reading.folder import (
    available_splits,
    find_layout,
    load_dataset,
    load_split,
    open_folder,
    read_dataset,
)
from keras_retina.foundation.errors import InputError
from keras_retina.recipe.data import Data

# The same two splits in every layout: image -> [(class, x1, y1, x2, y2)], 200 x 100 pixels.
TRAIN = {"a": [("dog", 20, 10, 50, 40), ("cat", 0, 0, 100, 100)], "b": []}
VAL = {"c": [("dog", 100, 50, 150, 100)]}
TENSORFLOW = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


def write(root, files, images):
    for name in images:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 100)).save(path)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def rows(split, form, empty=""):
    lines = []
    for name, boxes in split.items():
        lines += [form.format(n=name, c=c, x1=x1, y1=y1, x2=x2, y2=y2, w=x2 - x1, h=y2 - y1, u1=x1 / 200, v1=y1 / 100,
                              u2=x2 / 200, v2=y2 / 100) for c, x1, y1, x2, y2 in boxes]  # fmt: skip
        lines += [empty.format(n=name)] if empty and not boxes else []
    return "\n".join(lines) + "\n"


def boxes_of(dataset):
    """Returns {image without suffix: [(class, x1, y1, x2, y2)]}."""
    return {
        record.path.stem: [
            (dataset.class_names[index], x1, y1, x2, y2)
            for index, (y1, x1, y2, x2) in zip(record.classes, record.boxes.round(3).tolist(), strict=True)
        ]
        for record in dataset.records
    }


TF_ROW, TF_EMPTY = "{n}.png,200,100,{c},{x1},{y1},{x2},{y2}", "{n}.png,200,100,,,,,"
RETINANET, RETINANET_EMPTY = "images/{n}.png,{x1},{y1},{x2},{y2},{c}", "images/{n}.png,,,,,"
AUTOML = "{s},gs://bucket/set/{{n}}.png,{{c}},{{u1}},{{v1}},{{u2}},{{v1}},{{u2}},{{v2}},{{u1}},{{v2}}"
SHORT = "{s},gs://bucket/set/{{n}}.png,{{c}},{{u1}},{{v1}},,,{{u2}},{{v2}},,"
OPENIMAGES = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsTruncated,IsGroupOf,IsDepiction,"
OPENIMAGES += "IsInside\n"
OI_ROW = "{n},xclick,/m/{c},1,{u1},{u2},{v1},{v2},0,0,0,0,0"


def automl(form):
    """Returns one file with both splits."""
    names = (("TRAIN", TRAIN), ("VALIDATION", VAL))
    return "".join(rows(split, form.format(s=s), f"{s},gs://bucket/set/{{n}}.png,,,,,,,,,") for s, split in names)


IMAGES = ("images/a.png", "images/b.png", "images/c.png")
LAYOUTS = {
    "keras-retinanet": (
        "keras-retinanet CSV",
        {
            "train.csv": rows(TRAIN, RETINANET, RETINANET_EMPTY),
            "val.csv": rows(VAL, RETINANET),
            "classes.csv": "cat,0\ndog,1\n",
        },
        IMAGES,
    ),
    "absolute paths of another computer": (
        "keras-retinanet CSV",
        {
            "train.csv": rows(TRAIN, "C:\\data\\" + RETINANET.replace("/", "\\"), "C:\\data\\images\\{n}.png,,,,,"),
            "val.csv": rows(VAL, "/home/ann/set/" + RETINANET),
        },
        IMAGES,
    ),
    "tensorflow tutorial": (
        "TensorFlow CSV",
        {
            "data/train_labels.csv": TENSORFLOW + rows(TRAIN, TF_ROW, TF_EMPTY),
            "data/val_labels.csv": TENSORFLOW + rows(VAL, TF_ROW),
            "data/label_map.pbtxt": "item { id: 1 name: 'dog' }",
        },
        ("images/train/a.png", "images/train/b.png", "images/val/c.png"),
    ),
    "tensorflow tutorial beside the images": (
        "TensorFlow CSV",
        {
            "images/train_labels.csv": TENSORFLOW + rows(TRAIN, TF_ROW, TF_EMPTY),
            "images/val_labels.csv": TENSORFLOW + rows(VAL, TF_ROW),
            "README.txt": "",
        },
        ("images/train/a.png", "images/train/b.png", "images/val/c.png", "images/test/a.png"),
    ),
    "roboflow tensorflow": (
        "TensorFlow CSV",
        {
            "train/_annotations.csv": TENSORFLOW + rows(TRAIN, TF_ROW, TF_EMPTY),
            "valid/_annotations.csv": TENSORFLOW + rows(VAL, TF_ROW),
            "README.dataset.txt": "",
        },
        ("train/a.png", "train/b.png", "valid/c.png"),
    ),
    "roboflow retinanet": (
        "keras-retinanet CSV",
        {
            "train/_annotations.csv": rows(TRAIN, "{n}.png,{x1},{y1},{x2},{y2},{c}", "{n}.png,,,,,"),
            "train/_classes.csv": "cat,0\ndog,1\n",
            "valid/_annotations.csv": rows(VAL, "{n}.png,{x1},{y1},{x2},{y2},{c}"),
            "valid/_classes.csv": "cat,0\ndog,1\n",
        },
        ("train/a.png", "train/b.png", "valid/c.png"),
    ),
    "automl": ("AutoML CSV", {"labels.csv": automl(AUTOML)}, IMAGES),
    "automl with two corners": ("AutoML CSV", {"import.csv": automl(SHORT)}, ("set/a.png", "set/b.png", "set/c.png")),
    "openimages": (
        "OpenImages CSV",
        {
            "oidv6-train-annotations-bbox.csv": OPENIMAGES + rows(TRAIN, OI_ROW, "{n},,,,,,,,,,,,"),
            "validation-annotations-bbox.csv": OPENIMAGES + rows(VAL, OI_ROW),
            "class-descriptions-boxable.csv": "/m/dog,dog\n/m/cat,cat\n/m/cow,cow\n",
        },
        ("train/a.jpg", "train/b.jpg", "validation/c.jpg"),
    ),
    "openimages of fiftyone": (
        "OpenImages CSV",
        {
            "train/labels/detections.csv": OPENIMAGES + rows(TRAIN, OI_ROW, "{n},,,,,,,,,,,,"),
            "train/metadata/classes.csv": "LabelName,DisplayName\n/m/dog,dog\n/m/cat,cat\n",
            "validation/labels/detections.csv": OPENIMAGES + rows(VAL, OI_ROW),
            "validation/metadata/classes.csv": "LabelName,DisplayName\n/m/dog,dog\n/m/cat,cat\n",
        },
        ("train/data/a.jpg", "train/data/b.jpg", "validation/data/c.jpg"),
    ),
    "kaggle bbox": (
        "Kaggle CSV",
        {
            "train.csv": "image_id,width,height,bbox,label\n"
            + rows(TRAIN, '{n},200,100,"[{x1}.0, {y1}.0, {w}.0, {h}.0]",{c}', "{n},200,100,,"),
            "val.csv": "image_id,width,height,bbox,label\n"
            + rows(VAL, '{n},200,100,"[{x1}.0, {y1}.0, {w}.0, {h}.0]",{c}'),
            "sample_submission.csv": "image_id,PredictionString\na,1.0 0 0 50 50\n",
        },
        ("train/a.jpg", "train/b.jpg", "val/c.jpg"),
    ),
    "split column": (
        "CSV",
        {
            "labels.csv": "Path;Split;Category;X1;Y1;X2;Y2\n"
            + rows(TRAIN, "{n}.png;Train;{c};{x1};{y1};{x2};{y2}", "{n}.png;Train;;;;;")
            + rows(VAL, "{n}.png;Val;{c};{x1};{y1};{x2};{y2}"),
        },
        IMAGES,
    ),
    "via": (
        "VIA CSV",
        {
            f"{name}_via.csv": "#filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
            "region_attributes\n"
            + rows(
                split,
                '{n}.png,1,"{{}}",1,0,"{{""name"":""rect"",""x"":{x1},""y"":{y1},""width"":{w},""height"":{h}}}",'
                '"{{""class"":""{c}""}}"',
                '{n}.png,1,"{{}}",0,0,"{{}}","{{}}"',
            )
            for name, split in (("train", TRAIN), ("val", VAL))
        },
        IMAGES,
    ),
}
each_layout = pytest.mark.parametrize("layout", LAYOUTS)


@each_layout
def test_every_layout_gives_the_same_records(tmp_path, layout):
    kind, files, images = LAYOUTS[layout]
    write(tmp_path, files, images)
    found = find_layout(tmp_path)
    assert (found.format, found.kind) == ("csv", kind)
    train, val = load_dataset(tmp_path, "train"), load_dataset(tmp_path, "val")
    assert boxes_of(train) == TRAIN and boxes_of(val) == VAL
    assert train.class_names == val.class_names == ("cat", "dog")
    for dataset in (train, val):
        assert all(item.kind == "file_name_differs" and item.fixed for item in dataset.problems)
        assert not dataset.problems or layout == "absolute paths of another computer"


@each_layout
def test_every_layout_is_found_in_a_folder_around_it(tmp_path, layout):
    _, files, images = LAYOUTS[layout]
    write(tmp_path / "export" / "set", files, images)
    assert boxes_of(load_dataset(tmp_path, "train")) == TRAIN


@each_layout
def test_a_missing_image_is_named_by_file_and_line(tmp_path, layout):
    _, files, images = LAYOUTS[layout]
    write(tmp_path, files, images)
    for image in ("images/test/a.png", images[0]):
        (tmp_path / image).unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"\.csv: line [12]: .*'[^']*a(\.png)?'"):
        load_dataset(tmp_path, "train")


def test_a_file_alone_is_read(tmp_path):
    write(tmp_path, {"data/mine.csv": rows(TRAIN, RETINANET, RETINANET_EMPTY)}, IMAGES)
    write(tmp_path, {"data/other.csv": "a.png,1,2,3,4,cow\n", "train.csv": rows(TRAIN, RETINANET)}, ())
    assert available_splits(tmp_path / "data" / "mine.csv") == ["all"]
    assert boxes_of(load_dataset(tmp_path / "data" / "mine.csv", "all")) == TRAIN
    assert available_splits(tmp_path / "train.csv") == ["train"]


def test_a_file_alone_that_holds_no_labels_is_refused_by_what_is_missing(tmp_path):
    write(tmp_path, {"x.csv": "epoch,loss\n1,2\n", "y.csv": "filename,class,xmin,ymin\n"}, ())
    with pytest.raises(InputError, match=r"x\.csv: line 1: columns filename, class, xmin.* Received: 'epoch,loss'"):
        load_dataset(tmp_path / "x.csv", "all")
    with pytest.raises(InputError, match=r"y\.csv: line 1: .*, without xmax, ymax\. Correct the header"):
        load_dataset(tmp_path / "y.csv", "all")


def test_one_file_without_splits_is_the_whole_folder(tmp_path):
    write(tmp_path, {"annotations.csv": rows(TRAIN, RETINANET, RETINANET_EMPTY)}, IMAGES)
    assert available_splits(tmp_path) == ["all"]
    assert boxes_of(load_dataset(tmp_path, "all")) == TRAIN
    with pytest.raises(InputError, match=r"images without any split.*--set data\.split=auto"):
        load_dataset(tmp_path, "train")


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (("train.csv", "valid_labels.csv", "annotations_test.csv"), ["train", "valid", "test"]),
        (("train2017.csv", "val2017.csv"), ["train2017", "val2017"]),
        (("train.csv", "extra_labels.csv"), ["train", "extra"]),
        (("set-Training.CSV", "set-Validation.tsv"), ["Training", "Validation"]),
    ],
)
def test_splits_are_named_by_the_files(tmp_path, names, splits):
    write(tmp_path, {name: rows(TRAIN, RETINANET) for name in names}, IMAGES)
    assert available_splits(tmp_path) == splits


def test_only_unassigned_images_are_the_whole_folder(tmp_path):
    write(tmp_path, {"import.csv": rows(TRAIN, SHORT.format(s="UNASSIGNED"))}, IMAGES)
    assert available_splits(tmp_path) == ["all"]


def test_a_column_type_that_is_no_split_is_left_alone(tmp_path):
    header = "image,type,label,x1,y1,x2,y2\n"
    write(tmp_path, {"train.csv": header + rows(TRAIN, "{n}.png,colour,{c},{x1},{y1},{x2},{y2}")}, IMAGES)
    assert available_splits(tmp_path) == ["train"]


def test_two_files_for_one_split_are_refused(tmp_path):
    write(tmp_path, {"train.csv": rows(TRAIN, RETINANET), "train_labels.csv": rows(TRAIN, RETINANET)}, IMAGES)
    with pytest.raises(InputError, match=r"train\.csv: one CSV file for the split 'train'.*also .*train_labels\.csv"):
        load_dataset(tmp_path, "train")


STRAYS = {
    "results.csv": "epoch,train/box_loss,metrics/mAP50\n1,0.5,0.1\n",
    "README.csv": "column,meaning\nimage,its name\n",
    "log.csv": "0.1,0.2,0.3,0.4,0.5,0.6\n",
    "list.csv": "a.png\nb.png\n",
    "classification.csv": "a.png,cat,0.9\n",
    "metadata.csv": "filename,width,height,licence\na.png,200,100,MIT\n",
    "open.csv": 'a.png,"1\n',
}


@pytest.mark.parametrize("name", STRAYS)
def test_a_file_of_something_else_is_no_label_file(tmp_path, name):
    write(tmp_path, {name: STRAYS[name]}, IMAGES)
    assert CSV.find(tmp_path) == []
    write(tmp_path, {"train.csv": rows(TRAIN, RETINANET, RETINANET_EMPTY)}, ())
    assert available_splits(tmp_path) == ["train"]
    assert [(item.kind, item.where) for item in find_layout(tmp_path).unread()] == [
        ("unlabelled_image", str(tmp_path / "images" / "c.png")),
        ("stray_file", str(tmp_path / name)),
    ]


def test_some_of_the_columns_are_told_unless_another_file_has_all(tmp_path):
    write(tmp_path, {"train.csv": "filename,class,xmin,ymin,xmax\na.png,dog,1,2,3\n"}, IMAGES)
    with pytest.raises(InputError, match=r"train\.csv: line 1: columns .*, without ymax\. Correct the header"):
        load_dataset(tmp_path, "train")
    write(tmp_path, {"val.csv": rows(VAL, RETINANET)}, ())
    assert available_splits(tmp_path) == ["val"]


def test_nothing_is_left_out_silently(tmp_path):
    text = "file,set,label,x1,y1,x2,y2\na.png,train,dog,1,2,3,4\nb.png,,dog,1,2,3,4\n"
    write(tmp_path, {"labels.csv": text, "old/a.xml": "", ".cache/x.csv": ""}, (*IMAGES, ".cache/d.png"))
    assert [(item.kind, item.where, item.fixed) for item in find_layout(tmp_path).unread()] == [
        ("not_in_any_split", f"{tmp_path / 'labels.csv'}: line 3", True),
        ("unlabelled_image", str(tmp_path / "images" / "b.png"), True),
        ("unlabelled_image", str(tmp_path / "images" / "c.png"), True),
        ("stray_file", str(tmp_path / "old" / "a.xml"), True),
    ]


def test_crowds_of_openimages_are_crowds(tmp_path):
    text = OPENIMAGES + "a,xclick,/m/dog,1,0.1,0.2,0.1,0.2,0,0,1,0,0\na,xclick,/m/dog,1,0.5,0.6,0.1,0.2,0,0,0,0,0\n"
    write(tmp_path, {"train-annotations-bbox.csv": text}, IMAGES)
    dataset = load_dataset(tmp_path, "train")
    assert dataset.records[0].crowd.tolist() == [True, False]
    assert dataset.class_names == ("/m/dog",)  # no file names it


def test_pixels_in_a_format_of_shares_are_one_problem_with_the_setting(tmp_path):
    text = "TRAIN,gs://bucket/a.png,dog,20,10,,,50,40,,\n"
    write(tmp_path, {"import.csv": text}, IMAGES)
    (found,) = read_dataset(tmp_path, "train").problems
    assert (found.kind, found.fixed) == ("pixel_boxes", False) and "--set data.boxes=pixels" in found.detail
    dataset = load_split(open_folder(tmp_path, Data(boxes="pixels")), "train")
    np.testing.assert_array_equal(dataset.records[0].boxes, [[10, 20, 40, 50]])


def test_shapes_of_via_become_boxes_or_are_counted(tmp_path):
    header = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
    shapes = [
        '{"name":"polygon","all_points_x":[20,50,30],"all_points_y":[10,20,40]}',
        '{"name":"circle","cx":50,"cy":50,"r":10}',
        '{"name":"ellipse","cx":50,"cy":50,"rx":10,"ry":20,"theta":0}',
        '{"name":"point","cx":5,"cy":5}',
    ]
    text = "".join(
        'a.png,1,"{{}}",4,{},"{}","{{""kind"":""cat""}}"\n'.format(index, shape.replace('"', '""'))
        for index, shape in enumerate(shapes)
    )
    write(tmp_path, {"train.csv": header + text}, IMAGES)
    dataset = load_dataset(tmp_path, "train")
    assert dataset.records[0].boxes.tolist() == [[10, 20, 40, 50], [40, 40, 60, 60], [30, 40, 70, 60]]
    assert dataset.class_names == ("cat",)
    assert [(item.kind, item.fixed) for item in dataset.problems] == [("shape_left_out", True)]


def test_regions_of_via_without_attributes_are_one_class(tmp_path):
    header = "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n"
    row = 'a.png,1,"{}",1,0,"{""name"":""rect"",""x"":1,""y"":2,""width"":3,""height"":4}","{}"\n'
    write(tmp_path, {"train.csv": header + row}, IMAGES)
    assert boxes_of(load_dataset(tmp_path, "train")) == {"a": [("object", 1, 2, 4, 6)]}


def test_numbers_become_the_names_that_the_user_gives(tmp_path):
    header = "image_id,class_id,x_min,y_min,x_max,y_max\n"
    train, val = header + "a,1.0,1,2,3,4\nb,0,1,2,3,4\n", header + "c,10,1,2,3,4\n"
    write(tmp_path, {"train.csv": train, "val.csv": val}, IMAGES)
    assert load_dataset(tmp_path, "train").class_names == ("0", "1", "10")
    write(tmp_path, {"val.csv": header + "c,1,1,2,3,4\n"}, ())
    dataset = load_split(open_folder(tmp_path, Data(classes=("cat", "dog"))), "train")
    assert boxes_of(dataset) == {"a": [("dog", 1, 2, 3, 4)], "b": [("cat", 1, 2, 3, 4)]}


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("{n}.png,{x1},{y1},{x2},{y2},{c},200,100", "SKU-110K CSV"),
        ("{c},{x1},{y1},{w},{h},{n}.png,200,100", "makesense CSV"),
    ],
)
def test_eight_columns_without_a_header(tmp_path, form, kind):
    labelled = {name: boxes for name, boxes in TRAIN.items() if boxes}
    write(tmp_path, {"labels.csv": rows(labelled, form)}, ["images/a.png"])
    assert find_layout(tmp_path).kind == kind
    dataset = load_dataset(tmp_path, "all")
    assert boxes_of(dataset) == labelled and dataset.problems == ()


def test_eight_columns_with_the_wrong_size_are_noticed(tmp_path):
    write(tmp_path, {"labels.csv": "a.png,20,10,50,40,dog,100,200\n"}, ["images/a.png"])
    assert read_dataset(tmp_path, "all").problem_counts() == {"size_mismatch": 1}


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
def test_the_line_that_tells_excel_the_delimiter_is_no_header(tmp_path, first):
    text = f"{first}\nfilename;class;xmin;ymin;xmax;ymax\na.png;dog;20,5;10;50;40\n"
    write(tmp_path, {"labels.csv": text}, ["images/a.png"])
    assert boxes_of(load_dataset(tmp_path, "all")) == {"a": [("dog", 20.5, 10, 50, 40)]}
