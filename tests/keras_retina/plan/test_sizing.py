"""A latency is met by few timings, whatever the speed of the machine, and the best network that meets it is taken."""

from __future__ import annotations

import dataclasses

import pytest

from keras_retina.plan.network import Candidate, Size
from keras_retina.plan.sizing import MOST_TIMED, candidates, fit_latency, loss, predicted, work

START = Candidate(Size(320, 320), (3, 5), "mobilenet_v2", 96, 3)
SIDE = 320.0


def machine(speed: float, *, fixed: float = 0.5):
    """Times a candidate as a machine would whose time for level 3 nobody predicted."""
    seen = []

    def takes(one: Candidate) -> float:
        return fixed + speed * work(one, 2) * (1.15 if one.levels[0] == 3 else 0.9)

    def measure(one: Candidate) -> tuple[float, float]:
        seen.append(one)
        slower = 1.0 if len(seen) == 2 else 1.5  # most of the time, other work is done there
        return slower * takes(one), slower * takes(START)

    return measure, seen


@pytest.mark.parametrize("speed", [0.002, 0.01, 0.05])
@pytest.mark.parametrize("share", [0.3, 0.6, 1.0, 1.3])
def test_the_file_is_within_the_wish_and_nearly_as_slow(facts, speed, share):
    wish = share * machine(speed)[0](START)[0] / 1.5
    measure, seen = machine(speed)
    found = fit_latency(wish, facts(), start=START, side=SIDE, measure=measure)
    assert found.met
    assert not found.is_most
    assert 0.9 * wish <= found.milliseconds <= wish
    assert len(seen) <= MOST_TIMED
    assert len(set(seen)) == len(seen)


def test_a_wish_that_nothing_meets_is_said_to_be_missed(facts):
    measure, seen = machine(0.01, fixed=50.0)
    found = fit_latency(10.0, facts(), start=START, side=SIDE, measure=measure)
    assert not found.met
    assert found.milliseconds == pytest.approx(min(measure(one)[0] for one in list(seen)) / 1.5)


def test_a_start_that_fits_is_taken_at_once(facts):
    found = fit_latency(10.0, facts(), start=START, side=SIDE, measure=lambda one: (9.5, 9.5))
    assert found.candidate == START


def test_of_a_wish_that_no_network_needs_as_much_is_spent_as_raises_the_expected_ap(facts):
    measure, _ = machine(0.001)
    found = fit_latency(1e4, facts(), start=START, side=SIDE, measure=measure)
    losses = [loss(one, facts(), side=SIDE) for one in candidates(facts(), "mobilenet_v2", side=SIDE)]
    assert loss(found.candidate, facts(), side=SIDE) == min(losses)
    assert found.met
    assert found.is_most


def test_every_candidate_is_a_network_with_an_input_of_whole_strides(facts):
    pool = list(candidates(facts(), "mobilenet_v2", side=SIDE))
    assert pool
    for one in pool:
        assert one.size.height % 2 ** one.levels[1] == one.size.width % 2 ** one.levels[1] == 0
        assert one.size.side <= 640


def test_a_time_is_predicted_by_proportion_first_and_then_on_a_line():
    assert predicted(200.0, [(100.0, 3.0)]) == 6.0
    assert predicted(200.0, [(100.0, 3.0), (300.0, 5.0)]) == 4.0
    assert predicted(50.0, [(100.0, 3.0), (300.0, 2.0)]) == 1.5  # more work in less time: disturbed


@pytest.mark.parametrize(
    "smaller",
    [{"size": Size(256, 256)}, {"width": 64}, {"convolutions": 2}],
)
def test_less_of_anything_is_less_work_and_more_loss(facts, smaller):
    less = dataclasses.replace(START, **smaller)
    assert work(less, 2) < work(START, 2)
    assert loss(less, facts(), side=SIDE) > loss(START, facts(), side=SIDE)


def test_the_predicted_work_is_near_that_of_the_network():
    """Without the weight for depthwise convolutions it must be the multiply-adds that the model counts."""
    from keras_retina.model.graph import multiply_adds
    from keras_retina.model.retinanet import detector_network
    from keras_retina.plan.network import network

    for one in (START, Candidate(Size(256, 320), (4, 6), "resnet18", 64, 2)):
        settings = network(one, frozen=0)
        settings = settings.model_copy(update={"backbone": settings.backbone.model_copy(update={"weights": "none"})})
        real = multiply_adds(detector_network(settings, 2)) / 1e6
        assert work(one, 2) == pytest.approx(real, rel=0.25)
