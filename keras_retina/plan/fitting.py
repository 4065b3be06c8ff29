"""The network of a plan: first as the objects need it, then as a latency or a time allows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.machine import machine_name
from keras_retina.plan.budget import (
    FEWEST_UPDATES,
    LEAST_UPDATES,
    Timing,
    divide,
    minutes_for,
    shortened_epoch,
    shrink_for,
    updates_within,
    wants_small,
)
from keras_retina.plan.data.facts import DataFacts
from keras_retina.plan.files import FORMATS, HEADS
from keras_retina.plan.learning import steps_per_epoch
from keras_retina.plan.network import (
    PIXEL_STEPS,
    Candidate,
    backbone_choice,
    frozen_stages,
    head_choice,
    input_and_levels,
    input_choice,
    levels_for_size,
    nearest_size,
    network,
    pyramid_choice,
    wanted_side,
)
from keras_retina.plan.sizing import ENOUGH, Timed, fit_latency
from keras_retina.plan.wishes import Choice, Wishes
from keras_retina.recipe.export import Export, Verification
from keras_retina.recipe.formats import Form, RecipeFormat
from keras_retina.recipe.model import Model

if TYPE_CHECKING:  # loads TensorFlow, which a plan without a time does not need
    from keras_retina.train.duration import Pace

WIDTH, CONVOLUTIONS = 96, 3  # of pyramid and heads: bccd.yaml, raccoon.yaml, edgetpu_bccd.yaml

LatencyOf = Callable[[Model, int, RecipeFormat, Form, int, Export], tuple[float, float]]
"""Network, number of classes, format, form, threads and thresholds of a file -> its milliseconds for an image.

And those of the first file that was asked for, timed beside it."""


@dataclass(frozen=True)
class Network:
    """The network of a plan, and what there is to say about it.

    Attributes:
        reasons: for the side and for the aspect of the input.
        frozen, why_frozen: how many stages of the backbone never train.
        notes: what was measured, for the screen and the head of the file.
    """

    candidate: Candidate
    reasons: tuple[str, str]
    frozen: int
    why_frozen: str
    notes: tuple[Choice, ...] = ()

    @property
    def model(self) -> Model:
        """The section `model` with the usual anchors."""
        return network(self.candidate, frozen=self.frozen)

    def choices(self, facts: DataFacts) -> list[Choice]:
        """Returns every choice of the section `model` but the anchors."""
        one = self.candidate
        return [
            backbone_choice(one, frozen=self.frozen, why_frozen=self.why_frozen),
            input_choice(one.size, self.reasons),
            pyramid_choice(facts, one.size, one.levels, width=one.width),
            head_choice(width=one.width, convolutions=one.convolutions),
        ]


def first_network(facts: DataFacts, wishes: Wishes) -> Network:
    """Returns the network that the data ask for, within the bounds of target and objective."""
    size, levels, reasons = input_and_levels(facts, wishes)
    frozen, why = frozen_stages(facts, wishes)
    candidate = Candidate(size, levels, wishes.backbone or "mobilenet_v2", WIDTH, CONVOLUTIONS)
    return Network(candidate, (reasons[0], reasons[1]), frozen, why)


def network_of_latency(start: Network, facts: DataFacts, *, wishes: Wishes, latency_of: LatencyOf | None) -> Network:
    """Returns the best network whose file takes the wished milliseconds or a little less.

    Raises:
        InputError: nobody can time a file here, or no network is as fast as that.
    """
    if latency_of is None or wishes.latency is None:
        raise InputError("--latency: expected something that times a file. Received: nothing. Use the command line.")
    kind: RecipeFormat = "int8" if "int8" in FORMATS[wishes.target] else "float32"
    head = HEADS[wishes.target][0]
    threads = wishes.threads or Verification().threads
    classes = len(facts.class_counts)

    def measure(one: Candidate) -> tuple[float, float]:
        return latency_of(network(one, frozen=0), classes, kind, head, threads, Export())

    side, _ = wanted_side(facts, dataclasses.replace(wishes, target=None, objective="best"))
    timed = fit_latency(wishes.latency, facts, start=start.candidate, side=side, measure=measure)
    if not timed.met:
        raise InputError(
            f"--latency: expected at least {timed.milliseconds:.1f} ms, the {kind} file of the fastest network that "
            f"was tried here. Received: latency={wishes.latency:g}. Raise it, or plan without it: the smaller model "
            "that is pruned after training is faster."
        )
    why = f"the largest that keeps the {kind} file within {wishes.latency:g} ms"
    note = _latency_note(timed, wishes, what=f"{kind} file", threads=threads)
    return dataclasses.replace(
        start, candidate=timed.candidate, reasons=(why, start.reasons[1]), notes=(*start.notes, note)
    )


def _latency_note(timed: Timed, wishes: Wishes, *, what: str, threads: int) -> Choice:
    met = "within the wish"
    if timed.is_most and timed.milliseconds < ENOUGH * (wishes.latency or 0.0):
        met = "under the wish, since nothing larger should help"
    cores = f"{threads} thread{'s' if threads > 1 else ''} of {machine_name()}"
    why = (
        f"{met}; {what}, untrained, {cores}. "
        f"No other device was timed{f', so not the {wishes.target}' if wishes.target else ''}."
    )
    return Choice("", None, why, f"{timed.milliseconds:.1f} ms of {wishes.latency:g}", "latency")


def network_of_minutes(
    start: Network, facts: DataFacts, *, wishes: Wishes, pace_of: Callable[[Network], Pace]
) -> tuple[Network, Timing]:
    """Returns a network that gets enough updates in the wished minutes, and how the minutes are used.

    First the smaller models give up their share, then the input shrinks; one of a wished latency stays as it is, and
    Frigate's 320 x 320.

    Raises:
        InputError: there are no minutes in the wishes, or too few to learn anything.
    """
    if wishes.minutes is None:
        raise InputError("--minutes: expected a number of minutes. Received: none. Set it.")
    pace, small = pace_of(start), wants_small(wishes)
    budget = divide(wishes.minutes, small=small[0], quantized=small[1])
    if wishes.objective != "smallest" and updates_within(budget.of_float, pace) < LEAST_UPDATES:
        budget = divide(wishes.minutes, small=False, quantized=False)
    chosen, shrink = start, shrink_for(budget.of_float, pace)
    if shrink < 1 and wishes.latency is None and wishes.target != "frigate":
        smaller = _shrunk(start, facts, shrink=shrink, minutes=wishes.minutes)
        if smaller.candidate != start.candidate:
            chosen, pace = smaller, pace_of(smaller)
    least = minutes_for(FEWEST_UPDATES, pace)
    if budget.of_float < least:
        raise InputError(
            f"--minutes: expected at least {least:g} here, in which {FEWEST_UPDATES} updates of {pace.step:.2f} s fit. "
            f"Received: minutes={wishes.minutes:g}. Raise it, or train on a faster machine."
        )
    updates = updates_within(budget.of_float, pace)
    steps = shortened_epoch(budget.of_float, pace, steps=steps_per_epoch(facts.images))
    return chosen, Timing(budget, pace.step, updates, steps, pace.evaluation)


def _shrunk(start: Network, facts: DataFacts, *, shrink: float, minutes: float) -> Network:
    """Returns the network with a smaller input of the same shape."""
    size = start.candidate.size
    step = PIXEL_STEPS[start.candidate.levels[1]]
    smaller = nearest_size(size.side * shrink, size.width / size.height, step=step, most=size.side)
    why = f"smaller than the objects ask for, so that {minutes:g} min are enough for {LEAST_UPDATES} updates or nearly"
    candidate = dataclasses.replace(start.candidate, size=smaller, levels=levels_for_size(facts, smaller))
    return dataclasses.replace(start, candidate=candidate, reasons=(why, start.reasons[1]))
