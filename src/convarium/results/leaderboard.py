"""The table at the end of a sweep: a row for each job, the best first, and the means over seeds and over folds.

No torch here.
"""

import csv
import io
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from convarium.config.accepts import shown as written
from convarium.files import write_atomically
from convarium.results.directory import SweepDirectory
from convarium.results.intervals import Spread
from convarium.results.rows import FACTS, FOLD, SEED, Group, Row, open_table
from convarium.wording import printable

CALLED = {SEED: "seeds", FOLD: "folds"}


class Leaderboard:
    """The table of a sweep as text and as files."""

    def __init__(self, sweep: SweepDirectory) -> None:
        self.sweep = sweep
        self.table = open_table([sweep.path])
        self.files: dict[str, Path] = {SEED: sweep.seeds_csv, FOLD: sweep.folds_csv}

    @property
    def rows(self) -> list[Row]:
        """The jobs, the best first."""
        return self.table.rows

    @property
    def failures(self) -> list[Row]:
        """The jobs that have ended otherwise than well."""
        return self.table.failures

    def write(self) -> None:
        """Write leaderboard.csv, leaderboard.md and, if seed or data.fold is an axis, seeds.csv and folds.csv."""
        write_atomically(self.sweep.leaderboard_csv, self.as_csv())
        write_atomically(self.sweep.leaderboard_md, self.as_markdown())
        for axis in self.table.replicates if self.rows else ():
            write_atomically(self.files[axis], self.means_as_csv(axis))

    def as_csv(self) -> str:
        """A row for each job; numbers to the last digit of its result.json, nothing where that has nothing."""
        axes, figures = self.table.axes, (*self.table.metrics, *FACTS)
        lines: list[list[Any]] = [[*axes, "status", *figures, "path", "error", "same_as"]]
        for row in self.rows:
            cells = [*(written(row.swept.get(axis)) for axis in axes), row.status]
            lines.append([*cells, *(row.figures.get(name) for name in figures), row.path, row.error, row.same_as])
        return csv_text(lines)

    def means_as_csv(self, axis: str) -> str:
        """A row for each group of seeds or folds: mean, standard deviation and the ends of the 95 % interval."""
        names = self._measured(axis)
        parts = [f"{name} {part}" for name in names for part in ("mean", "std", "low", "high")]
        lines: list[list[Any]] = [[*self.table.others, "ok", "jobs", *parts, "same_as"]]
        for group in self.table.groups:
            cells = [*(written(group.swept.get(one)) for one in self.table.others), len(group.good), len(group.rows)]
            figures = (cell for name in names for cell in _cells(group.over[axis].get(name)))
            lines.append([*cells, *figures, group.same_as])
        return csv_text(lines)

    def _measured(self, axis: str) -> list[str]:
        """The metrics that a group has."""
        return [name for name in self.table.metrics if any(name in group.over[axis] for group in self.table.groups)]

    def as_markdown(self) -> str:
        """All tables and the failures, for a person."""
        parts = [f"# {self.sweep.name}", ""]
        for axis in self.table.replicates if self.rows else ():
            parts += [f"Mean over {CALLED[axis]}, and its 95 % confidence interval", ""]
            parts += [*markdown_lines(*self._means(axis)), ""]
        head, rows = self.cells()
        links = [
            [*cells, f"[{row.job}](jobs/{Path(row.path).name})"] for cells, row in zip(rows, self.rows, strict=True)
        ]
        parts += markdown_lines([*head, "run"], links)
        if self.failures:
            parts += ["", "Not ended well", ""]
            parts += [f"- {row.job}: {row.status}{f': {row.error}' if row.error else ''}" for row in self.failures]
        return "\n".join(parts) + "\n"

    def as_text(self, most: int = 40, width: int | None = None) -> str:
        """All tables, for a terminal, at most so many rows of each. width: the characters of a line; the last columns
        that have no room are left out, and named."""
        parts = []
        for axis in self.table.replicates if any(group.good for group in self.table.groups) else ():
            parts += ["", f"mean over {CALLED[axis]}, and its 95 % confidence interval", ""]
            needed = len(self.table.others) + 2 + any(group.same_as for group in self.table.groups)
            parts += _text(*self._means(axis), most, width, needed, self.files[axis].name)
        needed = len(self.table.axes) + 2 + any(row.same_as for row in self.rows)
        parts += ["", *_text(*self.cells(), most, width, needed, self.sweep.leaderboard_csv.name)]
        return printable("\n".join(parts))

    def on_screen(self) -> str:
        """All tables, as wide as the terminal, if stdout is one."""
        return self.as_text(width=shutil.get_terminal_size().columns if sys.stdout.isatty() else None)

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Head and rows, rounded; a metric that no job has is left out."""
        metrics = [name for name in self.table.metrics if any(row.figures.get(name) is not None for row in self.rows)]
        same = ["same as"] if any(row.same_as for row in self.rows) else []
        head = [*short(self.table.axes), "status", *same, *metrics, *(title for title, _ in FACTS.values())]
        forms = {**dict.fromkeys(metrics, ".4f"), **{name: form for name, (_, form) in FACTS.items()}}
        rows = []
        for row in self.rows:
            cells = [*(written(row.swept.get(axis)) for axis in self.table.axes), row.status]
            cells += [row.same_as or ""] if same else []
            values = {name: row.figures.get(name) for name in forms}
            rows.append(cells + ["" if value is None else format(value, forms[name]) for name, value in values.items()])
        return head, rows

    def _means(self, axis: str) -> tuple[list[str], list[list[str]]]:
        metrics, others = self._measured(axis), self.table.others
        same = ["same as"] if any(group.same_as for group in self.table.groups) else []
        rows = [
            [
                *(written(group.swept.get(other)) for other in others),
                *([group.same_as or ""] if same else []),
                _number(group, axis),
                *(str(group.over[axis].get(name, "")) for name in metrics),
            ]
            for group in self.table.groups
        ]
        return [*short(others), *same, CALLED[axis], *metrics], rows


def _number(group: Group, axis: str) -> str:
    """How many seeds or folds count, "2 of 3" where a job of another one failed."""
    good, all_of_them = ({row.swept.get(axis) for row in rows} for rows in (group.good, group.rows))
    return f"{len(good)}" if len(good) == len(all_of_them) else f"{len(good)} of {len(all_of_them)}"


def _cells(figure: Spread | None) -> list[float | None]:
    if figure is None or figure.number == 1:
        return [figure and figure.mean, None, None, None]
    return [figure.mean, figure.deviation, figure.low, figure.high]


def short(axes: Sequence[str]) -> list[str]:
    """The last words of keys, unless two of them would be the same."""
    last = [axis.rpartition(".")[2] for axis in axes]
    return [word if last.count(word) == 1 else axis for word, axis in zip(last, axes, strict=True)]


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def markdown_lines(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    cells = [[cell.replace("|", "\\|") for cell in row] for row in (head, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], f"|{'---|' * len(head)}", *lines[1:]]


def _text(
    head: Sequence[str], rows: Sequence[Sequence[str]], most: int, width: int | None, needed: int, file: str
) -> list[str]:
    """The first rows, in as many columns as fit, the needed ones whether they fit or not; `file` has the others."""
    kept = [head, *rows[:most]]
    widths = [max(map(len, column)) for column in zip(*kept, strict=True)]
    columns = len(head)
    while width and columns > needed and sum(widths[:columns]) + 2 * (columns - 1) > width:
        columns -= 1
    lines = [
        "  ".join(f"{cell:{size}}" for cell, size in zip(row[:columns], widths, strict=False)).rstrip() for row in kept
    ]
    lines += [f"... and {len(rows) - most} more"] if len(rows) > most else []
    return [*lines, *([f"{file} has more: {', '.join(head[columns:])}"] if columns < len(head) else [])]
