"""The shares of all workers are the samples of one process, each once, from any sample on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from keras_retina.data.reading.order import sample_order, share, share_of_epoch
from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf


def first(images: int, count: int, seed: int = 3, **options) -> list[tuple[int, int]]:
    """The first (sample number, image index) of a stream."""
    stream = sample_order(images, seed, **{"first_sample": 0} | options).take(count)
    return [(int(position), int(index)) for position, index in stream.as_numpy_iterator()]


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("images", [1, 2, 7, 12, 100])
def test_shares_of_an_epoch_have_nothing_in_common_and_are_all_of_it(images: int, workers: int):
    for epoch in range(4):
        shares = [list(share_of_epoch(images, epoch, shard=(worker, workers))) for worker in range(workers)]
        assert sorted(itertools.chain(*shares)) == list(range(epoch * images, (epoch + 1) * images))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_share_is_what_was_counted_by_hand():
    """Five images, two workers: the second epoch begins with an odd sample, so worker 1 has three of it."""
    assert list(share_of_epoch(5, 0, shard=(0, 2))) == [0, 2, 4]
    assert list(share_of_epoch(5, 0, shard=(1, 2))) == [1, 3]
    assert list(share_of_epoch(5, 1, shard=(0, 2))) == [6, 8]
    assert list(share_of_epoch(5, 1, shard=(1, 2))) == [5, 7, 9]
    assert list(share(8, 8, shard=(0, 2))) == []
    assert list(share_of_epoch(0, 3, shard=(0, 2))) == []


@pytest.mark.parametrize("workers", [1, 2, 9])
def test_streams_of_workers_interleave_to_that_of_one_process(workers: int):
    whole = first(7, 6 * workers)
    streams = [first(7, 6, shard=(worker, workers)) for worker in range(workers)]
    assert [sample for step in zip(*streams, strict=True) for sample in step] == whole
    assert [position for position, _ in whole] == list(range(6 * workers))


def test_a_share_is_in_the_stream_of_its_worker():
    workers = 3
    for worker in range(workers):
        positions = [position for position, _ in first(7, 12, shard=(worker, workers))]
        epochs = [share_of_epoch(7, epoch, shard=(worker, workers)) for epoch in range(6)]
        assert positions == list(itertools.chain(*epochs))[:12]


def test_every_pass_of_all_workers_is_another_permutation():
    streams = [first(10, 16, shard=(worker, 3)) for worker in range(3)]
    order = dict(itertools.chain(*streams))
    passes = [tuple(order[position] for position in range(start, start + 10)) for start in (0, 10, 20, 30)]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert len(set(passes)) == 4
    assert first(10, 10, seed=4) != first(10, 10, seed=3)


@pytest.mark.parametrize("shard", [(0, 1), (1, 3)])
def test_a_stream_continues_at_any_sample(shard):
    """`done` counts the samples of all workers: inside a pass, at its last sample, at its end, and in the third."""
    whole = first(7, 20, shard=shard)
    for done in (1, 6, 7, 16):
        rest = [sample for sample in whole if sample[0] >= done]
        assert first(7, len(rest), first_sample=done, shard=shard) == rest


def test_other_workers_may_continue_a_training():
    """Six samples with two workers, the rest with three: no sample is lost and none comes twice."""
    before = [first(7, 3, shard=(worker, 2)) for worker in range(2)]
    after = [first(7, 5, first_sample=6, shard=(worker, 3)) for worker in range(3)]
    assert sorted(itertools.chain(*before, *after)) == first(7, 21)


def test_the_order_of_one_worker_is_what_it_was_before_there_were_shares():
    """The permutation that trainings of earlier versions have seen."""
    for number in range(3):
        order = tf.random.experimental.stateless_shuffle(tf.range(6, dtype=tf.int64), seed=[3, number])
        np.testing.assert_array_equal([index for _, index in first(6, 18)][6 * number : 6 * number + 6], order)


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0), (0, -1)])
def test_a_worker_that_is_not_one_of_them_is_refused(shard):
    with pytest.raises(InputError, match=r"\(index, count\) with 0 <= index < count .* Received: shard="):
        sample_order(5, 0, first_sample=0, shard=shard)
    with pytest.raises(InputError, match="shard"):
        share(0, 5, shard=shard)
