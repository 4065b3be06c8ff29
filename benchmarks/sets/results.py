"""The table of what was measured, a line for each training: OUT/results.csv."""

from __future__ import annotations

import csv
import dataclasses
import fcntl
import io
from dataclasses import dataclass
from pathlib import Path

from keras_retina.foundation.files.writing import write_file


@dataclass(frozen=True)
class Result:
    """One training. AP is in percent, `epochs` counts passes over the training images."""

    set: str
    setting: str
    seed: int
    split: str
    epochs: float
    steps: int
    images_per_second: float | None
    AP: float
    AP50: float
    AP75: float

    @property
    def key(self) -> tuple[str, str, int]:
        """What there is one result for."""
        return self.set, self.setting, self.seed


COLUMNS = [field.name for field in dataclasses.fields(Result)]


def read_results(path: Path) -> list[Result]:
    """Returns the lines of the file, none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Result(
                row["set"],
                row["setting"],
                int(row["seed"]),
                row["split"],
                float(row["epochs"]),
                int(row["steps"]),
                float(row["images_per_second"]) if row["images_per_second"] else None,
                *(float(row[name]) for name in ("AP", "AP50", "AP75")),
            )
            for row in csv.DictReader(file)
        ]


def add_result(path: Path, result: Result) -> None:
    """Writes the file anew with this line, in place of an older one of the same training. Other queues wait for it."""
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        results = [one for one in read_results(path) if one.key != result.key]
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        lines.writerow(COLUMNS)
        lines.writerows(dataclasses.astuple(one) for one in [*results, result])
        write_file(path, text.getvalue().encode())
