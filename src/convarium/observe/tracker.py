"""Trackers that cannot hurt the run they watch.

A tracker is a service or a file format that shows a run: W&B, MLflow, TensorBoard. All of its work - connecting,
writing, closing - happens in one daemon thread behind a bounded queue. The first call that raises or hangs costs one
line of log and the tracker; the training loop pays a queue's put and never waits. What was measured is in metrics.csv
whatever happens here.
"""

import csv
import importlib.util
import logging
import os
import queue
import re
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from lightning.pytorch.loggers import Logger

from convarium.errors import ConfigError
from convarium.observe.layer_table import TABLES, read_rows
from convarium.wording import typed_line

log = logging.getLogger(__name__)

SECRET_NAME = re.compile(r"(^|_)(api_?key|token|secret|password|passwd|credentials?)$", re.IGNORECASE)
SHORTEST_SECRET = 8  # characters; the value of an environment variable that is shorter is no secret worth the confusion


class Start(NamedTuple):
    """What a tracker gets when its run begins."""

    run_dir: Path
    name: str
    config: dict[str, Any]
    rows: Sequence[dict[str, float]] = ()  # what metrics.csv and the tables of layers hold of a continued run


class Tracker(Logger):
    """A Lightning logger whose work happens behind a guard, in methods of the subclass: `open(start)`, then any number
    of `write_config(config)`, `write_metrics(metrics, step)`, `write_summary(summary)` and `write_figures(files)`, then
    `close(status)`. They are called from the tracker's own thread, in the order of the calls on it, and may raise
    anything.

    It is inert until `begin` (so that ranks other than 0 carry one for free) and again after `end`. Lightning's
    `finalize` closes nothing, because a test follows the fit. id: what the tracker itself is to call the run.
    """

    patience: ClassVar[float] = 120.0  # seconds that one call may take before the tracker counts as hung
    farewell: ClassVar[float] = 30.0  # seconds that the end of a run waits for what is still queued
    silence: ClassVar[float] = 2.0  # seconds after which it is said that the end waits
    capacity: ClassVar[int] = 10_000  # calls that may wait; more are dropped, and counted
    package: ClassVar[str] = ""  # the library that it needs, where that is an extra

    def __init__(self, id: str | None = None) -> None:
        super().__init__()
        self._id = id
        self.run_id: str | None = None
        self._run_dir: Path | None = None
        self._calls: queue.Queue[tuple[str, tuple[Any, ...]]] = queue.Queue(maxsize=self.capacity)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._call_began: float | None = None
        self._lost = False
        self._dropped = 0
        self.lacks: list[str] = []
        """What it was to show at the end of the run, and could not."""

    def _import(self) -> None:
        """Import the tracker's library in the thread of the run: of two threads at it, one may find it half loaded."""

    def write_histogram(self, name: str, low: float, high: float, shares: Sequence[float], step: int) -> None:
        """Show a histogram; a tracker that cannot does nothing."""

    def write_table(self, name: str, columns: list[str], rows: list[list[Any]]) -> None:
        """Show a table; a tracker that cannot does nothing."""

    def write_page(self, file: Path) -> None:
        """Keep the page of the run; a tracker that cannot does nothing."""

    def write_figures(self, files: Sequence[Path]) -> None:
        """Show pictures of the end of the run; a tracker that cannot does nothing."""

    def _choose_id(self, previous: str | None, config: Mapping[str, Any]) -> str | None:
        """The id of this run where it is ours to choose, before the tracker is reached; None where the tracker does."""
        return self._id or previous

    def _abandon(self) -> None:
        """Make sure that nothing of a tracker that was given up keeps the process alive."""

    @property
    def _rescue(self) -> str:
        """What remains to the person whose tracker was given up, for the one line of log."""
        return "metrics.csv has every row"

    def begin(self, *, run_dir: Path, name: str, config: dict[str, Any], run_id: str | None) -> None:
        """Import the tracker's library and start its thread, on rank 0 only and before the fit; never raises for it.

        `run_id` is that of the run to continue (the `run_id` that its checkpoint kept) or None for a new one.
        metrics.csv and the tables of a continued run must already be cut back to its checkpoint.
        """
        self.run_id, self._run_dir = self._choose_id(run_id, config), run_dir
        start = Start(run_dir, name, redacted(config))
        if run_id is not None:
            with suppress(OSError, ValueError):  # without its earlier rows a tracker still shows the later ones
                tables = {name: read_rows(run_dir / f"{name}.csv") for name in TABLES}
                layers = [{"step": row.step, **row.named(name)} for name, rows in tables.items() for row in rows]
                rows = [*rows_of(run_dir / "metrics.csv"), *layers]
                start = start._replace(rows=sorted(rows, key=lambda row: row["step"]))
        try:
            self._import()
        except Exception as error:  # a broken installation of a tracker is the tracker's trouble alone
            self._give_up(typed_line(error))
            return
        self._call_began = time.monotonic()
        self._thread = threading.Thread(target=self._serve, args=(start,), name=f"{self.name}-tracker", daemon=True)
        self._thread.start()

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self._send("write_metrics", {name: float(value) for name, value in metrics.items()}, step)

    def log_histogram(self, name: str, low: float, high: float, shares: Sequence[float], step: int) -> None:
        """Show the shares of values in equal bins from `low` to `high`, where the tracker can."""
        self._send("write_histogram", name, low, high, shares, step)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        self._send("write_config", redacted(vars(params) if isinstance(params, Namespace) else dict(params)))

    def end(self, status: str, summary: Mapping[str, Any], figures: Sequence[Path] = ()) -> None:
        """Record how the run ended and close the tracker, waiting at most `farewell` seconds; never raises."""
        if self._thread is None:
            return
        self._send("write_summary", {**summary, "status": status})
        if self._run_dir is not None:
            self._send("_add", self._run_dir)
        if figures:
            self._send("_show", figures)
        deadline = time.monotonic() + self.farewell
        if not self._lost:
            with suppress(queue.Full):
                self._calls.put(("close", (status,)), timeout=self.farewell)
            self._thread.join(min(self.silence, self.farewell))
            if self._thread.is_alive() and self.silence < self.farewell:
                log.info("%s: still at work, waited for at most %g s", self.name, self.farewell)
            self._thread.join(max(0.0, deadline - time.monotonic()))
            if self._thread.is_alive():
                self._give_up(f"not finished after {self.farewell:g} s")
        if self._dropped and not self._lost:
            log.warning("%s: %d rows were dropped, it was too slow; %s", self.name, self._dropped, self._rescue)
        self._thread = None

    @property
    def is_lost(self) -> bool:
        """Whether it was given up."""
        return self._lost

    @property
    def name(self) -> str:
        return type(self).__name__.lower()

    @property
    def version(self) -> str | None:
        return self.run_id

    @property
    def save_dir(self) -> str | None:
        return None if self._run_dir is None else str(self._run_dir)

    def _send(self, method: str, *args: Any) -> None:
        """Queue a call for the tracker's thread; never waits, never raises."""
        if self._thread is None or self._lost:
            return
        began = self._call_began
        if began is not None and time.monotonic() - began > self.patience:
            self._give_up(f"no answer for {self.patience:g} s")
            return
        try:
            self._calls.put_nowait((method, args))
        except queue.Full:
            self._dropped += 1

    def _serve(self, start: Start) -> None:
        try:
            method, args = "open", (start,)
            while True:
                getattr(self, method)(*args)
                if method == "close" or self._lost:
                    return
                self._call_began = None
                method, args = self._calls.get()
                self._call_began = time.monotonic()
        except BaseException as error:  # whatever a tracker raises, SystemExit included, stays in its thread
            self._give_up(typed_line(error))

    def _add(self, run_dir: Path) -> None:
        """Show the mistakes of the test and the page, where they are there."""
        if (answers := run_dir / "predictions.npz").is_file():
            self._try("mistakes", lambda: self.write_table("mistakes", *mistakes(answers)))
        if (page := run_dir / "report.html").is_file():
            self._try("page", lambda: self.write_page(page))

    def _show(self, files: Sequence[Path]) -> None:
        """Show the figures."""
        self._try("figures", lambda: self.write_figures(files))

    def _try(self, what: str, write: Callable[[], None]) -> None:
        """Show something of the end of the run; without it the run is still to be closed."""
        try:
            write()
        except Exception as error:
            self.lacks.append(what)
            log.warning("%s: shows no %s (%s)", self.name, what, typed_line(error))

    def _give_up(self, reason: str) -> None:
        """Print the one line and drop the tracker; called by either thread, the second call does nothing."""
        with self._lock:
            if self._lost:
                return
            self._lost = True
        log.warning("%s: given up (%s); the run goes on, %s", self.name, reason, self._rescue)
        with suppress(Exception):  # the last resort for a broken tracker may fail as well
            self._abandon()


def require(package: str) -> None:
    """Raise ConfigError, with the command that installs it, if the library of a tracker is not there."""
    if importlib.util.find_spec(package) is None:
        raise ConfigError(f"logger={package} needs {package}: pip install 'convarium[{package}]'")


def swept_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The swept keys of a job and its values of them, lists as text; none of a single run."""
    swept = (config.get("sweep") or {}).get("swept") or {}
    return {key: str(value) if isinstance(value, list | dict) else value for key, value in swept.items()}


def numbers_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a summary, by their names under `summary/`."""
    return {f"summary/{name}": float(value) for name, value in summary.items() if type(value) in (int, float)}


def mistakes(file: Path, most: int = 100) -> tuple[list[str], list[list[Any]]]:
    """Head and rows of the test's mistakes of the highest loss, by a predictions.npz."""
    with np.load(file, allow_pickle=False) as held:
        answers, classes = {name: held[name] for name in held.files if name != "classes"}, held["classes"].tolist()
    wrong = np.flatnonzero(answers["prediction"] != answers["target"])
    worst = wrong[np.argsort(-answers["loss"][wrong], kind="stable")][:most]
    names = [*classes, None]  # -1: no class, for its logits were no numbers
    rows = [
        [int(answers["index"][k]), names[answers["target"][k]], names[answers["prediction"][k]]]
        + [float(answers[name][k]) for name in ("confidence", "truth", "loss")]
        for k in worst
    ]
    return ["image", "truth", "prediction", "confidence", "probability of the truth", "loss"], rows


def redacted(config: dict[str, Any]) -> dict[str, Any]:
    """A copy of a config without secrets: strings under a secret's name or equal to a secret of the environment."""
    named = [value for name, value in os.environ.items() if SECRET_NAME.search(name)]
    secrets = {value for value in named if len(value) >= SHORTEST_SECRET}

    def clean(value: Any, name: str = "") -> Any:
        if isinstance(value, Mapping):
            return {key: clean(item, str(key)) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [clean(item, name) for item in value]
        return "(secret)" if isinstance(value, str) and (SECRET_NAME.search(name) or value in secrets) else value

    return {name: clean(value, str(name)) for name, value in config.items()}


def rows_of(path: Path) -> list[dict[str, float]]:
    """The rows of a metrics.csv as numbers, blank cells left out; none if there is no such file."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [{name: float(cell) for name, cell in row.items() if name and cell} for row in csv.DictReader(file)]
