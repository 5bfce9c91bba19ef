"""How far long work is, on stderr: a bar on a terminal, elsewhere a line now and then."""

import os
import sys
import time
from contextlib import suppress
from datetime import timedelta
from typing import Self, TextIO

from convarium.wording import file_size

SECONDS = 10.0
"""Between two lines where there is no terminal."""


class Progress:
    """How much is done, of how much, how fast, and the time to go; of one task after the other."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._bar: Bar | None = None
        self._doing = ""
        self._unit = ""
        self._total = 0
        self._calls = 0
        self.done = 0
        """Of the task that was begun last."""
        self._began = self._shown = time.monotonic()

    def __enter__(self) -> Self:
        self._bar = open_bar(sys.stderr, transient=True)
        if self._bar is not None:
            self._seconds = 0.1
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def say(self, doing: str) -> None:
        """Name what is done before its amount is known; on a terminal only."""
        if self._bar is not None:
            self._bar.show(0, None, doing)

    def begin(self, total: int, unit: str, doing: str = "") -> None:
        """Start a task of `total` units: "pictures", "bytes", ..."""
        self._total, self._unit, self._doing = total, unit, f"{doing}: " if doing else ""
        self._calls = self.done = 0
        self._began = self._shown = time.monotonic()

    def advance(self, by: int = 1, note: str = "") -> None:
        """So much more is done; `note` is shown beside it."""
        self.done += by
        self._calls += 1
        if self._calls % 16 and self.done < self._total:
            return
        now = time.monotonic()
        if now - self._shown < self._seconds and (self._bar is None or self.done < self._total):
            return
        self._shown = now
        speed = self.done / max(now - self._began, 1e-9)
        left = timedelta(seconds=round((self._total - self.done) / speed)) if speed else "?"
        amount = f"{self.done:,} of {self._total:,} {self._unit}"
        rate = f"{speed:,.0f}"
        if self._unit == "bytes":
            amount, rate = f"{file_size(self.done)} of {file_size(self._total)}", file_size(speed)
        facts = "  ".join(part for part in (self._doing + amount, note, f"{rate} a second", f"{left} to go") if part)
        if self._bar is not None:
            self._bar.show(self.done, self._total, facts)
        else:
            with suppress(OSError):
                print(facts, file=sys.stderr, flush=True)


class Bar:
    """A bar on a terminal between two texts. It is drawn by `show` alone: a thread of its own would take time.

    transient: it is gone when it is closed, so that what is printed then stands alone.
    """

    def __init__(self, *, stderr: bool, transient: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        before, behind = (TextColumn(f"{{task.fields[{text}]}}", markup=False) for text in ("before", "behind"))
        columns, console = (before, BarColumn(bar_width=24), behind), Console(stderr=stderr)
        self._progress = Progress(*columns, console=console, auto_refresh=False, transient=transient)
        self._task = self._progress.add_task("", total=None, before="", behind="")
        self._progress.start()

    def show(self, done: float, total: float | None, behind: str, before: str = "") -> None:
        """Draw it anew; total: None where it is not known."""
        self._progress.update(self._task, total=total, completed=done, before=before, behind=behind)
        self._progress.refresh()

    def close(self) -> None:
        """Give the terminal back."""
        self._progress.stop()


def open_bar(stream: TextIO, *, transient: bool) -> Bar | None:
    """A bar on `stream`, stdout or stderr; None if it is no terminal that can draw one."""
    if not stream.isatty() or os.environ.get("TERM") in ("dumb", "unknown"):
        return None
    return Bar(stderr=stream is sys.stderr, transient=transient)
