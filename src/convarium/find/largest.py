"""The search for the largest batch that fits: which size to try next, by what the tries so far have taken.

Memory grows with the batch along a straight line, so two tries predict the next; after these two, small ones, none is
made that is predicted to fail. No torch here.
"""

import math
from collections.abc import Callable
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
    enough: Try
    """The smallest with 95 % of the best images per second."""
    limit: str
    """What keeps the largest from being larger: "memory", "most", or "seconds" of a step."""
    predicted: int
    """The largest that would fit by the line through the last two tries."""


def search(measure: Callable[[int], Try], bounds: Bounds) -> Found | None:
    """Try sizes, doubled as long as the next is predicted to fit, then narrowed down; None if the first is too much."""
    tries: list[Try] = []
    size = bounds.rounded(bounds.multiple)
    while size:
        tries = sorted([*tries, measure(size)])
        fitting = [each for each in tries if each.peak <= bounds.room]
        if not fitting:
            return None
        size, limit, below = _next(tries, fitting[-1], bounds)
    best = max(each.images_per_second for each in fitting)
    enough = next(each for each in fitting if each.images_per_second >= ENOUGH_SPEED * best)
    return Found(tries, fitting[-1], enough, limit, below)


def _next(tries: list[Try], largest: Try, bounds: Bounds) -> tuple[int, str, int]:
    """The size to try next, 0 if the search is over; what limits it; the largest size that is predicted to fit.

    tries: by their size; `largest` of those that fit.
    """
    failed = min((each.size for each in tries if each.size > largest.size), default=math.inf)
    below = bounds.rounded(min(_predicted([each for each in tries if each.peak < math.inf], bounds.room), failed - 1))
    size = bounds.rounded(min(2 * largest.size, below))
    if size <= largest.size and failed < math.inf:  # it is no line: halve what is between
        size = bounds.rounded((largest.size + failed) / 2)
    if largest.size == bounds.rounded(math.inf):
        return 0, "most", below
    if size <= largest.size * (1 if size == 2 * largest.size else 1 + NEAR_ENOUGH):
        return 0, "memory", below
    if largest.seconds * size / largest.size > bounds.seconds:
        return 0, "seconds", below
    return size, "", below


def _predicted(tries: list[Try], room: float) -> float:
    """The size at which the line through the last two tries reaches `room` bytes; infinity if it does not rise."""
    if len(tries) < 2:
        return math.inf
    before, last = tries[-2:]
    slope = (last.peak - before.peak) / (last.size - before.size)
    return last.size + (room - last.peak) / slope if slope > 0 else math.inf
