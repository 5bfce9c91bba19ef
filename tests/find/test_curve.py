"""What losses say: their smoothing, their divergence, and the rates that they suggest."""

import math

import pytest

from convarium.find.curve import has_diverged, smoothed, suggest

RATES = [10 ** (-4 + step / 10) for step in range(41)]


def valley(rate: float) -> float:
    """A loss that falls fastest at 0.01, is least at 0.1, and rises."""
    x = math.log10(rate)
    return 2 - 1 / (1 + math.exp(-6 * (x + 2))) + (4 * (x + 1) ** 2 if x > -1 else 0.0)


def test_smoothing_begins_with_the_first_loss_and_keeps_a_constant() -> None:
    assert smoothed([3.0, 3.0, 3.0], 0.9) == pytest.approx([3.0, 3.0, 3.0])
    assert smoothed([2.0, 4.0], 0.5) == pytest.approx([2.0, (0.5 * 0.5 * 2 + 0.5 * 4) / 0.75])


def test_a_loss_diverges_at_more_than_a_multiple_of_its_least() -> None:
    assert not has_diverged([], 4)
    assert not has_diverged([2.0, 1.0, 4.0], 4)
    assert has_diverged([2.0, 1.0, 4.01], 4)


def test_the_suggestions_are_the_steepest_descent_and_a_tenth_of_the_minimum() -> None:
    found = suggest(RATES, [valley(rate) for rate in RATES])
    assert found is not None
    assert found.minimum == pytest.approx(0.1)
    assert found.tenth == pytest.approx(0.01)
    assert found.steepest == pytest.approx(0.01)


@pytest.mark.parametrize("values", [[1.0] * 41, [1.0 + rate for rate in RATES], [1.0 - 0.001 * rate for rate in RATES]])
def test_a_loss_that_does_not_fall_suggests_nothing(values: list[float]) -> None:
    assert suggest(RATES, values) is None
