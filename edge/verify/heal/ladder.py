"""Goes up the steps of healing until an int8 file passes its gate on the validation split."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from edge.export.export import write_detector
from edge.verify.heal.healing import Healing, Try
from edge.verify.heal.material import Material
from edge.verify.heal.steps import Candidate, StepNotPossibleError, corrected
from edge.verify.measure import measure_file, unmeasured_row
from edge.verify.rows import Row
from keras_retina.data.records import Dataset
from keras_retina.evaluate.spread import ap_ratios
from keras_retina.foundation.files.writing import write_file
from keras_retina.foundation.json_values import read_json
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.recipe import Export, Verification

logger = logging.getLogger(__name__)

PLAIN = "plain"
LEAST_BOXES = 50
"""Of the validation split: with fewer, AP moves by more than a gate allows when one box is found or not."""


@dataclass(frozen=True)
class Judge:
    """Measures files of one model on the validation split, as `verify` does on the reported one.

    Attributes:
        parent: the row of the float model of the run on this split.
        parent_detections: of that model, in the COCO results format.
        folder: for the file that is measured, and its detections.
    """

    spec: DetectorSpec
    dataset: Dataset
    parent: Row
    parent_detections: Sequence[dict[str, Any]]
    gate: Verification
    settings: Export
    folder: Path

    @property
    def _detections(self) -> Path:
        return self.folder / "detections.json"

    def row_of(self, path: Path) -> Row:
        """Measures a file."""
        return measure_file(
            path,
            unmeasured_row(path, "int8"),
            parent=self.parent,
            results=self._detections,
            spec=self.spec,
            dataset=self.dataset,
            settings=self.gate,
        )

    def row_of_candidate(self, candidate: Candidate) -> Row:
        """Measures a network with the form that is exported first."""
        path = self.folder / "measured.tflite"
        write_detector(
            path,
            candidate.heads_only,
            spec=self.spec,
            kind=candidate.kind,
            head=self.settings.heads[0],
            settings=self.settings,
        )
        return self.row_of(path)

    def spread(self) -> tuple[float, float] | None:
        """Returns 5 % and 95 % of AP / AP of the float model for the file that was measured last, over drawn images."""
        detections = read_json(self._detections)
        ratios = ap_ratios(self.dataset, detections, list(self.parent_detections))
        if not len(ratios):
            return None
        return round(float(ratios[len(ratios) // 20]), 4), round(float(ratios[-1 - len(ratios) // 20]), 4)


@dataclass(frozen=True)
class Step:
    """One step of healing; `make` gets a function that gives the material, and the file with the least error so far."""

    name: str
    make: Callable[[Callable[[], Material], Candidate], Iterator[Candidate]]


def first_look(plain: Path, judge: Judge, *, model: str) -> Healing:
    """Measures the exported file, and says whether it passes and whether the split is large enough to go on."""
    started = time.perf_counter()
    boxes = sum(len(record.boxes) for record in judge.dataset.records)
    row = judge.row_of(plain)
    seconds = time.perf_counter() - started
    tried = Try.of_row(PLAIN, "no change", row=row, parent=judge.parent, seconds=seconds, head_error=None)
    healing = Healing(
        model,
        split=judge.dataset.split,
        images=len(judge.dataset.records),
        boxes=boxes,
        float_ap=judge.parent.ap["AP"],
        least_ratio=judge.gate.minimum_ap_ratio,
        tries=(tried,),
        chosen=0,
        judged=(row.sha256 or "",),
    )
    if tried.status == "passed":
        return replace(healing, outcome="kept")
    if tried.status == "not run":
        return replace(healing, reason=f"the file cannot be measured: {tried.reason}")
    spread = judge.spread()
    healing = replace(healing, outcome="not healed", spread=spread)
    if boxes < LEAST_BOXES:
        between = "" if spread is None else f", and with other images of its kind int8 keeps {spread_text(spread)}"
        reason = (
            f"the split {healing.split} is too small to decide: {boxes} boxes in {healing.images} images{between}; at "
            f"least {LEAST_BOXES} boxes are needed. The file keeps {tried.ratio or 0.0:.3f} x there. Label more images"
        )
        return replace(healing, outcome="not judged", reason=reason)
    return healing


def spread_text(spread: tuple[float, float]) -> str:
    """Returns the middle 90 % of a ratio for a reader."""
    return f"{spread[0]:.3f} to {spread[1]:.3f} x"


def climb(
    healing: Healing,
    steps: Sequence[Step],
    *,
    judge: Judge,
    make_material: Callable[[], Material],
    save: Callable[[Healing], None],
) -> Healing:
    """Takes the steps that are not finished, one by one, until a file passes; returns what came of it.

    Every try is saved with its network, so an interrupted call goes on with the step that it was in. When no file
    passes, the one that keeps most AP is chosen.
    """
    material = cache(make_material)
    if not network_file(judge.folder, 0).exists():
        network = corrected(material(), material().with_ranges())
        write_file(network_file(judge.folder, 0), network)
        plain = replace(healing.tries[0], head_error=material().error(network))
        healing = replace(healing, tries=(plain, *healing.tries[1:]))
        save(healing)
    for step in steps:
        if step.name in healing.finished:
            continue
        healing = replace(healing, tries=tuple(one for one in healing.tries if one.step != step.name))
        logger.info(f"heal {healing.model}: {step.name}")
        started = time.perf_counter()
        try:
            for candidate in step.make(material, base_of(healing, judge.folder)):
                healing = _with_try(healing, step, candidate, judge=judge, started=started)
                save(healing)
                if healing.tries[-1].status == "passed":
                    return replace(healing, outcome="healed", chosen=len(healing.tries) - 1)
                started = time.perf_counter()
        except StepNotPossibleError as reason:
            seconds = round(time.perf_counter() - started, 1)
            healing = replace(healing, tries=(*healing.tries, Try(step.name, "", "not run", seconds, str(reason))))
        healing = replace(healing, finished=(*healing.finished, step.name))
        save(healing)
    return replace(healing, outcome="not healed", chosen=healing.best)


def base_of(healing: Healing, folder: Path) -> Candidate:
    """Returns the int8 network whose heads have the least error so far; layers in float and training do not count."""
    places = [
        place
        for place, one in enumerate(healing.tries)
        if one.head_error is not None and one.kind == "int8" and not one.float_layers
    ]
    return candidate_of(healing, min(places, key=lambda place: healing.tries[place].head_error or 0.0), folder)


def candidate_of(healing: Healing, place: int, folder: Path) -> Candidate:
    """Returns the network of a try again."""
    one = healing.tries[place]
    return Candidate(
        "" if one.step == PLAIN else one.changed,
        network_file(folder, place).read_bytes(),
        one.kind,
        one.head_error,
        one.float_layers,
    )


def network_file(folder: Path, place: int) -> Path:
    """Returns where the network of a try is kept: it ends at float heads, without a description."""
    return folder / f"try_{place}.tflite"


def _with_try(healing: Healing, step: Step, candidate: Candidate, *, judge: Judge, started: float) -> Healing:
    """Measures a candidate and keeps its network."""
    row = judge.row_of_candidate(candidate)
    tried = Try.of_row(
        step.name,
        candidate.changed,
        row=row,
        parent=judge.parent,
        seconds=time.perf_counter() - started,
        head_error=candidate.head_error,
    )
    tried = replace(tried, kind=candidate.kind, float_layers=candidate.float_layers)
    write_file(network_file(judge.folder, len(healing.tries)), candidate.heads_only)
    ratio = "not measured" if tried.ratio is None else f"{tried.ratio:.4f} x the float AP"
    logger.info(f"heal {healing.model}: {tried.changed}: {ratio}, {tried.status}")
    return replace(healing, tries=(*healing.tries, tried))
