"""Signals are held back while a step runs, obeyed at once where nothing can be lost, and given back afterwards."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from keras_retina.foundation.errors import TRY_AGAIN
from keras_retina.foundation.interruption import Preempted, StopRequest, held_signals, preemptible

BOTH = [(signal.SIGTERM, Preempted), (signal.SIGINT, KeyboardInterrupt)]


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "raised"), BOTH)
def test_a_held_signal_is_a_request_that_is_obeyed_when_asked(number, raised):
    before = signal.getsignal(number)
    with held_signals() as request:
        request.obey()
        assert not request
        send(number)
        assert request
        with pytest.raises(raised):
            request.obey()
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(("number", "raised"), BOTH)
def test_a_second_signal_and_one_that_is_not_held_are_obeyed_at_once(number, raised):
    with held_signals() as request:
        with pytest.raises(raised), request.not_held():
            send(number)
            pytest.fail("the block went on")
        assert request.is_held
        with pytest.raises(raised):
            send(number)
            pytest.fail("it went on after the second")


def test_a_request_from_before_ends_a_block_that_is_not_held_before_it_begins():
    with held_signals() as request:
        send(signal.SIGTERM)
        with pytest.raises(Preempted), request.not_held():
            pytest.fail("the block began")


def test_sigterm_is_an_exit_with_status_75_that_cleans_up():
    before, cleaned = signal.getsignal(signal.SIGTERM), []
    with pytest.raises(SystemExit) as ended, preemptible():
        try:
            send(signal.SIGTERM)
        finally:
            cleaned.append(True)
    assert ended.value.code == TRY_AGAIN == 75
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) == before


def test_other_threads_than_the_main_one_hold_nothing_back():
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with held_signals() as request, preemptible():
            seen.append((isinstance(request, StopRequest), signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10.0)
    assert seen == [(True, before)]
