"""What `training.deterministic` costs: images a second of the input pipeline and of the training, with and without.

    python benchmarks/repeat/determinism.py recipes/raccoon.yaml --data DIR [--rounds 5] [--set section.key=value ...]

It cannot be turned off again, so there are two processes, and they take turns: while one is timed, the other waits.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

MODES = ("as it is", "deterministic")
WARM_UP, STEPS = 3, 15  # of each timing


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], help="section.key=value, as in keras-retina")
    parser.add_argument("--one", choices=MODES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        answer(arguments)
        return
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = {
        mode: subprocess.Popen([sys.executable, *sys.argv, "--one", mode], **pipes)  # type: ignore[call-overload]
        for mode in MODES
    }
    for process in processes.values():
        asked(process)  # is ready
    rates: dict[tuple[str, str], list[float]] = {}
    for _ in range(arguments.rounds):
        for mode, process in processes.items():
            for part in ("pipeline", "training"):
                rates.setdefault((part, mode), []).append(float(asked(process, part)))
    for process in processes.values():
        process.communicate()
    for part in ("pipeline", "training"):
        for mode in MODES:
            found = rates[part, mode]
            print(f"{part}, {mode:<14} {statistics.median(found):7.1f} images/s ({min(found):.1f} to {max(found):.1f})")
        pairs = [one / other for one, other in zip(rates[part, MODES[1]], rates[part, MODES[0]], strict=True)]
        print(f"{part}, deterministic / as it is {statistics.median(pairs):.2f} ({min(pairs):.2f} to {max(pairs):.2f})")


def asked(process: subprocess.Popen[str], question: str = "") -> str:
    """Sends a line to a process, if there is one to send, and returns the next line that it prints."""
    if question:
        print(question, file=process.stdin, flush=True)
    line = process.stdout.readline().strip() if process.stdout else ""
    if not line:
        raise SystemExit(f"a process ended early, with exit status {process.wait()}")
    return line


def answer(arguments: argparse.Namespace) -> None:
    """Times the part that each line of the standard input names, and prints images a second."""
    from repeatable import repeatable

    from keras_retina.foundation.determinism import enable_determinism

    if arguments.one == "deterministic":
        enable_determinism()
    training = repeatable(arguments.recipe, arguments.data, overrides=arguments.set)
    batches, size = training.batches(training.recipe.seed), training.recipe.training.batch_size
    step = training.network.make_train_function()
    for _ in batches.take(training.steps_per_epoch + 1):  # every image is decoded once and kept
        pass
    parts: dict[str, Callable] = {"pipeline": next, "training": step}
    step(iter(batches))
    print("ready", flush=True)
    for line in sys.stdin:
        use, source = parts[line.strip()], iter(batches)
        for _ in range(WARM_UP):
            use(source)
        start = time.perf_counter()
        for _ in range(STEPS):
            use(source)
        print(size * STEPS / (time.perf_counter() - start), flush=True)


if __name__ == "__main__":
    main()
