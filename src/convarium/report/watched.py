"""A folder of sweeps or runs while it changes: what its page shows, read again only where files have changed.

No torch here.
"""

import hashlib
import json
import math
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import quote

from convarium.errors import RunError
from convarium.report.curves import read_curves
from convarium.report.sweep_page import sweep_data
from convarium.results.directory import SweepDirectory
from convarium.results.outlook import Settling, Standing, seconds_to_go, standing
from convarium.results.rows import open_table, sources_of
from convarium.run.directory import SUCCEEDED, RunDirectory
from convarium.wording import printable

ANY = RunDirectory(Path())
LOOK_SECONDS = 0.4  # several readers share what was seen so long ago
PAUSE = 4.0
"""What the page of a large sweep takes to compute is spent at most once in so many times as long, and once more."""

FILES = [file.name for file in (ANY.result_file, ANY.metrics_file, ANY.page)]
"""Those of a run that its line on a page is made of."""

Stamp = tuple[int, int, int] | None
T = TypeVar("T")


class Remembered(Generic[T]):
    """A function of a file, asked again only when the file has changed."""

    def __init__(self, read: Callable[[Path], T]) -> None:
        self._read = read
        self._known: dict[Path, tuple[Stamp, T]] = {}

    def __call__(self, path: Path) -> T:
        stamp = _stamp(path)
        if path not in self._known or self._known[path][0] != stamp:
            self._known[path] = stamp, self._read(path)
        return self._known[path][1]


class Job(NamedTuple):
    """A job by the manifest."""

    label: str
    status: str
    began: datetime | None  # its last attempt
    same_as: str = ""  # the job that is run in its place


class Jobs(NamedTuple):
    """Those of a sweep by name, and the seconds of those that ended well."""

    by_name: dict[str, Job]
    took: list[float]


class Live(NamedTuple):
    """What changes while jobs run, of one sweep or of loose runs."""

    counts: dict[str, int]  # status -> jobs
    running: list[Standing]
    to_go: float | None

    def described(self) -> dict[str, Any]:
        """As a page takes it."""
        return {
            "counts": self.counts,
            "to_go": self.to_go,
            "running": [
                {
                    "job": printable(job.job),
                    "share": job.share,
                    "where": job.where,
                    "monitor": job.monitor,
                    "score": job.score,
                    "left": job.left,
                }
                for job in self.running
            ],
        }


class Seen(NamedTuple):
    """A page at a moment. `data` is what that of a sweep or of runs draws, None of an index; the rest is JSON."""

    is_index: bool = True
    version: str = ""  # of the data
    data: dict[str, Any] | None = None
    data_json: str = "null"
    live_json: str = "{}"

    @property
    def live(self) -> dict[str, Any]:
        """What a page begins with."""
        return {"version": self.version, "live": json.loads(self.live_json)}

    @property
    def tag(self) -> str:
        """Another one if anything has changed."""
        return f'"{self.version}-{_digest(self.live_json)}"'

    def changes(self, version: str) -> bytes:
        """What a page needs that has this version of the data."""
        data = "null" if version == self.version else self.data_json
        return f'{{"version":"{self.version}","live":{self.live_json},"data":{data}}}'.encode()


class Watched:
    """The page of a folder: of a sweep, of runs, or an index of sweeps."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.root = folder, root
        self._lock = threading.Lock()
        self._curves = Remembered(read_curves)
        self._jobs = Remembered(_read_jobs)
        self._configs = Remembered(_read_config)
        self._settling: dict[Path, Settling] = {}
        self._sources: list[SweepDirectory | RunDirectory] = []
        self._looked_at = self._pause_until = -math.inf
        self._there: object = None  # what was there at the last look
        self._there_for_data: object = None
        self._seen = Seen()

    def look(self) -> Seen:
        """The page as it is now. Raises RunError if neither a sweep nor a run is there, but for the whole board, where
        a sweep may begin."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked_at < LOOK_SECONDS:
                return self._seen
            self._find()
            is_index = not any((self.folder / name).is_file() for name in ("sweep.yaml", "config.yaml")) and (
                not self._sources or any(isinstance(source, SweepDirectory) for source in self._sources)
            )
            there = self._what_is_there(is_index)
            if there != self._there:
                self._seen = self._seen._replace(is_index=is_index, live_json=_json(self._live(is_index)))
                self._there = there
            if is_index:
                self._seen = Seen(live_json=self._seen.live_json)
            elif there != self._there_for_data and now >= self._pause_until:
                table = open_table([source.path for source in self._sources])
                data = sweep_data(table, self.folder, curves_of=self._curves)
                text = _json(data)
                self._seen = self._seen._replace(version=_digest(text), data=data, data_json=text)
                self._there_for_data = there
                self._pause_until = time.monotonic() + PAUSE * (time.monotonic() - now)
            self._looked_at = time.monotonic()
            return self._seen

    def _find(self) -> None:
        try:
            found = list(sources_of(self.folder))
        except RunError:
            if self.folder != self.root:
                raise
            found = []
        self._sources = [source for source in found if is_below(source.path, self.root)]

    def _what_is_there(self, is_index: bool) -> object:
        """It is another one when a file has changed, or a process has ended."""
        parts: list[Any] = []
        for source in self._sources:
            parts += [source.path, source.is_locked()]
            if isinstance(source, RunDirectory):
                parts += _stamps(str(source.path))
                continue
            parts += [_stamp(source.manifest_file), _stamp(source.description_file)]
            jobs = source.run("").path
            for name, job in self._jobs(source.manifest_file).by_name.items():
                if not is_index or job.status == "running":
                    parts += _stamps(f"{jobs}/{name}")
        return parts

    def _live(self, is_index: bool) -> dict[str, Any]:
        sources = self._sources
        sweeps = [source for source in sources if isinstance(source, SweepDirectory)]
        runs = [source for source in sources if isinstance(source, RunDirectory)]
        found = [self._live_of_sweep(sweep) for sweep in sweeps]
        depth = len(self.folder.relative_to(self.root).parts)
        up = {"up": "../" * depth if depth else None}
        if is_index:
            rows = [
                {
                    **live.described(),
                    "name": _place(sweep, self.folder),
                    "link": quote(_place(sweep, self.folder)) + "/",
                }
                for sweep, live in zip(sweeps, found, strict=True)
            ]
            return {**up, "sweeps": rows, "title": self.folder.name}
        found += [self._live_of_runs(runs)] if runs else []
        counts = sum((Counter(live.counts) for live in found), Counter[str]())
        to_go = max((live.to_go for live in found if live.to_go is not None), default=None)
        return {**up, **Live(dict(counts), [job for live in found for job in live.running], to_go).described()}

    def _live_of_sweep(self, sweep: SweepDirectory) -> Live:
        jobs, alive, now = self._jobs(sweep.manifest_file), sweep.is_locked(), datetime.now().astimezone()
        statuses = {name: job.status for name, job in jobs.by_name.items()}
        running = []
        for name, job in jobs.by_name.items():
            if job.status == "running" and alive and job.began is not None:
                running.append(self._standing(sweep.run(name), job.label, job.began, now))
            elif job.status == "running":
                statuses[name] = sweep.run(name).result().get("status") or "killed"
        to_run = sum(status == "queued" and not jobs.by_name[name].same_as for name, status in statuses.items())
        for name, job in jobs.by_name.items():
            if job.same_as:  # it waits for the other one
                statuses[name] = "queued" if statuses[job.same_as] == "running" else statuses[job.same_as]
        counts = Counter("waiting" if status == "queued" else status for status in statuses.values())
        if alive and (search := sweep.description().get("search")):
            wanted = search["settings"]["trials"] * len(search["again"])  # those to be asked for wait, too
            counts["waiting"] += (to_come := max(0, wanted - len(statuses)))
            to_run += to_come
        left = seconds_to_go(jobs.took, running, to_run) if running else None
        settling = self._settling.setdefault(sweep.path, Settling())
        return Live(
            {name: number for name, number in counts.items() if number}, running, settling(left, time.monotonic())
        )

    def _live_of_runs(self, runs: list[RunDirectory]) -> Live:
        running, counts = [], Counter[str]()
        for run in runs:
            result = run.result()
            counts[status := result.get("status") or "waiting"] += 1
            if status == "running":
                seconds = result.get("wall_seconds") or 0.0
                running.append(standing(run.path.name, result, self._configs(run.config_file), seconds))
        return Live(dict(counts), running, seconds_to_go([], running, 0) if running else None)

    def _standing(self, run: RunDirectory, label: str, began: datetime, now: datetime) -> Standing:
        result = run.written_result()
        try:
            is_of_before = datetime.fromisoformat(result["heartbeat"]) < began.replace(microsecond=0)
        except (KeyError, TypeError, ValueError):
            is_of_before = True
        seconds = max(0.0, (now - began).total_seconds())
        return standing(label, {} if is_of_before else result, self._configs(run.config_file), seconds)


def is_below(path: Path, root: Path) -> bool:
    """Whether a path, its links followed, leads to `root` or below it."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def _place(sweep: SweepDirectory, folder: Path) -> str:
    return os.path.relpath(sweep.path, folder)


def _stamp(path: Path | str) -> Stamp:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _stamps(run: str) -> list[Stamp]:
    return [_stamp(f"{run}/{name}") for name in FILES]


def _read_jobs(manifest: Path) -> Jobs:
    found: dict[str, Job] = {}
    took = []
    for entry in SweepDirectory(manifest.parent).entries():
        name, status = entry["job"], entry["status"]
        try:
            time_ = datetime.fromisoformat(entry["time"]).astimezone()
        except ValueError:
            continue
        job = found.get(name) or Job(" ".join(entry.get("words") or []) or name, status, None)
        if status in SUCCEEDED and job.began is not None:
            took.append(max(0.0, (time_ - job.began).total_seconds()))
        same = entry.get("same_as", "") if "words" in entry else job.same_as
        same = same if same in found and not found[same].same_as else ""
        found[name] = Job(job.label, status, time_ if status == "running" else job.began, same)
    return Jobs(found, took)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        return RunDirectory(path.parent).config()
    except RunError:
        return {}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]
