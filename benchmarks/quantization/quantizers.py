"""int8 by either quantizer, `export.quantizer: tensorflow` and `ai_edge`, of the same float models.

    python benchmarks/quantization/quantizers.py --run RUN --data DIR --split test --out quantizers.json
    python benchmarks/quantization/quantizers.py --show quantizers.json

Both are calibrated on the same images; nothing is healed. Seconds are of the whole export. A run that is in `--out` is
not measured again.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, get_args

from edge.detectors.split import detect_split
from edge.export.export import export_files
from edge.quantize.calibration import choose_calibration_images
from keras_retina.data.reading.folder import load_dataset
from keras_retina.evaluate.coco import coco_metrics
from keras_retina.model.saving import load_detector
from keras_retina.recipe.export import Quantizer
from keras_retina.recipe.recipe import load_recipe

FLOAT = "float32"
NAMES = ("AP", "AP50", "AP75")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, nargs="*", default=[])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--show", type=Path)
    arguments = parser.parse_args()
    if arguments.show:
        print(table(json.loads(arguments.show.read_text(encoding="utf-8"))))
        return
    found = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {}
    for run in arguments.run:
        key = f"{arguments.data.name} {arguments.split}, {run.name}"
        if key not in found:
            found[key] = measured(run, arguments.data, split=arguments.split)
            arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            print(table({key: found[key]}), flush=True)


def measured(run: Path, data: Path, *, split: str) -> dict[str, dict[str, float]]:
    """Returns AP, bytes and seconds of the float32 file and of an int8 file of each quantizer."""
    recipe = load_recipe(run / "recipe.yaml")
    model, spec = load_detector(run / "model.keras")
    read = partial(load_dataset, data, format=recipe.data.format, classes=recipe.data.classes)
    dataset, train_set = read(split), read(recipe.data.train)
    images = choose_calibration_images(train_set, recipe.export.calibration_images, seed=recipe.seed)
    wanted: dict[str, dict[str, Any]] = {FLOAT: {"formats": (FLOAT,)}}
    wanted |= {name: {"formats": ("int8",), "quantizer": name} for name in get_args(Quantizer)}
    rows = {}
    for name, changes in wanted.items():
        settings = recipe.export.model_copy(update={"heads": ("postprocess",), **changes})
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            (path,) = export_files(
                model, spec, out_dir=Path(folder), name="m", settings=settings, calibration_images=images
            )
            seconds = time.perf_counter() - started
            metrics = coco_metrics(dataset, detect_split(path, dataset))
            rows[name] = {one: metrics[one] for one in NAMES}
            rows[name] |= {"bytes": path.stat().st_size, "seconds": round(seconds, 1)}
    return rows


def table(found: dict[str, Any]) -> str:
    """Returns a line for each run, and the mean share of the AP of the float32 file."""
    names = list(get_args(Quantizer))
    lines = [f"| run | {FLOAT} | {' | '.join(names)} |", f"|{'---|' * (2 + len(names))}"]
    shares: dict[str, list[float]] = {name: [] for name in names}
    for key, rows in found.items():
        cells = [key, ap_of(rows[FLOAT])]
        for name in names:
            shares[name].append(rows[name]["AP"] / rows[FLOAT]["AP"])
            cells.append(f"{shares[name][-1]:.3f}: {ap_of(rows[name])}, {rows[name]['seconds']:.0f} s")
        lines.append(f"| {' | '.join(cells)} |")
    means = (f"{name} {statistics.mean(values):.3f}, lowest {min(values):.3f}" for name, values in shares.items())
    return "\n".join([*lines, "", f"Share of the AP of the float32 file, mean of {len(found)}: {'; '.join(means)}"])


def ap_of(row: dict[str, float]) -> str:
    """Returns AP / AP50 / AP75."""
    return " / ".join(f"{row[name]:.1f}" for name in NAMES)


if __name__ == "__main__":
    main()
