"""When a checkpoint is due: every so many steps or minutes, or as often as a small share of the time allows."""

from __future__ import annotations

import time
from collections.abc import Callable

SHARE = 1 / 200
"""Of the time that checkpoints may take, where the recipe does not say when they are written."""
LEAST_SECONDS = 60.0
"""Between two, and until the first one, whose cost nobody knows yet."""


class Interval:
    """Tells when a checkpoint is due.

    Args:
        steps: batches between two checkpoints, counted from the beginning of the training.
        minutes: between two checkpoints. Without either, the last one's cost decides: it is `SHARE` of the time.
    """

    def __init__(
        self, *, steps: int | None = None, minutes: float | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._steps, self._clock = steps, clock
        self._seconds = 60 * minutes if minutes is not None else None
        self._is_automatic = steps is None and minutes is None
        self._pause = LEAST_SECONDS
        self._ended = clock()
        self._noted: int | None = None

    def is_due(self, total_steps: int) -> bool:
        """Tells whether one is due after so many batches of the whole training; by steps, only once for each number."""
        passed = self._clock() - self._ended
        if self._is_automatic:
            return passed >= self._pause
        by_steps = self._steps is not None and total_steps % self._steps == 0 and total_steps != self._noted
        return by_steps or (self._seconds is not None and passed >= self._seconds)

    def note(self, total_steps: int, *, seconds: float) -> None:
        """Takes down that one was written just now, in so many seconds."""
        self._noted = total_steps
        self._ended = self._clock()
        self._pause = max(LEAST_SECONDS, seconds / SHARE)
