"""The verbs that ask what a device will do with a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from keras_retina.cli.options import AnyFileArgument, JsonOption
from keras_retina.cli.output import plain, say, write_json

if TYPE_CHECKING:
    from edge.edgetpu.compiler import Compilation
    from edge.edgetpu.predict import Prediction

MIB = 1 << 20


def edgetpu(
    file: AnyFileArgument,
    json_: JsonOption = None,
) -> None:
    """Predict what the Edge TPU compiler does with a .tflite; runs it too, where it is installed."""
    from edge.edgetpu.compiler import compile_model
    from edge.edgetpu.predict import predict

    prediction = predict(file)
    for line in prediction_lines(file, prediction):
        say(line)
    compilation = compile_model(file, prediction)
    for line in compilation_lines(compilation):
        say(line)
    write_json(json_, {**prediction.to_dict(), "compiler": compilation.to_dict()})
    if compilation.differences:
        raise typer.Exit(1)


def prediction_lines(file: Path, prediction: Prediction) -> list[str]:
    """Returns the verdict, a table like the compiler's own, memory, and what to change."""
    mapped = sum(operator.status == "mapped" for operator in prediction.operators)
    lines = [f"{file}: {prediction.verdict}: {mapped} of {len(prediction.operators)} operators on the Edge TPU"]
    if prediction.problem:
        lines += [f"does not compile: {plain(prediction.problem)}"]
    counts = Counter((operator.op, operator.reason) for operator in prediction.operators)
    lines += ["", f"{'Operator':<30} {'Count':<10} Status"]
    lines += [f"{plain(name):<30} {count:<10} {plain(text)}" for (name, text), count in sorted(counts.items())]
    parameters, memory = prediction.parameter_bytes / MIB, prediction.parameter_memory_bytes / MIB
    activation, narrow = prediction.largest_activation_bytes / MIB, prediction.activation_memory_bytes / MIB
    return [
        *lines,
        "",
        f"Edge TPU subgraphs: {prediction.subgraphs} (of {prediction.partitions} runs of supported operators)",
        f"parameters: at least {parameters:.2f} MiB of about {memory:.1f} MiB (a lower bound: weights get padded)",
        f"largest activation: {activation:.2f} MiB of {narrow:.0f} MiB ({plain(prediction.largest_activation)})",
        *(f"change: {line}" for line in prediction.advice),
    ]


def compilation_lines(compilation: Compilation) -> list[str]:
    """Returns what the compiler did, and where it differs from the prediction."""
    version = f" {compilation.version}" if compilation.version else ""
    lines = [f"compiler{version}: {compilation.status}" + (f": {compilation.reason}" if compilation.reason else "")]
    if compilation.output:
        lines.append(f"wrote {compilation.output}")
    lines += [f"differs: {line}" for line in compilation.differences]
    if compilation.status != "not run" and not compilation.differences:
        lines.append("as predicted")
    return lines
