"""Public detectors and ours on the same images: AP of each file, float against int8, and latency in turns.

    python benchmarks/peers/public_detectors.py LIST.yaml --data DIR --split val test [--leave-out FILE] [--json OUT]

LIST.yaml has a detector an item, ours first; paths are relative to it:

    - {name: ours, files: {float: ours_float32.tflite, int8: ours_int8.tflite}}
    - {name: theirs, files: {float: a.tflite, int8: b.tflite}, labels: names.txt, class_map: "Red=RBC", head: yolov5}

What is not `name` or `files` is a field of `edge.detectors.reading.ReadingOptions`. A public detector was often trained
on images that are a test split here: `--leave-out` names those, one file name a line without its folder, and AP is
measured on the rest. Intervals are those of 200 draws of the images with replacement, the same draws for every file.

Run nothing else beside it, or leave the latency out (`--rounds 0`).
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from edge.benchmark.comparison import against_first, latency_statistics
from edge.benchmark.interleave import interleaved_latency
from edge.detectors.open_file import load
from edge.detectors.reading import ReadingOptions, choose_reading, reading_lines
from edge.detectors.split import detect_split
from keras_retina.data.reading.folder import load_split, open_folder
from keras_retina.data.records import Dataset
from keras_retina.evaluate.coco import coco_metrics
from keras_retina.evaluate.spread import DRAWS, drawn_images, drawn_metrics
from keras_retina.foundation.machine import machine_name

METRICS = ("AP", "AP50", "AP75")
Row = dict[str, Any]


@dataclass(frozen=True)
class Listed:
    """One file of the list: of which detector, in which form, and what is said about how to read it."""

    name: str
    kind: str
    path: Path
    options: ReadingOptions


def read_list(path: Path) -> list[Listed]:
    """Returns the files of a list in its order."""
    files = []
    for item in yaml.safe_load(path.read_text(encoding="utf-8")):
        said = {key: value for key, value in item.items() if key not in ("name", "files")}
        if "labels" in said:
            said["labels"] = path.parent / said["labels"]
        options = ReadingOptions(**said)
        files += [Listed(item["name"], kind, path.parent / one, options) for kind, one in item["files"].items()]
    return files


def joined(splits: Sequence[Dataset], leave_out: set[str]) -> Dataset:
    """Returns the images of all splits but those left out, as one split with ids of its own."""
    kept = [one for split in splits for one in split.records if Path(one.file_name).name not in leave_out]
    records = tuple(dataclasses.replace(one, image_id=number) for number, one in enumerate(kept, start=1))
    return dataclasses.replace(splits[0], split="+".join(one.split for one in splits), records=records)


def precision_rows(files: Sequence[Listed], dataset: Dataset, *, draws: int) -> list[Row]:
    """Returns a row a file: its metrics and input, and how far its AP is from two others.

    `difference` is to the first detector's file of the same form, `to_own` to this detector's first file. Each has an
    `..._interval`, unless `draws` is 0.
    """
    places = drawn_images(len(dataset.records), draws=draws)
    rows: list[Row] = []
    first: dict[str, tuple[float, np.ndarray]] = {}  # of each form, and of each detector
    for file in files:
        reading = choose_reading(file.path, dataset, options=file.options)
        print("\n".join(reading_lines(file.path, reading)), flush=True)
        found = detect_split(file.path, dataset, reading=reading)
        metrics = coco_metrics(dataset, found)
        drawn = drawn_metrics(dataset, found, places)[:, 0]
        precision = float(metrics["AP"] or 0.0)
        detail = load(file.path, 1).get_input_details()[0]
        row = {"name": file.name, "kind": file.kind, "file": file.path.name, "bytes": file.path.stat().st_size}
        row |= {"input": [int(side) for side in detail["shape"]], "input_kind": np.dtype(detail["dtype"]).name}
        row |= {metric: metrics[metric] for metric in METRICS} | {"per_class": metrics["per_class"]}
        row["interval"] = _interval(drawn) if draws else None
        for key, other in (("difference", f"form {file.kind}"), ("to_own", f"detector {file.name}")):
            base, base_drawn = first.setdefault(other, (precision, drawn))
            row[key] = precision - base
            row[f"{key}_interval"] = _interval(drawn - base_drawn) if draws else None
        rows.append(row)
        print(f"{file.name}, {file.kind}: AP {precision:.2f}", flush=True)
    return rows


def _interval(drawn: np.ndarray) -> list[float]:
    return [float(one) for one in np.percentile(drawn, [2.5, 97.5])]


def add_latency(rows: list[Row], files: Sequence[Listed], *, threads: int, rounds: int, image: Path) -> None:
    """Times all files in turns and adds `ms` to each row: the median, and the share of the first file of its form."""
    times = interleaved_latency([file.path for file in files], threads, rounds=rounds, image=image)
    first: dict[str, list[list[float]]] = {}
    for row, file, mine in zip(rows, files, times, strict=True):
        base = first.setdefault(file.kind, mine)
        row.setdefault("ms", {})[str(threads)] = {**latency_statistics(mine), **against_first(base, mine)}


def table(rows: Sequence[Row], threads: Sequence[int]) -> str:
    """Returns the rows as Markdown; a share and its interval are against the first detector's file of that form."""
    heads = ["detector", "file", "input", "MB", "AP / AP50 / AP75", "AP to its first file", "AP to the first detector"]
    heads += [f"ms, {count} thread{'s' if count > 1 else ''}" for count in threads]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for row in rows:
        is_first = row["name"] == rows[0]["name"]
        cells = [row["name"], row["kind"], " x ".join(str(side) for side in row["input"][1:])]
        cells += [f"{row['bytes'] / 1e6:.2f}", " / ".join(f"{row[metric] or 0.0:.1f}" for metric in METRICS)]
        is_own_first = row["kind"] == next(one["kind"] for one in rows if one["name"] == row["name"])
        cells += ["" if is_own_first else _away(row, "to_own"), "" if is_first else _away(row, "difference")]
        cells += [_time(row["ms"][str(count)], is_first=is_first) for count in threads]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _away(row: Row, key: str) -> str:
    interval = row[f"{key}_interval"]
    return f"{row[key]:+.1f}" + (f" ({interval[0]:+.1f} to {interval[1]:+.1f})" if interval else "")


def _time(time: Row, *, is_first: bool) -> str:
    share = "" if is_first else f"; {time['share']:.2f} ({time['low']:.2f} to {time['high']:.2f})"
    return f"{time['median_ms']:.1f}{share}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("list", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", nargs="+", default=["test"])
    parser.add_argument("--leave-out", type=Path, help="a file with a name of an image a line")
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=20, help="0 leaves the latency out")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    files, folder = read_list(arguments.list), open_folder(arguments.data)
    names = arguments.leave_out.read_text(encoding="utf-8").split("\n") if arguments.leave_out else []
    dataset = joined([load_split(folder, split) for split in arguments.split], {name.strip() for name in names})
    print(f"{len(dataset.records)} images of {dataset.name}, {dataset.split}", flush=True)
    rows = precision_rows(files, dataset, draws=arguments.draws)
    threads = arguments.threads if arguments.rounds else []
    for count in threads:
        add_latency(rows, files, threads=count, rounds=arguments.rounds, image=Path(str(dataset.records[0].path)))
    facts = {"machine": machine_name(), "date": datetime.date.today().isoformat(), "rounds": arguments.rounds}
    facts |= {"images": len(dataset.records), "data": dataset.name, "split": dataset.split, "draws": arguments.draws}
    print(f"\n{facts['machine']}, {facts['date']}\n\n{table(rows, threads)}")
    if arguments.json:
        arguments.json.write_text(json.dumps({**facts, "rows": rows}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
