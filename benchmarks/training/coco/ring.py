"""What it takes to add the gradients of all workers: a ring all-reduce as formulas, and played through.

In a ring of k workers each sends to the next one. The gradients are cut into k pieces. In the first k - 1 rounds every
worker passes on a piece with its own part added; then each piece is whole in one worker, and in k - 1 more rounds the
whole pieces go round. Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
workstations", Journal of Parallel and Distributed Computing 69 (2009).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def bytes_sent(gradient_bytes: float, workers: int) -> float:
    """Returns the bytes that each worker sends: 2 (k - 1) / k of its gradients."""
    return 2 * (workers - 1) / workers * gradient_bytes


def ring_seconds(gradient_bytes: float, workers: int, *, bandwidth: float, latency: float) -> float:
    """Returns the seconds of a ring over equal links.

    Args:
        bandwidth: bytes a second of each link, in each direction.
        latency: seconds from the start of a message to its first byte, once in each of the 2 (k - 1) rounds.
    """
    return bytes_sent(gradient_bytes, workers) / bandwidth + 2 * (workers - 1) * latency


def overlapped_seconds(forward: float, backward: float, *, communication: float, buckets: int) -> float:
    """Returns the seconds of a step that sends its gradients in equal buckets while the backward pass goes on.

    The last bucket is sent after the backward pass, and the first one not before its share of it is done.
    """
    return forward + max(backward + communication / buckets, backward / buckets + communication)


def play_ring(
    gradients: np.ndarray, bandwidths: Sequence[float], *, latency: float, ready: Sequence[float] | None = None
) -> tuple[np.ndarray, np.ndarray, float]:
    """Plays a ring all-reduce through, message by message.

    A worker sends the piece of a round when it has sent and received what belongs to the round before.

    Args:
        gradients: float32 `[workers, numbers]`.
        bandwidths: bytes a second of the link from each worker to the next one.
        ready: when each worker has its gradients, in seconds; by default at 0.

    Returns:
        The sums in each worker, `[workers, numbers]`; the bytes that each has sent; and when the last one has all.
    """
    workers = len(gradients)
    held = gradients.copy()
    pieces = np.array_split(np.arange(gradients.shape[1]), workers)
    sent = np.zeros(workers)
    time = np.zeros(workers) if ready is None else np.array(ready, np.float64)  # each worker may begin its round
    for turn in range(2 * (workers - 1)):
        moved = [pieces[(worker - turn) % workers] for worker in range(workers)]
        messages = [held[worker, moved[worker]].copy() for worker in range(workers)]
        seconds = [latency + message.nbytes / bandwidths[worker] for worker, message in enumerate(messages)]
        ended = time + seconds
        for worker, message in enumerate(messages):
            receiver = (worker + 1) % workers
            if turn < workers - 1:
                held[receiver, moved[worker]] += message
            else:
                held[receiver, moved[worker]] = message
            sent[worker] += message.nbytes
        time = np.maximum(ended, np.roll(ended, 1))  # what it sent, and what came from the one before it
    return held, sent, float(time.max())


def play_overlap(forward: float, backward: float, *, communication: float, buckets: int) -> float:
    """Plays through a step whose buckets wait for their gradients and for the network, and returns its seconds."""
    network = 0.0
    for bucket in range(1, buckets + 1):
        network = max(network, forward + backward * bucket / buckets) + communication / buckets
    return network
