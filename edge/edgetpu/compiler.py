"""Runs `edgetpu_compiler` where it is installed, reads its log, and gives its output what it drops back."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from edge.edgetpu.log import CompilerLog, read_log, reason_notes, search_notes, set_differences
from edge.edgetpu.predict import Prediction
from edge.runtime import (
    EXPORT_MEMBER,
    LABELS_MEMBER,
    SPEC_MEMBER,
    UNREADABLE_MEMBER,
    description_sha256,
    read_member,
)
from edge.tflite.flatbuffer import append_members, read_flatbuffer, write_flatbuffer
from edge.tflite.metadata import NAME as METADATA
from edge.tflite.metadata import attach_metadata
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.reading import sha256_of
from keras_retina.foundation.files.writing import write_file

EXECUTABLE = "edgetpu_compiler"
TIMEOUT_SECONDS = 300  # the compiler's own limit is 180, for each try of -d anew


@dataclass(frozen=True)
class Compilation:
    """What the compiler did. `differences` is empty when the predicted operators were mapped, and no others.

    `facts` are the named lines of its output (`Number of Edge TPU subgraphs`, `On-chip memory used for caching model
    parameters`, ...), `operators` the rows of its table as (operator, count, status text), `notes` other reasons than
    the predicted ones, and what `-d` left out.
    """

    status: Literal["not run", "failed", "compiled"]
    reason: str = ""
    version: str = ""
    exit_status: int | None = None
    facts: dict[str, str] | None = None
    operators: tuple[tuple[str, int, str], ...] = ()
    output: str | None = None
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns what `--json` writes."""
        return asdict(self)


def compile_model(
    path: Path, prediction: Prediction, *, search: bool = False, timeout: float = TIMEOUT_SECONDS
) -> Compilation:
    """Compiles a file beside itself, as `NAME_edgetpu.tflite`, and compares the compiler's table with the prediction.

    Args:
        search: let the compiler leave out operators at the end until the rest compiles (`-d`), which takes many tries.
        timeout: seconds.

    Raises:
        InputError: the compiled file cannot be written.
    """
    executable = shutil.which(EXECUTABLE)
    if executable is None:
        return Compilation("not run", f"{EXECUTABLE} is not on the PATH")
    with tempfile.TemporaryDirectory() as folder:
        command = [executable, "-s", *(["-d"] if search else []), "-o", folder, str(path.resolve())]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=timeout, cwd=folder
            )
        except subprocess.TimeoutExpired:
            return _failed(prediction, f"no end after {timeout:g} s")
        except OSError as error:
            return _failed(prediction, f"could not be started: {error}")
        compiled = Path(folder) / f"{path.stem}_edgetpu.tflite"
        screen = read_log(done.stdout + "\n" + done.stderr)
        if done.returncode or not compiled.is_file() or compiled.stat().st_size == 0:
            return _failed(
                prediction, screen.failure or "no output file", version=screen.version, exit_status=done.returncode
            )
        table = Path(folder) / f"{path.stem}_edgetpu.log"
        if table.is_file():
            rows = read_log(table.read_text(encoding="utf-8", errors="replace")).operators
            screen = replace(screen, operators=rows or screen.operators)
        output = path.with_name(compiled.name)
        write_file(output, described_like(path.read_bytes(), compiled.read_bytes()))
    return replace(compared(prediction, screen), exit_status=done.returncode, output=str(output))


def compared(prediction: Prediction, log: CompilerLog) -> Compilation:
    """Returns what a log says, from here or elsewhere, held against the prediction."""
    if not log.operators:
        return _failed(prediction, log.failure, version=log.version)
    return Compilation(
        status="compiled",
        version=log.version,
        facts=log.facts,
        operators=log.operators,
        differences=tuple(set_differences(prediction, log)),
        notes=(*search_notes(log), *reason_notes(prediction, log)),
    )


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
        if SPEC_MEMBER in members:
            spec, labels = members[SPEC_MEMBER], members.get(LABELS_MEMBER, b"")
            export["description_sha256"] = description_sha256(spec, labels, export=export)
        members[EXPORT_MEMBER] = json.dumps(export, indent=2).encode()
    return append_members(flatbuffer, members)


def _failed(prediction: Prediction, reason: str, *, version: str = "", exit_status: int | None = None) -> Compilation:
    expected = prediction.verdict == "unparsable"
    lines = () if expected else (f"predicted: {prediction.verdict}; the compiler failed",)
    return Compilation("failed", reason, version, exit_status, differences=lines)


def _members(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: read_member(archive, name) for name in archive.namelist()}
    except zipfile.BadZipFile:  # most files have none
        return {}
    except UNREADABLE_MEMBER as error:
        raise InputError(
            f"the files behind the network: expected whole ones. Received: {error}. Export it again."
        ) from error


def _with_metadata(original: bytes, compiled: bytes) -> bytes:
    source, target = read_flatbuffer(original), read_flatbuffer(compiled)
    entry = next((entry for entry in source.metadata or [] if entry.name == METADATA), None)
    if entry is None or any(own.name == METADATA for own in target.metadata or []):
        return compiled
    attach_metadata(target, bytes(source.buffers[entry.buffer].data))
    return write_flatbuffer(target)
