"""Whether one answer is better than another: differences paired by seed or fold, McNemar's test, Holm's correction.

No torch here; scipy has the distributions.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from convarium.results.intervals import error_of_mean, student_t
from convarium.results.rows import Group, Table, overlap

ALPHA = 0.05


class Difference(NamedTuple):
    """How much more the first has than the second."""

    mean: float
    low: float  # ends of the 95 % confidence interval; infinite where there is no spread to make it of
    high: float
    number: int  # pairs, or the samples of the smaller side
    p: float  # of no difference at all, two-sided; 1 where nothing can be said
    is_paired: bool = True


class Comparison(NamedTuple):
    """The best group against another one."""

    other: Group
    difference: Difference
    p: float  # corrected for the number of comparisons

    @property
    def is_said(self) -> bool:
        """Whether the numbers say that the two differ."""
        return self.p < ALPHA


def difference(
    first: Mapping[Any, float],
    second: Mapping[Any, float],
    axis: str = "seed",
    *,
    share: bool = False,
    grain: float = 0.0,
) -> Difference | None:
    """The mean difference of two answers whose figures are given by the values of a replicate, paired by these.

    Pairs share their seed or fold, and so much of their noise; only where not one value is in both, the two are held
    against each other as independent samples of unequal variance (Welch 1947). None: one of them has no figure.
    share: the figures lie between 0 and 1, so that their difference is 1 at most: an interval goes no further.
    grain: the smallest step of the figures, see `paired`.
    """
    found = _difference(first, second, axis, grain)
    if share and found is not None and math.isfinite(found.low):
        return found._replace(low=max(found.low, -1.0), high=min(found.high, 1.0))
    return found


def _difference(first: Mapping[Any, float], second: Mapping[Any, float], axis: str, grain: float) -> Difference | None:
    shared = [value for value in first if value in second]
    if shared:
        shares = overlap(axis, dict.fromkeys(shared, 0.0))
        return paired([first[value] - second[value] for value in shared], shares, grain)
    if not first or not second:
        return None
    means, numbers = [statistics.fmean(one.values()) for one in (first, second)], [len(first), len(second)]
    if min(numbers) < 2:
        return Difference(means[0] - means[1], -math.inf, math.inf, min(numbers), 1.0, is_paired=False)
    parts = [max(statistics.variance(one.values()), grain**2) / len(one) for one in (first, second)]
    error = math.sqrt(sum(parts))
    if error == 0:
        return paired([means[0] - means[1]] * min(numbers))._replace(is_paired=False)
    freedom = sum(parts) ** 2 / sum(part**2 / (number - 1) for part, number in zip(parts, numbers, strict=True))
    return _by_t(means[0] - means[1], error, freedom, min(numbers))._replace(is_paired=False)


def paired(differences: Sequence[float], shared: float = 0.0, grain: float = 0.0) -> Difference:
    """The mean of paired differences by Student's t. Of one pair nothing can be said but the difference; of pairs that
    all differ alike, which have no spread, the sign test says it: p = 2^(1 - n).

    shared: how much folds share (`intervals.error_of_mean`). grain: the smallest step of the figures, of an accuracy
    one image: that they agree to the image is chance, and their deviation is taken to be at least that.
    """
    number, mean = len(differences), statistics.fmean(differences)
    if number == 1:
        return Difference(mean, -math.inf, math.inf, 1, 1.0)
    deviation = max(statistics.stdev(differences), grain)
    if deviation <= 1e-12 * abs(mean) or deviation == 0:
        return Difference(mean, mean, mean, number, 2.0 ** (1 - number) if mean else 1.0)
    return _by_t(mean, error_of_mean(deviation, number, shared), number - 1, number)


def _by_t(mean: float, error: float, freedom: float, number: int) -> Difference:
    from scipy.special import stdtr

    half = student_t(freedom) * error
    return Difference(mean, mean - half, mean + half, number, float(2 * stdtr(freedom, -abs(mean) / error)))


def holm(ps: Sequence[float]) -> list[float]:
    """p values corrected for their number, so that the chance of one false alarm among all is kept (Holm 1979)."""
    order = sorted(range(len(ps)), key=ps.__getitem__)
    corrected, highest = [0.0] * len(ps), 0.0
    for place, number in enumerate(order):
        highest = max(highest, min(1.0, ps[number] * (len(ps) - place)))
        corrected[number] = highest
    return corrected


def mcnemar(only_first: int, only_second: int) -> float:
    """The p value of two classifiers being equally good, by the images that only one of them has right; exact and
    two-sided (McNemar 1947)."""
    from scipy.special import bdtr

    number, fewer = only_first + only_second, min(only_first, only_second)
    return min(1.0, float(2 * bdtr(fewer, number, 0.5))) if number else 1.0


def against_best(table: Table, metric: str | None = None) -> list[Comparison]:
    """The best group of a table against every other that has the metric, by default the chief one; of groups that are
    the same network by construction one counts."""
    metric = metric or table.chief
    groups = [group for group in table.groups if metric in group.spreads and not group.same_as]
    if not groups:
        return []
    axis = [*groups[0].over][-1]
    best, *others = sorted(groups, key=lambda group: -table.sign * group.spreads[metric].mean)
    first, share, grain = best.values(metric, axis), metric in table.shares, best.grain(metric)
    found = [(other, difference(first, other.values(metric, axis), axis, share=share, grain=grain)) for other in others]
    pairs = [(other, one) for other, one in found if one is not None]
    corrected = holm([one.p for _, one in pairs])
    return [Comparison(other, one, p) for (other, one), p in zip(pairs, corrected, strict=True)]
