"""The jobs at work as a table that stays at the foot of a terminal; what is printed meanwhile scrolls above it.

`_shape` and `_live_render` are private names of rich. Only a terminal needs this module, whose imports are slow.
"""

import math
import re
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.control import Control
from rich.live import Live
from rich.live_render import LiveRender
from rich.segment import Segment
from rich.text import Text

from convarium.progress_bar import Bar
from convarium.results.outlook import Standing, clock
from convarium.sweep.outlook import Shown
from convarium.wording import counted, printable

NARROWEST, WIDEST = 6, 24  # characters of a bar
LABEL = 12  # characters of a job's name; a column goes to make room for them
SPACE = "  "
LONG_KEY = re.compile(r"(?<!\S)[\w@/+.]*\.(?=\w+=)")  # what `optimizer.lr=0.1` begins with


class Foot(LiveRender):
    """The table on the screen. A terminal that became narrower has broken its lines, and these are erased, too."""

    def __init__(self, console: Console) -> None:
        super().__init__(Group(), vertical_overflow="crop")
        self._console = console
        self._lengths: list[int] = []  # characters of the lines that are drawn

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        segments = [each for each in super().__rich_console__(console, options) if isinstance(each, Segment)]
        self._lengths = [Segment.get_line_length(line) for line in Segment.split_lines(segments)]
        yield from segments

    def position_cursor(self) -> Control:
        self._fit()
        return super().position_cursor()

    def restore_cursor(self) -> Control:
        self._fit()
        return super().restore_cursor()

    def _fit(self) -> None:
        if self._shape is not None and self._lengths:
            width = max(1, self._console.width)
            self._shape = width, sum(max(1, math.ceil(length / width)) for length in self._lengths)


class LiveTable:
    """A table on stdout, drawn anew by each `show`."""

    def __init__(self) -> None:
        self._console = Console()
        self._bar = "=-" if self._console.options.ascii_only else "━─"
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live._live_render = Foot(self._console)
        Bar.drawn += 1
        self._live.start()

    def show(self, now: Shown) -> None:
        """Draw it anew, with as many jobs as fit."""
        width, height = self._console.size
        self._live.update(Group(*lines(now, width, height, self._bar)), refresh=True)

    def close(self) -> None:
        """Erase it, and give the terminal back."""
        try:
            self._live.stop()
        finally:
            Bar.drawn -= 1


def lines(now: Shown, width: int, height: int, bar: str = "━─") -> list[Text]:
    """A row for each running job, as many as leave a line for the whole and one for the cursor. bar: its characters,
    for what is done and for the rest."""
    width, room = width - 1, height - 3  # a full last column breaks lines on some terminals
    jobs = now.running if len(now.running) <= room else now.running[: max(0, room - 1)]
    found = _table(jobs, width, bar) if jobs else []
    if len(jobs) < len(now.running) and room > 0:
        found.append(Text(f"... and {len(now.running) - len(jobs):,} more", "dim"))
    return [_cut(line, width) for line in [*found, _whole(now, width, bar)]]


def _table(jobs: Sequence[Standing], width: int, bar: str) -> list[Text]:
    monitor = next((job.monitor for job in jobs if job.score is not None), "")
    scores = [monitor, *("" if job.score is None else f"{job.score:.4f}" for job in jobs)]
    columns = [["epoch", *(job.where for job in jobs)], scores, ["to go", *(clock(job.left) for job in jobs)]]
    columns = [column for column in columns if any(column[1:])]
    labels = ["job", *(LONG_KEY.sub("", printable(job.job)) for job in jobs)]
    longest = max(map(cell_len, labels))

    def taken() -> int:
        return sum(max(map(cell_len, column)) + len(SPACE) for column in columns)

    while columns and width - taken() < min(longest, LABEL):
        columns.pop(0 if len(columns) > 1 else -1)
    free = width - taken() - len(SPACE)
    bars = min(WIDEST, max(NARROWEST, free - longest))
    if free - bars < min(longest, LABEL):
        bars, free = 0, free + len(SPACE)
    label = min(longest, free - bars)
    rows = []
    for place, name in enumerate(labels):
        row = Text(_fitted(name, label), "bold" if place == 0 else "")
        if bars:
            row.append(SPACE).append(_bar(jobs[place - 1].share, bars, bar) if place else Text(" " * bars))
        for column in columns:
            row.append(f"{SPACE}{column[place]:>{max(map(cell_len, column))}}")
        rows.append(row)
    return rows


def _whole(now: Shown, width: int, bar: str) -> Text:
    """The line of the whole sweep."""
    before = f"[{now.done}/{now.total}]"
    if now.is_stopping:
        parts = [f"{counted(len(now.running), 'job')} at work will save and end"]
    else:  # what is said first is left out last
        parts = [f"{len(now.running)} running", now.to_go, f"{now.failed:,} failed" if now.failed else ""]
        parts += [f"{now.waiting:,} waiting" if now.waiting else ""]
    words = ""
    for part in filter(None, parts):
        if not words or len(before) + len(words) + len(part) + 2 * len(SPACE) <= width:
            words += SPACE + part
    bars = min(WIDEST, width - len(before) - len(words) - len(SPACE))
    line = Text(before)
    if bars >= NARROWEST:
        line.append(SPACE).append(_bar(now.done / max(1, now.total), bars, bar))
    return line.append(words)


def _bar(share: float, width: int, bar: str) -> Text:
    full = round(min(1.0, share) * width)
    return Text.assemble((bar[0] * full, "green"), (bar[1] * (width - full), "bright_black"))


def _fitted(text: str, width: int) -> str:
    """A text in exactly so many characters of the screen."""
    if cell_len(text) > width:
        return set_cell_size(text, max(0, width - 3)) + "..."[:width]
    return set_cell_size(text, width)


def _cut(line: Text, width: int) -> Text:
    line.truncate(max(1, width))
    line.no_wrap, line.overflow = True, "crop"
    return line
