"""The surfaces of the command line: values of options, files that are no files, and places to write to."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

from fuzz_sound import RECIPE, sound_coco
from fuzz_values import Generator, name, nested, number, pick, token

LINES = """
check-data --data DATA --format V
check-data --data DATA --recipe V
check-data --data V
plan DATA --threads V
plan DATA --backbone V
plan DATA --target V
plan DATA --objective V
plan DATA --seed V
detect X DATA --score V
detect X DATA --threads V
detect X DATA --every V
detect X DATA --reconnect V
detect X DATA --input-mean V
detect X DATA --input-std V
detect X DATA --head V
detect X V
detect V DATA
benchmark X --threads V
benchmark X --rounds V
benchmark X --image V
benchmark --import V --device V
evaluate X --data DATA --split V
evaluate X --data DATA --class-map V
evaluate X --labels V
evaluate V
inspect V
edgetpu X --log V
serve-web X --port V --no-browser
show-batch R --data DATA --images V
show-batch R --data DATA --split V
fit-anchors R --data DATA --set V
fit-anchors R --data DATA --set model.anchors.size=V
fit-anchors R --data DATA --set training.batch_size=V
fit-anchors R --data DATA --set model.head.width=V
check-data --data DATA --recipe R --set seed=V
check-data --data DATA --set data.split_seed=V --set data.split=auto
train V --data DATA
train R --data V
tune R --data DATA --minutes V
tune R --data DATA --minutes 1 --seed V --processes V
weights --make V
weights --data V
weights --make X --input-range V
import V --out imported
import X --out imported --epsilon V
review V
report V
verify V
export V
V
V --help
"""
"""DATA, R and X are sound files, V is a hostile value."""


def command_line(rng: Generator, folder: Path) -> list[str]:
    """Sound files and hostile values of the options."""
    _write_sound(folder)
    places = {"DATA": str(folder / "data"), "R": str(folder / "r.yaml"), "X": str(folder / "x.tflite")}
    words = str(pick(rng, LINES.strip().splitlines())).split()
    value = _argument(rng)
    return [places[word] if word in places else word.replace("V", value) for word in words]


def _write_sound(folder: Path) -> None:
    """Writes data, a recipe, and a file that is no network but begins like one."""
    sound_coco(folder / "data")
    (folder / "r.yaml").write_text(json.dumps(RECIPE), encoding="utf-8")
    (folder / "x.tflite").write_bytes(b"\x1c\0\0\0TFL3" + b"\0" * 50)


def _argument(rng: Generator) -> str:
    """Returns what a shell can hand over: no zero byte, and surrogates only as Python stands for wrong bytes."""
    text = pick(rng, (number, name, token, nested))(rng)[:100_000].replace("\0", "")
    return os.fsdecode(text.encode("utf-8", "surrogatepass"))


def special_files(rng: Generator, folder: Path) -> list[str]:
    """A pipe, a socket, a device or a link in a circle in the place of a file that is read."""
    data, run = folder / "data", folder / "run"
    _write_sound(folder)
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
        folder / "labels.txt": [
            "evaluate",
            str(folder / "x.tflite"),
            "--data",
            str(data),
            "--labels",
            str(folder / "labels.txt"),
        ],
        folder / "map.txt": [
            "evaluate",
            str(folder / "x.tflite"),
            "--data",
            str(data),
            "--class-map",
            str(folder / "map.txt"),
        ],
        folder / "set.zip": ["check-data", "--data", str(folder / "set.zip")],
        folder / "b.pth": ["weights", "--make", str(folder / "b.pth")],
    }
    run.mkdir()
    (run / "recipe.yaml").write_text(json.dumps({**RECIPE, "compress": {}, "expected": None}), encoding="utf-8")
    place = pick(rng, list(cases))
    special(rng, place)
    return cases[place]


def special(rng: Generator, place: Path) -> None:
    """Puts a pipe, a socket, a device, a folder or a link in a circle in the place of a file."""
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


def outputs(rng: Generator, folder: Path) -> list[str]:
    """Files and folders to write where nothing can be written, or where something is."""
    data = folder / "data"
    _write_sound(folder)
    places = (
        "/dev/full",
        "/dev/null",
        "/proc/nothing",
        "/sys/x",
        str(data),
        str(data / "images" / "train_0.png"),
        "a.unknown",
        "a",
        "x" * 300 + ".png",
        "a/b\udcff.png",
        str(folder / "r.yaml"),
        "/",
        ".",
        "",
        "/dev/full/x.png",
        "\udcff.png",
        "\x1b[31m.png",
        str(data / "annotations" / "train.json"),
        "loop/x.png",
        "/nowhere/x.png",
        "a.png/b.png",
        "a.gif",
        "a.svg",
        "a.jpg",
        "a.webp",
    )
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
