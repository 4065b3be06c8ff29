"""The fastest dense float32 matrix product that NumPy reaches on this machine: a yardstick for what a file reaches."""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from edge.detectors.child import run_module

SIDE = 1024
PRODUCTS = 12
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def float32_peak(threads: int) -> float:
    """Returns 10^9 multiply-adds a second of the best of a few products of 1024 x 1024 matrices, on `threads` threads.

    It is a float32 peak: a processor with 8-bit dot products can do more of those.
    """
    limits = dict.fromkeys(THREAD_VARIABLES, str(threads))  # read when NumPy is loaded, therefore a new process
    return float(run_module("edge.benchmark.matrix_peak", {}, environment=limits)["gmacs"])


def main() -> None:
    """Prints `{"gmacs"}`."""
    json.load(sys.stdin)
    left, right = (np.random.default_rng(seed).random((SIDE, SIDE), np.float32) for seed in (0, 1))
    result = np.empty_like(left)
    seconds = []
    for _ in range(PRODUCTS):
        start = time.perf_counter()
        np.matmul(left, right, out=result)
        seconds.append(time.perf_counter() - start)
    json.dump({"gmacs": round(SIDE**3 / min(seconds) / 1e9, 2)}, sys.stdout)


if __name__ == "__main__":
    main()
