"""Being asked to stop: Ctrl-C (SIGINT) and SIGTERM, which batch systems and clouds send before they take a machine."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from keras_retina.foundation.errors import TRY_AGAIN

logger = logging.getLogger(__name__)


class Preempted(SystemExit):
    """SIGTERM came; what was saved is whole. A program that does not catch it exits with status 75."""

    def __init__(self) -> None:
        super().__init__(TRY_AGAIN)


class StopRequest:
    """Whether somebody asked to stop while signals were held back, and how."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.is_held = True

    def __bool__(self) -> bool:
        return self.signal is not None

    def obey(self) -> None:
        """Raises what the signal would have raised, if one came."""
        if self.signal == signal.SIGTERM:
            raise Preempted
        if self.signal is not None:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def not_held(self) -> Iterator[None]:
        """Obeys at once inside the block: it may take long, and interrupting it loses nothing that could be saved."""
        self.is_held = False
        try:
            self.obey()
            yield
        finally:
            self.is_held = True


@contextlib.contextmanager
def held_signals() -> Iterator[StopRequest]:
    """Holds back SIGTERM and Ctrl-C inside the block, which asks the request at places where it can stop.

    A second signal is obeyed at once. Outside of the main thread nothing is held back.
    """
    request = StopRequest()

    def note(number: int, _: FrameType | None) -> None:
        is_second, request.signal = bool(request), number
        if is_second or not request.is_held:
            request.obey()
        logger.info("asked to stop: saving after this step. Once more stops at once, without saving")

    with _handlers({signal.SIGTERM: note, signal.SIGINT: note}):
        yield request


@contextlib.contextmanager
def preemptible() -> Iterator[None]:
    """Raises `Preempted` inside the block when SIGTERM comes, so that half a file is cleaned up."""

    def stop(number: int, _: FrameType | None) -> None:
        raise Preempted

    with _handlers({signal.SIGTERM: stop}):
        yield


@contextlib.contextmanager
def _handlers(handlers: dict[signal.Signals, Callable[[int, FrameType | None], None]]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # None: not one of Python's
