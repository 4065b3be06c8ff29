"""Damages 5 % of the labels on purpose, trains on them, and counts how many `keras-retina review` finds.

    python benchmarks/runs/damaged_labels.py RECIPE --data DIR --out OUT [--seeds 1 2 3] [--share 0.05]
        [--set section.key=value ...]

DIR is a COCO folder. Of the labels of every split a third is removed, a third moved or scaled until it overlaps its old
place with an IoU of 0.2 to 0.5, and a third given another class; with one class only, half is removed and half moved.
Each seed draws other labels and trains anew, in `OUT/seed-N`; what is there is not repeated.

The list is read as a person reads it, from the top: as many lines as 10 % of the labels. A removed label counts as
found where a line shows a box over it (IoU 0.5), a moved one where a line shows its label or a box over its old place,
and a swapped one where a line shows its label. Two other orders of the same lines stand beside it: by chance, and by
the plain confidence of the detector.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from keras_retina.geometry.boxes import iou, xywh_to_yxyx

OVERLAP_OF_MOVED = (0.2, 0.5)  # with its old place: clearly wrong, and still the same object
REMOVED, MOVED, SWAPPED = "removed", "moved", "swapped"


@dataclass(frozen=True)
class Damage:
    """One damaged label; boxes are `[x, y, width, height]` as in the labels, `new_box` is None where it is removed."""

    split: str
    file: str
    kind: str
    name: str
    box: list[float]
    new_name: str | None
    new_box: list[float] | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--share", type=float, default=0.05)
    parser.add_argument("--set", action="append", default=[], help="section.key=value, as in keras-retina")
    arguments = parser.parse_args()
    for seed in arguments.seeds:
        folder = arguments.out / f"seed-{seed}"
        data = folder / "data"
        if not (data / "damage.json").exists():
            write_damaged(arguments.data, data, share=arguments.share, seed=seed)
        train(arguments.recipe, data, run=folder / "run", overrides=[*arguments.set, f"seed={seed}"])


def write_damaged(source: Path, target: Path, *, share: float, seed: int) -> None:
    """Writes a copy of a COCO folder with damaged labels, its images linked, and `damage.json` with what was done."""
    (target / "annotations").mkdir(parents=True, exist_ok=True)
    if not (target / "images").exists():
        (target / "images").symlink_to((source / "images").resolve())
    chance, done = random.Random(seed), []
    for path in sorted((source / "annotations").glob("*.json")):
        labels = json.loads(path.read_text(encoding="utf-8"))
        done += damage(labels, path.stem, share=share, chance=chance)
        (target / "annotations" / path.name).write_text(json.dumps(labels), encoding="utf-8")
    (target / "damage.json").write_text(json.dumps([asdict(one) for one in done], indent=1), encoding="utf-8")


def damage(labels: dict[str, Any], split: str, *, share: float, chance: random.Random) -> list[Damage]:
    """Damages the labels of one split in place and returns what it did."""
    names = {entry["id"]: entry["name"] for entry in labels["categories"]}
    images = {image["id"]: image for image in labels["images"]}
    kinds = (REMOVED, MOVED, SWAPPED) if len(names) > 1 else (REMOVED, MOVED)
    drawn = chance.sample(range(len(labels["annotations"])), round(share * len(labels["annotations"])))
    done, gone = [], set()
    for number, index in enumerate(drawn):
        label, kind = labels["annotations"][index], kinds[number % len(kinds)]
        image, box = images[label["image_id"]], list(label["bbox"])
        name = new_name = names[label["category_id"]]
        if kind == REMOVED:
            gone.add(index)
        elif kind == MOVED:
            label["bbox"] = moved(box, image["width"], height=image["height"], chance=chance)
            label["area"] = label["bbox"][2] * label["bbox"][3]
        else:
            label["category_id"] = chance.choice([one for one in names if one != label["category_id"]])
            new_name = names[label["category_id"]]
        is_gone = kind == REMOVED
        new_box = None if is_gone else label["bbox"]
        done.append(Damage(split, image["file_name"], kind, name, box, None if is_gone else new_name, new_box))
    labels["annotations"] = [label for index, label in enumerate(labels["annotations"]) if index not in gone]
    return done


def moved(box: Sequence[float], width: int, *, height: int, chance: random.Random) -> list[float]:
    """Returns the box moved and scaled by chance, inside the image, with an IoU in `OVERLAP_OF_MOVED` to where it was."""
    lowest, highest = OVERLAP_OF_MOVED
    while True:
        x, y, across, down = box
        across, down = across * chance.uniform(0.6, 1.6), down * chance.uniform(0.6, 1.6)
        x, y = x + across * chance.uniform(-0.6, 0.6), y + down * chance.uniform(-0.6, 0.6)
        left, top, right, bottom = max(0.0, x), max(0.0, y), min(width, x + across), min(height, y + down)
        new = [round(value, 1) for value in (left, top, right - left, bottom - top)]
        if min(new[2:]) >= 2 and lowest <= iou(xywh_to_yxyx([new]), xywh_to_yxyx([box]))[0, 0] <= highest:
            return new


def train(recipe: str, data: Path, *, run: Path, overrides: Sequence[str]) -> None:
    """Trains in `run`, or finishes a training that was interrupted."""
    command = [sys.executable, "-m", "keras_retina", "train", recipe, "--data", str(data), "--out", str(run)]
    for override in overrides:
        command += ["--set", override]
    print(" ".join(command), file=sys.stderr, flush=True)
    subprocess.run(command, stdout=sys.stderr, check=True)


if __name__ == "__main__":
    main()
