"""What the losses of a range test say: smoothed, where they diverge, and which learning rates they suggest."""

import math
from collections.abc import Sequence
from typing import NamedTuple

LEAST_FALL = 0.02  # share of the first loss; one that falls by less says nothing


class Suggestion(NamedTuple):
    """Learning rates that a range test singles out; None where the loss does not fall."""

    minimum: float
    """Where the smoothed loss is least."""
    tenth: float
    """A tenth of that."""
    steepest: float
    """Where the smoothed loss falls fastest over the logarithm of the rate."""


def smoothed(losses: Sequence[float], beta: float) -> list[float]:
    """The exponential moving average of losses, divided by the weight that it has by then (Gugger 2018, after Smith
    2017): the first is the first loss, not a share of it."""
    average, values = 0.0, []
    for count, loss in enumerate(losses, 1):
        average = beta * average + (1 - beta) * loss
        values.append(average / (1 - beta**count))
    return values


def has_diverged(values: Sequence[float], multiple: float) -> bool:
    """Whether the last of the smoothed losses is more than a multiple of the least."""
    return bool(values) and values[-1] > multiple * min(values)


def suggest(rates: Sequence[float], values: Sequence[float]) -> Suggestion | None:
    """The rates that smoothed losses suggest; None if these do not fall."""
    least = min(range(len(values)), key=values.__getitem__)
    if least < 2 or values[least] > (1 - LEAST_FALL) * values[0]:
        return None

    def slope(step: int) -> float:
        return (values[step + 1] - values[step - 1]) / math.log(rates[step + 1] / rates[step - 1])

    steepest = min(range(1, least), key=slope)
    return Suggestion(rates[least], rates[least] / 10, rates[steepest])
