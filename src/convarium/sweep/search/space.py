"""What a search may choose from: Hydra's own syntax, read into axes. No torch here."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from convarium.config.compose import Conf
from convarium.config.keys import check_values, leaves
from convarium.errors import ConfigError
from convarium.results.rows import REPLICATES
from convarium.results.search import Space
from convarium.sweep.grid import Point, effective, grid
from convarium.wording import nearest

DECADES = 2.0  # from so many on, the axis of an interval is logarithmic unless it says `linear`
DIGITS = 4  # of a number that is chosen
TAGS = ("linear", "log")


def read_space(conf: Conf, words: Sequence[str]) -> tuple[Point, Space, list[Point]]:
    """The overrides of every job, the axes that are searched, and the words of the jobs of each trial.

    Seeds and folds are not searched: a trial has a job for each of their values, and is worth the mean. Raises
    ConfigError for what cannot be searched.
    """
    parsed = effective(OverridesParser.create(config_loader=conf.loader).parse_overrides(list(words)))
    swept = [override for override in parsed if override.is_sweep_override()]
    fixed = grid([override for override in parsed if not override.is_sweep_override()])[0]
    again = [override for override in swept if override.key_or_group in REPLICATES]
    searched = [override for override in swept if override not in again]
    for override in swept:
        if getattr(override.value(), "shuffle", False):
            raise ConfigError(f"{override.input_line}: a sampler has no order that could be shuffled; leave it out")
        if override in again and override.is_interval_sweep():
            raise ConfigError(f"{override.input_line}: has no end of values; accepted: a,b,... or choice, range")
    if not searched:
        accepted = "e.g. 'optimizer.lr=interval(1e-4,1)', 'clip=choice(none,norm)', or search=FAMILY"
        raise ConfigError(f"hydra/sweeper=optuna: nothing is searched; accepted: {accepted}")
    try:
        known = leaves(conf.compose(fixed).config)
    except ConfigError:  # the first point says it, if it is as wrong
        known = {}
    space = {override.get_key_element(): _axis(override, known.get(override.key_or_group)) for override in searched}
    check_space(conf, space)
    return fixed, space, grid(again)


def _axis(override: Override, default: Any) -> dict[str, Any]:
    """An axis; a whole number as `default` makes it one of whole numbers."""
    value: Any = override.value()
    if override.is_choice_sweep():
        return {"choices": list(dict.fromkeys(override.sweep_string_iterator()))}
    tags = set(value.tags)
    if tags - set(TAGS) or len(tags) > 1:
        raise ConfigError(f"{override.input_line}: accepted in tag(...): {' or '.join(TAGS)}")
    if override.is_interval_sweep():
        low, high, step = value.start, value.end, None
        whole = isinstance(low, int) or (isinstance(default, int) and not isinstance(default, bool))
        low, high = (math.ceil(low), math.floor(high)) if whole else (float(low), float(high))
        wide = low > 0 and high / low >= 10**DECADES
        log = "log" in tags or (wide and "linear" not in tags)
    else:
        numbers = sorted(number if isinstance(number, int) else round(number, 12) for number in value.range())
        if not numbers:
            raise ConfigError(f"{override.input_line}: no values")
        low, high, step, log = numbers[0], numbers[-1], abs(value.step), "log" in tags
        whole = isinstance(low, int)
        if log and step != 1:
            raise ConfigError(
                f"{override.input_line}: a logarithmic axis has no steps; accepted: tag(log,interval(a,b))"
            )
    if low > high or (log and low <= 0):
        wrong = "the first number is the lower one" if low > high else "a logarithmic axis begins above 0"
        raise ConfigError(f"{override.input_line}: {wrong}")
    return {"low": low, "high": high, "log": log, "step": step, "whole": whole}


def check_space(conf: Conf, space: Space) -> None:
    """Raise ConfigError for an answer that a group does not have, and for a value outside of what its key accepts."""
    for axis, spec in space.items():
        key = axis.lstrip("+")
        if key == "study" or key.partition(".")[0] in ("sweep", "search"):
            raise ConfigError(f"{key}: cannot be searched, it is about the sweep")
        for word in spec.get("choices", ()) if key in conf.groups else ():
            members = conf.members(key)
            if word not in members and not word.startswith("["):
                raise ConfigError(f"{key}={word}: unknown{nearest(word, members)} One of: {', '.join(members)}")
        for end in ("low", "high") if "low" in spec else ():
            check_values({key: spec[end]})


def words_of(params: Mapping[str, Any]) -> Point:
    """The overrides of a point."""
    return [f"{axis}={value if isinstance(value, str) else repr(value)}" for axis, value in params.items()]


def rounded(params: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """A point in numbers of few digits, which a person can read and type, in the order of the axes."""
    point = {}
    for axis, spec in space.items():
        value = params[axis]
        if isinstance(value, float):
            short = round(value, 12) if spec["step"] else float(f"{value:.{DIGITS}g}")
            value = min(max(short, spec["low"]), spec["high"])
        point[axis] = value
    return point


def number_of_points(space: Space) -> float:
    """How many points a space has; infinity with an interval."""
    return math.prod(len(values) if (values := _values(spec)) is not None else math.inf for spec in space.values())


def every_point(space: Space) -> Iterator[dict[str, Any]]:
    """All points of a space, the last axis fastest. Raises ConfigError where there is no end of them."""
    for axis, spec in space.items():
        if _values(spec) is None:
            raise ConfigError(f"search.sampler=grid: {axis} has no end of values; accepted: choice, range")
    axes = [_values(spec) or () for spec in space.values()]
    return (rounded(dict(zip(space, values, strict=True)), space) for values in itertools.product(*axes))


def _values(spec: Mapping[str, Any]) -> Sequence[Any] | None:
    if "choices" in spec:
        choices: list[str] = spec["choices"]
        return choices
    if spec["whole"]:
        return range(spec["low"], spec["high"] + 1, spec["step"] or 1)
    if spec["step"]:
        return [
            spec["low"] + number * spec["step"]
            for number in range(round((spec["high"] - spec["low"]) / spec["step"]) + 1)
        ]
    return None


def described(space: Space) -> list[str]:
    """A line for each axis, for a person."""
    lines = []
    width = max(map(len, space), default=0)
    for axis, spec in space.items():
        if "choices" in spec:
            text = ", ".join(spec["choices"])
        else:
            text = f"{spec['low']:g} to {spec['high']:g}"
            text += ", logarithmic" * spec["log"] + ", whole numbers" * spec["whole"]
            text += f", in steps of {spec['step']:g}" if spec["step"] not in (None, 1) else ""
        lines.append(f"{axis:{width}}  {text}")
    return lines
