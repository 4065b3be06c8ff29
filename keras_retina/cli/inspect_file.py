"""`inspect`: what is in a `.tflite` file, as lines."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keras_retina.cli.options import AnyFileArgument, JsonOption
from keras_retina.cli.output import plain, say, write_json

if TYPE_CHECKING:
    from edge.edgetpu.compiler import Compilation
    from edge.edgetpu.predict import Prediction

SHOWN_LABELS = 20


def inspect(
    file: AnyFileArgument,
    json_: JsonOption = None,
) -> None:
    """Show tensors, operators, metadata and head of a .tflite and, of our own, detector, settings and training."""
    from edge.detectors.heads.recognise import head_facts
    from edge.tflite.inspection import inspect_file

    facts = inspect_file(file)
    facts["head"] = None if facts["detector"] else head_facts(file)
    for line in (*inspection_lines(facts), *head_lines(facts["head"])):
        say(line)
    write_json(json_, facts)
    if facts["appended_problem"] or (facts["detector"] and not facts["detector"]["checksum"]):
        raise typer.Exit(1)


def inspection_lines(facts: dict[str, Any]) -> list[str]:
    """Returns the file from outside to inside: tensors, operators, signature, metadata, detector."""
    operators = ", ".join(f"{plain(name)} {count}" for name, count in facts["operators"].items())
    lines = [f"{facts['file']}: {facts['size_bytes']} bytes, sha256 {facts['sha256']}"]
    lines += [f"input      {_tensor(tensor)}" for tensor in facts["inputs"]]
    lines += [f"output     {_tensor(tensor)}" for tensor in facts["outputs"]]
    lines += [f"operators  {operators}"]
    if facts["subgraphs"] > 1:
        lines += [f"subgraphs  {facts['subgraphs']}; tensors are those of the first"]
    for signature in facts["signatures"]:
        names = " -> ".join(", ".join(map(plain, signature[side])) for side in ("inputs", "outputs"))
        lines += [f"signature  {plain(signature['name'])}: {names}"]
    lines += _metadata_lines(facts["metadata"])
    files = ", ".join(f"{plain(name)} ({size} bytes)" for name, size in facts["members"].items())
    problem = facts["appended_problem"]
    lines += [f"appended   {files or ('files that cannot be read' if problem else 'nothing')}"]
    if problem:
        lines += [f"DAMAGED    the appended files: {plain(problem)}. Export or download the model again"]
    if facts["labels"]:
        more = len(facts["labels"]) - SHOWN_LABELS
        shown = ", ".join(map(plain, facts["labels"][:SHOWN_LABELS]))
        lines += [f"labels     {len(facts['labels'])}: {shown}{f' and {more} more' if more > 0 else ''}"]
    if facts["detector"] is None and problem:
        return [*lines, "detector   no description that can be read"]
    return lines + _detector_lines(facts["detector"])


def head_lines(head: dict[str, Any] | None) -> list[str]:
    """Returns how the outputs of a file that is not ours can be read, and why; nothing for one of ours."""
    if head is None:
        return []
    if not head["readings"]:
        return ["head       none that is known", f"  why        {plain(head['problem'])}"]
    title = "head       " if len(head["readings"]) == 1 else "head       either "
    lines = []
    for number, reading in enumerate(head["readings"]):
        lines += [f"{'           or ' if number else title}{reading['name']}: {plain(reading['why'])}"]
    lines += [f"  takes      {plain(head['readings'][0]['input'])}"]
    lines += [f"  noise gives {plain(line)}" for line in head["seen"]]
    if not head["steady"]:
        lines += ["  repeat     two runs on one picture gave different numbers"]
    if len(head["readings"]) > 1:
        choices = " or ".join(f"--head {reading['name']}" for reading in head["readings"])
        return [*lines, f"  choose     {choices}; the right number of --labels chooses too"]
    return lines + ([f"  problem    {plain(head['problem'])}"] if head["problem"] else [])


def _tensor(tensor: dict[str, Any]) -> str:
    text = f"{tensor['dtype']} {tensor['shape']} {plain(tensor['name'])}"
    if tensor["scale"] is None:
        return text
    if isinstance(tensor["scale"], list):
        return f"{text}, {len(tensor['scale'])} scales"
    return f"{text}, scale {tensor['scale']:.6g}, zero point {tensor['zero_point']}"


def _metadata_lines(metadata: dict[str, Any] | None) -> list[str]:
    if metadata is None:
        return ["metadata   none"]
    about = {name: value for name, value in metadata.items() if isinstance(value, str)}
    lines = [f"metadata   {_pairs(about)}"]
    for side in ("inputs", "outputs"):
        lines += [f"  {side[:-1]:<8} {_pairs(tensor)}" for tensor in metadata.get(side, [])]
    lines += [f"  custom   {_pairs(custom)}" for custom in metadata.get("custom", [])]
    return lines + [f"  file     {_pairs(file)}" for file in metadata.get("files", [])]


def _detector_lines(detector: dict[str, Any] | None) -> list[str]:
    if detector is None:
        return ["detector   no description of keras-retina"]
    groups = {
        "input": ("height", "width", "resize", "pixel_mean", "pixel_scale"),
        "anchors": (
            "anchors",
            "levels",
            "anchor_size",
            "anchor_scales",
            "anchor_ratios",
            "anchor_offset",
            "anchor_whole_pixels",
            "anchor_clip",
            "coder_weights",
        ),
        "detections": ("head", "nms", "score_threshold", "iou_threshold", "max_detections", "clip_boxes"),
        "made by": ("keras_retina", "kind", "recipe_sha256", "model_sha256"),
    }
    lines = [f"  {title:<10} {_pairs({name: detector.get(name) for name in names})}" for title, names in groups.items()]
    state = "ok" if detector["checksum"] else "WRONG: the network is not the one that was described; export it again"
    return ["detector", *lines, f"  checksum   {state}"]


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_value(value)}" for name, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return f"({_pairs(value)})"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "unknown" if value is None else plain(str(value))


MIB = 1 << 20


def edgetpu(
    file: AnyFileArgument,
    log: Annotated[
        Path | None,
        typer.Option("--log", help="A log, or the saved screen, of the compiler elsewhere, to compare with."),
    ] = None,
    search: Annotated[
        bool,
        typer.Option("--search", help="Let the compiler leave operators out at the end until the rest compiles (-d)."),
    ] = False,
    json_: JsonOption = None,
) -> None:
    """Predict what the Edge TPU compiler does with a .tflite; runs it too, where it is installed."""
    from edge.edgetpu.compiler import compared, compile_model
    from edge.edgetpu.log import read_log_file
    from edge.edgetpu.predict import predict

    prediction, elsewhere = predict(file), None if log is None else read_log_file(log)
    for line in prediction_lines(file, prediction):
        say(line)
    compilation = (
        compile_model(file, prediction, search=search) if elsewhere is None else compared(prediction, elsewhere)
    )
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
    lines += [f"differs: {plain(line)}" for line in compilation.differences]
    lines += [f"note: {plain(line)}" for line in compilation.notes]
    if compilation.status != "not run" and not compilation.differences:
        lines.append("as predicted")
    return lines
