"""How well a mean or a share is known: confidence intervals of 95 %. No torch here; scipy has the distributions."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

LEVEL = 0.95


class Spread(NamedTuple):
    """A figure over a sample, of seeds or folds."""

    mean: float
    deviation: float  # standard deviation of the sample; 0 of one
    low: float  # ends of the confidence interval of the mean; infinite of one
    high: float
    number: int

    def __str__(self) -> str:
        return f"{self.mean:.4f}{within(self.mean, self.low, self.high)}"


def within(mean: float, low: float, high: float) -> str:
    """ " ± 0.0123", or " (0.1000 to 0.9900)" where the ends are not equally far; "" of one value."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    below, above = f"{mean - low:.4f}", f"{high - mean:.4f}"
    return f" ± {above}" if below == above else f" ({low:.4f} to {high:.4f})"


def spread(values: Sequence[float], *, share: bool = False, overlap: float = 0.0) -> Spread:
    """Mean, standard deviation, and interval of the mean by Student's t, of a sample of one or more.

    share: the figure lies between 0 and 1, and so does its interval: it is symmetric in the logit of the mean (the
    delta method), not in the mean. overlap: of the samples, see `error_of_mean`.
    """
    number, mean = len(values), statistics.fmean(values)
    if number == 1:
        return Spread(mean, 0.0, -math.inf, math.inf, 1)
    deviation = statistics.stdev(values)
    half = student_t(number - 1) * error_of_mean(deviation, number, overlap)
    if share and not 0 < mean < 1:  # all are 0, or all are 1
        return Spread(mean, deviation, mean, mean, number)
    if not share:
        return Spread(mean, deviation, mean - half, mean + half, number)
    center, half = math.log(mean / (1 - mean)), half / (mean * (1 - mean))
    return Spread(mean, deviation, _expit(center - half), _expit(center + half), number)


def error_of_mean(deviation: float, number: int, overlap: float = 0.0) -> float:
    """The standard error of a mean.

    overlap: test size over training size of the folds of a cross-validation, 1 / (K - 1), whose figures are not
    independent since they share most of what they learn from (Nadeau and Bengio 2003, equation 9); 0 of seeds.
    """
    return deviation * math.sqrt(1 / number + overlap)


def wilson(share: float, number: int) -> tuple[float, float]:
    """The interval of a share that was measured on so many images (Wilson 1927): how well this test set knows it."""
    z = statistics.NormalDist().inv_cdf((1 + LEVEL) / 2)
    center = (share + z * z / (2 * number)) / (1 + z * z / number)
    half = z / (1 + z * z / number) * math.sqrt(share * (1 - share) / number + (z / (2 * number)) ** 2)
    return max(0.0, center - half), min(1.0, center + half)


def student_t(freedom: float) -> float:
    """The 97.5 % quantile of Student's distribution."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def _expit(x: float) -> float:
    """1 / (1 + exp(-x)), of any x."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(max(x, -700.0)) / (1 + math.exp(max(x, -700.0)))
