"""COCO AP of the files that the workers wrote, side by side, all by pycocotools through `keras_retina.evaluate.coco`.

python benchmarks/peers/score.py DETECTIONS.json ... [--json FILE]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from keras_retina.data.reading.folder import load_dataset
from keras_retina.evaluate.coco import coco_metrics

COLUMNS = ("AP", "AP50", "AP75")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [score(path) for path in arguments.files]
    heads = f"{'minutes':>8} {'steps':>6} {'images/s':>9}  {' / '.join(COLUMNS)}"
    print(f"{'detector':<20} {'data':<10} {'split':<6} {'size':>7} {heads}")
    for row in rows:
        print(line(row))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2), encoding="utf-8")


def line(row: dict) -> str:
    """Returns a row of the table; a file that was not trained here, but converted, has no training to show."""
    aps = " / ".join(f"{row[name]:.1f}" for name in COLUMNS)
    trained = f"{'-':>8} {'-':>6} {'-':>9}"
    if "steps" in row:
        rate = row["batch_size"] * row["steps"] / row["seconds"]
        trained = f"{row['seconds'] / 60:8.1f} {row['steps']:6d} {rate:9.1f}"
    return f"{row['detector']:<20} {Path(row['data']).name:<10} {row['split']:<6} {row['size']:>7} {trained}  {aps}"


def score(path: Path) -> dict:
    """Returns what the worker wrote, its detections replaced by their COCO metrics in percent."""
    trained = json.loads(path.read_text(encoding="utf-8"))
    dataset = load_dataset(trained["data"], trained["split"])
    return {"file": str(path), **coco_metrics(dataset, trained.pop("detections")), **trained}


if __name__ == "__main__":
    main()
