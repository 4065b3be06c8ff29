"""Times several files in one process, in turns, so that a machine that slows down meanwhile slows all of them."""

from __future__ import annotations

import contextlib
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge.detectors.child import run_module
from edge.detectors.open_file import example_inputs, load, set_inputs
from edge.runtime import Detector, ModelFileError, read_image
from keras_retina.foundation.errors import InputError

WARM_UP = 2  # untimed invokes of each turn: threads of the file before are still awake, caches hold its weights
INVOKES = 5  # timed invokes of each turn
SEED = 0


def interleaved_latency(
    paths: Sequence[Path], threads: int, *, rounds: int, image: Path | None
) -> list[list[list[float]]]:
    """Returns the milliseconds of every timed invoke, `[file][round][invoke]`; input copied in, outputs left there.

    Raises:
        edge.detectors.child.ChildError: the process ended, although every file had been opened before.
    """
    task = {"paths": [str(path) for path in paths], "threads": threads, "rounds": rounds}
    return list(run_module("edge.benchmark.interleave", task | {"image": image and str(image)})["milliseconds"])


def detection_split(
    path: Path, threads: int, *, runs: int, image: Path | None, head: str | None = None
) -> tuple[dict[str, float] | None, str]:
    """Returns the median milliseconds of `prepare`, `invoke` and `postprocess` in whole `detect` calls.

    Ours and anybody's; None for a file that is no detector, or with the problem where its outputs can be read in two
    ways. `head` says which, for the files that it fits.
    """
    task = {"path": str(path), "threads": threads, "runs": runs, "image": image and str(image), "head": head}
    answer = run_module("edge.benchmark.interleave", task)
    return answer["split"], answer["problem"]


def interleaved(
    invokes: Sequence[Callable[[], None]], rounds: int, *, clock: Callable[[], float] = time.perf_counter
) -> list[list[list[float]]]:
    """Calls each function in turns, the order of a round shuffled by a fixed seed; returns milliseconds."""
    generator = np.random.default_rng(SEED)
    found: list[list[list[float]]] = [[] for _ in invokes]
    for _ in range(rounds):
        for index in generator.permutation(len(invokes)):
            invoke, times = invokes[index], []
            for _ in range(WARM_UP):
                invoke()
            for _ in range(INVOKES):
                start = clock()
                invoke()
                times.append(1000 * (clock() - start))
            found[index].append(times)
    return found


def split_of_detect(detector: Any, image: np.ndarray, *, runs: int) -> dict[str, float]:
    """Times whole `detect` calls of a detector and the two steps inside; what is left is post-processing."""
    spent: dict[str, float] = {}

    def timed(name: str) -> None:
        step = getattr(detector, name)

        def call(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            result = step(*arguments, **named)
            spent[name] = 1000 * (time.perf_counter() - start)
            return result

        setattr(detector, name, call)

    timed("prepare")
    timed("invoke")
    rows = []
    for _ in range(WARM_UP + runs):
        start = time.perf_counter()
        detector.detect(image)
        whole = 1000 * (time.perf_counter() - start)
        rows.append((spent["prepare"], spent["invoke"], whole - spent["prepare"] - spent["invoke"]))
    columns = zip(*rows[WARM_UP:], strict=True)
    names = ("prepare", "invoke", "postprocess")
    return {name: round(statistics.median(values), 3) for name, values in zip(names, columns, strict=True)}


def _runner(path: str, threads: int, *, image: np.ndarray | None) -> Callable[[], None]:
    interpreter = load(path, threads)
    inputs = example_inputs(interpreter.get_input_details(), image)

    def invoke() -> None:
        set_inputs(interpreter, inputs)
        interpreter.invoke()

    return invoke


def _split(task: dict[str, Any], image: np.ndarray | None) -> dict[str, Any]:
    """Returns `split` and `problem` as `detection_split` does."""
    try:
        detector = _detector(Path(task["path"]), task["threads"], head=task["head"])
    except InputError as error:
        return {"split": None, "problem": str(error)}
    if detector is None:
        return {"split": None, "problem": ""}
    if image is None:
        shape = [int(side) for side in detector.interpreter.get_input_details()[0]["shape"]]
        height, width = shape[1:3] if shape[3] == 3 else shape[2:]
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return {"split": split_of_detect(detector, image, runs=task["runs"]), "problem": ""}


def _detector(path: Path, threads: int, *, head: str | None) -> Any:
    """Returns an opened detector, None for a file that is none; an InputError says that it can be read in two ways."""
    from edge.detectors.foreign import ForeignDetector, Preprocessing

    try:
        return Detector(path, threads)
    except ModelFileError:
        pass
    if head is not None:
        with contextlib.suppress(InputError, ModelFileError):  # of several files it need not fit all
            return ForeignDetector(path, threads, preprocessing=Preprocessing(head=head))
    try:
        return ForeignDetector(path, threads)
    except ModelFileError:
        return None


def main() -> None:
    """Reads the task of `interleaved_latency` or `detection_split` from standard input and prints the answer."""
    task = json.load(sys.stdin)
    image = None if task["image"] is None else read_image(task["image"])
    if "path" in task:
        json.dump(_split(task, image), sys.stdout)
    else:
        runners = [_runner(path, task["threads"], image=image) for path in task["paths"]]
        json.dump({"milliseconds": interleaved(runners, task["rounds"])}, sys.stdout)


if __name__ == "__main__":
    main()
