"""The formulas of the scaling page: hand-computed values, and the simulations that play them through."""

from __future__ import annotations

import math

import failures
import numpy as np
import pytest
import ring

# Ring all-reduce


def test_each_worker_sends_nearly_twice_its_gradients():
    assert ring.bytes_sent(100.0, 2) == 100.0  # half of them, twice
    assert ring.bytes_sent(100.0, 4) == 150.0
    assert ring.bytes_sent(100.0, 1) == 0.0


def test_the_time_of_a_ring_is_its_bytes_and_a_latency_in_each_round():
    # 4 workers, 8 bytes: six rounds of 2 bytes at 4 bytes a second, and six latencies.
    assert ring.ring_seconds(8.0, 4, bandwidth=4.0, latency=0.25) == 6 * 0.5 + 6 * 0.25
    assert ring.ring_seconds(8.0, 1, bandwidth=4.0, latency=0.25) == 0.0


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("numbers", [1, 7, 30])
def test_a_ring_that_is_played_through_adds_every_number_once(workers, numbers):
    gradients = np.random.default_rng(0).integers(-9, 9, (workers, numbers)).astype(np.float32)
    sums, sent, _ = ring.play_ring(gradients, [1.0] * workers, latency=0.0)
    np.testing.assert_array_equal(sums, np.tile(gradients.sum(axis=0), (workers, 1)))
    # Each piece of the gradients crosses all links but one, twice.
    assert sent.sum() == 2 * (workers - 1) * 4 * numbers


def test_equal_links_take_the_time_of_the_formula():
    gradients = np.ones((4, 8), np.float32)
    _, sent, seconds = ring.play_ring(gradients, [16.0] * 4, latency=0.5)
    assert sent.tolist() == [48.0] * 4  # 3/2 of 32 bytes
    assert seconds == ring.ring_seconds(32.0, 4, bandwidth=16.0, latency=0.5) == 6.0


def test_one_slow_link_slows_the_whole_ring():
    gradients = np.ones((4, 8), np.float32)
    _, _, seconds = ring.play_ring(gradients, [16.0, 16.0, 4.0, 16.0], latency=0.0)
    assert seconds == ring.ring_seconds(32.0, 4, bandwidth=4.0, latency=0.0) == 12.0


def test_a_worker_that_is_late_makes_all_wait():
    gradients = np.ones((2, 2), np.float32)
    _, _, seconds = ring.play_ring(gradients, [4.0, 4.0], latency=0.0, ready=[0.0, 10.0])
    assert seconds == 12.0  # two rounds of one second after the late one


@pytest.mark.parametrize(
    ("communication", "expected"),
    # forward 1, backward 2, two buckets that are ready at 2 and 3
    [(1.0, 3.5), (2.0, 4.0), (6.0, 8.0), (0.0, 3.0)],
)
def test_only_what_does_not_fit_under_the_backward_pass_is_waited_for(communication, expected):
    assert ring.overlapped_seconds(1.0, 2.0, communication=communication, buckets=2) == expected
    assert ring.play_overlap(1.0, 2.0, communication=communication, buckets=2) == pytest.approx(expected)


# Failures


def test_young_and_daly_by_hand():
    assert failures.young_interval(8.0, 100.0) == 40.0
    # share = 8 / 200 = 0.04: 40 * (1 + 0.2 / 3 + 0.04 / 9) - 8
    assert failures.daly_interval(8.0, 100.0) == pytest.approx(40 * (1 + 0.2 / 3 + 0.04 / 9) - 8)
    assert failures.daly_interval(300.0, 100.0) == 100.0


def test_the_expected_time_of_one_interval_by_hand():
    # mean 10: 10 * e^0.2 * (e^0.5 - 1) for 4 seconds of work and a checkpoint of one
    expected = 10 * math.exp(0.2) * (math.exp(0.5) - 1)
    costs = {"save": 1.0, "restart": 2.0, "between_failures": 10.0}
    assert failures.wall_seconds(4.0, 4.0, **costs) == pytest.approx(expected)
    assert failures.lost_share(4.0, **costs) == pytest.approx(1 - 4 / expected)


def test_without_failures_only_the_checkpoints_are_lost():
    costs = {"save": 1.0, "restart": 5.0, "between_failures": 1e12}
    assert failures.wall_seconds(90.0, 9.0, **costs) == pytest.approx(100.0)
    seconds, count = failures.play_job(90.0, 9.0, **costs, generator=np.random.default_rng(0))
    assert (seconds, count) == (99.0, 0)  # nothing is saved at the end


def test_dalys_interval_is_the_best_one_of_the_expected_time():
    costs = {"save": 30.0, "restart": 60.0, "between_failures": 3600.0}
    daly = failures.daly_interval(30.0, 3600.0)
    best = min(range(30, 3600), key=lambda interval: failures.wall_seconds(1e5, interval, **costs))
    assert daly == pytest.approx(best, rel=0.01)


class Moments:
    """Stands for a generator: the seconds until the next failure, one after the other."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)

    def exponential(self, mean: float) -> float:
        return self.seconds.pop(0)


def test_a_failure_repeats_what_was_not_saved_and_one_while_restarting_restarts_again():
    # Work 20, saved every 10 in 1 s. Saved at 11; fails at 15; restarts until 18, fails at 17, restarts until 20,
    # and works the second 10 until 30.
    moments = Moments(15.0, 2.0, 1e9)
    costs = {"save": 1.0, "restart": 3.0, "between_failures": 1.0}
    assert failures.play_job(20.0, 10.0, **costs, generator=moments) == (30.0, 2)


def test_jobs_that_are_played_through_take_the_time_of_the_formula():
    generator = np.random.default_rng(0)
    costs = {"save": 60.0, "restart": 120.0, "between_failures": 3600.0}
    played = [failures.play_job(36_000.0, 600.0, **costs, generator=generator)[0] for _ in range(1000)]
    formula = failures.wall_seconds(36_000.0, 600.0, **costs)
    error = np.std(played) / np.sqrt(len(played))
    assert abs(np.mean(played) + 60 - formula) < 4 * error  # the formula saves once more, at the end
