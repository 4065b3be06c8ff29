"""Training steps of keras_retina and its peers, images a second, one step after the other in one run.

    python benchmarks/peers/speed.py --weights FILE --model-garden MG/bin/python --keras-cv KERAS_CV/bin/python

Each detector is a process that lives through the whole run: MobileNetV2 1.0, 8 images a step, one constant
batch with 12 objects an image, its targets made beforehand unless the detector makes them in its step (KerasCV). A
round asks one after the other, each round starting with the next one, for a few steps. The ratio is of the two times of
one round, so that a machine that slows down meanwhile slows both.

The networks are not the same, as each project configures its own. `ours, wide` is ours with the widths, convolutions
and trained layers of Model Garden's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WIDE = [
    "model.pyramid.width=128", "model.head.width=128", "model.head.convolutions=4", "model.backbone.frozen_stages=0",
    "model.backbone.batch_norm=trained",
]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--ours", default=sys.executable, help="python with keras_retina")
    parser.add_argument("--model-garden", help="python with tf-models-official; left out if not given")
    parser.add_argument("--keras-cv", help="python with keras-cv; left out if not given")
    parser.add_argument("--recipe", default=str(HERE.parents[1] / "recipes" / "bccd.yaml"))
    parser.add_argument("--set", action="append", default=[], help="section.key=value, for ours, as in keras-retina")
    parser.add_argument("--size", type=int, default=256, help="height and width of the input")
    parser.add_argument("--own-input", action="store_true", help="ours at the input of its recipe, not at --size")
    parser.add_argument("--skip-wide", action="store_true", help="without ours in the widths of Model Garden")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=5, help="of each detector in a round")
    parser.add_argument("--json", type=Path, help="writes the seconds of every round")
    arguments = parser.parse_args()
    workers = {name: _start(name, command) for name, command in commands(arguments).items()}
    replies: dict[str, list[dict[str, float]]] = {name: [] for name in workers}
    try:
        names = list(workers)
        for number in range(arguments.rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                replies[name].append(_ask(workers[name], arguments.steps))
            print(f"round {number + 1} of {arguments.rounds}", file=sys.stderr, flush=True)
    finally:
        for worker in workers.values():
            worker.stdin.close()
            worker.wait()
    rows = summary(replies, arguments.steps)
    for name, row in rows.items():
        print(_line(name, row))
    if arguments.json:
        one_dnn = os.environ.get("TF_ENABLE_ONEDNN_OPTS", "default of each")
        settings = {"size": arguments.size, "steps": arguments.steps, "rounds": arguments.rounds, "one_dnn": one_dnn}
        arguments.json.write_text(json.dumps({**settings, "detectors": rows, "rounds_of": replies}, indent=2))


def commands(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """Returns the command line of each worker, ours first."""
    ours = [arguments.ours, str(HERE / "ours.py"), "steps", "--recipe", arguments.recipe, *_set(arguments.set)]
    ours += ["--own-input"] if arguments.own_input else []
    found = {"ours": ours} if arguments.skip_wide else {"ours": ours, "ours, wide": [*ours, *_set(WIDE)]}
    if arguments.model_garden:
        garden = [arguments.model_garden, str(HERE / "model_garden.py"), "steps"]
        found |= {"Model Garden": garden, "Model Garden, fused BN": [*garden, "--fused-batch-norm"]}
    if arguments.keras_cv:
        found["KerasCV"] = [arguments.keras_cv, str(HERE / "keras_cv_detector.py"), "steps"]
    common = ["--weights", arguments.weights, "--size", str(arguments.size)]
    return {name: [*command, *common] for name, command in found.items()}


def _set(settings: list[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def summary(replies: dict[str, list[dict[str, float]]], steps: int) -> dict[str, dict[str, Any]]:
    """Returns images a second and, for each of ours, how many times as fast, as [median, lowest, highest]."""
    seconds = {name: [reply["seconds"] for reply in of_one] for name, of_one in replies.items()}
    rows: dict[str, dict[str, Any]] = {}
    for name, times in seconds.items():
        rows[name] = {
            "images_per_second": _spread([8 * steps / time for time in times]),
            "peak_mebibytes": max(reply["peak_mebibytes"] for reply in replies[name]),
        }
        for base in (ours for ours in ("ours", "ours, wide") if ours in seconds):
            ratios = [time / our_time for time, our_time in zip(times, seconds[base], strict=True)]
            rows[name][f"{base} / this"] = _spread(ratios)
    return rows


def _spread(values: list[float]) -> list[float]:
    return [statistics.median(values), min(values), max(values)]


def _line(name: str, row: dict[str, Any]) -> str:
    parts = ["{:6.2f} images/s ({:.2f} .. {:.2f})".format(*row["images_per_second"])]
    parts += ["{} {:.2f} ({:.2f} .. {:.2f})".format(key, *row[key]) for key in row if key.endswith("/ this")]
    return f"{name:<23} {'   '.join(parts)}   {row['peak_mebibytes']:.0f} MiB"


def _start(name: str, command: list[str]) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(HERE.parents[1])} if command[1].endswith("ours.py") else None
    worker = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"{name}: its worker ended at the start. Run it alone: {' '.join(command)} < /dev/null")
    print(f"{name}: ready, loss {json.loads(line)['loss']:.3f}", file=sys.stderr, flush=True)
    return worker


def _ask(worker: subprocess.Popen[str], steps: int) -> dict[str, float]:
    print(steps, file=worker.stdin, flush=True)
    line = worker.stdout.readline()
    if not line:
        raise SystemExit(f"{worker.args[1]}: the worker ended during the run. Is there memory for all of them?")
    return json.loads(line)


if __name__ == "__main__":
    main()
