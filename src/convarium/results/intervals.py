"""What a sample of figures says of their mean: deviation and confidence interval. No torch here."""

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

# Student's t for 95 %, both sides, of 1 to 30 degrees of freedom
T_95 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


class Spread(NamedTuple):
    """A figure over the seeds."""

    mean: float
    deviation: float  # standard deviation of the sample; 0 of one
    half_width: float  # of the 95 % confidence interval of the mean, by Student's t; infinite of one

    def __str__(self) -> str:
        interval = f" ± {self.half_width:.4f}" if math.isfinite(self.half_width) else ""
        return f"{self.mean:.4f}{interval}"


def spread(values: Sequence[float]) -> Spread:
    """Mean, standard deviation and confidence interval of a sample of one or more."""
    number, mean = len(values), statistics.fmean(values)
    if number == 1:
        return Spread(mean, 0.0, math.inf)
    deviation = statistics.stdev(values)
    return Spread(mean, deviation, student_t(number - 1) * deviation / math.sqrt(number))


def student_t(freedom: int) -> float:
    """The 97.5 % quantile of Student's distribution."""
    if freedom <= len(T_95):
        return T_95[freedom - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)  # Cornish-Fisher
