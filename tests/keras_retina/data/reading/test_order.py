"""The shares of all workers are the batches of one process, each sample once, from any batch on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from keras_retina.data.reading.order import BatchShare, sample_order
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf


def first(images: int, count: int, seed: int = 3, **options) -> list[tuple[int, int]]:
    """The first (sample number, image index) of a stream."""
    stream = sample_order(images, seed, **{"first_sample": 0} | options).take(count)
    return [(int(position), int(index)) for position, index in stream.as_numpy_iterator()]


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        ({"batch_size": 4, "share": BatchShare(0, 2)}, [0, 1, 4, 5, 8, 9]),
        ({"batch_size": 4, "share": BatchShare(1, 2)}, [2, 3, 6, 7, 10, 11]),
        ({"batch_size": 4, "share": BatchShare(0, 2), "first_sample": 5}, [5, 6, 9, 10, 13, 14]),
        ({"batch_size": 12, "share": BatchShare(1, 3, 6)}, [4, 5, 6, 7, 16, 17]),
        ({}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_share_is_what_was_counted_by_hand(options, numbers):
    """5 images, so that passes begin inside of batches."""
    assert [position for position, _ in first(5, 6, **options)] == numbers


@pytest.mark.parametrize("images", [1, 2, 7, 12, 100])
@pytest.mark.parametrize(("workers", "each"), [(1, 4), (2, 3), (9, 1)])
def test_parts_of_workers_are_the_batches_of_one_process(images: int, workers: int, each: int):
    """Whether or not a batch divides an epoch: each sample is read by exactly one worker."""
    batch = workers * each
    whole = first(images, 4 * batch)
    parts = [first(images, 4 * each, batch_size=batch, share=BatchShare(worker, workers)) for worker in range(workers)]
    for step in range(4):
        of_step = [part[step * each : (step + 1) * each] for part in parts]
        assert list(itertools.chain(*of_step)) == whole[step * batch : (step + 1) * batch]
    assert [position for position, _ in whole] == list(range(4 * batch))


def test_every_pass_of_all_workers_is_another_permutation():
    streams = [first(10, 16, batch_size=6, share=BatchShare(worker, 3)) for worker in range(3)]
    order = dict(itertools.chain(*streams))
    passes = [tuple(order[position] for position in range(start, start + 10)) for start in (0, 10, 20, 30)]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert len(set(passes)) == 4
    assert first(10, 10, seed=4) != first(10, 10, seed=3)


@pytest.mark.parametrize("share", [BatchShare(), BatchShare(1, 3)])
def test_a_stream_continues_at_any_batch(share: BatchShare):
    """7 images in batches of 3: inside a pass, at its end, in the third, and at a sample that no batch began with."""
    options = {"batch_size": 3, "share": share}
    whole = first(7, 20, **options)
    for done in (3, 6, 15, 21):
        rest = [sample for sample in whole if sample[0] >= done]
        assert first(7, len(rest), first_sample=done, **options) == rest
    samples = first(7, 4, first_sample=5, batch_size=3, share=BatchShare(1, 3))
    assert [position for position, _ in samples] == [6, 9, 12, 15]


def test_other_workers_may_continue_a_training():
    """Two batches of 6 with two workers, two with three: no sample is lost and none comes twice."""
    before = [first(7, 6, batch_size=6, share=BatchShare(worker, 2)) for worker in range(2)]
    after = [first(7, 4, batch_size=6, share=BatchShare(worker, 3), first_sample=12) for worker in range(3)]
    assert sorted(itertools.chain(*before, *after)) == first(7, 24)


def test_the_order_of_one_worker_is_what_it_was_before_there_were_shares():
    """The permutation that trainings of earlier versions have seen."""
    for number in range(3):
        order = tf.random.experimental.stateless_shuffle(tf.range(6, dtype=tf.int64), seed=[3, number])
        np.testing.assert_array_equal([index for _, index in first(6, 18)][6 * number : 6 * number + 6], order)


@pytest.mark.parametrize("share", [BatchShare(2, 2), BatchShare(-1, 2), BatchShare(0, 0)])
def test_a_worker_that_is_not_one_of_them_is_refused(share: BatchShare):
    with pytest.raises(InputError, match=r"share: worker 0 to .* Received: worker="):
        sample_order(5, 0, first_sample=0, batch_size=4, share=share)


@pytest.mark.parametrize("share", [BatchShare(0, 4), BatchShare(0, 2, 4)])
def test_a_batch_that_cannot_be_divided_is_refused(share: BatchShare):
    with pytest.raises(InputError, match=r"batch_size: a multiple of \d workers and of \d replicas .* batch_size=6"):
        sample_order(5, 0, first_sample=0, batch_size=6, share=share)
