"""Stretches of a stream in which something was found."""

from __future__ import annotations

from dataclasses import dataclass

AFTER = 2.0  # seconds without a detection that still belong to an event


@dataclass
class Events:
    """Numbers the stretches with detections, from 1. `seen`: seconds of the source at the last detection."""

    count: int = 0
    seen: float | None = None

    def update(self, seconds: float, found: bool) -> int:
        """Returns the number of the event that a frame belongs to, 0 outside of one.

        An event begins with a detection, and ends when AFTER seconds have brought none.
        """
        if found:
            if self.seen is None:
                self.count += 1
            self.seen = seconds
        elif self.seen is not None and seconds - self.seen > AFTER:
            self.seen = None
        return 0 if self.seen is None else self.count
