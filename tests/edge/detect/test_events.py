"""Events: they begin with a detection, bridge short gaps, and end."""

from __future__ import annotations

from edge.detect.events import AFTER, Events


def test_an_event_bridges_gaps_up_to_its_length_and_ends_after_it():
    events = Events()
    steps = [(0.0, False), (1.0, True), (1.0 + AFTER, False), (1.1 + AFTER, False), (9.0, False), (10.0, True)]
    assert [events.update(seconds, found) for seconds, found in steps] == [0, 1, 1, 0, 0, 2]
    assert events.count == 2


def test_a_detection_in_the_first_frame_begins_an_event_and_another_keeps_it():
    events = Events()
    assert [events.update(AFTER * index, True) for index in range(4)] == [1, 1, 1, 1]


def test_without_a_detection_there_is_no_event():
    events = Events()
    assert {events.update(float(second), False) for second in range(5)} == {0}
    assert events.count == 0
