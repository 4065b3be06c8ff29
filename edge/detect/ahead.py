"""A stage of work in its own thread, and what Ctrl-C does to such threads."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Item = TypeVar("Item")

WAKE_UP = 0.2  # seconds; a signal handler sets `stopped` but cannot wait for the lock to wake others
LAST_ITEM = 5.0  # seconds that a stage may take for the item it is at; a camera may hang for ever


class Ahead(Generic[Item]):
    """Iterates over `items` in a thread and hands them on in order, as a context manager that ends the thread.

    At most `size` items wait. When they do, the thread waits too; with `drop_old` it drops the oldest of them instead,
    for a camera, whose pictures must not grow old. An error in the thread is raised by the iteration, after the items
    before it. When `stopped` is set, which may be done by any thread or signal handler, the iteration ends.
    """

    def __init__(
        self, items: Iterable[Item], size: int, drop_old: bool = False, stopped: threading.Event | None = None
    ) -> None:
        self._items, self._size, self._drop_old = items, size, drop_old
        self._stopped = stopped or threading.Event()
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._ended = self._left = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Ahead[Item]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left = True
        self._thread.join(LAST_ITEM)

    def __iter__(self) -> Iterator[Item]:
        while (item := self._next()) is not None:
            yield item

    def _over(self) -> bool:
        return self._left or self._stopped.is_set()

    def _next(self) -> Item | None:
        with self._changed:
            while not self._waiting and not self._ended and not self._over():
                self._changed.wait(WAKE_UP)
            if self._over():
                return None
            if self._waiting:
                item = self._waiting.popleft()
                self._changed.notify_all()
                return item
            if self._error:
                raise self._error
            return None

    def _work(self) -> None:
        items = iter(self._items)
        try:
            while not self._over() and (item := next(items, None)) is not None:
                if not self._put(item):
                    break
            if isinstance(items, Generator):
                items.close()  # here, so that what it opened is closed by the thread that used it
        except BaseException as error:  # raised again where the items are taken
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _put(self, item: Item) -> bool:
        with self._changed:
            while len(self._waiting) >= self._size and not self._drop_old and not self._over():
                self._changed.wait(WAKE_UP)
            if self._over():
                return False
            if len(self._waiting) >= self._size:
                self._waiting.popleft()
            self._waiting.append(item)
            self._changed.notify_all()
            return True


@contextmanager
def stopped_by_signal() -> Iterator[threading.Event]:
    """Lets the first Ctrl-C or SIGTERM set the event, and the second one do what it did before.

    Does nothing outside the main thread, where signals do not arrive.
    """
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(*_: object) -> None:
        stopped.set()
        restore()

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopped
    finally:
        restore()
