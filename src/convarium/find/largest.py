"""The search for the largest batch that fits: which size to try next, by what the tries so far have taken.

Memory grows with the batch along a straight line, so two tries predict the next; none is made that is predicted to
fail. No torch here.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

AIR = 0.1
"""The share of the memory that stays free."""
NEAR_ENOUGH = 0.03  # share of the batch by which the search narrows it down
ENOUGH_SPEED = 0.95  # of the best images per second


class Try(NamedTuple):
    """A few steps with so many images at a time."""

    size: int
    peak: float
    """Bytes of memory at most; infinity where it did not suffice."""
    seconds: float
    """For a step on these images."""

    @property
    def images_per_second(self) -> float:
        return self.size / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Bounds:
    """What sizes may be tried: multiples of `multiple`, or powers of two, up to `most`, in `room` bytes, and with at
    most so many `seconds` for a step."""

    room: float
    most: int
    multiple: int = 8
    powers: bool = False
    seconds: float = math.inf

    def rounded(self, size: float) -> int:
        """The largest allowed size that is not above one; 0 if there is none."""
        size = int(min(size, self.most))
        if self.powers:
            return 1 << (size.bit_length() - 1) if size > 0 else 0
        return size // self.multiple * self.multiple


class Found(NamedTuple):
    """The end of a search."""

    tries: list[Try]
    largest: Try
    """That fits and was tried."""
    limit: str
    """What keeps it from being larger: "memory", "most", or "seconds" of a step."""
    predicted: int
    """The largest that fits by prediction, where the seconds of a step have kept it from being tried."""
    enough: Try
    """The smallest with 95 % of the best images per second."""


def search(measure: Callable[[int], Try], bounds: Bounds) -> Iterator[Try]:
    """Try sizes, doubled as long as the next is predicted to fit, then narrowed down; each try as it is made."""
    first = bounds.rounded(bounds.multiple)
    tries = [measure(first)]
    yield tries[-1]
    while size := _next(tries, bounds)[0]:
        tries.append(measure(size))
        yield tries[-1]


def conclude(tries: list[Try], bounds: Bounds) -> Found | None:
    """What a search has found; None if not even its first size fits."""
    fitting = [each for each in tries if each.peak <= bounds.room]
    if not fitting:
        return None
    _, limit, predicted = _next(tries, bounds)
    best = max(each.images_per_second for each in fitting)
    enough = min(each for each in fitting if each.images_per_second >= ENOUGH_SPEED * best)
    return Found(sorted(tries), max(fitting), limit, predicted, enough)


def _next(tries: list[Try], bounds: Bounds) -> tuple[int, str, int]:
    """The size to try next, 0 if the search is over; what limits it; and the largest size predicted to fit."""
    fitting = sorted(each for each in tries if each.peak <= bounds.room)
    if not fitting:
        return 0, "memory", 0
    largest, failed = fitting[-1], min((each.size for each in tries if each.peak > bounds.room), default=math.inf)
    below = bounds.rounded(
        min(predicted(sorted(each for each in tries if each.peak < math.inf), bounds.room), failed - 1)
    )
    if bounds.rounded(math.inf) <= largest.size:
        return 0, "most", largest.size
    size = bounds.rounded(min(2 * largest.size, below))
    if failed < math.inf and size <= largest.size:  # the line is wrong: halve what is between
        size = bounds.rounded((largest.size + failed) / 2)
    if size <= largest.size * (1 + (NEAR_ENOUGH if below < 2 * largest.size else 0)):
        return 0, "memory", largest.size
    if largest.seconds * size / largest.size > bounds.seconds:
        return 0, "seconds", below
    return size, "memory", below


def predicted(tries: list[Try], room: float) -> float:
    """The size at which the line through the last two tries reaches `room` bytes; infinity if it does not rise."""
    if len(tries) < 2:
        return math.inf
    before, last = tries[-2:]
    slope = (last.peak - before.peak) / (last.size - before.size)
    return last.size + (room - last.peak) / slope if slope > 0 else math.inf
