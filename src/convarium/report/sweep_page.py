"""The page of a sweep, of several, or of loose runs: what their table says, drawn. No torch here."""

import json
import math
import os
import shlex
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from convarium.config.accepts import shown
from convarium.config.study import read_study
from convarium.errors import ConfigError
from convarium.files import read_regular, write_atomically
from convarium.page import page
from convarium.progress_bar import doing
from convarium.report.assets import read, render, scripts
from convarium.report.curves import Curve, curves_data, read_curves
from convarium.report.findings import UNSTARTED, answer
from convarium.results.directory import SweepDirectory
from convarium.results.intervals import student_t
from convarium.results.leaderboard import short
from convarium.results.rows import COSTS, FACTS, REPLICATES, Group, Row, Table, open_table
from convarium.results.search import importance
from convarium.results.study import answer as study_answer
from convarium.run.directory import RunDirectory
from convarium.wording import counted, printable, typed_line

SCRIPTS = ("draw", "table", "curves", "effects", "parallel", "scatter", "start")
PAGE = "report.html"
LOGS, LOG_LINES, LOG_BYTES = 20, 15, 8_000  # failures with their last lines; of each so many
SPLITS = {
    "train": "training images, over the last epoch as they were learned",
    "val": "validation images, after the last epoch",
    "best/val": "validation images, of the epoch whose weights are kept, its best",
    "test": "test images, by the weights that were best in validation",
}
MEANINGS = {
    "images_per_second": ("training images per second", 0, 1),
    "wall_seconds": ("seconds from start to end, all attempts together", 1, -1),
    "params": ("parameters of the network", 0, -1),
    "macs": ("multiply-adds of the network for an image", 0, -1),
    "epochs": ("epochs that were trained", 0, 0),
}
"""What the columns beside the metrics are, their decimals, and which way is better: 1 up, -1 down."""


def write_sweep_page(paths: Sequence[Path | str], out: Path | None = None) -> Path:
    """Write the page of sweeps, runs, or folders of them; by default report.html in the folder, of several in the
    current one. Its path.

    Raises RunError where there is neither, OSError if it cannot be written.
    """
    out = Path(out or (Path(paths[0]) if len(paths) == 1 else Path.cwd()) / PAGE)
    text = sweep_html(sweep_data(open_table(paths), out.parent))
    write_atomically(out, text.encode("utf-8", "replace").decode())  # a path may be no text
    return out


def leave_sweep_page(sweep: SweepDirectory) -> Path | None:
    """Write the page of a sweep that has ended; its path. That it cannot be written is a line on stderr, whatever the
    reason: no page is the failure of a sweep."""
    try:
        with doing("write the page of the sweep"):
            return write_sweep_page([sweep.path])
    except Exception as error:
        with suppress(OSError):
            print(f"{sweep.path / PAGE}: not written ({typed_line(error)})", file=sys.stderr, flush=True)
        return None


def _study(table: Table, sweeps: Sequence[SweepDirectory]) -> dict[str, str] | None:
    """What the one study asks, what its source answers, and what the numbers say to its claims; None of other sweeps,
    or where sweep.yaml says no study."""
    if len(sweeps) != 1:
        return None
    try:
        study = read_study(sweeps[0].description().get("study"))
    except ConfigError:  # a file may come from somebody else
        return None
    sentence = study_answer(table, study).sentence
    return {"question": study.question, "expected": study.expected, "source": study.source, "answer": sentence}


def sweep_html(data: dict[str, Any], *, live: dict[str, Any] | None = None) -> str:
    """The page that draws `sweep_data`; live: what changes while jobs run, of a page that asks its server for more."""
    body = render("sweep", title=data["title"], answer=" ".join(data["answer"]))
    if live is None:
        return page(data["title"], body, style=read("styles/report.css"), scripts=scripts(SCRIPTS), data={"data": data})
    style, names = read("styles/report.css") + read("styles/live.css"), (*SCRIPTS, "live")
    return page(data["title"], body, style=style, scripts=scripts(names), data={"data": data, "live": live}, live=True)


def sweep_data(
    table: Table, folder: Path | None = None, *, curves_of: Callable[[Path], dict[str, Curve]] = read_curves
) -> dict[str, Any]:
    """All that the scripts draw, ready for JSON; links to the pages of runs are relative to `folder`, by default the
    first sweep."""
    folder = Path(os.path.abspath(folder or table.sources[0].path))
    sweeps = [source for source in table.sources if isinstance(source, SweepDirectory)]
    results = [RunDirectory(Path(path)).written_result() for path in dict.fromkeys(row.path for row in table.rows)]
    columns = _columns(table)
    return {
        "title": _title(table),
        "study": _study(table, sweeps),
        "answer": answer(table),
        "counts": _counts(table.rows),
        "axes": (axes := _axes(table)),
        "columns": columns,
        "runs": _runs(table, axes, columns, folder),
        "groups": _groups(table, columns),
        "curves": curves_data(
            [curves_of(RunDirectory(Path(row.path)).metrics_file) for row in table.rows],
            (table.monitor, "val/loss", "train/loss"),
        ),
        "t": [student_t(freedom) for freedom in range(1, 60)],
        "importance": _importance(sweeps),
        **_failures(table),
        "origin": _origin(results),
        "commands": _commands(table),
    }


def _title(table: Table) -> str:
    if len(table.sources) == 1:
        return table.sources[0].path.name
    sweeps = sum(isinstance(source, SweepDirectory) for source in table.sources)
    parts = ((sweeps, "sweep"), (len(table.sources) - sweeps, "single run"))
    return " and ".join(counted(number, noun) for number, noun in parts if number)


def _counts(rows: Sequence[Row]) -> dict[str, int]:
    counts = Counter(row.status for row in rows)
    order = ("ok", "running", "queued")
    return {status: counts[status] for status in (*order, *sorted(counts.keys() - {*order})) if counts[status]}


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _axes(table: Table) -> list[dict[str, Any]]:
    """Each axis with its values: numbers ascending and null after them, others as they were asked for."""
    sweeps = [source for source in table.sources if isinstance(source, SweepDirectory)]
    asked = {
        (sweep.name, job): (number, place)
        for number, sweep in enumerate(sweeps)
        for place, job in enumerate(sweep.known())
    }
    rows = sorted(table.rows, key=lambda row: asked.get((row.source, row.job), (len(sweeps), 0)))
    axes = []
    for axis, name in zip(table.axes, short(table.axes), strict=True):
        values = {_key(row.swept[axis]): row.swept[axis] for row in rows if axis in row.swept}
        numbers = {key: value for key, value in values.items() if value is not None}
        is_numbers = bool(numbers) and all(type(value) in (int, float) for value in numbers.values())
        order = list(values)
        if is_numbers:
            order = sorted(numbers, key=numbers.__getitem__) + [key for key in values if key not in numbers]
        axes.append(
            {
                "key": axis,
                "name": name,
                "replicate": axis in REPLICATES,
                "values": [shown(values[key]) for key in order],
                "numbers": [values[key] for key in order] if is_numbers else None,
                "keys": order,
            }
        )
    return axes


def _columns(table: Table) -> list[dict[str, Any]]:
    """The figures that a run has: what each is, how many decimals it has, and which way is better."""
    metrics = [name for name in table.metrics if any(row.figures.get(name) is not None for row in table.rows)]
    columns = []
    for name in metrics:
        split, _, measure = name.rpartition("/")
        better = table.sign_of(name)
        if split in SPLITS:
            meaning = f"{measure} of the {SPLITS[split]}"
        else:  # that a callback has measured
            meaning, better = f"{name.replace('_', ' ')}, the last in the training", 0
        columns.append({"key": name, "name": name, "meaning": meaning, "decimals": 4, "sign": better})
    for name in (*FACTS, *COSTS):
        if any(row.figures.get(name) is not None for row in table.rows):
            meaning, decimals, better = MEANINGS[name]
            title = FACTS[name][0] if name in FACTS else name
            columns.append({"key": name, "name": title, "meaning": meaning, "decimals": decimals, "sign": better})
    return columns


def _runs(table: Table, axes: list[dict[str, Any]], columns: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    """The runs column by column, in the order of the table; `values` are places in the values of their axis, `same` has
    the place of the run that is the same network, and what that has."""
    rows, values = table.rows, []
    for axis in axes:
        places = {key: place for place, key in enumerate(axis.pop("keys"))}
        values.append([places[_key(row.swept[axis["key"]])] if axis["key"] in row.swept else None for row in rows])
    pages = [Path(row.path) / PAGE for row in rows]
    first = {row.path: place for place, row in enumerate(rows) if not row.same_as}
    return {
        "names": [row.job for row in rows],
        "status": [row.status for row in rows],
        "errors": {place: printable(row.error)[:500] for place, row in enumerate(rows) if row.error},
        "links": [quote(os.path.relpath(path, folder)) if path.is_file() else None for path in pages],
        "values": values,
        "figures": [[row.figures.get(column["key"]) for row in rows] for column in columns],
        "same": {place: [first[row.path], row.same_as] for place, row in enumerate(rows) if row.same_as},
    }


def _groups(table: Table, columns: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    """The settings, the best first: their runs, and of each column the mean with the ends of its interval. None if
    nothing is repeated."""
    if all(len(group.rows) == 1 for group in table.groups):
        return None
    places = {id(row): place for place, row in enumerate(table.rows)}
    return [
        {
            "runs": [places[id(row)] for row in group.rows],
            "figures": [_mean(group, column["key"]) for column in columns],
        }
        for group in table.groups
    ]


def _mean(group: Group, name: str) -> list[float | None] | None:
    """The mean of a figure and its interval, None at its ends of one value, and for what is no metric."""
    if name in group.spreads:
        figure = group.spreads[name]
        return [figure.mean, *((figure.low, figure.high) if figure.number > 1 else (None, None))]
    found = [value for row in group.good if (value := row.figures.get(name)) is not None]
    return [math.fsum(found) / len(found), None, None] if found else None


def _failures(table: Table) -> dict[str, Any]:
    """What did not end well, the first of them with the last lines of their logs."""
    rows = [row for row in table.failures if row.status not in UNSTARTED]
    names = dict(zip(table.axes, short(table.axes), strict=True))
    return {
        "failures": [
            {
                "name": row.job,
                "label": " ".join(f"{names[axis]}={shown(value)}" for axis, value in row.swept.items()),
                "status": row.status,
                "error": printable(row.error)[:500] if row.error else None,
                "log": _last_lines(RunDirectory(Path(row.path)).log_file),
            }
            for row in rows[:LOGS]
        ],
        "more_failures": max(0, len(rows) - LOGS),
    }


def _last_lines(log: Path) -> str:
    try:
        text = read_regular(log)[-LOG_BYTES:].decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(printable(line)[:300] for line in text.splitlines()[-LOG_LINES:])


def _origin(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Versions and hardware, each value with its number of runs; what differs comes first."""
    facts: dict[str, Counter[str]] = {}
    for result in results:
        versions = result.get("versions")
        told = {**(versions if isinstance(versions, dict) else {}), "commit": result.get("git")}
        for name, value in {**told, "device": result.get("device"), "host": result.get("host")}.items():
            if value:
                facts.setdefault(name, Counter())[str(value)] += 1
    found = [{"name": name, "values": [[*pair] for pair in values.most_common()]} for name, values in facts.items()]
    return sorted(found, key=lambda fact: len(fact["values"]) == 1)


def _importance(sweeps: Sequence[SweepDirectory]) -> dict[str, float] | None:
    """The share of each parameter of a search in its results; None where it cannot be said."""
    if len(sweeps) != 1:
        return None
    with suppress(Exception):  # Optuna has its own conditions, and sweep.yaml may be somebody else's
        return importance(sweeps[0])
    return None


def _commands(table: Table) -> list[str]:
    sweeps = [source.description() for source in table.sources if isinstance(source, SweepDirectory)]
    words = [description.get("command") or [] for description in sweeps]
    return [shlex.join(["python", "train.py", *map(str, command)]) for command in words if command]
