"""Runs `edgetpu_compiler` where it is installed, reads its log, and gives its output what it drops back."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import tempfile
import zipfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from edge.edgetpu.predict import Prediction
from edge.runtime import EXPORT_MEMBER
from edge.tflite.flatbuffer import append_members, read_flatbuffer, write_flatbuffer
from edge.tflite.metadata import NAME as METADATA
from edge.tflite.metadata import attach_metadata
from keras_retina.foundation.files import sha256_of, write_file

EXECUTABLE = "edgetpu_compiler"
TIMEOUT_SECONDS = 300  # the compiler's own limit is 180
ROW = re.compile(r"^([A-Za-z][\w-]*)[ \t]+(\d+)[ \t]+(\S.*?)\s*$", re.MULTILINE)
FACT = re.compile(r"^([A-Z][\w /()-]*?):[ \t]+(\S.*?)\s*$", re.MULTILINE)
RELEASE = re.compile(r"Edge TPU Compiler version (\S+)")


@dataclass(frozen=True)
class Compilation:
    """What the compiler did. `differences` is empty when all was as predicted.

    `facts` are the named lines of its output (`Number of Edge TPU subgraphs`, `On-chip memory used for caching model
    parameters`, ...), `operators` the rows of its table as (operator, count, status text).
    """

    status: Literal["not run", "failed", "compiled"]
    reason: str = ""
    version: str = ""
    exit_status: int | None = None
    facts: dict[str, str] | None = None
    operators: tuple[tuple[str, int, str], ...] = ()
    output: str | None = None
    differences: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns what `--json` writes."""
        return asdict(self)


def compile_model(path: Path, prediction: Prediction, *, timeout: float = TIMEOUT_SECONDS) -> Compilation:
    """Compiles a file beside itself, as `NAME_edgetpu.tflite`, and compares the compiler's table with the prediction.

    Raises:
        InputError: the compiled file cannot be written.
    """
    executable = shutil.which(EXECUTABLE)
    if executable is None:
        return Compilation("not run", f"{EXECUTABLE} is not on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        command = [executable, "-s", "-o", folder, str(path.resolve())]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=timeout, cwd=folder
            )
        except subprocess.TimeoutExpired:
            return _failed(prediction, f"no end after {timeout:g} s")
        except OSError as error:
            return _failed(prediction, f"could not be started: {error}")
        log = Path(folder) / f"{path.stem}_edgetpu.log"
        compiled = Path(folder) / f"{path.stem}_edgetpu.tflite"
        text = done.stdout + "\n" + done.stderr
        release = RELEASE.search(text)
        version = release.group(1) if release else ""
        if done.returncode or not compiled.is_file() or compiled.stat().st_size == 0:
            return _failed(prediction, failure(text) or "no output file", version=version, exit_status=done.returncode)
        rows = operator_table(log.read_text(encoding="utf-8", errors="replace") if log.is_file() else done.stdout)
        output = path.with_name(compiled.name)
        write_file(output, described_like(path.read_bytes(), compiled.read_bytes()))
    return Compilation(
        status="compiled",
        version=version,
        exit_status=done.returncode,
        facts=facts(done.stdout),
        operators=rows,
        output=str(output),
        differences=tuple(differences(prediction, rows)),
    )


def operator_table(log: str) -> tuple[tuple[str, int, str], ...]:
    """Returns the rows below `Operator  Count  Status`, as they stand in the log or in the output of `-s`."""
    _, _, table = log.partition("Status\n")
    return tuple((name, int(count), text) for name, count, text in ROW.findall(table))


def facts(output: str) -> dict[str, str]:
    """Returns the lines `name: value` of the compiler's output."""
    return dict(FACT.findall(output))


def failure(output: str) -> str:
    """Returns the lines that say what went wrong, as one."""
    starts = ("ERROR:", "Compilation failed", "Invalid model", "Model could not", "Internal compiler error")
    lines = [line.strip() for line in output.splitlines() if line.strip().startswith(starts)]
    return "; ".join(dict.fromkeys(lines))


def differences(prediction: Prediction, rows: tuple[tuple[str, int, str], ...]) -> list[str]:
    """Returns a line for every (operator, status text) whose count the compiler gives differently."""
    custom = {operator.op for operator in prediction.operators if operator.op.upper() != operator.op}
    predicted = Counter(
        ("CUSTOM" if operator.op in custom else operator.op, operator.reason)
        for operator in prediction.operators
        if operator.subgraph == 0
    )
    compiled = Counter({(name, text): count for name, count, text in rows})
    return [
        f"{name}: predicted {predicted[name, text]}, compiled {compiled[name, text]} with '{text}'"
        for name, text in sorted(predicted.keys() | compiled.keys())
        if predicted[name, text] != compiled[name, text]
    ]


def described_like(original: bytes, compiled: bytes) -> bytes:
    """Returns the compiled flatbuffer with the metadata of the original inside and its zip members behind.

    Our own description holds the checksum of the flatbuffer, which is brought up to date.
    """
    members = _members(original)
    flatbuffer = _with_metadata(original, compiled)
    if not members or _members(compiled):
        return flatbuffer
    if EXPORT_MEMBER in members:
        export = json.loads(members[EXPORT_MEMBER])
        export |= {"flatbuffer_bytes": len(flatbuffer), "flatbuffer_sha256": sha256_of(flatbuffer)}
        members[EXPORT_MEMBER] = json.dumps(export, indent=2).encode()
    return append_members(flatbuffer, members)


def _failed(prediction: Prediction, reason: str, *, version: str = "", exit_status: int | None = None) -> Compilation:
    expected = prediction.verdict == "unparsable"
    lines = () if expected else (f"predicted: {prediction.verdict}; the compiler failed",)
    return Compilation("failed", reason, version, exit_status, differences=lines)


def _members(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    except zipfile.BadZipFile:  # most files have none
        return {}


def _with_metadata(original: bytes, compiled: bytes) -> bytes:
    source, target = read_flatbuffer(original), read_flatbuffer(compiled)
    entry = next((entry for entry in source.metadata or [] if entry.name == METADATA), None)
    if entry is None or any(own.name == METADATA for own in target.metadata or []):
        return compiled
    attach_metadata(target, bytes(source.buffers[entry.buffer].data))
    return write_flatbuffer(target)
