"""Damages 5 % of the labels on purpose, trains on them, and counts how many `keras-retina review` finds.

    python benchmarks/runs/damaged_labels.py RECIPE --data DIR --out OUT [--seeds 1 2 3] [--share 0.05]
        [--set section.key=value ...]

DIR is a COCO folder. Of the labels of every split a third is removed, a third moved or scaled until it overlaps its old
place with an IoU of 0.2 to 0.5, and a third given another class; with one class only, half is removed and half moved.
Each seed draws other labels and trains anew, in `OUT/seed-N`; what is there is not repeated.

The list is read as a person reads it, from the top: as many lines as 10 % of the labels. A removed label counts as
found where a line shows a box over it (IoU 0.5), a moved one where a line shows its label or a box over its old place,
and a swapped one where a line shows its label. Recall is the share of the damaged labels that are found so, precision
the share of these lines that show one. Two other orders stand beside it: the same lines by chance (mean of 100
orders), and by plain confidence, where a label scores 1 minus the best score of its class there (IoU 0.5), and a
finding without a label its score. The labels of a set are not without faults before the damage, so the true precision
is higher.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_retina.data.records import Dataset
from keras_retina.evaluate.predict import detect_function, predict_dataset
from keras_retina.evaluate.review import Line, findings_of, review_results
from keras_retina.evaluate.trust import SAME_PLACE
from keras_retina.geometry.boxes import iou, xywh_to_yxyx
from keras_retina.model.saving import load_detector
from keras_retina.run.folder import load_split, open_run

READ = 0.1  # of the number of labels: so many lines are read from the top
SHUFFLES = 100
OVERLAP_OF_MOVED = (0.2, 0.5)  # with its old place: clearly wrong, and still the same object
REMOVED, MOVED, SWAPPED = "removed", "moved", "swapped"


@dataclass(frozen=True)
class Damage:
    """One damaged label; boxes are `[x, y, width, height]` as in the labels, `new_box` is None where it is removed."""

    split: str
    file: str
    kind: str
    name: str
    box: tuple[float, ...]
    new_name: str | None
    new_box: tuple[float, ...] | None


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
        done = read_damages(data / "damage.json")
        show(seed, folder / "run", damages=done)


def show(seed: int, run: Path, *, damages: Sequence[Damage]) -> None:
    """Prints the recall of the damaged labels and the precision, by order, by kind of damage and by split."""
    found = detections(run)
    review = review_results(found)
    count = round(READ * review.labels)
    orders = {"review": review.lines[:count], "plain confidence": plain_order(found)[:count]}
    hits = {name: found_damages(lines, damages) for name, lines in orders.items()}
    print(f"seed {seed}: {len(damages)} labels damaged, {review.labels} left; the first {count} lines are read")
    parts = [(kind, [one for one in damages if one.kind == kind]) for kind in (REMOVED, MOVED, SWAPPED)]
    parts += [(split, [one for one in damages if one.split == split]) for split in ("train", "val", "test")]
    print("| order | recall | precision | " + " | ".join(name for name, part in parts if part) + " |")
    for name, (seen, lines) in hits.items():
        cells = [f"{len(seen & set(part)) / len(part):.2f}" for _, part in parts if part]
        print(f"| {name} | {len(seen) / len(damages):.3f} | {lines / count:.3f} | " + " | ".join(cells) + " |")
    chance, lines = random.Random(seed), list(review.lines)
    by_chance = [found_damages(chance.sample(lines, count), damages) for _ in range(SHUFFLES)]
    recall = statistics.mean(len(seen) for seen, _ in by_chance) / len(damages)
    print(f"| by chance | {recall:.3f} | {statistics.mean(number for _, number in by_chance) / count:.3f} |")


def detections(run: Path) -> list[tuple[Dataset, list[dict[str, Any]]]]:
    """Returns each split of a trained run with what its detector finds."""
    opened = open_run(run)
    model, spec = load_detector(opened.model)
    files = opened.recipe.export
    detect = detect_function(
        model, spec, iou_threshold=files.iou_threshold, max_detections=files.max_detections, nms=files.nms
    )
    named = opened.recipe.data
    datasets = [load_split(opened, split) for split in (named.train, named.validation, named.test) if split]
    return [(dataset, predict_dataset(detect, spec, dataset=dataset)) for dataset in datasets]


def plain_order(found: Sequence[tuple[Dataset, list[dict[str, Any]]]]) -> list[Line]:
    """Returns labels and findings in the order of the scores of the detector alone."""
    lines = []
    for dataset, results in found:
        for record, findings in findings_of(dataset, results):
            overlap = iou(record.boxes, findings.boxes) >= SAME_PLACE
            own = np.where(overlap & (record.classes[:, None] == findings.classes), findings.scores, 0)
            blank = Line("unfound_label", 0.0, dataset.split, record, None, None, None, None, None)
            for label, score in enumerate(1 - own.max(axis=1, initial=0)):
                lines.append(dataclasses.replace(blank, score=score, label_box=tuple(record.boxes[label])))
            for index in np.flatnonzero(~overlap.any(axis=0)):
                score, box = float(findings.scores[index]), tuple(findings.boxes[index])
                lines.append(dataclasses.replace(blank, kind="missing_label", score=score, found_box=box))
    return sorted(lines, key=lambda line: -line.score)


def found_damages(lines: Sequence[Line], damages: Sequence[Damage]) -> tuple[set[Damage], int]:
    """Returns the damages that the lines show, and how many of the lines show one."""
    here: dict[tuple[str, str], list[Damage]] = {}
    for one in damages:
        here.setdefault((one.split, one.file), []).append(one)
    seen: set[Damage] = set()
    count = 0
    for line in lines:
        shown = {one for one in here.get((line.split, line.record.file_name), []) if shows(line, one)}
        seen |= shown
        count += bool(shown)
    return seen, count


def shows(line: Line, one: Damage) -> bool:
    """Tells whether a line leads the eye to a damage."""
    if line.label_box is not None:
        new = one.new_box and xywh_to_yxyx(np.array(one.new_box))
        return new is not None and float(np.abs(new - np.array(line.label_box)).max()) < 1
    old = xywh_to_yxyx(np.array([one.box]))
    return one.kind != SWAPPED and float(iou(old, np.array([line.found_box]))[0, 0]) >= SAME_PLACE


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


def read_damages(path: Path) -> list[Damage]:
    """Reads what `write_damaged` wrote."""
    found = []
    for one in json.loads(path.read_text(encoding="utf-8")):
        new_box = None if one["new_box"] is None else tuple(one["new_box"])
        found.append(Damage(**(one | {"box": tuple(one["box"]), "new_box": new_box})))
    return found


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
        new_box = None if is_gone else tuple(label["bbox"])
        done.append(Damage(split, image["file_name"], kind, name, tuple(box), None if is_gone else new_name, new_box))
    labels["annotations"] = [label for index, label in enumerate(labels["annotations"]) if index not in gone]
    return done


def moved(box: Sequence[float], width: int, *, height: int, chance: random.Random) -> list[float]:
    """Returns the box moved and scaled inside the image; its IoU with the old place is in `OVERLAP_OF_MOVED`."""
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
