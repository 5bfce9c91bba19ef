"""From the words of a command to the points of a sweep: every combination of the swept values. No torch here."""

import itertools
from collections.abc import Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString

from convarium.config.overrides import parse
from convarium.errors import ConfigError

Point = list[str]  # the overrides of one job
MOST = 100_000  # points; a file of somebody else may ask for more than there is memory


def effective(parsed: Sequence[Override]) -> list[Override]:
    """Of two equal keys the later counts, in the place of the first; but `+callbacks=a +callbacks=b` adds both."""
    last: dict[object, Override] = {}
    for place, override in enumerate(parsed):
        key = override.key_or_group if override.is_force_add() else override.get_key_element()
        last[(key, place) if override.is_add() else key] = override
    return list(last.values())


def grid(parsed: Sequence[Override]) -> list[Point]:
    """Every combination of the swept values, the last axis fastest. Raises ConfigError for more than MOST."""
    axes, number = [], 1
    for override in parsed:
        key = override.get_key_element()
        if override.is_delete() and override.value() is None:
            axes.append([key])
            continue
        swept = override.is_sweep_override()
        values = override.sweep_string_iterator() if swept else [override.get_value_element_as_str()]
        axes.append([f"{key}={value}" for value in itertools.islice(values, MOST + 1)])
        number *= len(axes[-1])
        if number > MOST:
            raise ConfigError(
                f"{override.input_line}: more than {MOST:,} jobs; hydra/sweeper=optuna chooses among many"
            )
    return [list(point) for point in itertools.product(*axes)]


def points_of(loader: Any, words: Sequence[str]) -> tuple[list[Point], list[str]]:
    """Every combination of what is swept in `words`, and the axes as written. Raises ConfigError for endless values."""
    parsed = effective(OverridesParser.create(config_loader=loader).parse_overrides(list(words)))
    for override in parsed:
        if override.is_interval_sweep():
            raise ConfigError(f"{override.input_line}: has no end of values; accepted: a,b,... or choice, range, glob")
    return grid(parsed), [override.get_key_element() for override in parsed if override.is_sweep_override()]


def varied(points: Sequence[Point], command: Sequence[str]) -> list[str]:
    """The axes of points that another sweeper has made of a command: the keys that are not as the command sets them."""
    fixed = values([word for word in command if not parse([word])[0].is_sweep_override()])
    axes: dict[str, None] = {}
    for word in itertools.chain(*points):
        axis = word.partition("=")[0]
        key = axis.lstrip("+~")
        if key not in fixed or values([word])[key] != fixed[key]:
            axes[axis] = None  # once, in the order of the words
    return list(axes)


def on_axes(point: Sequence[str], axes: Sequence[str]) -> Point:
    """The words of a point that set its axes, in the order of these."""
    return [word for axis in axes for word in point if word.partition("=")[0] == axis]


def off_axes(point: Sequence[str], axes: Sequence[str]) -> Point:
    """The words of a point that all points have."""
    return [word for word in point if word.partition("=")[0] not in axes]


def values(words: Sequence[str]) -> dict[str, Any]:
    """What overrides set, as plain values: 0.1 and 1e-1 are the same."""
    return {override.get_key_element().lstrip("+"): _plain(override.value()) for override in parse(words)}


def _plain(value: Any) -> Any:
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def shown(words: Sequence[str]) -> str:
    """The swept words of a point, for a person."""
    return " ".join(words) or "the only one"
