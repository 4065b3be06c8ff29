"""The study: which trials are made, which are ended early, and what goes on after an interruption."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_retina.data.reading.folder import load_split, made_splits, open_folder
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.files.places import absolute_address
from keras_retina.foundation.files.writing import write_json
from keras_retina.foundation.json_values import read_mapping
from keras_retina.foundation.machine import usable_cores
from keras_retina.plan.tune.results import note_continued, was_continued
from keras_retina.plan.tune.space import Parameter, apply_values, search_space, start_values
from keras_retina.plan.tune.trial import OutOfTimeError, TrialFailedError, train_trial, trial_folder
from keras_retina.recipe.recipe import Recipe, recipe_from_fields
from keras_retina.run.folder import verification_split

if TYPE_CHECKING:
    from optuna import Study, Trial

logger = logging.getLogger(__name__)

HELD_OUT = "held_out"
"""The split that judges where the validation split is the one that is reported: a part of the training split."""

PAPER = {"gamma": 2.0, "alpha": 0.25}
"""The focal loss that was best in the paper, table 1b."""

EVALUATIONS = 4
"""How often a trial is looked at."""

FIRST_TRIALS = 5
"""Trials that nobody ends early: the median of fewer says little."""


@dataclass(frozen=True)
class Tuning:
    """What is tuned, on which data, and where.

    Attributes:
        recipe: the recipe that every trial changes.
        data: the labelled folder.
        out: the folder of the study.
        search: names of `SEARCHED`.
        epochs: of a trial.
    """

    recipe: Recipe
    data: Path
    out: Path
    search: tuple[str, ...]
    epochs: int

    @property
    def journal(self) -> Path:
        """Everything that the study knows."""
        return self.out / "study.log"


def searched(tuning: Tuning) -> tuple[Parameter, ...]:
    """Returns what is searched, and makes or opens the folder of the study.

    Raises:
        InputError: the folder holds a study of another recipe, data or search, or the search names what is not there.
    """
    _check_same(tuning)
    base = trial_recipe(tuning)
    folder = open_folder(tuning.data, base.data)
    folder = replace(folder, lists=made_splits(folder))
    space = search_space(base, tuning.search, train_set=load_split(folder, base.data.train))
    (tuning.out / "trials").mkdir(parents=True, exist_ok=True)
    write_json(tuning.out / "tune.json", _identity(tuning))
    return space


def tune_study(tuning: Tuning, space: tuple[Parameter, ...], *, minutes: float, processes: int, seed: int) -> Study:
    """Makes trials for so many minutes, or goes on with a study, and returns it.

    The first trial is the recipe as it is, the second one the paper's gamma 2 and alpha 0.25. The others are drawn by
    TPE. A trial ends early when its AP is below the median of the others' at the same epoch.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.CRITICAL)  # failed trials are told below, in a line each
    deadline = time.monotonic() + 60.0 * minutes
    base = trial_recipe(tuning)
    study = optuna.create_study(
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(tuning.journal))),
        study_name="tune",
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=seed + _drawn_before(tuning), n_startup_trials=FIRST_TRIALS),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=FIRST_TRIALS, n_warmup_steps=tuning.epochs // EVALUATIONS),
    )
    _go_on(study)
    if not study.trials:
        for values in first_values(space):
            study.enqueue_trial(values)

    def objective(trial: Trial) -> float:
        return _objective(trial, tuning, base=base, space=space, deadline=deadline, threads=_threads(processes))

    study.optimize(objective, timeout=60.0 * minutes, n_jobs=processes, catch=(TrialFailedError, OutOfTimeError))
    return study


def trial_recipe(tuning: Tuning) -> Recipe:
    """Returns the recipe as a trial trains it: of the length of a trial, and judged on images that are not reported.

    Where the validation split is the one that is reported, a part of the training split judges instead.

    Raises:
        InputError: the split that is reported is made of the training split, so that nothing is left to judge.
    """
    fields = tuning.recipe.model_dump(exclude={"expected", "published", "compress"})
    fields["training"] |= {"epochs": tuning.epochs, "minutes": None, "early_stop": None}
    fields["training"]["evaluate_every"] = max(1, tuning.epochs // EVALUATIONS)
    fields["verification"]["split"] = "validation"
    if verification_split(tuning.recipe) == tuning.recipe.data.validation:
        if tuning.recipe.data.split == "auto":
            raise InputError(
                "tune: expected a split that judges beside the one that is reported. Received: data.validation="
                f"{tuning.recipe.data.validation!r} alone, which is both. Add --set data.test=test, so that both are "
                "made."
            )
        fields["data"] |= {"validation": HELD_OUT, "split": "auto"}
    return recipe_from_fields(fields, "trial")


def first_values(space: tuple[Parameter, ...]) -> list[dict[str, Any]]:
    """Returns the values of the recipe, and the same with the paper's gamma and alpha where these are searched."""
    start = start_values(space)
    papers = start | {name: value for name, value in PAPER.items() if name in start}
    return [start] if papers == start else [start, papers]


def _objective(
    trial: Trial, tuning: Tuning, *, base: Recipe, space: tuple[Parameter, ...], deadline: float, threads: int
) -> float:
    import optuna

    values = {parameter.name: parameter.suggest(trial) for parameter in space}
    recipe = apply_values(base, space, values)
    folder = trial_folder(tuning.out, recipe)
    trial.set_user_attr("folder", folder.name)

    def falls_behind(epoch: int, ap: float) -> bool:
        trial.report(ap, epoch)
        return trial.should_prune()

    started = time.monotonic()
    try:
        ap = train_trial(
            recipe, tuning.data, folder=folder, threads=threads, deadline=deadline, falls_behind=falls_behind
        )
    except TrialFailedError as error:
        trial.set_user_attr("reason", str(error))
        logger.info(f"trial {trial.number}: failed: {error}")
        raise
    except (OutOfTimeError, KeyboardInterrupt):
        trial.set_user_attr("unfinished", True)
        raise
    minutes = (time.monotonic() - started) / 60.0
    if ap is None:
        logger.info(f"trial {trial.number}: ended early after {minutes:.1f} min")
        raise optuna.TrialPruned
    logger.info(f"trial {trial.number}: AP {ap:.1f} after {minutes:.1f} min")
    return ap


def _go_on(study: Study) -> None:
    """Asks again for the trials that an earlier call could not finish; their trainings continue in their folders."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.FAIL)):
        if trial.state == TrialState.RUNNING:  # the study was killed
            study.tell(trial.number, state=TrialState.FAIL)
        elif not trial.user_attrs.get("unfinished") or was_continued(study, trial.number):
            continue
        study.enqueue_trial(trial.params)
        note_continued(study, trial.number)


def _drawn_before(tuning: Tuning) -> int:
    """Returns a number that grows with the study, so that a later call does not draw the same values again."""
    return tuning.journal.stat().st_size if tuning.journal.exists() else 0


def _threads(processes: int) -> int:
    return max(1, len(usable_cores()) // processes)


def _identity(tuning: Tuning) -> dict[str, Any]:
    fields = asdict(tuning) | {
        "recipe": tuning.recipe.model_dump(mode="json", exclude={"name", "expected", "published", "compress"}),
        "data": absolute_address(tuning.data),
        "search": sorted(tuning.search),
    }
    return {name: fields[name] for name in ("data", "search", "epochs", "recipe")}


def _check_same(tuning: Tuning) -> None:
    if tuning.out.is_file():
        raise InputError(f"--out: expected a folder. Received: {tuning.out}, a file. Choose another name.")
    there = read_mapping(tuning.out / "tune.json")
    if there is None:
        if tuning.out.is_dir() and any(tuning.out.iterdir()):
            raise InputError(
                f"--out: expected a new folder or a study of this recipe. Received: {tuning.out}, which holds other "
                "files. Choose another folder."
            )
        return
    others = [name for name, value in _identity(tuning).items() if there.get(name) != value]
    if others:
        raise InputError(
            f"--out: {tuning.out} holds a study with another {' and another '.join(others)}. Received: "
            f"{', '.join(f'{name}={_shown(there.get(name))}' for name in others)} there. Choose another folder."
        )


def _shown(value: Any) -> str:
    return f"{value['model']['backbone']['name']}, ..." if isinstance(value, dict) else str(value)
