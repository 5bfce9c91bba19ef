"""Intervals of means and of shares, held against scipy and statsmodels, and against what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from convarium.results.intervals import Spread, spread, student_t, wilson

SHARES = st.lists(st.floats(0, 1), min_size=2, max_size=80)


def test_one_number_has_no_interval_and_equal_numbers_have_one_of_no_width() -> None:
    assert spread([0.5]) == Spread(0.5, 0.0, -math.inf, math.inf, 1)
    for share in (False, True):
        found = spread([0.25] * 7, share=share)
        assert (found.mean, found.deviation) == (0.25, 0.0)
        assert (found.low, found.high) == pytest.approx((0.25, 0.25))
    assert spread([1.0, 1.0], share=True)[2:4] == (1.0, 1.0)


@given(SHARES)
@settings(deadline=None)
def test_the_interval_of_a_mean_is_that_of_scipy(numbers: list[float]) -> None:
    found, error = spread(numbers), stats.sem(numbers)
    ends = stats.t.interval(0.95, len(numbers) - 1, loc=found.mean, scale=error) if error else (found.mean,) * 2
    assert (found.low, found.high) == pytest.approx(ends, rel=1e-9, abs=1e-12)


@given(SHARES)
@settings(deadline=None)
def test_the_interval_of_a_share_holds_its_mean_and_never_leaves_0_and_1(numbers: list[float]) -> None:
    found = spread(numbers, share=True)
    assert 0 <= found.low <= found.mean + 1e-12
    assert found.mean - 1e-12 <= found.high <= 1


def test_two_seeds_of_a_share_say_little_and_nothing_impossible() -> None:
    found = spread([0.84, 0.90], share=True)
    assert (found.low, found.high) == pytest.approx((0.1869, 0.9949), abs=1e-3)
    assert str(found) == f"0.8700 ({found.low:.4f} to {found.high:.4f})"


def test_a_narrow_interval_of_a_share_is_that_of_student() -> None:
    numbers = [0.501, 0.5, 0.499, 0.5005]
    one, other = spread(numbers, share=True), spread(numbers)
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=1e-6)
    assert str(one) == f"0.5001 ± {other.high - other.mean:.4f}"


def test_the_interval_of_folds_is_wider_since_they_share_what_they_learn_from() -> None:
    numbers = [0.1, 0.2, 0.3, 0.4, 0.5]
    alone, folds = spread(numbers), spread(numbers, overlap=1 / 4)
    assert (folds.high - folds.mean) / (alone.high - alone.mean) == pytest.approx(math.sqrt((1 / 5 + 1 / 4) / (1 / 5)))


@pytest.mark.parametrize("images", [1, 10, 360, 10_000])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.9861, 1.0])
def test_the_interval_of_a_test_set_is_wilsons(share: float, images: int) -> None:
    right = round(share * images)
    expected = stats.binomtest(right, images).proportion_ci(0.95, method="wilson")
    assert wilson(right / images, images) == pytest.approx(tuple(expected), abs=1e-12)


@pytest.mark.parametrize("freedom", [1, 2, 2.5, 30, 1000])
def test_the_quantile_is_that_of_students_distribution(freedom: float) -> None:
    assert student_t(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


@pytest.mark.parametrize(("mean", "number"), [(0.6, 2), (0.95, 2), (0.6, 3), (0.95, 3), (0.95, 10), (0.99, 5)])
def test_intervals_of_shares_hold_the_true_mean_as_often_as_they_say(mean: float, number: int) -> None:
    """Accuracies of 400 images, whose true share differs by seed as that of a real network does."""
    draws = np.random.default_rng(0)
    concentration = 300
    truths = draws.beta(mean * concentration, (1 - mean) * concentration, size=(1000, number))
    measured = draws.binomial(400, truths) / 400
    ends = [spread(list(row), share=True) for row in measured]
    covered = np.mean([one.low <= mean <= one.high for one in ends])
    assert 0.92 <= covered <= 0.99
