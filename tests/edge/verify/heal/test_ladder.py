"""The ladder stops at the first file that passes, resumes, and keeps the best file when all fail."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from edge.verify.heal import ladder
from edge.verify.heal.healing import Healing, read_healing
from edge.verify.heal.ladder import Step, climb, first_look
from edge.verify.heal.steps import Candidate, StepNotPossibleError
from edge.verify.rows import Row
from keras_retina.data.records import Dataset, Record
from keras_retina.recipe.recipe import Verification

FLOAT_AP = 50.0
GATE = Verification(minimum_ap_ratio=0.99)


def row(ap: float | None) -> Row:
    """A row of this AP, held against the gate as `verify` holds it."""
    if ap is None:
        return Row("a.tflite", "int8", sha256="ab").not_run("LiteRT cannot run it")
    metrics = {"AP": ap, "AP50": ap + 30, "AP75": ap - 1, "AP_small": None, "AP_medium": ap, "AP_large": ap}
    measured = Row("a.tflite", "int8", sha256="ab").with_metrics({**metrics, "per_class": {"cell": ap}})
    return measured.judged([] if ap >= 0.99 * FLOAT_AP else [f"AP {ap:.2f} is under 49.50"])


@dataclass
class Judge:
    """Says the AP that each network carries as its bytes."""

    folder: Path
    boxes: int = 200
    plain_ap: float | None = 45.0
    gate: Verification = GATE
    parent: Row = row(FLOAT_AP)
    measured: list[str] = field(default_factory=list)

    @property
    def dataset(self) -> Dataset:
        boxes = np.tile(np.float32([0, 0, 5, 5]), (self.boxes, 1))
        record = Record(1, Path("a.png"), "a.png", 10, 10, boxes, np.zeros(self.boxes, int), np.zeros(self.boxes, bool))
        return Dataset("drawn", "val", ("cell",), (1,), (record,))

    def row_of(self, path: Path) -> Row:
        return row(self.plain_ap)

    def row_of_candidate(self, candidate: Candidate) -> Row:
        self.measured.append(candidate.changed)
        return row(float(candidate.heads_only))

    def spread(self) -> tuple[float, float]:
        return 0.85, 0.95


class Material:
    """A network is its AP as text; its error is what it lacks to the float AP."""

    def with_ranges(self) -> bytes:
        return b"45"

    def error(self, network: bytes) -> float:
        return FLOAT_AP - float(network)


@pytest.fixture(autouse=True)
def no_biases(monkeypatch):
    monkeypatch.setattr(ladder, "corrected", lambda material, network: network)


def giving(*networks: tuple[str, str], kind: str = "int8", layers: tuple[str, ...] = ()):
    """A step that tries networks, `(what changed, AP)`, and remembers its base in `bases`."""

    def make(material, base):
        make.bases.append(base)
        for changed, ap in networks:
            error = None if kind == "int8_qat" else FLOAT_AP - float(ap)
            yield Candidate(changed, ap.encode(), kind, error, layers)

    make.bases = []
    return make


def impossible(material, base):
    raise StepNotPossibleError("not here")
    yield


def climbed(judge: Judge, *steps: Step, begun: Healing | None = None) -> Healing:
    healing = begun or first_look(Path("a.tflite"), judge, model="float")
    saved = judge.folder / "healing.json"
    return climb(
        healing,
        steps,
        judge=judge,
        make_material=Material,
        save=lambda one: saved.write_text(json.dumps(one.to_json())),
    )


def test_a_file_that_passes_is_kept_and_nothing_is_tried(tmp_path):
    healing = first_look(Path("a.tflite"), Judge(tmp_path, plain_ap=49.5), model="small")
    assert (healing.outcome, healing.chosen, healing.model, len(healing.tries)) == ("kept", 0, "small", 1)
    assert healing.line == "heal small: int8 holds: AP 49.50 of 50.00 on val, 0.990 x"


def test_too_few_boxes_are_told_with_their_number_and_the_spread(tmp_path):
    healing = first_look(Path("a.tflite"), Judge(tmp_path, boxes=49), model="float")
    assert healing.outcome == "not judged"
    assert "49 boxes in 1 images, and with other images of its kind int8 keeps 0.850 to 0.950 x" in healing.line
    assert first_look(Path("a.tflite"), Judge(tmp_path, boxes=50), model="float").outcome == "not healed"


def test_a_file_that_cannot_be_measured_is_not_judged(tmp_path):
    healing = first_look(Path("a.tflite"), Judge(tmp_path, plain_ap=None), model="float")
    assert healing.line == "heal float: not judged: the file cannot be measured: LiteRT cannot run it"


def test_the_ladder_stops_at_the_first_file_that_passes(tmp_path):
    judge, never = Judge(tmp_path), giving(("late", "50"))
    steps = Step("one", giving(("low", "46"))), Step("two", giving(("mid", "48"), ("high", "49.6"))), Step("3", never)
    healing = climbed(judge, *steps)
    assert judge.measured == ["low", "mid", "high"] and not never.bases
    assert (healing.outcome, healing.chosen, healing.finished) == ("healed", 3, ("one",))
    assert healing.line == "heal float: int8 holds with high: AP 49.60 of 50.00 on val, 0.992 x"
    assert [one.ratio for one in healing.tries] == [0.9, 0.92, 0.96, 0.992]
    assert [one.step for one in healing.tries] == ["plain", "one", "two", "two"]


def test_the_best_file_is_chosen_and_named_when_all_fail(tmp_path):
    steps = Step("one", giving(("good", "48"))), Step("two", impossible), Step("three", giving(("bad", "40")))
    healing = climbed(Judge(tmp_path), *steps)
    assert (healing.outcome, healing.chosen, healing.finished) == ("not healed", 1, ("one", "two", "three"))
    assert [one.status for one in healing.tries] == ["failed", "failed", "not run", "failed"]
    assert healing.tries[2].reason == "not here"
    assert "int8 misses the gate: AP 48.00 of 50.00 on val, 0.960 x" in healing.line
    assert "the best file of 4 tries is the one with good: AP 48.00 is under 49.50" in healing.line


def test_a_plain_file_that_stays_best_is_kept(tmp_path):
    healing = climbed(Judge(tmp_path), Step("one", giving(("bad", "44"))))
    assert (healing.outcome, healing.chosen) == ("not healed", 0)


def test_later_steps_start_from_the_int8_network_with_the_least_error(tmp_path):
    later = giving(("late", "41"))
    steps = (
        Step("one", giving(("better", "47"))),
        Step("two", giving(("float", "49"), layers=("Conv1",))),
        Step("three", giving(("trained", "49"), kind="int8_qat")),
        Step("four", later),
    )
    climbed(Judge(tmp_path), *steps)
    assert [(base.changed, base.heads_only) for base in later.bases] == [("better", b"47")]
    first = giving(("x", "41"))
    (tmp_path / "other").mkdir()
    climbed(Judge(tmp_path / "other"), Step("one", first))
    assert [(base.changed, base.heads_only) for base in first.bases] == [("", b"45")]


def test_an_interrupted_ladder_goes_on_with_the_step_that_it_was_in(tmp_path):
    judge, one = Judge(tmp_path), giving(("low", "46"))

    def killed(material, base):
        yield Candidate("half", b"47", head_error=3.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        climbed(judge, Step("one", one), Step("two", killed))
    begun = read_healing(tmp_path / "healing.json")
    assert begun is not None and [one.changed for one in begun.tries] == ["no change", "low", "half"]
    two = giving(("whole", "49.9"))
    healing = climbed(judge, Step("one", one), Step("two", two), begun=begun)
    assert len(one.bases) == 1, "a finished step is not repeated"
    assert [(one.step, one.changed) for one in healing.tries[1:]] == [("one", "low"), ("two", "whole")]
    assert healing.outcome == "healed"
    assert (tmp_path / "try_2.tflite").read_bytes() == b"49.9"


def test_more_steps_go_on_behind_those_that_failed(tmp_path):
    judge, one = Judge(tmp_path), giving(("low", "46"))
    failed = climbed(judge, Step("one", one))
    healing = climbed(judge, Step("one", one), Step("two", giving(("trained", "50"), kind="int8_qat")), begun=failed)
    assert (len(one.bases), healing.outcome, healing.tries[-1].kind) == (1, "healed", "int8_qat")


def test_what_was_tried_is_the_same_after_reading(tmp_path):
    healing = climbed(Judge(tmp_path), Step("one", giving(("low", "46"), layers=("a", "b"))), Step("two", impossible))
    healing = replace(healing, judged=("ab", "cd"))
    assert Healing.from_json(json.loads(json.dumps(healing.to_json())), "here") == healing


def test_a_step_that_needs_no_material_makes_none_again(tmp_path):
    judge = Judge(tmp_path)
    failed = climbed(judge, Step("one", giving(("low", "46"))))

    def make_material():
        raise AssertionError("made again")

    steps = Step("one", giving()), Step("training", giving(("trained", "50"), kind="int8_qat"))
    healing = climb(failed, steps, judge=judge, make_material=make_material, save=lambda one: None)
    assert healing.outcome == "healed"
