"""In which order a training reads its samples, and which of them each of several workers reads.

Sample number `p` of a training on `n` images is image `p % n` of a permutation that only the seed and the pass `p // n`
give: a full shuffle, no buffer. Worker `index` of `count` reads every `count`-th sample. So the batches of all workers
hold, step by step, the images that one process would read. Each sample is read by exactly one worker, whether or not
the numbers divide, and a training continues at any sample without reading those before.
"""

from __future__ import annotations

import numpy as np

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf

Shard = tuple[int, int]
"""`(index, count)`: worker number `index`, from 0, of `count`."""

WHOLE: Shard = (0, 1)


def share(first: int, last: int, *, shard: Shard) -> range:
    """Returns the sample numbers from `first` up to `last`, exclusive, that a worker reads.

    The shares of all workers have no number in common and are all numbers together; their lengths differ by at most 1.

    Raises:
        InputError: `shard` is not an index below a count.
    """
    index, count = checked(shard)
    return range(first + (index - first) % count, last, count)


def share_of_epoch(images: int, epoch: int, *, shard: Shard) -> range:
    """Returns the sample numbers of an epoch, from 0, that a worker reads: those of `share`."""
    return share(epoch * images, (epoch + 1) * images, shard=shard)


def sample_order(images: int, seed: int, *, first_sample: int, shard: Shard = WHOLE) -> tf.data.Dataset:
    """Endless (position, index below `images`): the samples of a worker from `first_sample` on, in their order.

    `position` is the sample number, counted from the start of the training over all workers; the indices of each pass
    are a permutation over all workers.

    Raises:
        InputError: `shard` is not an index below a count.
    """
    worker, workers = checked(shard)

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(images, dtype=tf.int64), seed=tf.stack([tf.constant(seed, tf.int64), number])
        )
        start, end = number * images, (number + 1) * images
        first = tf.maximum(start, first_sample)
        first += tf.math.floormod(worker - first, workers)
        own = tf.range(tf.minimum(first, end), end, workers, dtype=tf.int64)  # as `share`
        return tf.data.Dataset.from_tensor_slices((own, tf.gather(order, own - start)))

    passes = tf.data.Dataset.range(first_sample // images, np.iinfo(np.int64).max // max(images, 1))
    return passes.flat_map(one_pass)


def checked(shard: Shard) -> Shard:
    """Returns `shard`.

    Raises:
        InputError: it is not an index below a count.
    """
    index, count = shard
    if not 0 <= index < count:
        raise InputError(f"shard: (index, count) with 0 <= index < count was expected. Received: shard={tuple(shard)}.")
    return shard
