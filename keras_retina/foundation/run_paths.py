"""Where everything of one run lies: the only place that knows the names in a run folder.

What is inside `train/`, but for the history, is the training's own; what is inside `export/`, that of the export.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HISTORY, DURATION = "history.csv", "duration.json"


@dataclass(frozen=True)
class CompressedPaths:
    """The folder of one smaller model of a run, or of a round on the way to it."""

    path: Path

    @property
    def model(self) -> Path:
        """The Keras model."""
        return self.path / "model.keras"

    @property
    def metrics(self) -> Path:
        """COCO metrics on the validation split, with the sizes of the model and of its parent."""
        return self.path / "metrics.json"

    @property
    def settings(self) -> Path:
        """What the model and its parents are made with."""
        return self.path / "settings.json"

    @property
    def train(self) -> Path:
        """Checkpoints and history of the fine-tuning."""
        return self.path / "train"


@dataclass(frozen=True)
class RunPaths:
    """A run folder by its place alone; nothing in it needs to exist."""

    path: Path

    @property
    def recipe_file(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def plan(self) -> Path:
        """The recipe as it was planned, with a comment for every choice; not there when the recipe was given."""
        return self.path / "plan.yaml"

    @property
    def facts(self) -> Path:
        """The data folder, the command and the machine."""
        return self.path / "run.json"

    @property
    def splits(self) -> Path:
        """The images of each split that was made, for `data.split: auto`."""
        return self.path / "splits.json"

    @property
    def train(self) -> Path:
        """The folder of checkpoints, logs and history."""
        return self.path / "train"

    @property
    def history(self) -> Path:
        """A line for each epoch."""
        return self.train / HISTORY

    @property
    def workers(self) -> Path:
        """A log for each worker of a cluster."""
        return self.train / "workers"

    @property
    def class_balance(self) -> Path:
        """How unequal objects and background are for the trained model."""
        return self.train / "class_balance.json"

    @property
    def model(self) -> Path:
        """The float Keras model."""
        return self.path / "model.keras"

    @property
    def metrics(self) -> Path:
        """COCO metrics of the float Keras model on the validation split."""
        return self.path / "metrics.json"

    @property
    def compress(self) -> Path:
        """The folder of the smaller models."""
        return self.path / "compress"

    def compressed(self, name: str) -> CompressedPaths:
        """The folder of one smaller model."""
        return CompressedPaths(self.compress / name)

    @property
    def export(self) -> Path:
        """The folder of the exported files."""
        return self.path / "export"

    @property
    def heal(self) -> Path:
        """What was tried on int8 files that missed the gate on the validation split, a folder for each model."""
        return self.path / "heal"

    @property
    def verify(self) -> Path:
        """The measured rows."""
        return self.path / "verify.json"

    @property
    def detections_folder(self) -> Path:
        """The folder of the labels and detections that were measured."""
        return self.path / "verify"

    @property
    def ground_truth(self) -> Path:
        """The labels of the verified split, as COCO JSON."""
        return self.detections_folder / "ground_truth.json"

    def detections(self, name: str) -> Path:
        """The COCO results list of a row of `verify.json`, by its `results_name`."""
        return self.detections_folder / f"{name}.json"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    @property
    def review(self) -> Path:
        """The folder of what the detector says about the labels."""
        return self.path / "review"

    @property
    def members(self) -> tuple[Path, ...]:
        """Everything that the program writes here."""
        return (
            self.recipe_file, self.plan, self.facts, self.splits, self.train, self.model, self.metrics, self.compress,
            self.export, self.heal, self.detections_folder, self.verify, self.report, self.review,
        )  # fmt: skip
