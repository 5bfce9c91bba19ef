"""What a key may accept: ranges, words, forms of text. No torch here."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from convarium.learn.lengths import ACCEPTED as LENGTHS_ACCEPTED
from convarium.learn.lengths import parse_length


@dataclass(frozen=True)
class Accepts:
    """What a key accepts: `text` says it to a person, `test` decides for one value (or each item of a list)."""

    text: str
    test: Callable[[Any], bool]
    types: tuple[type, ...] = ()  # () means: the type of the yaml's value
    null: bool = False
    whole: bool = False  # whether `test` takes a list as a whole
    words: tuple[str, ...] = ()  # all that is accepted, where that is words

    def or_null(self) -> "Accepts":
        """The same, and null."""
        return replace(self, text=f"{self.text}, or null", null=True)

    def of(self, *types: type) -> "Accepts":
        """The same, of these types whatever the yaml's value is."""
        return replace(self, types=types)


def at_least(low: float) -> Accepts:
    """Numbers not below `low`."""
    return Accepts(f"at least {low}", lambda value: value >= low)


def above(low: float) -> Accepts:
    """Numbers greater than `low`."""
    return Accepts(f"above {low}", lambda value: value > low)


def between(low: float, high: float) -> Accepts:
    """Numbers from `low` to `high`, both included."""
    return Accepts(f"{low} to {high}", lambda value: low <= value <= high)


def ascending(low: float, high: float = math.inf) -> Accepts:
    """Two ascending numbers above `low`, up to `high`."""

    def test(pair: Any) -> bool:
        return isinstance(pair, list) and len(pair) == 2 and low < pair[0] <= pair[1] <= high

    limit = f" and at most {high:g}" if high < math.inf else ""
    return Accepts(f"two ascending numbers above {low:g}{limit}", test, whole=True)


def words(*accepted: str) -> Accepts:
    """One of a few words."""
    return Accepts(" or ".join(accepted), lambda value: value in accepted, (str,), words=accepted)


def matching(pattern: str, text: str) -> Accepts:
    """Text of a given form."""
    compiled = re.compile(pattern)
    return Accepts(text, lambda value: compiled.fullmatch(value) is not None, (str,))


def auto_or(accepts: Accepts, *types: type) -> Accepts:
    """What `accepts` says, or the word "auto"."""
    return Accepts(f'{accepts.text}, or "auto"', lambda value: value == "auto" or accepts.test(value), (*types, str))


def _share_or_count(value: float) -> bool:
    return value >= 0 if isinstance(value, int) else 0 <= value <= 1


def _is_length(value: float | str) -> bool:
    try:
        parse_length(value)
    except ValueError:
        return False
    return True


NOT_EMPTY = Accepts("text", lambda value: value != "", (str,))
COUNT = at_least(1)
SIDE = between(1, 16384)
SIDES = Accepts(
    "a list of whole numbers from 1 to 16384", lambda value: has_type(value, (int,)) and 1 <= value <= 16384
)
SECONDS = Accepts("above 0 and at most 864,000,000, 10,000 days", lambda value: 0 < value <= 864_000_000)
SHARE = between(0, 1)
SOME_SHARE = Accepts("above 0 and at most 1", lambda value: 0 < value <= 1)
SHARE_BELOW_ONE = Accepts("at least 0 and below 1", lambda value: 0 <= value < 1)
BATCHES = Accepts(
    "a share from 0.0 to 1.0, or a number of batches (1 is one batch, 1.0 is all)", _share_or_count, (int, float)
)
DIVISOR = at_least(1e-30)  # far smaller numbers are 0 in float32, and what they keep from being 0/0 is 0/0
TWO_SHARES_BELOW_ONE = Accepts(
    "two numbers, at least 0 and below 1",
    lambda pair: len(pair) == 2 and all(has_type(one, (int, float)) and 0 <= one < 1 for one in pair),
    whole=True,
)
SOME_BATCHES = Accepts(
    "a share above 0.0 up to 1.0, or a number of batches (1 is one batch, 1.0 is all)",
    lambda value: value > 0 and _share_or_count(value),
    (int, float),
)
LENGTH = Accepts(LENGTHS_ACCEPTED, _is_length, (int, float, str))
POSITIVE_LENGTH = Accepts(
    f"{LENGTHS_ACCEPTED}, above 0",
    lambda value: _is_length(value) and parse_length(value).amount > 0,
    (int, float, str),
)
WEIGHTS = matching(
    r"torchvision:\w+|.+\.(safetensors|pth|th|pt)",
    "torchvision:NAME, or a file .safetensors, .pth, .th, .pt, or the folder of a run",
)
TIME = Accepts(
    '"DD:HH:MM:SS", above 0 and below 10,000 days',
    lambda value: re.fullmatch(r"\d{1,4}:\d\d:\d\d:\d\d", value) is not None and any(map(int, value.split(":"))),
    (str,),
)
FOLDER_NAME = Accepts(
    "the name of a folder, of at most 255 bytes",
    lambda value: value not in ("", ".", "..") and "/" not in value and len(value.encode()) <= 255,
    (str,),
)
INTERPOLATION = words("nearest", "bilinear")
BETTER = words("auto", "min", "max")
CLASS_WEIGHTS = Accepts(
    "balanced, or a list of a number from 0 for each class", lambda value: value == "balanced" or value >= 0
)
ERASED = Accepts(
    "random or zero or mean, or levels from 0 to 1",
    lambda value: value in ("random", "zero", "mean") or 0 <= value <= 1,
)


def has_type(value: Any, types: tuple[type, ...]) -> bool:
    """isinstance, but a bool is no number and an int may stand for a float."""
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types) or (isinstance(value, int) and float in types)


def shown(value: Any) -> str:
    """A value as one writes it on the command line."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{','.join(map(shown, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)
