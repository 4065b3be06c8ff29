"""Opens any `.tflite` in a process of its own, where a damaged one can do no harm, and measures what opening costs."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.detectors.child import ChildError, run_module
from edge.runtime import ModelFileError, read_image, resize_image
from edge.tflite.flatbuffer import IDENTIFIER
from edge.tflite.graph import flex_operators, read_graphs
from keras_retina.foundation.errors import InputError

PATIENCE = 120.0  # seconds until a file counts as one that never ends
MOST_MEMORY = 16 << 30  # bytes that the process may ask for, most of which it never touches
MIB = 1 << 20


def opened(path: Path, threads: int = 1, *, image: Path | None = None) -> dict[str, Any]:
    """Loads a file, runs it once and returns what that took; the file may be anybody's, and in any state.

    Returns:
        `load_ms` from the path to allocated tensors, `first_ms` of the first invoke, `peak_mib` of memory of the whole
        process, `base_mib` of it before the file was opened (None where the system does not tell), `operators`,
        `delegated` (indices), `partitions` and `left` (`edge.detectors.open_file`).

    Raises:
        ModelFileError: LiteRT refuses the file, or crashes on it.
    """
    task = {"path": str(path), "threads": threads, "image": image and str(image)}
    try:
        answer = run_module("edge.detectors.open_file", task, timeout=PATIENCE)
    except ChildError as error:
        answer = {"error": str(error)}
    if answer["error"]:
        raise refused(path, answer["error"])
    return dict(answer["facts"])


def refused(path: Path, error: str) -> ModelFileError:
    """Returns the error for a file that LiteRT did not open or run: what the file itself tells, else LiteRT's words."""
    flex: list[str] = []
    try:
        flex = flex_operators(read_graphs(path))
    except InputError as unreadable:
        if path.is_file() and path.read_bytes()[4:8] != IDENTIFIER:  # a pointer of Git LFS is such a file too
            return ModelFileError(str(unreadable))
    if flex:
        return ModelFileError(
            f"{path}: expected operators of LiteRT. Received: TensorFlow's own, {', '.join(flex)} (Flex), for which a "
            "LiteRT with all of TensorFlow is needed. Convert again with tf.lite.OpsSet.TFLITE_BUILTINS alone."
        )
    return ModelFileError(f"{path}: expected a .tflite file that LiteRT runs. Received: {refusal(error)}")


def refusal(error: str) -> str:
    """Returns LiteRT's words in one line, and what to do."""
    text = " ".join(error.split())[:300].rstrip(".")
    if "edgetpu-custom-op" in text:
        return f"{text}. It is compiled for the Edge TPU; use the file it was compiled from."
    return f"{text}. Convert or download the model again."


def example_inputs(details: Sequence[dict[str, Any]], image: np.ndarray | None = None) -> list[np.ndarray]:
    """Returns values for the inputs of an interpreter: the image where one fits, else noise that is always the same.

    Whole numbers wider than 8 bits are 0, because they are often places in a table.
    """
    generator = np.random.default_rng(0)
    inputs = []
    for detail in details:
        shape, kind = [max(1, int(side)) for side in detail["shape"]], np.dtype(detail["dtype"])
        nchw = len(shape) == 4 and shape[1] == 3 and shape[3] != 3
        height, width = (shape[2:] if nchw else shape[1:3]) if len(shape) == 4 else (0, 0)
        is_picture = len(shape) == 4 and shape[0] == 1 and (nchw or shape[3] == 3)
        if is_picture and kind.name in ("uint8", "int8", "float32"):
            noise = generator.integers(0, 256, (height, width, 3), np.uint8)
            pixels = noise if image is None else resize_image(image, height, width=width, mode="stretch")[0]
            inputs.append(_as_input((pixels.transpose(2, 0, 1) if nchw else pixels)[None], kind))
        elif kind.kind == "f":
            inputs.append(generator.random(shape, np.float32).astype(kind))
        elif kind.itemsize == 1 and kind.kind in "iu":
            limits = np.iinfo(kind)
            inputs.append(generator.integers(limits.min, limits.max, shape, kind, endpoint=True))
        else:
            inputs.append(np.zeros(shape, kind))
    return inputs


def set_inputs(interpreter: Any, inputs: Sequence[np.ndarray]) -> None:
    """Copies values into the inputs of an interpreter, in their order."""
    for detail, values in zip(interpreter.get_input_details(), inputs, strict=True):
        interpreter.set_tensor(detail["index"], values)


def load(path: str | Path, threads: int) -> Any:
    """Returns an interpreter with allocated tensors."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    return interpreter


def memory_mib(field: str) -> float | None:
    """Returns `VmRSS` (now) or `VmHWM` (highest so far) of this process in MiB; None where /proc does not exist."""
    # getrusage would do for the peak, but a started process inherits the one of its parent.
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    found = next((line for line in lines if line.startswith(f"{field}:")), None)
    return None if found is None else round(int(found.split()[1]) * 1024 / MIB, 1)


def limit_memory() -> None:
    """Lets this process fail where a file asks for more than `MOST_MEMORY`, on systems that know such a limit."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    wanted = MOST_MEMORY if most == resource.RLIM_INFINITY else min(MOST_MEMORY, most)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, most))


def _as_input(pixels: np.ndarray, kind: np.dtype) -> np.ndarray:
    if kind == np.uint8:
        return pixels
    if kind == np.int8:
        return (pixels.astype(np.int16) - 128).astype(np.int8)
    return (pixels.astype(np.float32) - 127.5) / 127.5


def _open(path: str, threads: int, *, image: np.ndarray | None) -> dict[str, Any]:
    import ai_edge_litert.interpreter  # noqa: F401 - its own loading is not the file's

    base = memory_mib("VmRSS")
    start = time.perf_counter()
    interpreter = load(path, threads)
    loaded = time.perf_counter()
    set_inputs(interpreter, example_inputs(interpreter.get_input_details(), image))
    ready = time.perf_counter()
    interpreter.invoke()
    ended = time.perf_counter()
    peak = memory_mib("VmHWM")
    found = delegation(interpreter._get_ops_details())
    return {
        "load_ms": round(1000 * (loaded - start), 3),
        "first_ms": round(1000 * (ended - ready), 3),
        "peak_mib": peak,
        "base_mib": base,
        "operators": found.total,
        "delegated": sorted(found.operators),
        "partitions": found.partitions,
        "left": found.left,
    }


def main() -> None:
    """Reads `{"path", "threads", "image"}` from standard input and prints `{"error", "facts"}`."""
    task = json.load(sys.stdin)
    limit_memory()
    image = None if task["image"] is None else read_image(task["image"])
    answer: dict[str, Any] = {"error": "", "facts": {}}
    try:
        answer["facts"] = _open(task["path"], task["threads"], image=image)
    except (ValueError, RuntimeError, TypeError, MemoryError) as error:
        answer["error"] = f"{error}" or type(error).__name__
    json.dump(answer, sys.stdout)


DELEGATE_NAMES = ("DELEGATE", "TfLiteXNNPackDelegate")


@dataclass(frozen=True)
class Delegation:
    """`operators` are indices into the file's graph; `partitions` is how many calls of the delegate replace them.

    `left` counts the other operators by name.
    """

    total: int
    operators: frozenset[int]
    partitions: int
    left: dict[str, int]


def delegation(nodes: Sequence[dict[str, Any]]) -> Delegation:
    """Returns what was delegated, from `Interpreter._get_ops_details()` after `allocate_tensors`.

    LiteRT appends one node for each partition and keeps the nodes it replaces. A partition is what leads from the
    inputs of that node to its outputs.
    """
    original = [node for node in nodes if node["op_name"] not in DELEGATE_NAMES]
    calls = [node for node in nodes if node["op_name"] in DELEGATE_NAMES]
    made_by = {int(index): node for node in original for index in node["outputs"]}
    taken: set[int] = set()
    for call in calls:
        given = {int(index) for index in call["inputs"]}
        wanted = [int(index) for index in call["outputs"]]
        while wanted:
            index = wanted.pop()
            node = made_by.get(index)
            if index in given or node is None or node["index"] in taken:
                continue
            taken.add(int(node["index"]))
            wanted += [int(one) for one in node["inputs"]]
    left = Counter(str(node["op_name"]) for node in original if node["index"] not in taken)
    return Delegation(len(original), frozenset(taken), len(calls), dict(sorted(left.items())))


if __name__ == "__main__":
    main()
