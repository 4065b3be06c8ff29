"""What every number format of a file costs: AP kept, bytes, and latency on one and on two threads.

    python benchmarks/quantization/formats.py --run RUN --data DIR --split test --out formats.json
    python benchmarks/quantization/formats.py --run RUN --data DIR --split test --out F.json --formats float32 int8
    python benchmarks/quantization/formats.py ... --out F.json --formats float32 int8 --quantizers tensorflow ai_edge
    python benchmarks/quantization/formats.py --show formats.json

Files of all formats are made of the float model of a run, with the settings of its recipe. AP is measured on the form
that ends in boxes; how far each metric is from that of Keras has the interval in which 95 % of 200 draws of the images
lie. With `--quantizers`, what either quantizer can make is made by each, on the same calibration images.
Latencies are medians of invokes in rounds that go through all formats: nothing else may run
meanwhile, or `--no-latency` leaves them out. A run that is in `--out` is not measured again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np

from edge.detectors.measure import invoke_latency
from edge.detectors.split import detect_split
from edge.export.export import BY_EITHER, export_files
from edge.quantize.calibration import choose_calibration_images
from edge.runtime import Detector
from keras_retina.data.images import read_image
from keras_retina.data.reading.folder import load_dataset
from keras_retina.data.records import Dataset
from keras_retina.evaluate.coco import coco_metrics
from keras_retina.evaluate.predict import detect_function, predict_dataset
from keras_retina.evaluate.spread import drawn_images, drawn_metrics
from keras_retina.foundation.machine import machine_name
from keras_retina.model.saving import load_detector
from keras_retina.recipe.export import Quantizer
from keras_retina.recipe.formats import RecipeFormat
from keras_retina.recipe.recipe import load_recipe

ROUNDS, INVOKES = 5, 10
THREADS = (1, 2)
NAMES = ("AP", "AP50", "AP75")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, nargs="*", default=[])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--formats", nargs="+", choices=get_args(RecipeFormat), default=get_args(RecipeFormat))
    parser.add_argument("--quantizers", nargs="+", choices=get_args(Quantizer), default=["tensorflow"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--no-latency", action="store_true")
    parser.add_argument("--show", type=Path)
    arguments = parser.parse_args()
    if arguments.show:
        print(table(json.loads(arguments.show.read_text(encoding="utf-8"))))
        return
    found = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {}
    for run in arguments.run:
        key = f"{arguments.data.name}/{run.name}:{arguments.split}"
        if key not in found:
            found[key] = measured(
                run,
                arguments.data,
                split=arguments.split,
                formats=tuple(arguments.formats),
                quantizers=tuple(arguments.quantizers),
                latency=not arguments.no_latency,
            )
            arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(table({key: found[key]}), flush=True)


def measured(
    run: Path,
    data: Path,
    *,
    split: str,
    formats: tuple[RecipeFormat, ...],
    quantizers: tuple[Quantizer, ...],
    latency: bool,
) -> dict[str, Any]:
    """Returns the metrics of the Keras model and of a file of each of these formats, by each of these quantizers."""
    recipe = load_recipe(run / "recipe.yaml")
    model, spec = load_detector(run / "model.keras")
    read = partial(load_dataset, data, format=recipe.data.format, classes=recipe.data.classes)
    dataset, train_set = read(split), read(recipe.data.train)
    settings = recipe.export.model_copy(update={"formats": formats, "heads": ("postprocess",)})
    images = choose_calibration_images(train_set, settings.calibration_images, seed=recipe.seed)
    detect = detect_function(
        model,
        spec,
        iou_threshold=settings.iou_threshold,
        max_detections=settings.max_detections,
        nms=settings.nms,
    )
    of_keras = predict_dataset(detect, spec, dataset=dataset)
    rows: dict[str, Any] = {"keras": chosen(coco_metrics(dataset, of_keras))}
    drawn = drawn_images(len(dataset.records))
    base = drawn_metrics(dataset, of_keras, drawn)
    with tempfile.TemporaryDirectory() as folder:
        files: dict[str, Path] = {}
        for quantizer, kinds in kinds_of(formats, quantizers).items():
            wanted = settings.model_copy(update={"formats": kinds, "quantizer": quantizer})
            out_dir = Path(folder) / quantizer
            made = export_files(model, spec, out_dir=out_dir, name="m", settings=wanted, calibration_images=images)
            names = [f"{kind}_{quantizer}" if kind in BY_EITHER and quantizer == "ai_edge" else kind for kind in kinds]
            files |= zip(names, made, strict=True)
        for name, path in files.items():
            found = detect_split(path, dataset)
            rows[name] = chosen(coco_metrics(dataset, found)) | {"bytes": path.stat().st_size}
            away = np.percentile(drawn_metrics(dataset, found, drawn) - base, [2.5, 97.5], axis=0)
            rows[name]["away"] = {one: [round(float(side), 2) for side in away[:, k]] for k, one in enumerate(NAMES)}
        if latency:
            for threads in THREADS:
                for name, milliseconds in latencies(files, dataset, threads=threads).items():
                    rows[name][f"ms_{threads}"] = milliseconds
    return {"rows": rows, "images": len(dataset.records), "machine": machine_name()}


def kinds_of(
    formats: tuple[RecipeFormat, ...], quantizers: tuple[Quantizer, ...]
) -> dict[Quantizer, tuple[RecipeFormat, ...]]:
    """Returns the formats that each quantizer makes: the first one all, the others what depends on the quantizer."""
    either = tuple(kind for kind in formats if kind in BY_EITHER)
    return {quantizer: formats if quantizer == quantizers[0] else either for quantizer in quantizers}


def chosen(metrics: dict[str, Any]) -> dict[str, Any]:
    """Returns the metrics that the table shows."""
    return {name: metrics[name] for name in NAMES}


def latencies(files: dict[str, Path], dataset: Dataset, *, threads: int) -> dict[str, float]:
    """Returns the median milliseconds of an invoke of each file, measured in turns."""
    image = read_image(dataset.records[0].path)
    detectors = {name: Detector(path, threads=threads) for name, path in files.items()}
    found: dict[str, list[float]] = {name: [] for name in files}
    for _ in range(ROUNDS):
        for name, detector in detectors.items():
            found[name] += invoke_latency(detector, image, runs=INVOKES)
    return {name: round(statistics.median(values), 2) for name, values in found.items()}


def table(found: dict[str, Any]) -> str:
    """Returns a line for each run and format, and the mean share of the float AP over all runs."""
    lines = [
        "| run | format | AP / AP50 / AP75 | away from Keras | of Keras' AP | MB | ms, 1 thread | ms, 2 threads |",
        "|---|---|---|---|---|---|---|---|",
    ]
    shares: dict[str, list[float]] = {}
    for key, run in found.items():
        parent = run["rows"]["keras"]["AP"]
        for name, row in run["rows"].items():
            share = row["AP"] / parent if parent else 0.0
            shares.setdefault(name, []).append(share)
            ap = " / ".join(f"{row[one]:.1f}" for one in NAMES)
            away = " / ".join(away_from(row, run["rows"]["keras"], one) for one in NAMES) if "away" in row else ""
            cells = [key, name, ap, away, f"{share:.3f}", f"{row['bytes'] / 1e6:.2f}" if "bytes" in row else ""]
            cells += [f"{row[f'ms_{threads}']:.1f}" if f"ms_{threads}" in row else "" for threads in THREADS]
            lines.append(f"| {' | '.join(cells)} |")
    means = (f"{name} {statistics.mean(values):.4f} (lowest {min(values):.4f})" for name, values in shares.items())
    return "\n".join([*lines, "", f"Mean share of the float AP over {len(found)} runs: {'; '.join(means)}"])


def away_from(row: dict[str, Any], parent: dict[str, Any], name: str) -> str:
    """Returns `-2.2 (-4.5 to +0.3)`: the difference of a metric, and where 95 % of the draws have it."""
    low, high = row["away"][name]
    return f"{row[name] - parent[name]:+.1f} ({low:+.1f} to {high:+.1f})"


if __name__ == "__main__":
    main()
