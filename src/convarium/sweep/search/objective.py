"""What a search looks for: one figure of a run, or two, and which way each is better. No torch here."""

from collections.abc import Mapping, Sequence
from typing import Any

from convarium.config.rules import OF, better, measured_figures
from convarium.errors import ConfigError
from convarium.results.search import DIRECTIONS, Space
from convarium.wording import nearest

Objective = tuple[str, str]
"""The name of a figure, and min or max."""
MOST = 2


def objectives_of(config: Mapping[str, Any], *, needed: bool = True) -> list[Objective]:
    """The objectives of a resolved config; there may be none if none is needed. Raises ConfigError for what no run
    measures."""
    asked, checkpoint = config["search"]["objective"], config["callbacks"].get("checkpoint") or {}
    if asked is None and (asked := checkpoint.get("monitor")) is None:
        if not needed:
            return []
        raise ConfigError("search.objective=null: needs callbacks.checkpoint; accepted: a metric, e.g. val/acc1")
    names: list[str] = asked if isinstance(asked, list) else [asked]
    if len(set(names)) < len(names) or not 1 <= len(names) <= MOST:
        raise ConfigError(f"search.objective=[{','.join(names)}]: accepted: a metric, or a list of two")
    return [(name, _mode(name, dict(config), checkpoint)) for name in names]


def _mode(name: str, config: dict[str, Any], checkpoint: Mapping[str, Any]) -> str:
    key, measured = f"search.objective={name}", [*measured_figures(config), *DIRECTIONS]
    if name.startswith("test/"):
        raise ConfigError(f"{key}: the test split chooses nothing; accepted: {', '.join(measured)}")
    if name not in measured:
        raise ConfigError(f"{key}: no run measures it{nearest(name, measured)} Accepted: {', '.join(measured)}")
    said = checkpoint.get("mode") if checkpoint.get("monitor") == name else None
    mode = said if said in OF else DIRECTIONS.get(name) or better(name, config["metrics"])
    if mode is None:
        accepted = f"callbacks.checkpoint.monitor={name} with callbacks.checkpoint.mode=min or max"
        raise ConfigError(f"{key}: does not say which way it is better; accepted: {accepted}")
    return mode


def check_method(
    sampler: str, pruner: str, objectives: Sequence[Objective], space: Space, config: Mapping[str, Any]
) -> None:
    """Raise ConfigError for a sampler or pruner that cannot work for these objectives and axes."""
    numbers = sum("low" in spec and spec["low"] < spec["high"] for spec in space.values())
    one = len(objectives) == 1
    if sampler == "cmaes" and not (one and numbers > 1):
        has = "two objectives" if not one else f"{numbers} axis of numbers" if numbers == 1 else "no axis of numbers"
        wrong = f"needs two axes of numbers, and one objective; here is {has}"
        raise ConfigError(f"search.sampler=cmaes: {wrong}; accepted: auto, gp, tpe, random, grid")
    if pruner != "none" and not one:
        raise ConfigError(f"search.pruner={pruner}: needs one objective; accepted for two: none")
    if pruner != "none" and "/" not in objectives[0][0]:
        raise ConfigError(f"search.pruner={pruner}: {objectives[0][0]} is not measured in each epoch; accepted: none")
    if pruner != "none" and int(config["trainer"]["max_epochs"] or 0) < 1:
        raise ConfigError(f"search.pruner={pruner}: needs trainer.max_epochs; accepted without: none")
