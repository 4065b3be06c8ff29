"""Rows of `verify.json` for files that are not of the run: measured on the same images, never part of the gate.

A file that says it was made from the very model of the run is one of the run, wherever it lies: it is held to the gate.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge.detectors.measure import detect_and_time
from edge.detectors.reading import Reading, ReadingOptions, choose_reading, reading_lines
from edge.runtime import ModelFileError
from edge.tflite.graph import graph_work, read_graphs
from edge.tflite.inspection import inspect_file
from edge.verify.gate import degenerate_scores
from edge.verify.measure import summary, unmeasured_row
from edge.verify.result import VerifyResult
from edge.verify.rows import Latency, Row
from keras_retina.data.records import Dataset
from keras_retina.evaluate.coco import coco_metrics
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.reading import sha256_of
from keras_retina.foundation.files.writing import write_json
from keras_retina.foundation.run_paths import RunPaths
from keras_retina.recipe.recipe import Verification

logger = logging.getLogger(__name__)

OTHER = "other"
BESIDE = "beside the gate"


@dataclass(frozen=True)
class OtherFile:
    """A file of another model; `reading` is None and `reason` says why when it is no detector that runs."""

    path: Path
    reading: Reading | None
    reason: str = ""


def require_files(files: Sequence[Path]) -> None:
    """Refuses a path that is no file, before models and data are read.

    Raises:
        InputError: one is missing or a folder.
    """
    for path in files:
        if not path.is_file():
            raise InputError(f"--also: expected a .tflite file. Received: {path}, no such file. Correct the path.")


def files_of_run(files: Sequence[Path], run: RunPaths, *, taken: Collection[str]) -> list[Path]:
    """Returns the files that name the hash of the run's `model.keras`, as `export` writes it into each.

    Raises:
        InputError: one of them has the name of another file of the run; `taken` are their stems.
    """
    expected = sha256_of(run.model.read_bytes()) if run.model.is_file() else None
    found: list[Path] = []
    for path in files:
        with contextlib.suppress(InputError):  # damaged or no file of ours: `read_others` says so
            if expected is not None and (inspect_file(path)["detector"] or {}).get("model_sha256") == expected:
                found.append(path)
    for number, path in enumerate(found):
        _check_name(path, {*taken, *(other.stem for other in found[:number])})
    return found


def read_others(
    files: Sequence[Path], dataset: Dataset, *, options: ReadingOptions, taken: Collection[str]
) -> list[OtherFile]:
    """Decides how each file is read, before anything long is measured; `taken` are the file stems of the run.

    Raises:
        InputError: a file has a name that is taken, or an option or class names do not fit.
    """
    others: list[OtherFile] = []
    for path in files:
        _check_name(path, {*taken, *(other.path.stem for other in others)})
        try:
            others.append(OtherFile(path, choose_reading(path, dataset, options=options)))
        except ModelFileError as error:
            others.append(OtherFile(path, None, " ".join(str(error).split())))
    return others


def add_other_files(
    run: RunPaths,
    result: VerifyResult,
    *,
    others: Sequence[OtherFile],
    dataset: Dataset,
    settings: Verification,
) -> VerifyResult:
    """Measures files of other models like those of the run, adds their rows to `verify.json` and returns it.

    A row has `kind` `other`, `also` true and `read_as`, what was decided about the file; the gate stays as it was. A
    file that cannot be measured is `not run` with the reason.
    """
    rows = []
    for other in others:
        rows.append(_measured(other, run, dataset=dataset, settings=settings))
        logger.info(summary(rows[-1]))
    result = replace(result, rows=(*result.rows, *rows))
    write_json(run.verify, result.to_json())
    return result


def _check_name(path: Path, taken: Collection[str]) -> None:
    """Detections are saved under the name of their file."""
    if path.stem in taken:
        raise InputError(
            f"--also: expected files with names of their own. Received: {path}, a name that a file of the run or "
            "another one has. Copy it to another name."
        )


def _measured(other: OtherFile, run: RunPaths, *, dataset: Dataset, settings: Verification) -> Row:
    path, reading = other.path, other.reading
    row = replace(unmeasured_row(path, OTHER), model=path.stem, also=True, read_as={})
    if reading is None:
        return row.not_run(f"{BESIDE}: {other.reason}")
    for line in reading_lines(path, reading):
        logger.info(f"verify: {line}")
    try:
        found, latency = detect_and_time(
            path, dataset, threads=settings.threads, latency_runs=settings.latency_runs, reading=reading
        )
        row = replace(row, multiply_adds=graph_work(read_graphs(path)[0]).total, read_as=reading.read_as)
    except (ModelFileError, RuntimeError) as error:
        return row.not_run(f"{BESIDE}: {' '.join(str(error).split())}")
    write_json(run.detections(row.results_name), found)
    row = replace(row.with_metrics(coco_metrics(dataset, found)), latency=Latency(**latency))
    degenerate = degenerate_scores([detection["score"] for detection in found], len(dataset.records))
    reason = f"{BESIDE}: {degenerate}" if degenerate else BESIDE
    return replace(row, status="failed" if degenerate else "verified", reason=reason)
