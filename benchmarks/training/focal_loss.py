"""Time and peak memory of the focal loss with its gradient, against the equation written with TensorFlow operations.

    python benchmarks/training/focal_loss.py [--rounds 9]

Interleaved in one run. Bound: the loss, the gradient and everything between them take at most twice the
bytes of the logits. Linux only: the peak is read from /proc.
"""

from __future__ import annotations

import argparse
import ctypes
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from keras_retina.foundation.legacy_keras import tf
from keras_retina.geometry.matching import BACKGROUND
from keras_retina.losses import focal_loss

SHAPES = ((8, 36_828, 3), (1, 100_000, 80))  # 384 x 512 with nine anchors a cell; the classes of COCO


def plain_focal_loss(classes: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Equation 5 at alpha 0.25 and gamma 2 with one-hot targets, differentiated by TensorFlow."""
    targets = tf.one_hot(classes, logits.shape[-1])
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    probability = tf.sigmoid(logits)
    error = targets * (1.0 - probability) + (1.0 - targets) * probability
    weight = targets * 0.25 + (1.0 - targets) * 0.75
    return tf.reduce_sum(weight * error**2 * cross_entropy, axis=[1, 2])


def with_gradient(loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Callable[[tf.Tensor, tf.Tensor], list]:
    """Returns (classes, logits) -> [loss, gradient] as one graph."""

    @tf.function
    def both(classes: tf.Tensor, logits: tf.Tensor) -> list:
        with tf.GradientTape() as tape:
            tape.watch(logits)
            value = tf.reduce_sum(loss(classes, logits))
        return [value, tape.gradient(value, logits)]

    return both


def peak_bytes(run: Callable[[tf.Tensor, tf.Tensor], list], classes: tf.Tensor, *, logits: tf.Tensor) -> int:
    """Returns how far the resident memory rises while `run` works, its result included."""
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = _status("VmRSS")
    result = run(classes, logits)
    after = _status("VmHWM")
    del result
    return after - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    losses = {"ours": with_gradient(focal_loss), "plain": with_gradient(plain_focal_loss)}
    random = np.random.default_rng(0)
    for batch, anchors, classes in SHAPES:
        logits = tf.constant(random.normal(-4, 2, (batch, anchors, classes)).astype(np.float32))
        codes = np.full((batch, anchors), BACKGROUND, np.int32)
        codes[:, ::50] = 1
        targets = tf.constant(codes)
        first, second = (losses[name](targets, logits) for name in ("ours", "plain"))
        np.testing.assert_allclose(first[1], second[1], atol=1e-4)
        seconds: dict[str, list[float]] = {name: [] for name in losses}
        for _ in range(rounds):
            for name, run in losses.items():
                start = time.perf_counter()
                run(targets, logits)[1].numpy()
                seconds[name].append(time.perf_counter() - start)
        print(f"{batch} images, {anchors} anchors, {classes} classes; logits {logits.numpy().nbytes / 1e6:.0f} MB")
        for name, run in losses.items():
            peak = peak_bytes(run, targets, logits=logits) / logits.numpy().nbytes
            print(f"  {name:<6} {1e3 * statistics.median(seconds[name]):7.1f} ms   peak {peak:.1f} x the logits")
        ratio = statistics.median(seconds["plain"]) / statistics.median(seconds["ours"])
        print(f"  plain / ours {ratio:.1f}")


if __name__ == "__main__":
    main()
