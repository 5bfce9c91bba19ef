"""What a search has come to: its trials, whose points a sampler chose, and which axes mattered. No torch here.

The truth is the sweep's manifest and the result.json of its jobs; `search` in sweep.yaml says what was searched:
`space` (axis -> {"choices": [word, ...]} or {"low", "high", "log", "step", "whole"}), `objective`, `mode`, `sampler`,
`trials`. Optuna is imported where it is used: it is the extra `search`.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from convarium.results.directory import Known, SweepDirectory
from convarium.run.directory import FINISHED

Space = dict[str, dict[str, Any]]
"""Axis, as it stands on the command line, -> what it may be."""
DIRECTIONS = {"params": "min", "macs": "min", "wall_seconds": "min", "images_per_second": "max"}
"""What result.json knows of a run beside its metrics, and which way it is better."""
FEWEST = 4  # trials from which something is said of the axes


class Told(NamedTuple):
    """What became of a job, and what it is worth: a number for each objective, None if there is none."""

    status: str
    values: list[float] | None


class Trial(NamedTuple):
    """A point of the search, and its jobs: several if seeds or folds are swept beside it."""

    params: dict[str, Any]
    names: list[str]
    status: str
    """pruned, or as its first job that failed; ok if all that it is to have are well, else running."""
    values: list[float] | None
    """Means over its jobs that are well, or were pruned."""


def told(sweep: SweepDirectory, known: Known, objectives: Sequence[str]) -> Told:
    """What became of a job of the manifest; one without a folder is queued, unless its point could not be composed."""
    result = sweep.run(known.name).result()
    status = result.get("status") or ("failed" if known.status == "failed" else "queued")
    return Told(str(status), values_of(result, objectives))


def values_of(result: Mapping[str, Any], objectives: Sequence[str]) -> list[float] | None:
    """The objectives of a run by its result.json: the best epoch's where that is known, else the last."""
    metrics = result.get("metrics") or {}
    values = []
    for name in objectives:
        value = result.get(name) if name in DIRECTIONS else metrics.get(f"best/{name}", metrics.get(name))
        if not isinstance(value, int | float) or not math.isfinite(value):
            return None
        values.append(float(value))
    return values


def trials(jobs: Iterable[tuple[Known, Told]], space: Space, each: int = 1) -> list[Trial]:
    """The trials that jobs make up, in their order; each: jobs that a trial is to have."""
    groups: dict[str, list[tuple[Known, Told]]] = {}
    for known, outcome in jobs:
        groups.setdefault(json.dumps(params_of(known.words, space)), []).append((known, outcome))
    found = []
    for text, members in groups.items():
        outcomes = [outcome for _, outcome in members]
        ends = [outcome.status for outcome in outcomes if outcome.status in FINISHED - {"ok", "interrupted"}]
        well = sum(outcome.status == "ok" for outcome in outcomes)
        status = "pruned" if "pruned" in ends else ends[0] if ends else "ok" if well >= each else "running"
        counted = [one.values for one in outcomes if one.status in ("ok", "pruned") and one.values is not None]
        values = [sum(column) / len(column) for column in zip(*counted, strict=True)] if counted else None
        found.append(Trial(json.loads(text), [known.name for known, _ in members], status, values))
    return found


def params_of(words: Sequence[str], space: Space) -> dict[str, Any]:
    """The point that the words of a job name: numbers, and the words of choices."""
    texts = dict(word.split("=", 1) for word in words if "=" in word)
    params: dict[str, Any] = {}
    for axis, spec in space.items():
        text = texts.get(axis)
        if text is not None:
            params[axis] = text
            with suppress(ValueError):
                params[axis] = text if "choices" in spec else int(text) if spec["whole"] else float(text)
    return params


def distribution(spec: Mapping[str, Any]) -> Any:
    """What Optuna calls an axis."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if "choices" in spec:
        return CategoricalDistribution(spec["choices"])
    if spec["whole"]:
        return IntDistribution(spec["low"], spec["high"], log=spec["log"], step=spec["step"] or 1)
    return FloatDistribution(spec["low"], spec["high"], log=spec["log"], step=spec["step"])


def new_study(space: Space, modes: Sequence[str], **options: Any) -> tuple[Any, dict[str, Any]]:
    """An empty study in memory that logs nothing, and the distributions of its axes."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    minimize, maximize = optuna.study.StudyDirection.MINIMIZE, optuna.study.StudyDirection.MAXIMIZE
    study = optuna.create_study(directions=[minimize if mode == "min" else maximize for mode in modes], **options)
    return study, {axis: distribution(spec) for axis, spec in space.items()}


def importance(sweep: SweepDirectory) -> dict[str, float] | None:
    """The share of each axis in what made trials better or worse, the largest first: PED-ANOVA (Watanabe et al. 2023).

    None for a sweep that is no search, of too few trials, or without Optuna.
    """
    search = sweep.description().get("search")
    if not isinstance(search, dict):
        return None
    try:
        from optuna.importance import get_param_importances
        from optuna.trial import create_trial
    except ImportError:
        return None
    space, objectives = search["space"], search["objective"]
    jobs = ((known, told(sweep, known, objectives)) for known in sweep.known().values())
    whole = [each for each in trials(jobs, space) if each.values is not None and each.params.keys() == space.keys()]
    study, distributions = new_study(space, search["mode"])
    for each in whole:
        with suppress(ValueError):  # it lies outside of the space as it is now
            study.add_trial(create_trial(values=each.values, params=each.params, distributions=distributions))
    if len(study.trials) < FEWEST:
        return None
    return {axis: float(share) for axis, share in get_param_importances(study).items()}
