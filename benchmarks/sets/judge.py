"""Does a setting help? Its AP against the base over all data sets, as pure functions of the measured AP.

The rule: a setting `helps` if the mean of its differences over the sets is more than two standard errors above 0 and no
set loses more than the base's own trainings differ there. It `hurts` if the mean is more than two standard errors below
0. Otherwise, and with fewer than three sets, it is `not shown`. With one seed nothing is known of how trainings differ,
so a setting that helps may then lose on no set at all.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

FEWEST_SETS = 3
STANDARD_ERRORS = 2.0

Verdict = Literal["helps", "hurts", "not shown"]


@dataclass(frozen=True)
class OnOneSet:
    """A setting and the base on one data set, with the seeds that both have.

    Attributes:
        differences: AP of the setting minus AP of the base with the same seed, in percent.
        spread: highest minus lowest AP of the base over these seeds.
        ratio: mean AP of the setting over mean AP of the base; None where the base has 0.
    """

    differences: tuple[float, ...]
    spread: float
    ratio: float | None

    @property
    def mean(self) -> float:
        """The mean difference over the seeds."""
        return statistics.mean(self.differences)

    @property
    def loses(self) -> bool:
        """Whether it loses more than the base's trainings differ."""
        return -self.mean > self.spread


def compare(aps: Mapping[tuple[str, str, int], float], setting: str, *, base: str) -> dict[str, OnOneSet]:
    """Returns `{set: comparison}` for each set where both were trained with one seed at least.

    `aps` is `{(set, setting, seed): AP in percent}`.
    """
    found = {}
    for name in dict.fromkeys(one for one, _, _ in aps):
        seeds = sorted(seed for one, kind, seed in aps if (one, kind) == (name, base) and (name, setting, seed) in aps)
        if seeds:
            ours, theirs = ([aps[name, kind, seed] for seed in seeds] for kind in (setting, base))
            found[name] = OnOneSet(
                tuple(our - their for our, their in zip(ours, theirs, strict=True)),
                max(theirs) - min(theirs),
                statistics.mean(ours) / statistics.mean(theirs) if any(theirs) else None,
            )
    return found


def mean_difference(sets: Iterable[OnOneSet]) -> float:
    """Returns the mean over the sets of the mean differences; every set counts alike."""
    return statistics.mean(one.mean for one in sets)


def standard_error(sets: Iterable[OnOneSet]) -> float | None:
    """Returns the standard error of that mean, n being the number of sets; None for one set."""
    means = [one.mean for one in sets]
    return statistics.stdev(means) / math.sqrt(len(means)) if len(means) > 1 else None


def geometric_mean_ratio(sets: Iterable[OnOneSet]) -> float | None:
    """Returns the geometric mean of the ratios, 0 where one is 0; None where one is not known."""
    ratios = [one.ratio for one in sets]
    known = [ratio for ratio in ratios if ratio is not None]
    if not known or len(known) < len(ratios):
        return None
    return math.prod(known) ** (1 / len(known))


def verdict(sets: Iterable[OnOneSet]) -> Verdict:
    """Applies the rule at the top of this file."""
    sets = list(sets)
    if len(sets) < FEWEST_SETS:
        return "not shown"
    mean, error = mean_difference(sets), standard_error(sets)
    if error is None or abs(mean) <= STANDARD_ERRORS * error:
        return "not shown"
    if mean < 0:
        return "hurts"
    return "not shown" if any(one.loses for one in sets) else "helps"
