"""A stage in its own thread: nothing lost or swapped, errors and ends arrive, and it works while others do."""

from __future__ import annotations

import threading

import pytest

from edge.detect.ahead import Ahead

PATIENCE = 30  # seconds; only a test that fails waits so long


def test_every_item_arrives_in_order_when_few_may_wait():
    with Ahead(range(1, 200), 2) as items:
        assert list(items) == list(range(1, 200))
    with Ahead([], 2) as items:
        assert list(items) == []


def test_the_next_item_is_made_while_the_last_one_is_being_used():
    used = threading.Event()

    def make():
        yield "first"
        assert used.wait(PATIENCE)  # only whoever uses the first item ends this
        yield "second"

    with Ahead(make(), 1) as items:
        taken = []
        for item in items:
            taken.append(item)
            used.set()
    assert taken == ["first", "second"]


def test_no_more_than_the_given_number_wait():
    made = []
    reached = threading.Event()

    def make():
        for number in range(1, 10):
            made.append(number)
            if number == 4:
                reached.set()
            yield number

    with Ahead(make(), 3) as items:
        assert reached.wait(PATIENCE)  # three wait, the fourth is in hand
        assert not threading.Event().wait(0.05)
        assert made == [1, 2, 3, 4]
        assert list(items) == list(range(1, 10))


def test_a_camera_keeps_only_the_newest_of_what_nobody_took():
    gone_by = threading.Event()

    def make():
        yield from range(1, 8)
        gone_by.set()

    with Ahead(make(), 1, drop_old=True) as items:
        assert gone_by.wait(PATIENCE)
        assert list(items) == [7]


def test_an_error_arrives_after_the_items_before_it():
    def make():
        yield 1
        yield 2
        raise OSError("unplugged")

    taken = []
    with pytest.raises(OSError, match="unplugged"), Ahead(make(), 5) as items:
        for item in items:
            taken.append(item)
    assert taken == [1, 2]


def test_stop_ends_the_iteration_and_closes_what_the_thread_opened():
    closed = threading.Event()

    def make():
        try:
            number = 0
            while True:
                number += 1
                yield number
        finally:
            closed.set()

    stopped = threading.Event()
    with Ahead(make(), 2, stopped=stopped) as first, Ahead((item for item in first), 2, stopped=stopped) as second:
        taken = []
        for item in second:
            taken.append(item)
            if len(taken) == 5:
                stopped.set()
    assert taken == [1, 2, 3, 4, 5]
    assert closed.wait(PATIENCE)


def test_leaving_early_ends_the_thread():
    with Ahead(iter(lambda: 1, 2), 2) as items:
        assert next(iter(items)) == 1
    assert not items._thread.is_alive()
