"""What failures cost a long job: how often to save, by Young and by Daly, what is lost, and the same played through.

Source: Young, "A first order approximation to the optimum checkpoint interval", Communications of the ACM 17 (1974);
Daly, "A higher order estimate of the optimum checkpoint interval for restart dumps", Future Generation Computer Systems
22 (2006).
"""

from __future__ import annotations

import math

import numpy as np


def young_interval(save: float, between_failures: float) -> float:
    """Returns the seconds of work between two checkpoints that take `save` seconds each, to first order."""
    return math.sqrt(2 * save * between_failures)


def daly_interval(save: float, between_failures: float) -> float:
    """Returns the same to a higher order; the mean time between failures itself where saving takes twice as long."""
    if save >= 2 * between_failures:
        return between_failures
    share = save / (2 * between_failures)
    return young_interval(save, between_failures) * (1 + math.sqrt(share) / 3 + share / 9) - save


def wall_seconds(work: float, interval: float, *, save: float, restart: float, between_failures: float) -> float:
    """Returns the expected seconds of a job of `work` seconds, with failures at any moment, also while it restarts."""
    mean = between_failures
    return mean * math.exp(restart / mean) * math.expm1((interval + save) / mean) * work / interval


def lost_share(interval: float, *, save: float, restart: float, between_failures: float) -> float:
    """Returns the expected share of the time that saving, repeating and restarting take."""
    return 1 - 1 / wall_seconds(1.0, interval, save=save, restart=restart, between_failures=between_failures)


def play_job(
    work: float,
    interval: float,
    *,
    save: float,
    restart: float,
    between_failures: float,
    generator: np.random.Generator,
) -> tuple[float, int]:
    """Plays a job through with failures at random moments; returns its seconds and its failures.

    A failure loses what was done since the last whole checkpoint, one that is being written included.
    """
    clock = done = 0.0
    failures = 0
    next_failure = generator.exponential(between_failures)
    while True:
        left = work - done
        end = clock + left + save * (math.ceil(left / interval) - 1)  # nothing is saved at the end
        if next_failure >= end:
            return end, failures
        done += interval * ((next_failure - clock) // (interval + save))
        end = next_failure
        while next_failure <= end:  # the restart may be hit as well
            failures += 1
            end = next_failure + restart
            next_failure += generator.exponential(between_failures)
        clock = end
