"""Heals the int8 files of a run that miss their gate on the validation split: `export.heal` of its recipe."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from edge.export.artifact import Artifact
from edge.export.export import origin_of, write_detector
from edge.quantize.calibration import choose_calibration_images
from edge.verify.heal.healing import Healing, read_healing
from edge.verify.heal.ladder import Judge, Step, candidate_of, climb, first_look
from edge.verify.heal.material import Material, make_material
from edge.verify.heal.steps import float_layers, float_layers_forbidden, other_ranges, own_quantizer
from edge.verify.heal.training import trained_in_int8
from edge.verify.rows import FLOAT_MODEL, Row
from edge.verify.ship import LEAST_AP
from keras_retina.data.records import Dataset, ImageFile
from keras_retina.evaluate.coco import coco_metrics
from keras_retina.evaluate.predict import detect_function, predict_dataset
from keras_retina.foundation.files.reading import sha256_of
from keras_retina.foundation.files.writing import write_json
from keras_retina.foundation.json_values import number, read_mapping
from keras_retina.foundation.run_paths import CompressedPaths
from keras_retina.model.saving import load_detector
from keras_retina.model.spec import DetectorSpec
from keras_retina.recipe.formats import FORMATS, KERAS
from keras_retina.run.folder import RunFolder, read_split

logger = logging.getLogger(__name__)

RESULT = "healing.json"


@dataclass(frozen=True)
class Patient:
    """The int8 files of one model.

    Attributes:
        model: the smaller model, None for the model of the run.
        files: one for each form; the first is measured.
        least_ratio: share of the AP of the float model that they must keep.
    """

    model: str | None
    files: Sequence[Path]
    least_ratio: float

    @property
    def name(self) -> str:
        """The model in `verify.json` and in the name of the folder."""
        return self.model or FLOAT_MODEL


class Reference:
    """What the files of a run are judged by, read when the first file needs it."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    @cached_property
    def train_set(self) -> Dataset:
        """The training split."""
        return read_split(self._run, self._run.recipe.data.train)

    @cached_property
    def validation_set(self) -> Dataset:
        """The split that files are judged on."""
        return read_split(self._run, self._run.recipe.data.validation)

    @cached_property
    def spec(self) -> DetectorSpec:
        """The detector of the run."""
        return load_detector(self._run.model)[1]

    @cached_property
    def detections(self) -> list[dict[str, Any]]:
        """What the float model finds, on this machine: another processor moves AP."""
        files = self._run.recipe.export
        model, spec = load_detector(self._run.model)
        detect = detect_function(
            model, spec, iou_threshold=files.iou_threshold, max_detections=files.max_detections, nms=files.nms
        )
        return predict_dataset(detect, spec, dataset=self.validation_set)

    @cached_property
    def row(self) -> Row:
        """The row of the float model on this split."""
        row = Row(self._run.model.name, KERAS.name)
        return row.with_metrics(coco_metrics(self.validation_set, self.detections)).judged([])


def heal_run(run: RunFolder) -> list[Healing]:
    """Judges the int8 files of a run on the validation split, and replaces those that miss their gate by better ones.

    What was tried is in `heal/MODEL/healing.json`. A file that was judged before is left alone.

    Raises:
        InputError: a damaged `healing.json`, an image that cannot be read, or a file that cannot be written.
    """
    if run.recipe.export.heal == "off":
        return []
    reference = Reference(run)
    found = []
    for patient in patients(run):
        healing = _healed(run, patient, reference)
        logger.info(healing.line)
        found.append(healing)
    return found


def healings_of(run: RunFolder) -> list[Healing]:
    """Returns what was tried on the int8 files that are there now."""
    read = [(patient, read_healing(run.heal / patient.name / RESULT)) for patient in patients(run)]
    return [healing for patient, healing in read if healing is not None and _is_of_files(healing, patient)]


def patients(run: RunFolder) -> list[Patient]:
    """Returns the int8 files of the run that are there and were quantized after training."""
    recipe = run.recipe
    models: list[tuple[str | None, float]] = []
    if "int8" in recipe.export.formats:
        models.append((None, recipe.verification.minimum_ap_ratio))
    models += [
        (name, settings.minimum_ap_ratio)
        for name, settings in recipe.compress.items()
        if settings.quantize is None and "int8" in settings.formats
    ]
    found = []
    for model, ratio in models:
        forms = [Artifact(recipe.name, FORMATS["int8"], model, form).path(run.export) for form in recipe.export.heads]
        if all(path.exists() for path in forms):
            found.append(Patient(model, forms, ratio))
    return found


def _healed(run: RunFolder, patient: Patient, reference: Reference) -> Healing:
    folder = run.heal / patient.name
    trained = read_mapping(run.metrics)  # an imported run has none
    known = reference.row.ap["AP"] if trained is None else number(trained.get("AP"))
    if (known or 0.0) < LEAST_AP:
        reason = f"the float model finds almost nothing on {run.recipe.data.validation} (AP {known or 0.0:.2f})"
        return Healing(patient.name, reason=f"{reason}. Train it longer")
    if run.recipe.export.float_layers:
        reason = "export.float_layers chooses by hand what healing would choose. Leave it out, or set export.heal: off"
        return Healing(patient.name, reason=reason)
    begun = read_healing(folder / RESULT)
    if begun is None or not _is_of_files(begun, patient):
        begun = None
        shutil.rmtree(folder, ignore_errors=True)
    spent = sum(one.seconds for one in begun.tries) if begun else 0.0
    steps = steps_of(run, patient, folder, reference=reference, spent=spent)
    if begun is not None and _is_over(begun, steps, reference.validation_set, patient):
        _clean(folder, begun)
        return begun
    if begun is not None and begun.outcome == "not judged":
        begun = None
    folder.mkdir(parents=True, exist_ok=True)
    gate = run.recipe.verification.model_copy(update={"minimum_ap_ratio": patient.least_ratio})
    judge = Judge(
        reference.spec,
        reference.validation_set,
        reference.row,
        reference.detections,
        gate=gate,
        settings=run.recipe.export,
        folder=folder,
    )
    save = partial(_save, folder / RESULT)
    healing = begun or first_look(patient.files[0], judge, model=patient.name)
    save(healing)
    if healing.outcome == "not healed":
        healing = climb(
            healing, steps, judge=judge, make_material=lambda: _material_of(run, patient, reference), save=save
        )
    if healing.outcome in ("healed", "not healed"):
        healing = _replace_files(run, patient, healing, folder=folder, reference=reference, save=save)
    _clean(folder, healing)
    return healing


def _clean(folder: Path, healing: Healing) -> None:
    """Removes the networks that were tried, unless more steps may follow."""
    if healing.outcome in ("kept", "healed"):
        for path in folder.iterdir():
            if path.name != RESULT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def steps_of(run: RunFolder, patient: Patient, folder: Path, *, reference: Reference, spent: float) -> list[Step]:
    """Returns the steps that the recipe wants, the cheapest first; `spent` are the seconds of an interrupted call."""
    settings, started = run.recipe.export, time.perf_counter()
    layers = float_layers_forbidden if settings.integer_only else float_layers
    steps = [
        Step("ranges", lambda material, base: other_ranges(material(), base)),
        Step("float layers", lambda material, base: layers(material(), base)),
    ]
    if settings.quantizer == "ai_edge":
        steps.insert(0, Step("quantizer", lambda material, base: own_quantizer(material(), base)))
    if settings.heal == "full":
        steps.append(
            Step(
                "training",
                lambda material, base: trained_in_int8(
                    run,
                    patient.model,
                    folder=CompressedPaths(folder / "training"),
                    train_set=reference.train_set,
                    validation_set=reference.validation_set,
                    spent=spent + time.perf_counter() - started,
                ),
            )
        )
    return steps


def _is_of_files(healing: Healing, patient: Patient) -> bool:
    """Tells whether the files that are there are those that were judged, by the same gate."""
    sha256 = sha256_of(patient.files[0].read_bytes())
    return sha256 in healing.judged and healing.least_ratio == patient.least_ratio


def _is_over(healing: Healing, steps: Sequence[Step], validation_set: Dataset, patient: Patient) -> bool:
    """Tells whether nothing is left to do: else it was interrupted, more steps are wanted, or the split has grown."""
    if healing.outcome == "not judged":
        boxes = sum(len(record.boxes) for record in validation_set.records)
        return (healing.images, healing.boxes) == (len(validation_set.records), boxes)
    is_written = healing.outcome == "kept" or (len(healing.judged) == 2 and _is_written(patient, healing.judged[1]))
    return is_written and (healing.outcome != "not healed" or {step.name for step in steps} <= set(healing.finished))


def _is_written(patient: Patient, sha256: str) -> bool:
    """Tells whether the first file is that one, and described beside it: both are written last."""
    described = read_mapping(patient.files[0].with_suffix(".json")) or {}
    return sha256 == described.get("sha256") == sha256_of(patient.files[0].read_bytes())


def _save(path: Path, healing: Healing) -> None:
    write_json(path, healing.to_json())


def _material_of(run: RunFolder, patient: Patient, reference: Reference) -> Material:
    model, spec = load_detector(run.model if patient.model is None else run.compressed(patient.model).model)
    return make_material(model, spec, calibration_images=_calibration_images(run, reference))


def _calibration_images(run: RunFolder, reference: Reference) -> Sequence[ImageFile]:
    return choose_calibration_images(reference.train_set, run.recipe.export.calibration_images, seed=run.recipe.seed)


def _replace_files(
    run: RunFolder,
    patient: Patient,
    healing: Healing,
    *,
    folder: Path,
    reference: Reference,
    save: Callable[[Healing], None],
) -> Healing:
    """Writes the chosen network in place of the exported files, one for each form.

    The hash of the first is saved before it is written, so that an interrupted call knows it as its own.
    """
    candidate = candidate_of(healing, healing.chosen or 0, folder)
    source = run.model if patient.model is None else run.compressed(patient.model).model
    # The export settings in the file are those that were asked for; this says what was changed.
    healed = {"healed": candidate.changed} if candidate.changed else {}

    def write(path: Path, form: str) -> None:
        write_detector(
            path,
            candidate.heads_only,
            spec=load_detector(source)[1],
            kind=candidate.kind,
            head=form,
            settings=run.recipe.export,
            calibration_images=len(_calibration_images(run, reference)),
            origin=origin_of(run.recipe_file, source) | healed,
        )

    forms = list(zip(patient.files, run.recipe.export.heads, strict=True))
    chosen = folder / "chosen.tflite"
    write(chosen, forms[0][1])
    healing = replace(healing, judged=(healing.judged[0], sha256_of(chosen.read_bytes())))
    for path in (chosen, chosen.with_suffix(".json")):
        path.unlink()
    save(healing)
    for path, form in reversed(forms):  # the first one, whose hash tells what was judged, is written last
        write(path, form)
    return healing
