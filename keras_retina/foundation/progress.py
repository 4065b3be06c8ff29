"""How far long work with many images is, in the log every few seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

TELL_EVERY = 5.0  # seconds
_Item = TypeVar("_Item")

log = logging.getLogger(__name__)


def tell_progress(images: Iterable[_Item], *, total: int, title: str) -> Iterator[_Item]:
    """Yields the images, and logs under `title` how many of `total` are done; work of a few seconds tells nothing."""
    begin = told = time.monotonic()
    for done, image in enumerate(images, start=1):
        yield image
        now = time.monotonic()
        if now - told >= TELL_EVERY:
            told = now
            log.info("%s: %d of %d images, %.0f a second", title, done, total, done / (now - begin))
