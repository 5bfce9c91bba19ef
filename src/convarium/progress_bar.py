"""What takes its time and how far it is: a bar or a line on a terminal, elsewhere a line now and then."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Self, TextIO

from convarium.wording import file_size

SECONDS = 10.0
"""Between two lines where there is no terminal."""
NARROWEST, WIDEST, GAPS = 3, 24, 5  # characters of a bar, and around it
ERASE = "\r\x1b[K"
_at_work: list[threading.Event] = []  # what is done within what; the last of them is said


@contextmanager
def doing(what: str | Callable[[], str]) -> Iterator[None]:
    """Say on a terminal, once a second, what is done and for how long by now; the line is gone at the end, and where a
    bar is drawn meanwhile, or something is done within it, that has the place.

    what: or a function that gives it, and nothing while the terminal is another process's, which erases the line.
    """
    stream = sys.stderr
    if not draws(stream):
        yield
        return
    over, began = threading.Event(), time.monotonic()
    said = what if isinstance(what, str) else ""
    _at_work.append(over)

    def tell() -> None:
        nonlocal began, said
        while not over.wait(1.0):
            if over is not _at_work[-1] or Bar.drawn:
                continue
            before, said = said, what if isinstance(what, str) else what()
            began = began if said == before or not before else time.monotonic()
            if said:
                with suppress(OSError, ValueError):
                    stream.write(f"{ERASE}{said}  {timedelta(seconds=round(time.monotonic() - began))}")
                    stream.flush()

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
        _at_work.remove(over)
        if said and not Bar.drawn:
            erase_line()


def erase_line() -> None:
    """Erase what was said by `doing`, here or in the process that has started this one."""
    if draws(sys.stderr):
        with suppress(OSError, ValueError):
            sys.stderr.write(ERASE)
            sys.stderr.flush()


class Progress:
    """How much is done, of how much, how fast, and the time to go; of one task after the other."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._bar: Bar | None = None
        self._doing = ""
        self._unit = ""
        self._total = 0
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
        self.done = 0
        self._began = self._shown = time.monotonic()
        if self._bar is not None:
            self._bar.show(0, total, self._doing + self._amount())

    def advance(self, by: int = 1, note: str = "") -> None:
        """So much more is done; `note` is shown beside it."""
        self.done += by
        now = time.monotonic()
        if now - self._shown < self._seconds and (self._bar is None or self.done < self._total):
            return
        self._shown = now
        speed = self.done / max(now - self._began, 1e-9)
        left = timedelta(seconds=round((self._total - self.done) / speed)) if speed else "?"
        time_shown = f"{left} to go" if self.done < self._total else f"in {timedelta(seconds=round(now - self._began))}"
        rate = file_size(speed) if self._unit == "bytes" else f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}"
        parts = (self._doing + self._amount(), note, f"{rate} a second", time_shown)
        facts = "  ".join(part for part in parts if part)
        if self._bar is not None:
            self._bar.show(self.done, self._total, facts)
        else:
            with suppress(OSError):
                print(facts, file=sys.stderr, flush=True)

    def _amount(self) -> str:
        if self._unit == "bytes":
            return f"{file_size(self.done)} of {file_size(self._total)}"
        return f"{self.done:,} of {self._total:,} {self._unit}"


class Bar:
    """A bar on a terminal between two texts. It is drawn by `show` and, as a sign of life, once a second.

    transient: it is gone when it is closed, so that what is printed then stands alone.
    """

    drawn = 0  # how many are, at this moment

    def __init__(self, *, stderr: bool, transient: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

        before, behind = (TextColumn(f"{{task.fields[{text}]}}", markup=False) for text in ("before", "behind"))
        self._console, self._column = Console(stderr=stderr), BarColumn(WIDEST)
        columns = (SpinnerColumn("line"), before, self._column, behind)
        self._progress = Progress(*columns, console=self._console, refresh_per_second=1, transient=transient)
        self._task = self._progress.add_task("", total=None, before="", behind="")
        Bar.drawn += 1
        self._progress.start()

    def show(self, done: float, total: float | None, behind: str, before: str = "") -> None:
        """Draw it anew; total: None where it is not known. What is said goes before the length of the bar."""
        room = self._console.width - len(before) - GAPS
        behind = behind[: max(0, room - NARROWEST)]
        self._column.bar_width = max(NARROWEST, min(WIDEST, room - len(behind)))
        self._progress.update(self._task, total=total, completed=done, before=before, behind=behind)
        self._progress.refresh()

    def close(self) -> None:
        """Give the terminal back."""
        self._progress.stop()
        Bar.drawn -= 1


def open_bar(stream: TextIO, *, transient: bool) -> Bar | None:
    """A bar on `stream`, stdout or stderr; None if it is no terminal that can draw one."""
    if not draws(stream):
        return None
    if Bar.drawn == 0:
        stream.write(ERASE)
    return Bar(stderr=stream is sys.stderr, transient=transient)


def draws(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can go back in a line."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
