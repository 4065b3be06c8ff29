"""The histogram of errors gives the loss of objects and background for every gamma, as NumPy sums it."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from keras_retina.evaluate.class_balance import (
    BINS,
    LARGEST_ERROR,
    ClassBalance,
    background_share,
    count_errors,
    cumulative_loss,
    loss_of_bins,
    read_class_balance,
    write_class_balance,
)
from keras_retina.foundation.errors import InputError

NOTHING = (0,) * BINS


def balance_of(objects: np.ndarray, background: np.ndarray) -> ClassBalance:
    """A balance with these errors of one class."""
    counts = (tuple(count_errors(one).tolist()) for one in (objects, background))
    return ClassBalance("val", 1, {"a": 1}, {"a": len(objects)}, 0, *counts)


def focal(errors: np.ndarray, gamma: float) -> np.ndarray:
    """Equation 4, with p_t from the error itself."""
    p_t = 1.0 / (1.0 + np.exp(errors))
    return -((1.0 - p_t) ** gamma) * np.log(p_t)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("alpha", [None, 0.25])
def test_the_share_of_background_is_that_of_the_summed_losses(gamma, alpha):
    rng = np.random.default_rng(3)
    objects, background = rng.normal(0.0, 3.0, 500), rng.normal(-5.0, 2.0, 50_000)
    weights = (1.0, 1.0) if alpha is None else (alpha, 1.0 - alpha)
    of_objects, of_background = weights[0] * focal(objects, gamma).sum(), weights[1] * focal(background, gamma).sum()
    found = background_share(balance_of(objects, background), gamma=gamma, alpha=alpha)
    assert found == pytest.approx(of_background / (of_objects + of_background), abs=2e-3)


def test_focal_loss_by_hand_at_probability_a_half_and_a_tenth():
    # p_t = 0.5 has the error 0 and p_t = 0.1 the error log 9; the bins are 0.05 wide.
    errors = np.array([0.0, np.log(9.0)])
    bins = ((errors + LARGEST_ERROR) / (2 * LARGEST_ERROR / BINS)).astype(int)
    np.testing.assert_allclose(loss_of_bins(2.0)[bins], [0.25 * np.log(2), 0.81 * np.log(10)], rtol=0.06)


def test_the_curve_is_the_sorted_cumulative_loss():
    errors = np.array([-3.0, -1.0, 2.0]) + 0.025  # in the middle of their bins
    losses = focal(errors, 1.0)
    points = cumulative_loss(tuple(count_errors(errors).tolist()), gamma=1.0)
    shares = np.cumsum(losses) / losses.sum()
    np.testing.assert_allclose(points, [(0, 0), (1 / 3, shares[0]), (2 / 3, shares[1]), (1, 1)], atol=1e-6)


def test_easy_background_has_less_of_the_loss_the_larger_gamma_is():
    balance = balance_of(np.zeros(10), np.full(10_000, -4.0))
    shares = [background_share(balance, gamma=gamma, alpha=None) for gamma in (0.0, 0.5, 1.0, 2.0)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 0.9
    assert shares[-1] < 0.1


def test_errors_beyond_the_last_bin_are_counted_in_it():
    counts = count_errors(np.array([-1e4, 1e4, LARGEST_ERROR]))
    assert counts[0] == 1
    assert counts[-1] == 2
    assert counts.sum() == 3


def test_without_a_pair_there_is_no_share_and_no_curve():
    nothing = ClassBalance("val", 0, {}, {}, 0, NOTHING, NOTHING)
    assert background_share(nothing, gamma=2.0, alpha=0.25) is None
    assert cumulative_loss(NOTHING, gamma=2.0).shape == (0, 2)


def test_what_is_written_is_read_again(tmp_path):
    balance = balance_of(np.zeros(3), np.ones(4))
    write_class_balance(tmp_path / "balance.json", balance)
    assert read_class_balance(tmp_path / "balance.json") == balance
    assert read_class_balance(tmp_path / "absent.json") is None


@pytest.mark.parametrize(
    "change",
    [
        {"images": -1},
        {"split": None},
        {"objects": {"a": "many"}},
        {"positives": {"b": 1}},
        {"object_errors": [0] * (BINS - 1)},
        {"background_errors": [0.5] * BINS},
    ],
)
def test_a_damaged_file_is_named(tmp_path, change):
    path = tmp_path / "balance.json"
    path.write_text(json.dumps(dataclasses.asdict(balance_of(np.zeros(3), np.ones(4))) | change), encoding="utf-8")
    with pytest.raises(InputError, match="balance.json"):
        read_class_balance(path)
