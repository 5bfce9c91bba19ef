"""How far the scan of a dataset is, on stderr: a bar on a terminal, elsewhere a line now and then."""

import os
import sys
import time
from contextlib import suppress
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

SECONDS = 10.0
"""Between two lines where there is no terminal."""


class Progress:
    """Pictures done, of how many, how many of them bad, and the time to go."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._bar: Bar | None = None
        self._total = 0
        self._done = 0
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
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], facts=doing)
            self._bar.refresh()

    def begin(self, total: int) -> None:
        self._total = total
        self._began = self._shown = time.monotonic()

    def step(self, bad: int) -> None:
        """One picture more is done."""
        self._done += 1
        if self._done % 16 and self._done < self._total:
            return
        now = time.monotonic()
        if now - self._shown < self._seconds and (self._bar is None or self._done < self._total):
            return
        self._shown = now
        speed = self._done / max(now - self._began, 1e-9)
        left = timedelta(seconds=round((self._total - self._done) / speed))
        facts = f"{self._done:,} of {self._total:,} pictures  {bad:,} bad  {speed:,.0f} a second  {left} to go"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], total=self._total, completed=self._done, facts=facts)
            self._bar.refresh()
        else:
            with suppress(OSError):
                print(facts, file=sys.stderr, flush=True)


def _bar() -> "Bar":
    """A bar that is drawn only when we say so, and gone when it is done: the report stands alone."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = BarColumn(bar_width=24), TextColumn("{task.fields[facts]}", markup=False)
    bar = Bar(*columns, console=Console(stderr=True), auto_refresh=False, transient=True)
    bar.add_task("", total=None, facts="")
    return bar
