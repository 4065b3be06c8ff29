"""The surfaces of text: recipes, label files of every format, files of a run folder, logs, and the command line.

A surface writes one hostile input into a folder and returns the words to run `keras-retina` with.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from fuzz_values import (
    Generator,
    chance,
    coco_labels,
    damaged_json,
    damaged_text,
    name,
    nested,
    number,
    photo,
    pick,
    sound_coco,
    token,
    written,
)

RECIPE: dict[str, Any] = {
    "name": "r",
    "seed": 1,
    "model": {
        "backbone": {"name": "mobilenet_v2", "alpha": 0.35, "weights": "none", "frozen_stages": 0, "batch_norm": "trained"},
        "input": {"height": 128, "width": 128, "resize": "stretch"},
        "anchors": {"size": 3.0, "scales": [1.0, 1.26], "ratios": [0.5, 1.0], "offset": 0.5},
        "pyramid": {"levels": [3, 7], "width": 16, "convolution": "separable"},
        "head": {"convolutions": 1, "width": 16, "prior": 0.01, "group_norm": 0},
        "coder_weights": [10, 10, 5, 5],
    },
    "data": {"format": "auto", "train": "train", "validation": "val", "split_seed": 0, "classes": ["cat", "dog"]},
    "augmentation": {"scale": [0.7, 1.4], "aspect": 1.1, "mosaic": 0.5, "cutout": 0.2, "rand_augment": 2},
    "training": {"epochs": 1, "batch_size": 4, "learning_rate": 0.01, "warmup_steps": 1, "loss": {"gamma": 2.0}},
    "compress": {"half": {"channels": {"keep": 0.5, "rounds": 1}}},
    "export": {"formats": ["float32"], "calibration_images": 10, "score_threshold": 0.01, "max_detections": 100},
    "verification": {"threads": 2, "latency_runs": 3},
    "expected": {"command": "c", "machine": "m", "date": "d", "split": "val", "training_minutes": 1, "tolerance_ap": 1,
                 "ap": {"float32": 1.0}, "ap50": {"float32": 1.0}},
}  # fmt: skip

YAML_BOMBS = (
    "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{c}: &{c} [{','.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefghijk", "bcdefghijkl", strict=True)),  # fmt: skip
    "a: &a {k: 1}\n" + "".join(f"{c}: &{c} {{<<: [{','.join(['*' + p] * 9)}]}}\n" for p, c in zip("abcdefghijk", "bcdefghijkl", strict=True)),  # fmt: skip
    "name: &r [*r]\n", "&r {name: *r}\n", "name: !!python/object/apply:os.system ['true']\n", "? [a, b]\n: c\n",
    "? {a: b}\n: c\n", "name: 2026-13-45\n", "name: !!binary 'x'\n", "name: !!int 'x'\n", "name: !!timestamp x\n",
    "---\nname: a\n---\nname: b\n", "%YAML 9.9\n---\nname: r\n", "name: |\n" + " x\n" * 100_000, "<<: 7\n", "=: 3\n",
    "name: " + "9" * 5000 + "\n", "name: r\nseed: 0x" + "f" * 5000 + "\n", "- " * 5000 + "x\n", "name: \"\\ud800\"\n",
    "".join(f"{' ' * i}a:\n" for i in range(600)), "name: '" + "x" * 1_000_000 + "'\n", "name: *unknown\n", "!!set {a, b}\n",
    "name: !!float '1:60'\n", "!!omap [a: 1]\n", "name: {[a]: b}\n", ". . .\n", "\t- a\n", "name: \x07\n", "~: ~\n1: 2\n",
)  # fmt: skip

DATA_YAML: dict[str, Any] = {
    "path": ".", "train": "images/train", "val": "images/val", "nc": 2, "names": ["cat", "dog"], "kpt_shape": [3, 2],
}  # fmt: skip


def recipe(rng: Generator, folder: Path) -> list[str]:
    """A recipe with hostile values, or one changed by `--set`."""
    sound_coco(folder / "data")
    file = folder / "r.yaml"
    written(rng, file, damaged_json(rng, RECIPE))
    return [*_with_recipe(rng, file, folder / "data")]


def recipe_yaml(rng: Generator, folder: Path) -> list[str]:
    """A recipe whose YAML is hostile."""
    sound_coco(folder / "data")
    file, sound = folder / "r.yaml", yaml.safe_dump(RECIPE)
    text = pick(rng, YAML_BOMBS) if chance(rng, 0.5) else damaged_text(rng, sound)
    written(rng, file, text + ("" if chance(rng, 0.5) else sound))
    return _with_recipe(rng, file, folder / "data")


def _with_recipe(rng: Generator, file: Path, data: Path) -> list[str]:
    verbs = (
        ["check-data", "--recipe", str(file), "--data", str(data)],
        ["fit-anchors", str(file), "--data", str(data)],
        ["show-batch", str(file), "--data", str(data), "--images", "1"],
        ["pack", str(file), "--data", str(data), "--out", "packed"],
    )
    return list(verbs[int(rng.choice(4, p=[0.6, 0.2, 0.1, 0.1]))])


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
            "<?xml version='1.0' encoding='" + pick(rng, ("GBK", "utf-99", "ebcdic", "UTF-7", "hex", "zip", "idna")) + "'?>",
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
    columns = pick(rng, (["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"],
                         ["path", "x1", "y1", "x2", "y2", "class"], ["image_id", "width", "height", "bbox"],
                         ["filename", "region_shape_attributes", "region_attributes"]))  # fmt: skip
    values = {"filename": "a.png", "path": "a.png", "image_id": "a", "width": "32", "height": "24", "class": "cat",
              "xmin": "1", "ymin": "1", "xmax": "20", "ymax": "15", "x1": "1", "y1": "1", "x2": "20", "y2": "15",
              "bbox": '"[1, 2, 10, 12]"', "region_attributes": '"{""class"":""cat""}"',
              "region_shape_attributes": '"{""name"":""rect"",""x"":1,""y"":2,""width"":3,""height"":4}"'}  # fmt: skip
    rows = [",".join(columns)] if chance(rng, 0.8) else []
    for _ in range(3):
        cells = [values[column] for column in columns]
        if chance(rng, 0.6):
            cells[int(rng.integers(len(cells)))] = pick(rng, (number, name, token))(rng)
        rows.append(",".join(cells))
    text = "\n".join(rows)
    written(rng, data / pick(rng, ("train.csv", "_annotations.csv", "labels.csv")), damaged_text(rng, text) if chance(rng, 0.2) else text)  # fmt: skip
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
        "via.json": {"a.png9": {"filename": "a.png", "size": 9, "regions": [
            {"shape_attributes": {"name": "rect", **box}, "region_attributes": {"class": "cat"}}]}},
        "a.json": {"imagePath": "a.png", "imageHeight": 24, "imageWidth": 32, "shapes": [
            {"label": "cat", "shape_type": "rectangle", "points": [[1, 2], [10, 12]]}]},
        "labels.json": {"classes": ["cat"], "labels": {"a": [{"label": 0, "bounding_box": [0.1, 0.1, 0.4, 0.4]}]}},
        "export.json": [{"image": "a.png", "id": 1, "label": [{"x": 1, "y": 2, "width": 30, "height": 40,
            "rotation": 0, "rectanglelabels": ["cat"], "original_width": 32, "original_height": 24}]}],
        "bdd.json": [{"name": "a.png", "labels": [{"category": "cat", "box2d": {"x1": 1, "y1": 2, "x2": 9, "y2": 9}}]}],
        "samples.json": {"samples": [{"filepath": "data/a.png", "ground_truth": {"detections": [
            {"label": "cat", "bounding_box": [0.1, 0.1, 0.3, 0.3]}]}}]},
    }  # fmt: skip
    lines = {"train.txt": "a.png 1,2,10,12,0\n", "gt.txt": "a.png;1;2;10;12;3\n", "a.txt": "cat 0 0 0 1 2 10 12 0 0 0 0 0 0 0\n"}
    file = str(pick(rng, [*values, *lines]))
    text = damaged_json(rng, values[file]) if file in values else damaged_text(rng, lines[file])
    written(rng, data / file, text)
    words = _checked(rng, data)
    formats = ("createml", "via", "labelme", "label_studio", "fiftyone", "bdd100k", "kitti", "gtsdb", "coco", "voc", "x")
    return [*words, "--format", str(pick(rng, formats))] if chance(rng, 0.3) else words


def _checked(rng: Generator, data: Path) -> list[str]:
    """Returns a look at a data folder, sometimes by another verb."""
    if chance(rng, 0.8):
        return ["check-data", "--data", str(data), *(["--json", "found.json"] if chance(rng, 0.2) else [])]
    verb = ["plan", str(data)], ["fit-anchors", "demo", "--data", str(data)]
    return list(pick(rng, verb))


def run_folder(rng: Generator, folder: Path) -> list[str]:
    """A run folder in which some of the files that verbs read back are hostile."""
    sound_coco(folder / "data")
    run = folder / "run"
    metrics = {"split": "val", "AP": 1.0, "AP50": 2.0, "AP75": 1.0, "AP_small": None, "AP_medium": 1.0, "AP_large": None,
               "per_class": {"cat": 1.0, "dog": None}}  # fmt: skip
    row = {"file": "r_float32.tflite", "format": "float32", "head": "raw", "status": "measured", "reason": "",
           "ap": {"AP": 1.0, "AP50": 2.0, "AP75": 1.0}, "size_bytes": 10, "gzip_bytes": 9, "sha256": "x",
           "latency": {"median": 1.0, "p95": 2.0, "runs": 3, "threads": 2}, "per_class": {"cat": 1.0}}  # fmt: skip
    results = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    files: dict[str, Any] = {
        "run.json": {"data": str(folder / "data"), "command": "c", "keras_retina": "1", "python": "3", "machine": "m"},
        "metrics.json": metrics,
        "verify.json": {"dataset": {"name": "d", "split": "val", "images": 3, "sha256": "x"}, "gate": {"rule": "r", "passed": True},
                        "rows": [row, {**row, "file": "r_int8.tflite", "format": "int8"}]},
        "verify/ground_truth.json": coco_labels("val"),
        "verify/r_float32.json": results,
        "export/r_float32.json": {"kind": "float32", "quantized": None, "input": {"height": 128}},
        "train/class_balance.json": {"classes": [{"name": "cat", "anchors": 3}], "levels": []},
        "splits.json": {"files": {"train": ["a"], "val": ["b"]}, "seed": 0},
        "train/best.json": {"AP": 1.0, "epoch": 1},
    }  # fmt: skip
    hostile = {str(pick(rng, [*files, "recipe.yaml", "train/history.csv"])) for _ in range(2)}
    for file, value in files.items():
        if file in hostile or chance(rng, 0.8):
            written(rng, run / file, damaged_json(rng, value) if file in hostile else json.dumps(value))
    history = "epoch,loss,AP,seconds,learning_rate\n1,2.0,1.0,3.0,0.1\n"
    texts = {"recipe.yaml": json.dumps({**RECIPE, "compress": {}, "expected": None}), "train/history.csv": history}
    for file, text in texts.items():
        written(rng, run / file, damaged_text(rng, text) if file in hostile else text)
    verbs = ["report", str(run)], ["evaluate", str(run)], ["export", str(run)], ["verify", str(run)], ["compress", str(run)]
    return list(verbs[int(rng.choice(5, p=[0.7, 0.1, 0.05, 0.1, 0.05])) if chance(rng, 0.7) else 0])


def command_line(rng: Generator, folder: Path) -> list[str]:
    """Sound files and hostile values of the options."""
    sound_coco(folder / "data")
    (folder / "r.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")
    (folder / "x.tflite").write_bytes(b"\x1c\0\0\0TFL3" + b"\0" * 50)
    places = {"DATA": str(folder / "data"), "R": str(folder / "r.yaml"), "X": str(folder / "x.tflite"), "RUN": "none"}
    lines = (
        "check-data --data DATA --format V", "check-data --data DATA --recipe V", "check-data --data V", "plan DATA --threads V",
        "plan DATA --backbone V", "plan DATA --target V", "plan DATA --objective V", "plan DATA --seed V", "plan DATA --minutes V",
        "detect X DATA --score V", "detect X DATA --threads V", "detect X DATA --every V", "detect X DATA --reconnect V",
        "detect X DATA --input-mean V", "detect X DATA --input-std V", "detect X DATA --head V", "detect X V", "detect V DATA",
        "benchmark X --threads V", "benchmark X --rounds V", "benchmark X --image V", "benchmark --import V --device V",
        "evaluate X --data DATA --split V", "evaluate X --data DATA --class-map V", "evaluate X --labels V", "evaluate V",
        "inspect V", "edgetpu X --log V", "serve-web X --port V --no-browser", "show-batch R --data DATA --images V",
        "show-batch R --data DATA --split V", "fit-anchors R --data DATA --set V", "fit-anchors R --data DATA --set model.anchors.size=V",
        "fit-anchors R --data DATA --set training.batch_size=V", "fit-anchors R --data DATA --set model.head.width=V",
        "check-data --data DATA --recipe R --set seed=V", "check-data --data DATA --set data.split_seed=V --set data.split=auto",
        "train V --data DATA", "train R --data V", "run R --data DATA --minutes V", "tune R --data DATA --minutes V",
        "tune R --data DATA --minutes 1 --seed V --processes V", "weights --make V", "weights --data V", "weights --make X --input-range V",
        "import V --out imported", "import X --out imported --epsilon V", "review V", "report V", "verify V", "export V", "V", "V --help",
    )  # fmt: skip
    words = str(pick(rng, lines)).split()
    value = _argument(rng)
    # A path of hostile length joins no sound one here: what it names is not there.
    return [places.get(word, value) if word in places else word.replace("V", value) if word.endswith("V") else word for word in words]  # fmt: skip


def _argument(rng: Generator) -> str:
    """Returns what a shell can hand over: no zero byte, and surrogates only as Python stands for wrong bytes."""
    text = pick(rng, (number, name, token, nested))(rng)[:100_000].replace("\0", "")
    return os.fsdecode(text.encode("utf-8", "surrogatepass"))


def file_names(rng: Generator, folder: Path) -> list[str]:
    """Pictures, folders and label files with hostile names, links in circles and links that lead out."""
    data = folder / "data"
    sound_coco(data)
    for _ in range(int(rng.integers(1, 4))):
        plain = name(rng).replace("/", "_").replace("\0", "")[:200].encode("utf-8", "surrogatepass")[:200]
        place = os.fsencode(data) + b"/" + pick(rng, (b"images/", b"annotations/", b"")) + (plain or b"x")
        if os.path.lexists(place):
            continue
        kind = int(rng.integers(5))
        if kind == 0:
            os.symlink(pick(rng, (place, b"..", b"/", b"/etc/passwd", b"nowhere", b"/proc/self", b"x" * 4000)), place)
        elif kind == 1:
            os.mkdir(place)
        else:
            Path(os.fsdecode(place + pick(rng, (b"", b".png", b".json", b".txt", b".xml", b".csv")))).write_bytes(b"{}")
    if chance(rng, 0.5):
        return ["check-data", "--data", str(data)]
    return list(pick(rng, (["plan", str(data)], ["check-data", "--data", str(data / name(rng)[:5000].replace("\0", ""))])))


def special_files(rng: Generator, folder: Path) -> list[str]:
    """A pipe, a socket, a device or a link in a circle in the place of a file that is read."""
    data, run = folder / "data", folder / "run"
    sound_coco(data)
    (folder / "r.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")
    cases = {
        data / "annotations" / "train.json": ["check-data", "--data", str(data)],
        data / "images" / "train_0.png": ["check-data", "--data", str(data)],
        data / "data.yaml": ["check-data", "--data", str(data / "data.yaml")],
        data / "classes.txt": ["check-data", "--data", str(data), "--format", "yolo"],
        folder / "r2.yaml": ["fit-anchors", str(folder / "r2.yaml"), "--data", str(data)],
        run / "recipe.yaml": ["report", str(run)],
        run / "run.json": ["evaluate", str(run)],
        run / "verify.json": ["report", str(run)],
        run / "metrics.json": ["report", str(run)],
        folder / "log.txt": ["benchmark", "--import", str(folder / "log.txt"), "--device", "d"],
        folder / "picture.png": ["benchmark", str(folder / "x.tflite"), "--image", str(folder / "picture.png")],
        folder / "labels.txt": ["evaluate", str(folder / "x.tflite"), "--data", str(data), "--labels", str(folder / "labels.txt")],
        folder / "map.txt": ["evaluate", str(folder / "x.tflite"), "--data", str(data), "--class-map", str(folder / "map.txt")],
        folder / "set.zip": ["check-data", "--data", str(folder / "set.zip")],
        folder / "b.pth": ["weights", "--make", str(folder / "b.pth")],
    }  # fmt: skip
    (folder / "x.tflite").write_bytes(b"\x1c\0\0\0TFL3" + b"\0" * 50)
    run.mkdir()
    (run / "recipe.yaml").write_text(json.dumps({**RECIPE, "compress": {}, "expected": None}), encoding="utf-8")
    place = pick(rng, list(cases))
    _special(rng, place)
    return cases[place]


def _special(rng: Generator, place: Path) -> None:
    place.unlink(missing_ok=True)
    kind = int(rng.integers(4))
    if kind == 0:
        os.mkfifo(place)
    elif kind == 1:
        place.symlink_to(pick(rng, (place.name, "/dev/zero", "/dev/full", "/dev/stdin", "/dev/tty", "/dev/random")))
    elif kind == 2:
        place.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as one:
            os.chdir(place.parent)  # the path of a socket may have 108 bytes
            one.bind(place.name)
            os.chdir("/")


def logs(rng: Generator, folder: Path) -> list[str]:
    """Logs of devices and of the Edge TPU compiler, class names and class maps."""
    timing = "Inference timings in us: Init: 1000, First inference: 2000, Warmup (avg): 2000, Inference (avg): 1500.5"
    log = "STARTING!\nGraph: [a.tflite]\nNum threads: [2]\ncount=50 first=1 curr=2 min=1 max=3 avg=2.0 std=1\n" + timing
    cells = log.split(" ")
    for _ in range(int(rng.integers(1, 4))):
        cells[int(rng.integers(len(cells)))] = pick(rng, (number, name))(rng)
    text = " ".join(cells)
    written(rng, folder / "log.txt", damaged_text(rng, text) if chance(rng, 0.3) else text)
    (folder / "x.tflite").write_bytes(b"\x1c\0\0\0TFL3" + b"\0" * 50)
    if chance(rng, 0.7):
        return ["benchmark", "--import", str(folder / "log.txt"), "--device", os.fsdecode(os.fsencode("d"))]
    return ["edgetpu", str(folder / "x.tflite"), "--log", str(folder / "log.txt")]


def outputs(rng: Generator, folder: Path) -> list[str]:
    """Files and folders to write where nothing can be written, or where something is."""
    data = folder / "data"
    sound_coco(data)
    (folder / "r.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")
    places = (
        "/dev/full", "/dev/null", "/proc/nothing", "/sys/x", str(data), str(data / "images" / "train_0.png"), "a.unknown", "a",
        "x" * 300 + ".png", "a/b\udcff.png", str(folder / "r.yaml"), "/", ".", "", "/dev/full/x.png", "\udcff.png", "\x1b[31m.png",
        str(data / "annotations" / "train.json"), "loop/x.png", "/root/x.png", "a.png/b.png", "a.gif", "a.svg", "a.jpg", "a.webp",
    )  # fmt: skip
    os.symlink("loop", folder / "loop")
    place, recipe_file = str(pick(rng, places)), str(folder / "r.yaml")
    verbs = (
        ["check-data", "--data", str(data), "--json", place],
        ["check-data", "--data", str(data), "--recipe", recipe_file, "--picture", place],
        ["show-batch", recipe_file, "--data", str(data), "--images", "1", "--out", place],
        ["fit-anchors", recipe_file, "--data", str(data), "--json", place],
        ["plan", str(data), "--out", place],
        ["pack", recipe_file, "--data", str(data), "--out", place],
        ["benchmark", "x.tflite", "--chart", place],
        ["benchmark", "x.tflite", "--json", place],
        ["detect", "x.tflite", str(data), "--out", place],
        ["train", "none", "--data", str(data), "--out", place],
    )
    return list(pick(rng, verbs))


def surfaces() -> dict[str, Callable[[np.random.Generator, Path], list[str]]]:
    """Returns every surface of text by its name."""
    found = (recipe, recipe_yaml, coco, voc, yolo, data_yaml, csv_file, other_formats, run_folder, command_line, file_names,
             special_files, logs, outputs)  # fmt: skip
    return {one.__name__: one for one in found}
