"""Numbers of objects that move by hand-made paths."""

from __future__ import annotations

import numpy as np
import pytest

from edge.detect.tracker import Tracker, match


def square(y: float, x: float, side: float = 20) -> list[float]:
    return [y, x, y + side, x + side]


def follow(frames: list[list[list[float]]], classes: list[int] | None = None, **settings) -> list[list[int]]:
    tracker = Tracker(**settings)
    return [tracker.update(np.array(boxes), classes or [0] * len(boxes)).tolist() for boxes in frames]


def test_a_resting_and_a_moving_object_keep_their_numbers():
    assert follow([[square(10, 10), square(50, 4 * step)] for step in range(12)]) == [[1, 2]] * 12


def test_two_objects_that_cross_keep_their_numbers():
    """Towards each other on two lines 6 pixels apart: in the middle each overlaps the other's place too."""
    frames = [[square(10, 5 * step), square(16, 100 - 5 * step)] for step in range(21)]
    assert follow(frames) == [[1, 2]] * 21
    listed = [frame[::-1] if step % 2 else frame for step, frame in enumerate(frames)]  # in an order that means nothing
    assert follow(listed) == [[2, 1] if step % 2 else [1, 2] for step in range(21)]


def test_an_object_lost_for_two_frames_while_it_moves_is_found_again():
    """It moves its own width in the three steps, so only where it is expected can it be matched."""
    path = [[square(10, 8 * step)] for step in range(12)]
    path[6] = path[7] = []
    assert follow(path) == [[1]] * 6 + [[], []] + [[1]] * 4


def test_of_two_crossing_objects_one_hidden_by_the_other_comes_back_with_its_number():
    frames = [[square(10, 5 * step), square(14, 100 - 5 * step)] for step in range(21)]
    hidden = {9, 10, 11}
    frames = [frame[:1] if step in hidden else frame for step, frame in enumerate(frames)]
    assert follow(frames) == [[1] if step in hidden else [1, 2] for step in range(21)]


def test_an_object_that_left_is_forgotten_and_its_number_not_given_again():
    empty: list[list[float]] = []
    frames = [[square(10, 10)], *[empty] * 4, [square(10, 10)]]
    assert follow(frames, forget_after=4)[-1] == [2]
    assert follow(frames, forget_after=5)[-1] == [1]
    tracker = Tracker(forget_after=4)
    for frame in frames:
        tracker.update(np.array(frame), [0] * len(frame))
    assert [track.number for track in tracker.tracks] == [2]


def test_frames_without_objects_are_no_trouble():
    assert follow([[], [], [square(0, 0)], []]) == [[], [], [1], []]


def test_a_jump_or_another_class_in_the_same_place_is_another_object():
    assert follow([[square(10, 10)], [square(200, 200)]]) == [[1], [2]]
    tracker = Tracker()
    assert tracker.update(np.array([square(10, 10)]), [0]).tolist() == [1]
    assert tracker.update(np.array([square(10, 10)]), [1]).tolist() == [2]


def test_frames_that_a_camera_left_out_count():
    tracker = Tracker()
    for step in range(6):
        tracker.update(np.array([square(10, 8 * step)]), [0])
    assert tracker.update(np.array([square(10, 8 * 9)]), [0], frames=4).tolist() == [1]
    assert tracker.update(np.array([square(10, 8 * 9)]), [0], frames=16).tolist() == [2]


def test_the_speed_is_learned_and_noise_smoothed():
    tracker, generator = Tracker(), np.random.default_rng(0)
    for step in range(40):
        tracker.update(np.array([square(10, 3 * step)]) + generator.normal(0, 1, (1, 4)), [0])
    assert tracker.tracks[0].speed == pytest.approx([0, 3, 0, 3], abs=0.6)
    assert np.linalg.eigvalsh(tracker.tracks[0].covariance).min() > 0


def test_the_largest_overlap_is_matched_first_and_each_once():
    tracker = Tracker()
    tracker.update(np.array([square(0, 0), square(0, 12)]), [0, 0])
    pairs = match(tracker.tracks, np.array([square(0, 8), square(0, 13)], np.float64), classes=np.array([0, 0]))
    assert pairs == [(1, 1), (0, 0)]
    assert match([], np.array([square(0, 0)]), classes=[0]) == match(tracker.tracks, np.zeros((0, 4)), classes=[]) == []
