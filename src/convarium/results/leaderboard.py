"""The table at the end of a sweep: a row for each job, the best first, and the spread over seeds. No torch here."""

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from convarium.config.accepts import shown as written
from convarium.files import write_atomically
from convarium.results.directory import Known, SweepDirectory
from convarium.results.intervals import Spread, spread
from convarium.run.directory import SUCCEEDED
from convarium.wording import is_share, printable

SEED = "seed"
FACTS = {"images_per_second": ("images/s", ",.0f"), "wall_seconds": ("seconds", ".1f"), "params": ("parameters", ",")}
"""Columns from result.json beside the metrics: how each is headed and shown on the screen."""
SPLITS = ("val/", "test/")
NO_COLUMN = ("loss", "acc5")
"""Metrics of every run that get a column only if they are monitored; every other metric gets one."""


class Row(NamedTuple):
    """What became of one job, all of it as its result.json has it."""

    job: str
    swept: dict[str, Any]
    status: str
    error: str | None
    figures: dict[str, Any]  # metrics and FACTS by name
    path: str


class Group(NamedTuple):
    """The jobs that differ in their seeds only."""

    swept: dict[str, Any]
    good: int
    jobs: int
    spreads: dict[str, Spread]


class Leaderboard:
    """The jobs of a sweep in the order of the figure that chose their best weights."""

    def __init__(self, sweep: SweepDirectory) -> None:
        description = sweep.description()
        self.sweep = sweep
        self.axes: list[str] = description["axes"]
        self.others = [axis for axis in self.axes if axis != SEED]
        self.monitor: str = description.get("monitor") or "val/acc1"
        self.sign = -1.0 if description.get("mode") == "min" else 1.0
        alive = sweep.is_locked()
        rows = [_row(sweep, known, alive) for known in sweep.known().values()]
        self.metrics = self._columns(rows)
        self.rows = sorted(rows, key=self._place)

    def _columns(self, rows: Sequence[Row]) -> list[str]:
        """The monitored metric, top-1 accuracy, then every other metric of the val and test splits that a job has."""
        measured = self.monitor.rpartition("/")[2]
        first = (f"best/{self.monitor}", self.monitor, f"test/{measured}", "val/acc1", "test/acc1")
        metrics = {tuple(name.split("/", 1)) for row in rows for name in row.figures if name.startswith(SPLITS)}
        further = sorted((measure, split == "test", split) for split, measure in metrics if measure not in NO_COLUMN)
        return list(dict.fromkeys((*first, *(f"{split}/{measure}" for measure, _, split in further))))

    def _place(self, row: Row) -> tuple[bool, float]:
        is_good = row.status == "ok"
        score = row.figures.get(self.metrics[0], row.figures.get(self.monitor)) if is_good else None
        return not is_good, math.inf if score is None else -self.sign * score

    @property
    def failures(self) -> list[Row]:
        """The jobs that have ended otherwise than well."""
        return [row for row in self.rows if row.status not in ("queued", "running", *SUCCEEDED)]

    def over_seeds(self) -> list[Group]:
        """One group for each combination of the other axes, the best first; none if seed is no axis."""
        if SEED not in self.axes:
            return []
        groups: dict[str, list[Row]] = {}
        for row in self.rows:
            others = {axis: value for axis, value in row.swept.items() if axis != SEED}
            groups.setdefault(json.dumps(others, sort_keys=True), []).append(row)
        result, chief = [], self.metrics[0]
        for key, rows in groups.items():
            good = [row.figures for row in rows if row.status == "ok"]
            samples = {name: [each[name] for each in good if each.get(name) is not None] for name in self.metrics}
            spreads = {name: spread(sample) for name, sample in samples.items() if sample}
            result.append(Group(json.loads(key), len(good), len(rows), spreads))
        result.sort(key=lambda group: -self.sign * group.spreads[chief].mean if chief in group.spreads else math.inf)
        return result

    def write(self) -> None:
        """Write leaderboard.csv, leaderboard.md and, if seed is an axis, seeds.csv."""
        write_atomically(self.sweep.leaderboard_csv, self.as_csv())
        write_atomically(self.sweep.leaderboard_md, self.as_markdown())
        if groups := self.over_seeds():
            write_atomically(self.sweep.seeds_csv, self.seeds_as_csv(groups))

    def as_csv(self) -> str:
        """A row for each job; numbers to the last digit of its result.json, nothing where that has nothing."""
        figures = (*self.metrics, *FACTS)
        table: list[list[Any]] = [[*self.axes, "status", *figures, "path", "error"]]
        for row in self.rows:
            cells = [*(written(row.swept.get(axis)) for axis in self.axes), row.status]
            table.append([*cells, *(row.figures.get(name) for name in figures), row.path, row.error])
        return _csv(table)

    def seeds_as_csv(self, groups: Sequence[Group]) -> str:
        """A row for each group of seeds: mean, standard deviation and the ends of the 95 % confidence interval."""
        names = self._measured(groups)
        parts = [f"{name} {part}" for name in names for part in ("mean", "std", "low", "high")]
        table: list[list[Any]] = [[*self.others, "ok", "jobs", *parts]]
        ranges = {name: self._range(name) for name in names}
        for group in groups:
            cells = [*(written(group.swept.get(axis)) for axis in self.others), group.good, group.jobs]
            table.append([*cells, *(c for name in names for c in _cells(group.spreads.get(name), *ranges[name]))])
        return _csv(table)

    def _range(self, name: str) -> tuple[float, float]:
        """What a metric can be at all: a share lies between 0 and 1."""
        values = [row.figures[name] for row in self.rows if row.figures.get(name) is not None]
        return (0.0, 1.0) if is_share(name, values) else (-math.inf, math.inf)

    def _measured(self, groups: Sequence[Group]) -> list[str]:
        """The metrics that a group has."""
        return [name for name in self.metrics if any(name in group.spreads for group in groups)]

    def as_markdown(self) -> str:
        """Both tables and the failures, for a person."""
        parts = [f"# {self.sweep.name}", ""]
        if groups := self.over_seeds():
            head, rows = self._seeds_table(groups)
            parts += ["Mean over seeds, ± half of the 95 % confidence interval", "", *_markdown(head, rows), ""]
        head, rows = self.table()
        links = [[*cells, f"[{row.job}](jobs/{row.job})"] for cells, row in zip(rows, self.rows, strict=True)]
        parts += _markdown([*head, "run"], links)
        if self.failures:
            parts += ["", "Not ended well", ""]
            parts += [f"- {row.job}: {row.status}{f': {row.error}' if row.error else ''}" for row in self.failures]
        return "\n".join(parts) + "\n"

    def as_text(self, most: int = 40) -> str:
        """Both tables, for a terminal, at most so many rows of each."""
        parts = []
        groups = self.over_seeds()
        if any(group.good for group in groups):
            parts += ["", "mean over seeds, ± half of the 95 % confidence interval", ""]
            parts += _text(*self._seeds_table(groups), most)
        parts += ["", *_text(*self.table(), most)]
        return printable("\n".join(parts))

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Head and rows, rounded; a metric that no job has is left out."""
        metrics = [name for name in self.metrics if any(row.figures.get(name) is not None for row in self.rows)]
        head = [*_short(self.axes), "status", *metrics, *(title for title, _ in FACTS.values())]
        forms = {**dict.fromkeys(metrics, ".4f"), **{name: form for name, (_, form) in FACTS.items()}}
        rows = []
        for row in self.rows:
            cells = [written(row.swept.get(axis)) for axis in self.axes] + [row.status]
            values = {name: row.figures.get(name) for name in forms}
            rows.append(cells + ["" if value is None else format(value, forms[name]) for name, value in values.items()])
        return head, rows

    def _seeds_table(self, groups: Sequence[Group]) -> tuple[list[str], list[list[str]]]:
        metrics, rows = self._measured(groups), []
        for group in groups:
            number = f"{group.good}" if group.good == group.jobs else f"{group.good} of {group.jobs}"
            spreads = [str(group.spreads.get(name, "")) for name in metrics]
            rows.append([*(written(group.swept.get(axis)) for axis in self.others), number, *spreads])
        return [*_short(self.others), "seeds", *metrics], rows


def _row(sweep: SweepDirectory, known: Known, alive: bool) -> Row:
    """What became of a job; `alive`: somebody is working on the sweep."""
    run = sweep.run(known.name)
    result = run.result()
    status, error = known.status, None
    if result.get("status") == "ok" or not _is_outdated(result, known, alive):
        status = result.get("status") or ("killed" if status == "running" and not alive else status)
        if status in SUCCEEDED and not result:
            status = "queued"  # its folder is gone
        error = result.get("error")
        if status == "killed" and not error:
            error = "ended with its controller"
    figures = {**(result.get("metrics") or {}), **{name: result.get(name) for name in FACTS}}
    return Row(known.name, known.swept, status, error, figures, str(run.path))


def _is_outdated(result: dict[str, Any], known: Known, alive: bool) -> bool:
    """Whether a job was queued or started again since it had this result."""
    if known.status == "running":
        return alive
    if known.status != "queued" or not result.get("heartbeat"):
        return known.status == "queued"
    return datetime.fromisoformat(result["heartbeat"]) < datetime.fromisoformat(known.time).replace(microsecond=0)


def _cells(figure: Spread | None, least: float, most: float) -> list[float | None]:
    if figure is None or not math.isfinite(figure.half_width):
        return [figure and figure.mean, None, None, None]
    low, high = figure.mean - figure.half_width, figure.mean + figure.half_width
    return [figure.mean, figure.deviation, max(low, least), min(high, most)]


def _short(axes: Sequence[str]) -> list[str]:
    """The last words of keys, unless two of them would be the same."""
    last = [axis.rpartition(".")[2] for axis in axes]
    return [word if last.count(word) == 1 else axis for word, axis in zip(last, axes, strict=True)]


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], f"|{'---|' * len(head)}", *lines[1:]]


def _text(head: Sequence[str], rows: Sequence[Sequence[str]], most: int) -> list[str]:
    kept = rows[:most]
    widths = [max(map(len, column)) for column in zip(head, *kept, strict=True)]
    lines = [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *kept)
    ]
    return [*lines, f"... and {len(rows) - most} more"] if len(rows) > most else lines
