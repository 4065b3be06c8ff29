"""When a checkpoint is due, by a clock that the test sets."""

from __future__ import annotations

import pytest

from keras_retina.train.checkpoints.interval import SHARE, Interval


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_by_steps_each_multiple_is_due_once():
    interval = Interval(steps=4)
    due = []
    for total in (1, 2, 3, 4, 4, 5, 6, 7, 8):
        due.append(interval.is_due(total))
        if due[-1]:
            interval.note(total, seconds=9.0)
    assert due == [False, False, False, True, False, False, False, False, True]


def test_by_minutes_the_time_counts_from_the_last_one():
    clock = Clock()
    interval = Interval(minutes=2.0, clock=clock)
    clock.now += 119.0
    assert not interval.is_due(7)
    clock.now += 1.0
    assert interval.is_due(7)
    interval.note(7, seconds=30.0)
    clock.now += 119.0
    assert not interval.is_due(8)


def test_by_both_whichever_comes_first():
    clock = Clock()
    interval = Interval(steps=10, minutes=1.0, clock=clock)
    assert interval.is_due(10)
    assert not interval.is_due(11)
    clock.now += 60.0
    assert interval.is_due(11)


@pytest.mark.parametrize("cost", [0.001, 0.5, 6.0])
def test_by_itself_checkpoints_take_at_most_their_share_of_the_time(cost: float):
    clock = Clock()
    interval, spent, began = Interval(clock=clock), 0.0, clock.now
    assert not interval.is_due(1)
    for step in range(20_000):
        clock.now += 1.0
        if interval.is_due(step):
            clock.now += cost
            spent += cost
            interval.note(step, seconds=cost)
    assert spent > (2 if cost > 1 else 100) * cost
    assert spent <= SHARE * (clock.now - began) + cost  # the first one comes before its cost is known
