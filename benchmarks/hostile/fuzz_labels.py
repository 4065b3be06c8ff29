"""The surfaces of labels: COCO, VOC, YOLO, CSV and the formats of other tools, with hostile values in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from fuzz_sound import coco_labels, photo, sound_coco
from fuzz_values import (
    YAML_BOMBS,
    Generator,
    chance,
    damaged_json,
    damaged_text,
    name,
    number,
    pick,
    token,
    written,
)

DATA_YAML: dict[str, Any] = {
    "path": ".",
    "train": "images/train",
    "val": "images/val",
    "nc": 2,
    "names": ["cat", "dog"],
    "kpt_shape": [3, 2],
}


def coco(rng: Generator, folder: Path) -> list[str]:
    """A COCO file with hostile values."""
    data = folder / "data"
    sound_coco(data)
    labels = coco_labels("train")
    if chance(rng, 0.2):
        labels["annotations"][0]["segmentation"] = json.loads(
            pick(rng, ("[[1,2,3,4,5,6]]", '{"size":[24,32],"counts":[1,2]}', '{"size":[24,32],"counts":"abc"}'))
        )
    written(rng, data / "annotations" / "train.json", damaged_json(rng, labels))
    return _checked(rng, data)


def voc(rng: Generator, folder: Path) -> list[str]:
    """VOC files with hostile values, encodings, entities and nesting."""
    data = folder / "data"
    for stem in ("a", "b"):
        photo(data / "JPEGImages" / f"{stem}.png")
        values = {key: "1" for key in ("xmin", "ymin")} | {"xmax": "20", "ymax": "15", "name": "cat"}
        values |= {"filename": f"{stem}.png", "width": "32", "height": "24"}
        for _ in range(int(rng.integers(0, 3))):
            values[pick(rng, list(values))] = _xml_text(rng)
        boxes = "".join(f"<{key}>{values[key]}</{key}>" for key in ("xmin", "ymin", "xmax", "ymax"))
        text = (
            f"<annotation><filename>{values['filename']}</filename><size><width>{values['width']}</width><height>"
            f"{values['height']}</height></size><object><name>{values['name']}</name><bndbox>{boxes}</bndbox></object>"
            "</annotation>"
        )
        heads = (
            "<?xml version='1.0' encoding='"
            + pick(rng, ("GBK", "utf-99", "ebcdic", "UTF-7", "hex", "zip", "idna"))
            + "'?>",
            "<!DOCTYPE a [<!ENTITY x 'y'><!ENTITY z '&x;&x;&x;&x;'>]>",
            "<!DOCTYPE a SYSTEM 'file:///etc/passwd'>",
            "<a>" * 100_000,
            "<?xml version='9.9'?>",
        )
        text = (pick(rng, heads) if chance(rng, 0.25) else "") + text
        written(rng, data / "Annotations" / f"{stem}.xml", damaged_text(rng, text) if chance(rng, 0.3) else text)
    for split in ("train", "val"):
        written(rng, data / "ImageSets" / "Main" / f"{split}.txt", _lines(rng, ["a", "b"]))
    return _checked(rng, data)


def _xml_text(rng: Generator) -> str:
    text = number(rng) if chance(rng, 0.5) else name(rng)
    return text if chance(rng, 0.5) else text.replace("&", "&amp;").replace("<", "&lt;").replace("\0", "")


def _lines(rng: Generator, lines: list[str]) -> str:
    kept = [name(rng) if chance(rng, 0.15) else line for line in lines]
    return "\n".join(kept) + "\n"


def yolo(rng: Generator, folder: Path) -> list[str]:
    """YOLO label lines and lists of classes or images with hostile values."""
    data = folder / "data"
    _yolo_folder(rng, data, hostile=0.3)
    kind = int(rng.integers(3))
    if kind == 0:
        written(rng, data / "data.yaml", yaml.safe_dump(DATA_YAML))
    elif kind == 1:
        written(rng, data / "obj.names", _lines(rng, ["cat", "dog"]))
        described = f"classes = {number(rng)}\ntrain = train.txt\nvalid = {name(rng)}\nnames = obj.names\n"
        written(rng, data / "obj.data", described)
        written(rng, data / "train.txt", _lines(rng, ["images/train/a.png", "images/train/b.png"]))
    else:
        written(rng, data / "classes.txt", _lines(rng, ["cat", "dog"]))
    return _checked(rng, data)


def _yolo_folder(rng: Generator, data: Path, *, hostile: float) -> None:
    for split in ("train", "val"):
        for stem in ("a", "b"):
            photo(data / "images" / split / f"{split}_{stem}.png")
            cells = [number(rng) if chance(rng, hostile / 4) else cell for cell in ("0", "0.5", "0.5", "0.3", "0.2")]
            text = " ".join(cells) + "\n"
            if chance(rng, hostile):
                text = damaged_text(rng, text)
            written(rng, data / "labels" / split / f"{split}_{stem}.txt", text)


def data_yaml(rng: Generator, folder: Path) -> list[str]:
    """A `data.yaml` with hostile values or hostile YAML."""
    data = folder / "data"
    _yolo_folder(rng, data, hostile=0.0)
    text = damaged_json(rng, DATA_YAML) if chance(rng, 0.7) else pick(rng, YAML_BOMBS) + yaml.safe_dump(DATA_YAML)
    written(rng, data / "data.yaml", text)
    words = _checked(rng, data / "data.yaml" if chance(rng, 0.2) else data)
    return words


def csv_file(rng: Generator, folder: Path) -> list[str]:
    """A CSV file of boxes, with or without its header, and perhaps a file of classes beside it."""
    data = folder / "data"
    for stem in ("a", "b"):
        photo(data / f"{stem}.png")
    columns = pick(
        rng,
        (
            ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"],
            ["path", "x1", "y1", "x2", "y2", "class"],
            ["image_id", "width", "height", "bbox"],
            ["filename", "region_shape_attributes", "region_attributes"],
        ),
    )
    values = {
        "filename": "a.png",
        "path": "a.png",
        "image_id": "a",
        "width": "32",
        "height": "24",
        "class": "cat",
        "xmin": "1",
        "ymin": "1",
        "xmax": "20",
        "ymax": "15",
        "x1": "1",
        "y1": "1",
        "x2": "20",
        "y2": "15",
        "bbox": '"[1, 2, 10, 12]"',
        "region_attributes": '"{""class"":""cat""}"',
        "region_shape_attributes": '"{""name"":""rect"",""x"":1,""y"":2,""width"":3,""height"":4}"',
    }
    rows = [",".join(columns)] if chance(rng, 0.8) else []
    for _ in range(3):
        cells = [values[column] for column in columns]
        if chance(rng, 0.6):
            cells[int(rng.integers(len(cells)))] = pick(rng, (number, name, token))(rng)
        rows.append(",".join(cells))
    text = "\n".join(rows)
    written(
        rng,
        data / pick(rng, ("train.csv", "_annotations.csv", "labels.csv")),
        damaged_text(rng, text) if chance(rng, 0.2) else text,
    )
    if chance(rng, 0.3):
        written(rng, data / "classes.csv", f"{name(rng)},{number(rng)}\ncat,1\n")
    return _checked(rng, data)


def other_formats(rng: Generator, folder: Path) -> list[str]:
    """JSON labels of other tools, and text formats of a line for each box."""
    data = folder / "data"
    photo(data / "a.png")
    box = {"x": 5, "y": 6, "width": 8, "height": 9}
    values: dict[str, Any] = {
        "_annotations.createml.json": [{"image": "a.png", "annotations": [{"label": "cat", "coordinates": box}]}],
        "via.json": {
            "a.png9": {
                "filename": "a.png",
                "size": 9,
                "regions": [{"shape_attributes": {"name": "rect", **box}, "region_attributes": {"class": "cat"}}],
            }
        },
        "a.json": {
            "imagePath": "a.png",
            "imageHeight": 24,
            "imageWidth": 32,
            "shapes": [{"label": "cat", "shape_type": "rectangle", "points": [[1, 2], [10, 12]]}],
        },
        "labels.json": {"classes": ["cat"], "labels": {"a": [{"label": 0, "bounding_box": [0.1, 0.1, 0.4, 0.4]}]}},
        "export.json": [
            {
                "image": "a.png",
                "id": 1,
                "label": [
                    {
                        "x": 1,
                        "y": 2,
                        "width": 30,
                        "height": 40,
                        "rotation": 0,
                        "rectanglelabels": ["cat"],
                        "original_width": 32,
                        "original_height": 24,
                    }
                ],
            }
        ],
        "bdd.json": [{"name": "a.png", "labels": [{"category": "cat", "box2d": {"x1": 1, "y1": 2, "x2": 9, "y2": 9}}]}],
        "samples.json": {
            "samples": [
                {
                    "filepath": "data/a.png",
                    "ground_truth": {"detections": [{"label": "cat", "bounding_box": [0.1, 0.1, 0.3, 0.3]}]},
                }
            ]
        },
    }
    lines = {
        "train.txt": "a.png 1,2,10,12,0\n",
        "gt.txt": "a.png;1;2;10;12;3\n",
        "a.txt": "cat 0 0 0 1 2 10 12 0 0 0 0 0 0 0\n",
    }
    file = str(pick(rng, [*values, *lines]))
    text = damaged_json(rng, values[file]) if file in values else damaged_text(rng, lines[file])
    written(rng, data / file, text)
    words = _checked(rng, data)
    formats = (
        "createml",
        "via",
        "labelme",
        "label_studio",
        "fiftyone",
        "bdd100k",
        "kitti",
        "gtsdb",
        "coco",
        "voc",
        "x",
    )
    return [*words, "--format", str(pick(rng, formats))] if chance(rng, 0.3) else words


def _checked(rng: Generator, data: Path) -> list[str]:
    """Returns a look at a data folder, sometimes by another verb."""
    if chance(rng, 0.8):
        return ["check-data", "--data", str(data), *(["--json", "found.json"] if chance(rng, 0.2) else [])]
    verb = ["plan", str(data)], ["fit-anchors", "demo", "--data", str(data)]
    return list(pick(rng, verb))
