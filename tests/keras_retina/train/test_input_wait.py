"""Waiting for a slow dataset is counted; a fast dataset, and the time between two reads, are not."""

from __future__ import annotations

import time

from keras_retina.foundation.legacy_keras import tf
from keras_retina.train.history import InputWait


def slow(seconds: float) -> tf.data.Dataset:
    def delay(number):
        time.sleep(seconds)
        return number

    return tf.data.Dataset.range(6).map(lambda number: tf.numpy_function(delay, [number], tf.int64))


def test_the_elements_are_those_of_the_dataset_in_its_order():
    assert [int(number) for number in InputWait().watch(slow(0))] == [0, 1, 2, 3, 4, 5]


def test_the_time_of_a_slow_dataset_is_waiting():
    wait, start = InputWait(), time.perf_counter()
    list(wait.watch(slow(0.05)))
    assert 6 * 0.05 <= wait.take() <= time.perf_counter() - start
    assert wait.take() == 0.0


def test_time_between_reads_is_not_waiting_and_prefetching_hides_a_slow_dataset():
    wait, start = InputWait(), time.perf_counter()
    for _ in wait.watch(slow(0.05).prefetch(6)):
        time.sleep(0.1)
    assert wait.take() < 0.5 * (time.perf_counter() - start)  # the first element alone is waited for
