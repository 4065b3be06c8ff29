"""How long each operator of a `.tflite` takes: each is cut out as a file of its own and run on what it really gets.

LiteRT's Python interpreter has no profiler, and XNNPACK runs a whole partition as one call. So every operator becomes a
file with its own weights, is given the values that reach it in the whole file, and is delegated or not as LiteRT
decides for it alone. What this leaves out: maps that the neighbour has left in the cache, and copies that a partition
saves. `sum_ms` beside `whole_ms` says how much that is.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edge.detectors.child import run_module
from edge.detectors.open_file import example_inputs, load, set_inputs
from edge.runtime import read_image
from edge.tflite.flatbuffer import is_constant, operator_name, part_of, read_flatbuffer, write_flatbuffer

RUNS = 15
WARM_UP = 3


def operator_profile(path: Path, threads: int, *, image: Path | None) -> dict[str, Any]:
    """Returns `operators` (`index`, `op`, `output`, `ms`), `sum_ms` and `whole_ms` of one file.

    `ms` is the median of a few runs; 0 for what LiteRT computes once (weights that are unpacked when the file is
    loaded), None for what cannot be cut out, such as a loop.

    Raises:
        edge.detectors.child.ChildError: the process ended.
    """
    task = {"path": str(path), "threads": threads, "image": image and str(image)}
    return run_module("edge.benchmark.operators", task)


def one_operator(model: schema.ModelT, number: int, *, shapes: dict[int, list[int]]) -> tuple[schema.ModelT, list[int]]:
    """Returns a file of one operator of a graph, with what unpacks its weights, and the tensors that are its inputs.

    `shapes` has the real shape of each tensor, which a file with dynamic shapes does not say.
    """
    graph = model.subgraphs[0]
    fixed = fixed_operators(model)
    made_by = {int(index): operator for operator in graph.operators for index in operator.outputs}
    chosen: list[schema.OperatorT] = []

    def add(operator: schema.OperatorT) -> None:
        for index in operator.inputs:
            maker = made_by.get(int(index))
            if maker is not None and id(maker) in fixed and not any(maker is one for one in chosen):
                add(maker)
        chosen.append(operator)

    add(graph.operators[number])
    part, inputs, _ = part_of(model, chosen, shapes=shapes)
    part.subgraphs[0].outputs = part.subgraphs[0].operators[-1].outputs
    return part, inputs


def fixed_operators(model: schema.ModelT) -> set[int]:
    """Returns the `id` of each operator that reads nothing but constants, directly or through others."""
    fixed: set[int] = set()
    known: set[int] = set()
    for operator in model.subgraphs[0].operators:
        given = [int(index) for index in operator.inputs if index >= 0]
        if given and all(index in known or is_constant(model, index) for index in given):
            fixed.add(id(operator))
            known |= {int(index) for index in operator.outputs}
    return fixed


def median_ms(run: Callable[[], None]) -> float:
    """Returns the median milliseconds of a call after warm-up."""
    times = []
    for _ in range(WARM_UP + RUNS):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times[WARM_UP:])


def _is_stored(model: schema.ModelT, index: int) -> bool:
    """A constant, or the state of a recurrent operator; neither is an input."""
    return is_constant(model, index) or bool(model.subgraphs[0].tensors[index].isVariable)


def _profile(path: str, threads: int, *, image: np.ndarray | None) -> dict[str, Any]:
    model = read_flatbuffer(Path(path).read_bytes())
    whole, before = _whole_file(path, threads, image=image), _values_between(path, image)
    fixed = fixed_operators(model)
    rows: list[dict[str, Any]] = []
    start = median_ms(whole)
    for number, operator in enumerate(model.subgraphs[0].operators):
        spent = 0.0 if id(operator) in fixed else _time_alone(model, number, value=before, threads=threads)
        name = model.subgraphs[0].tensors[operator.outputs[0]].name if len(operator.outputs) else b""
        rows.append({"index": number, "op": operator_name(model, operator), "output": name.decode(errors="replace")})
        rows[-1]["ms"] = None if spent is None else round(spent, 4)
    total = sum(row["ms"] or 0.0 for row in rows)
    whole_ms = (start + median_ms(whole)) / 2  # before and after, between which the machine may have changed its speed
    return {"operators": rows, "sum_ms": round(total, 3), "whole_ms": round(whole_ms, 3)}


def _whole_file(path: str, threads: int, *, image: np.ndarray | None) -> Callable[[], None]:
    interpreter = load(path, threads)
    set_inputs(interpreter, example_inputs(interpreter.get_input_details(), image))
    return interpreter.invoke


def _values_between(path: str, image: np.ndarray | None) -> Callable[[int], np.ndarray]:
    """Returns the value of any tensor of the whole file, computed once without a delegate."""
    interpreter = Interpreter(
        model_path=path,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    set_inputs(interpreter, example_inputs(interpreter.get_input_details(), image))
    interpreter.invoke()
    return interpreter.get_tensor


def _time_alone(model: schema.ModelT, number: int, *, value: Callable[[int], np.ndarray], threads: int) -> float | None:
    operator = model.subgraphs[0].operators[number]
    if operator_name(model, operator) in ("IF", "WHILE", "CALL", "CALL_ONCE"):
        return None
    computed = [int(index) for index in (*operator.inputs, *operator.outputs) if index >= 0]
    try:
        values = {index: value(index) for index in computed if not _is_stored(model, index)}
        shapes = {index: list(one.shape) for index, one in values.items()}
        small, inputs = one_operator(model, number, shapes=shapes)
        interpreter = Interpreter(model_content=write_flatbuffer(small), num_threads=threads)
        interpreter.allocate_tensors()
        set_inputs(interpreter, [values[index] for index in inputs])
        return median_ms(interpreter.invoke)
    except (ValueError, RuntimeError, KeyError):  # needs its neighbours: resources, strings, other graphs
        return None


def main() -> None:
    """Reads `{"path", "threads", "image"}` from standard input and prints the profile."""
    task = json.load(sys.stdin)
    image = None if task["image"] is None else read_image(task["image"])
    json.dump(_profile(task["path"], task["threads"], image=image), sys.stdout)


if __name__ == "__main__":
    main()
