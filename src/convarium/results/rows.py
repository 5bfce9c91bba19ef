"""What became of the jobs of sweeps and of single runs: one table, from which every other is made. No torch here."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from convarium.config.accepts import shown
from convarium.config.identity import determines_result
from convarium.config.keys import leaves
from convarium.config.rules import directed
from convarium.config.study import read_study
from convarium.errors import ConfigError, RunError
from convarium.results.directory import Known, SweepDirectory
from convarium.results.intervals import Spread, spread, wilson
from convarium.run.directory import SUCCEEDED, RunDirectory
from convarium.wording import is_share

SEED, FOLD = "seed", "data.fold"
REPLICATES = (SEED, FOLD)
"""Axes that repeat an experiment: means are taken over them."""
FACTS = {"images_per_second": ("images/s", ",.0f"), "wall_seconds": ("seconds", ".1f"), "params": ("parameters", ",")}
"""Columns from result.json beside the metrics: how each is headed and shown on the screen."""
COSTS = ("macs", "epochs")  # further figures of result.json, for pages
SPLITS = ("val/", "test/")
NO_COLUMN = ("loss", "acc5")
"""Metrics of every run that get a column only if they are monitored; every other metric gets one."""
OF_THE_TEST = ("balanced_accuracy", "macro_f1")  # in every result.json; a column only if `metrics` asks for them


class Row(NamedTuple):
    """What became of one job, all of it as its result.json has it."""

    job: str
    swept: dict[str, Any]
    status: str
    error: str | None
    figures: dict[str, Any]  # metrics, FACTS and COSTS by name
    path: str
    images: dict[str, int] = {}  # noqa: RUF012  # split -> how many images it has
    source: str = ""  # the sweep that it is of, or "" of a single run
    same_as: str | None = None  # what the job has that is the same network by construction and whose run this is


class Group(NamedTuple):
    """The jobs that differ in their seeds and folds only."""

    swept: dict[str, Any]
    rows: list[Row]
    over: dict[str, dict[str, Spread]]
    """Axis -> metric -> its spread over that axis. With both, the spread over folds is that of each fold's mean over
    the seeds, and the other way round: the one never enters the other."""

    @property
    def good(self) -> list[Row]:
        """Those that ended well."""
        return [row for row in self.rows if row.status == "ok"]

    @property
    def same_as(self) -> str | None:
        """What the group has that is the same network by construction, and whose runs these are."""
        others = {row.same_as for row in self.rows}
        return others.pop() if len(others) == 1 else None

    @property
    def spreads(self) -> dict[str, Spread]:
        """Metric -> its spread over folds if there are any, else over seeds."""
        return self.over[list(self.over)[-1]]

    def values(self, metric: str, axis: str) -> dict[Any, float]:
        """Value of a replicate -> the metric, a mean over the other one."""
        found: dict[Any, list[float]] = {}
        for row in self.good:
            if row.figures.get(metric) is not None:
                found.setdefault(row.swept.get(axis), []).append(row.figures[metric])
        return {value: math.fsum(figures) / len(figures) for value, figures in found.items()}

    def grain(self, metric: str) -> float:
        """The smallest step of an accuracy, one image of its split; 0 of other metrics."""
        split, _, name = metric.removeprefix("best/").partition("/")
        images = [row.images[split] for row in self.rows if row.images.get(split)] if name.startswith("acc") else []
        return 1 / min(images) if images else 0.0

    def resolution(self, metric: str) -> tuple[float, float] | None:
        """Between what an accuracy may lie of which its finite split knows only the mean; None of other metrics."""
        split, _, name = metric.removeprefix("best/").partition("/")
        images = {row.swept.get(FOLD): row.images[split] for row in self.good if row.images.get(split)}
        if not name.startswith("acc") or not images or metric not in self.spreads:
            return None
        number = sum(images.values()) if split == "val" else min(images.values())  # each fold validates on its own
        return wilson(min(max(self.spreads[metric].mean, 0.0), 1.0), number)


@dataclass(frozen=True)
class Table:
    """Jobs of one or more sweeps, or runs: the best first, by the figure that chose their best weights."""

    sources: list[SweepDirectory | RunDirectory]
    axes: list[str]
    rows: list[Row]
    monitor: str
    mode: str
    claimed: Sequence[str] = ()
    """The metrics that the claims of a study are about."""
    other_monitors: Sequence[str] = ()
    """What chose the best weights of some of the runs, where it is not `monitor`."""

    @property
    def sign(self) -> float:
        """1 if more is better, -1 if less is."""
        return -1.0 if self.mode == "min" else 1.0

    def sign_of(self, metric: str) -> int:
        """1 if more of a metric is better, -1 if less is: of the monitored one and its kin as the sweep has it, of
        losses -1. An own metric of which less is better is taken for such where it is monitored."""
        measured = metric.rpartition("/")[2]
        if measured == self.monitor.rpartition("/")[2]:
            return int(self.sign)
        return -1 if measured.endswith("loss") else 1

    @cached_property
    def metrics(self) -> list[str]:
        """The monitored metric, top-1 accuracy, those of a study's claims, then every other metric of the val and test
        splits that a job has."""
        measured = self.monitor.rpartition("/")[2]
        first = (f"best/{self.monitor}", self.monitor, f"test/{measured}", "val/acc1", "test/acc1")
        metrics = {tuple(name.split("/", 1)) for row in self.rows for name in row.figures if name.startswith(SPLITS)}
        unasked = {*NO_COLUMN, *(name for name in OF_THE_TEST if ("val", name) not in metrics)}
        further = sorted((measure, split == "test", split) for split, measure in metrics if measure not in unasked)
        return list(dict.fromkeys((*first, *self.claimed, *(f"{split}/{measure}" for measure, _, split in further))))

    @property
    def chief(self) -> str:
        """The metric by which the rows are in order."""
        return self.metrics[0]

    @property
    def replicates(self) -> list[str]:
        """Those of its axes that repeat an experiment."""
        return [axis for axis in REPLICATES if axis in self.axes]

    @property
    def others(self) -> list[str]:
        """Its axes that do not."""
        return [axis for axis in self.axes if axis not in REPLICATES]

    @property
    def failures(self) -> list[Row]:
        """The jobs that have ended otherwise than well; of those that are the same the one that was run."""
        return [row for row in self.rows if row.status not in ("queued", "running", *SUCCEEDED) and not row.same_as]

    @cached_property
    def shares(self) -> set[str]:
        """The metrics that are shares of images, and lie between 0 and 1."""
        values = {
            name: [row.figures[name] for row in self.rows if row.figures.get(name) is not None] for name in self.metrics
        }
        return {name for name, found in values.items() if is_accuracy(name, found)}

    @cached_property
    def groups(self) -> list[Group]:
        """One for each combination of the axes that are no replicates, the best first."""
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            others = {axis: value for axis, value in row.swept.items() if axis not in REPLICATES}
            key = json.dumps(others if self.axes else row.path, sort_keys=True, default=str)
            groups.setdefault(key, []).append(row)
        found = [self._group(rows) for rows in groups.values()]
        chief = self.chief
        return sorted(found, key=lambda one: -self.sign * one.spreads[chief].mean if chief in one.spreads else math.inf)

    def _group(self, rows: list[Row]) -> Group:
        swept = {axis: value for axis, value in rows[0].swept.items() if axis not in REPLICATES}
        group, over = Group(swept, rows, {}), {}
        for axis in self.replicates or [SEED]:
            samples = {name: group.values(name, axis) for name in self.metrics}
            over[axis] = {
                name: spread([*values.values()], share=name in self.shares, overlap=overlap(axis, values))
                for name, values in samples.items()
                if values
            }
        return group._replace(over=over)


def is_accuracy(metric: str, found: Iterable[float]) -> bool:
    """Whether a metric with these values is a share of the images of a split."""
    return metric.removeprefix("best/").startswith(("train/", *SPLITS)) and is_share(metric, found)


def overlap(axis: str, values: Mapping[Any, float]) -> float:
    """How much the samples along a replicate share, for `error_of_mean`: of K folds 1 / (K - 1)."""
    folds = max([len(values), *(value + 1 for value in values if isinstance(value, int))])
    return 1 / (folds - 1) if axis == FOLD and folds > 1 else 0.0


def open_table(paths: Sequence[Path | str]) -> Table:
    """The table of sweep directories, of run directories, and of those right below any other folder.

    Several sweeps have an axis `sweep`; single runs have what differs between them for axes. Raises RunError for a
    path where there is neither.
    """
    sources = [source for path in paths for source in sources_of(Path(path))]
    sweeps = [source for source in sources if isinstance(source, SweepDirectory)]
    runs = [source for source in sources if isinstance(source, RunDirectory)]
    rows, axes, monitors, claimed = list[Row](), dict[str, None](), list[tuple[str, str]](), list[str]()
    named = len(sources) > 1 and bool(sweeps)
    for sweep in sweeps:
        description, alive = sweep.description(), sweep.is_locked()
        monitors.append((description.get("monitor") or "val/acc1", description.get("mode") or "max"))
        axes |= dict.fromkeys([*(["sweep"] if named else []), *description["axes"]])
        claimed += _claimed(description.get("study"))
        jobs = sweep.known()
        for known in jobs.values():
            same = _apart(jobs[known.same_as], known) if known.same_as else None
            row = _row(sweep, known, alive)._replace(source=sweep.name, same_as=same)
            rows.append(row._replace(swept={"sweep": sweep.name, **row.swept}) if named else row)
    configs = [run.config() for run in runs]
    differing = _differing(configs)
    axes |= dict.fromkeys(differing)
    for run, config in zip(runs, configs, strict=True):
        flat = _answers(config)
        monitors.append(_monitor(config))
        result = run.result()
        swept = {key: flat.get(key) for key in differing}
        status = result.get("status") or "queued"
        rows.append(_with_result(Row(run.path.name, swept, status, result.get("error"), {}, str(run.path)), result))
    monitor, mode = monitors[0]
    others = [name for name in dict.fromkeys(name for name, _ in monitors) if name != monitor]

    def place(row: Row) -> tuple[bool, float]:
        score = row.figures.get(f"best/{monitor}", row.figures.get(monitor)) if row.status == "ok" else None
        return row.status != "ok", math.inf if score is None else score if mode == "min" else -score

    return Table(sources, list(axes), sorted(rows, key=place), monitor, mode, claimed, others)


def _claimed(study: Any) -> list[str]:
    """The metrics of a study's claims; sweep.yaml may come from anybody."""
    try:
        return [claim.metric for claim in read_study(study).claims] if study else []
    except ConfigError:
        return []


def runs_of(paths: Sequence[Path | str]) -> list[RunDirectory]:
    """The runs in these folders: single ones, and the jobs of sweeps that have begun. Raises RunError as open_table."""
    found: dict[Path, RunDirectory] = {}
    for path in paths:
        for source in sources_of(Path(path)):
            jobs = [source.run(name) for name in source.known()] if isinstance(source, SweepDirectory) else [source]
            found |= {run.path: run for run in jobs if run.result_file.is_file()}
    return list(found.values())


def sources_of(path: Path) -> Iterator[SweepDirectory | RunDirectory]:
    """The sweep or run in a folder, or those below it that hold none themselves."""
    if (path / "sweep.yaml").is_file():
        yield SweepDirectory.open(path)
    elif (path / "config.yaml").is_file():
        yield RunDirectory.open(path)
    else:
        found = [file.parent for depth in ("*", "*/*") for file in sorted(path.glob(f"{depth}/sweep.yaml"))]
        found += [file.parent for depth in ("*", "*/*") for file in sorted(path.glob(f"{depth}/config.yaml"))]
        if not found:
            raise RunError(
                f"{path}: neither a sweep nor a run, and none below" if path.is_dir() else f"{path}: no such folder"
            )
        for folder in found:
            yield from sources_of(folder)


def _answers(config: dict[str, Any]) -> dict[str, Any]:
    """A config by its dotted keys, the answers of groups by the groups' names."""
    flat = leaves({key: value for key, value in config.items() if key not in ("choices", "parts", "name")})
    return {**flat, **{key: value for key, value in leaves(config.get("choices") or {}).items() if key}}


def _differing(configs: Sequence[dict[str, Any]]) -> list[str]:
    """The keys that determine a result and are not the same in all configs; not those below a group that differs."""
    flats = [_answers(config) for config in configs]
    keys = dict.fromkeys(key for flat in flats for key in flat if determines_result(key))
    found = [key for key in keys if len({json.dumps(flat.get(key), default=str) for flat in flats}) > 1]
    return [key for key in found if not any(key.startswith(f"{other}.") for other in found)]


def _monitor(config: dict[str, Any]) -> tuple[str, str]:
    watched = directed((config.get("callbacks") or {}).get("checkpoint") or {}, config, "callbacks.checkpoint")
    return watched.get("monitor") or "val/acc1", watched.get("mode") or "max"


def _apart(one: Known, other: Known) -> str:
    """What a job has and another one has not."""
    return " ".join(f"{key}={shown(value)}" for key, value in one.swept.items() if other.swept.get(key) != value)


def _row(sweep: SweepDirectory, known: Known, alive: bool) -> Row:
    """What became of a job; `alive`: somebody is working on the sweep."""
    run = sweep.run(known.folder)
    result = run.result()
    status, error = known.status, None
    if result.get("status") == "ok" or not _is_outdated(result, known, alive):
        status = result.get("status") or ("killed" if status == "running" and not alive else status)
        if status in SUCCEEDED and not result:
            status = "queued"  # its folder is gone
        error = result.get("error")
        if status == "killed" and not error:
            error = "ended with its controller"
    return _with_result(Row(known.name, known.swept, status, error, {}, str(run.path)), result)


def _with_result(row: Row, result: dict[str, Any]) -> Row:
    metrics = result.get("metrics")
    figures = {
        **(metrics if isinstance(metrics, dict) else {}),
        **{name: result.get(name) for name in (*FACTS, *COSTS)},
    }
    return row._replace(
        figures={name: _number(value) for name, value in figures.items()}, images=result.get("images") or {}
    )


def _number(value: Any) -> float | None:
    """A value if it is a finite number: result.json may come from anybody."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) else None


def _is_outdated(result: dict[str, Any], known: Known, alive: bool) -> bool:
    """Whether a job was queued or started again since it had this result."""
    if known.status == "running":
        return alive
    if known.status != "queued" or not result.get("heartbeat"):
        return known.status == "queued"
    return datetime.fromisoformat(result["heartbeat"]) < datetime.fromisoformat(known.time).replace(microsecond=0)
