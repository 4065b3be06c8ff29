"""Time and peak memory of the losses of classes with their gradients, against the focal loss in TensorFlow operations.

    python benchmarks/training/class_losses.py [--rounds 9]

Interleaved in one run. Bound: the loss, the gradient and everything between them take at most twice the
bytes of the logits. Linux only: the peak is read from /proc.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from keras_retina.foundation.legacy_keras import tf
from keras_retina.geometry.matching import BACKGROUND
from keras_retina.losses import (
    AutomatedFocalLoss,
    CrossEntropyLoss,
    EqualizedFocalLoss,
    FocalLoss,
    FocalStarLoss,
    QualityFocalLoss,
    VarifocalLoss,
)
from keras_retina.losses.dense import ClassLoss

PLAIN = "plain focal"
NAMES = (PLAIN, "focal", "cross entropy", "FL*", "automated", "equalized", "quality", "varifocal")
SMALL, LARGE = (1, 64, 80), (8, 100_000, 80)
SHAPES = ((8, 36_828, 3), (1, 100_000, 80))  # 384 x 512 with nine anchors a cell; the classes of COCO


def plain_focal_loss(classes: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Equation 5 at alpha 0.25 and gamma 2 with one-hot targets, differentiated by TensorFlow."""
    targets = tf.one_hot(classes, logits.shape[-1])
    cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)
    probability = tf.sigmoid(logits)
    error = targets * (1.0 - probability) + (1.0 - targets) * probability
    weight = targets * 0.25 + (1.0 - targets) * 0.75
    return tf.reduce_sum(weight * error**2 * cross_entropy, axis=[1, 2])


Run = Callable[[tf.Tensor, tf.Tensor], list]


def with_gradient(loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]) -> Run:
    """Returns (targets, outputs) -> [loss, gradient] as one graph."""

    @tf.function
    def both(targets: tf.Tensor, outputs: tf.Tensor) -> list:
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            value = tf.reduce_sum(loss(targets, outputs))
        return [value, tape.gradient(value, outputs)]

    return both


def losses_of(classes: int) -> dict[str, ClassLoss]:
    return {
        "focal": FocalLoss(),
        "cross entropy": CrossEntropyLoss(),
        "FL*": FocalStarLoss(),
        "automated": AutomatedFocalLoss(),
        "equalized": EqualizedFocalLoss(classes),
        "quality": QualityFocalLoss(),
        "varifocal": VarifocalLoss(),
    }


def inputs_of(loss: ClassLoss, codes: np.ndarray, logits: np.ndarray) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `y_true` and `y_pred`: with qualities of the boxes, for the losses that need them."""
    targets = np.stack([codes, np.where(codes >= 0, 0.7, 0.0)], axis=-1).astype(np.float32)
    return tf.constant(targets if loss.needs_boxes else codes), tf.constant(logits)


def peak_bytes(name: str) -> float:
    """Returns the memory that the first value and gradient take, in bytes of the logits.

    TensorFlow keeps what it has freed, so only a first call tells; a small one before it loads the compiler.
    """
    for shape in (SMALL, LARGE):
        run, targets, outputs = runs_of(*shape, names=(name,))[name]
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        before = _status("VmRSS")
        run(targets, outputs)
    return (_status("VmHWM") - before) / (4 * math.prod(LARGE))


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def runs_of(
    batch: int, anchors: int, classes: int, *, names: Sequence[str] = NAMES
) -> dict[str, tuple[Run, tf.Tensor, tf.Tensor]]:
    """Returns what is compared by name, each with its inputs."""
    logits = np.random.default_rng(0).normal(-4, 2, (batch, anchors, classes)).astype(np.float32)
    codes = np.full((batch, anchors), BACKGROUND, np.int32)
    codes[:, ::50] = 1
    losses = losses_of(classes)
    runs = {}
    for name in names:
        if name == PLAIN:
            runs[name] = (with_gradient(plain_focal_loss), tf.constant(codes), tf.constant(logits))
        else:
            runs[name] = (with_gradient(losses[name]), *inputs_of(losses[name], codes, logits))
    return runs


def check_focal(runs: dict[str, tuple[Run, tf.Tensor, tf.Tensor]]) -> None:
    """Raises AssertionError unless ours, which is divided by the positives, and the plain one agree in the gradient."""
    (run, codes, logits), (plain, *_) = runs["focal"], runs[PLAIN]
    positives = np.sum(codes.numpy() >= 0)
    np.testing.assert_allclose(run(codes, logits)[1] * positives, plain(codes, logits)[1], atol=1e-4)


def print_times(rounds: int) -> None:
    for batch, anchors, classes in SHAPES:
        runs = runs_of(batch, anchors, classes)
        check_focal(runs)
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for turn in range(rounds + 1):  # the first one compiles
            for name, (run, targets, outputs) in runs.items():
                start = time.perf_counter()
                run(targets, outputs)[1].numpy()
                if turn:
                    seconds[name].append(time.perf_counter() - start)
        print(f"{batch} images, {anchors} anchors, {classes} classes")
        plain = statistics.median(seconds[PLAIN])
        for name, own in seconds.items():
            median = statistics.median(own)
            print(f"  {name:<14}{1e3 * median:7.1f} ms   {plain / median:4.1f} x as fast as plain")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--peak", metavar="LOSS", help="the memory of one loss alone, which needs a fresh process")
    arguments = parser.parse_args()
    if arguments.peak:
        print(f"  {arguments.peak:<14}{peak_bytes(arguments.peak):4.1f} x the logits")
        return
    print_times(arguments.rounds)
    print(f"peak memory of value and gradient, {' x '.join(map(str, LARGE))} logits", flush=True)
    for name in NAMES:
        subprocess.run([sys.executable, __file__, "--peak", name], check=True)


if __name__ == "__main__":
    main()
