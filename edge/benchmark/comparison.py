"""What the times of a benchmark amount to: the numbers of one file, and whether two files differ at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

SEED = 0
RESAMPLES = 2000
CONFIDENCE = 95.0  # percent
NO_DIFFERENCE, TOO_FEW = "no difference", "too few rounds"
FEWEST_ROUNDS = 6  # of fewer, all on one side are chance in over 5 % of cases: 2 x 0.5^5 = 6 %

Rounds = Sequence[Sequence[float]]

UNMEASURED: dict[str, Any] = dict.fromkeys(
    (
        *(
            "median_ms",
            "p95_ms",
            "min_ms",
            "q1_ms",
            "q3_ms",
            "iqr_ms",
            "runs",
            "load_ms",
            "first_ms",
            "peak_mib",
            "base_mib",
        ),
        *("operators", "delegated", "partitions", "left", "multiply_adds", "uncounted", "gmacs", "peak_share"),
        *("prepare_ms", "invoke_ms", "postprocess_ms", "detect_problem", "against_first"),
    )
)


def latency_statistics(rounds: Rounds) -> dict[str, Any]:
    """Returns `median_ms`, `p95_ms`, `min_ms`, `runs`, the quartiles `q1_ms` and `q3_ms`, and between them `iqr_ms`."""
    times = np.concatenate([np.asarray(one, np.float64) for one in rounds])
    low, median, high, most = np.percentile(times, [25, 50, 75, 95])
    values = {"median_ms": median, "p95_ms": most, "min_ms": times.min(), "q1_ms": low, "q3_ms": high}
    values["iqr_ms"] = high - low
    return {**{name: round(float(value), 4) for name, value in values.items()}, "runs": int(times.size)}


def against_first(first: Rounds, rounds: Rounds) -> dict[str, Any]:
    """Compares a file with the first one, round by round, so that a slow moment counts for both.

    Returns:
        `share`, the median over rounds of the two medians' ratio (0.8 takes 80 % of the time); `low` and `high`, where
        that median lies in 95 % of resamples of the rounds; `verdict`, `faster`, `slower`, or `no difference` when the
        interval holds 1, `too few rounds` under six.
    """
    ratios = np.array([np.median(one) / np.median(other) for one, other in zip(rounds, first, strict=True)])
    picks = np.random.default_rng(SEED).integers(0, ratios.size, (RESAMPLES, ratios.size))
    tail = (100 - CONFIDENCE) / 2
    low, high = np.percentile(np.median(ratios[picks], axis=1), [tail, 100 - tail])
    verdict = "faster" if high < 1 else "slower" if low > 1 else NO_DIFFERENCE
    verdict = TOO_FEW if ratios.size < FEWEST_ROUNDS else verdict
    values = {"share": np.median(ratios), "low": low, "high": high}
    return {**{name: round(float(value), 4) for name, value in values.items()}, "verdict": verdict}


def throughput(multiply_adds: int, median_ms: float, *, peak: float) -> dict[str, Any]:
    """Returns `gmacs`, 10^9 multiply-adds a second, and `peak_share` of the measured float32 `peak`."""
    gmacs = multiply_adds / (median_ms * 1e6)
    return {"gmacs": round(gmacs, 3), "peak_share": round(gmacs / peak, 4)}


def by_operator(operators: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns `op`, `count`, `ms`, `share` and `multiply_adds` of each kind of operator, the longest first."""
    kinds: dict[str, dict[str, Any]] = {}
    for one in operators:
        kind = kinds.setdefault(one["op"], {"op": one["op"], "count": 0, "ms": 0.0, "multiply_adds": 0})
        kind["count"] += 1
        kind["ms"] += one["ms"] or 0.0
        kind["multiply_adds"] += one["multiply_adds"] or 0
    total = sum(kind["ms"] for kind in kinds.values()) or 1.0
    rows = [{**kind, "ms": round(kind["ms"], 3), "share": round(kind["ms"] / total, 4)} for kind in kinds.values()]
    return sorted(rows, key=lambda row: (-row["ms"], row["op"]))
