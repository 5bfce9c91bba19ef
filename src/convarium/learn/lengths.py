"""Lengths of training: `3` epochs, "500 steps", "5%" of the run. Imports nothing heavy: configs are checked with it."""

import functools
import math
import re
from dataclasses import dataclass
from typing import Literal

LengthLike = int | float | str
Unit = Literal["epochs", "steps", "%"]

ACCEPTED = 'a number of epochs, or "500 steps", "2.5 epochs", "5%" of the run'
_WRITTEN = re.compile(r"(?P<amount>[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)\s*(?P<unit>%|epochs?|steps?)?", re.IGNORECASE)
_UNITS: dict[str, Unit] = {"e": "epochs", "s": "steps", "%": "%"}  # by their first characters


@dataclass(frozen=True)
class TrainingLength:
    """What a run measures time by: its optimizer steps in all, and in one epoch, at least 1 each."""

    total_steps: int
    steps_per_epoch: int


@dataclass(frozen=True)
class Length:
    """A length of training in the unit it was written in."""

    amount: float
    unit: Unit

    def steps(self, length: TrainingLength) -> int:
        """The whole optimizer steps in this length: a part of a step is left out."""
        match self.unit:
            case "steps":
                steps = self.amount
            case "epochs":
                steps = self.amount * length.steps_per_epoch
            case "%":
                steps = self.amount / 100 * length.total_steps
        return math.floor(steps * (1 + 1e-12))  # 5% of 100 is 5, whatever floating point makes of it

    def __str__(self) -> str:
        return f"{self.amount:g}%" if self.unit == "%" else f"{self.amount:g} {self.unit}"


def parse_length(written: LengthLike) -> Length:
    """Read a length; ValueError if it is not one, is negative, or is a share of 100% or more."""
    if isinstance(written, bool) or not isinstance(written, int | float | str):
        raise ValueError(f"length {written!r} is not {ACCEPTED}")
    return _parse(written)


@functools.lru_cache(maxsize=256, typed=True)  # schedules ask at every step
def _parse(written: LengthLike) -> Length:
    match = _WRITTEN.fullmatch(str(written).strip())
    if match is None:
        raise ValueError(f"length {written!r} is not {ACCEPTED}")
    amount = float(match["amount"])
    unit = _UNITS[(match["unit"] or "epochs").lower()[0]]
    if not 0 <= amount < math.inf:
        raise ValueError(f"length {written!r} must not be negative")
    if unit == "steps" and amount != int(amount):
        raise ValueError(f"length {written!r} must be a whole number of steps")
    if unit == "%" and amount >= 100:
        raise ValueError(f"length {written!r} must be less than 100% of the run")
    return Length(amount, unit)
