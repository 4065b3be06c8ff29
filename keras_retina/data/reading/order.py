"""In which order a training reads its samples, and which of them each of several workers reads.

Sample number `p` of a training on `n` images is image `p % n` of a permutation that only the seed and the pass `p // n`
give: a full shuffle, no buffer. Of every batch each worker reads its part, one after the other. So the parts of all
workers are the batches of one process: each sample is read by exactly one worker, whether or not the batches divide an
epoch, and a training continues at any batch without reading those before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_retina.foundation.errors import InputError
from keras_retina.foundation.legacy_keras import tf


@dataclass(frozen=True)
class BatchShare:
    """What one of several processes reads of every batch: its part, in pieces for each of its devices.

    Of a batch of 12 samples, worker 1 of 3 with 6 replicas in all reads samples 4 to 7, in batches of 2.
    """

    worker: int = 0
    workers: int = 1
    replicas: int = 1


WHOLE_BATCH = BatchShare()


def sample_order(
    images: int, seed: int, *, first_sample: int, batch_size: int = 1, share: BatchShare = WHOLE_BATCH
) -> tf.data.Dataset:
    """Endless (position, index below `images`): the samples of a worker from `first_sample` on, in ascending order.

    `position` is the sample number, counted from the start of the training over all workers; the indices of each pass
    are a permutation over all workers.

    Args:
        images: at least one.
        first_sample: where the first batch begins.
        batch_size: samples of a batch, of all workers together.

    Raises:
        InputError: there is no such worker, or the batch cannot be divided among all workers and replicas.
    """
    each = _samples_of_each(batch_size, share)

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(images, dtype=tf.int64), seed=tf.stack([tf.constant(seed, tf.int64), number])
        )
        positions = number * images + tf.range(images, dtype=tf.int64)
        own = tf.math.floormod(positions - first_sample, batch_size) // each == share.worker
        own = tf.logical_and(own, positions >= first_sample)
        return tf.data.Dataset.from_tensor_slices((positions[own], order[own]))

    passes = tf.data.Dataset.range(first_sample // images, np.iinfo(np.int64).max // images)
    return passes.flat_map(one_pass)


def _samples_of_each(batch_size: int, share: BatchShare) -> int:
    """Returns how many samples of a batch a worker reads."""
    if not 0 <= share.worker < share.workers:
        raise InputError(f"share: worker 0 to {share.workers - 1} was expected. Received: worker={share.worker}.")
    if batch_size % share.workers or batch_size % share.replicas:
        raise InputError(
            f"batch_size: a multiple of {share.workers} workers and of {share.replicas} replicas was expected. "
            f"Received: batch_size={batch_size}. Choose another batch size, or other workers."
        )
    return batch_size // share.workers
