"""How far long work is, on stderr: a bar on a terminal, elsewhere a line now and then."""

import os
import sys
import time
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from convarium.wording import file_size

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

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
        if sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):
            self._bar = _bar()
            self._bar.start()
            self._seconds = 0.1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, doing: str) -> None:
        """Name what is done before its amount is known; on a terminal only."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], total=None, completed=0, facts=doing)
            self._bar.refresh()

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
            self._bar.update(self._bar.task_ids[0], total=self._total, completed=self.done, facts=facts)
            self._bar.refresh()
        else:
            with suppress(OSError):
                print(facts, file=sys.stderr, flush=True)


def _bar() -> "Bar":
    """A bar that is drawn only when we say so, and gone when it is done: what is printed then stands alone."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = BarColumn(bar_width=24), TextColumn("{task.fields[facts]}", markup=False)
    bar = Bar(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
    bar.add_task("", total=None, facts="")
    return bar
