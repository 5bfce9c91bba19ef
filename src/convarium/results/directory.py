"""A sweep on disk: what it asks, its jobs, and every change of their states. No torch here.

sweeps/NAME/  sweep.yaml       the command, its axes and settings
              manifest.jsonl   a line for each change of a job's state, only ever appended to
              jobs/JOB/        the run directories
              leaderboard.csv  leaderboard.md  seeds.csv  folds.csv
"""

import json
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from convarium.errors import ConfigError, RunError
from convarium.files import is_held, locked, read_regular, write_atomically
from convarium.run.directory import RunDirectory, Status
from convarium.wording import one_line
from convarium.yaml_text import parse

ROOT = "sweeps"


class Known(NamedTuple):
    """A job as the manifest has it."""

    name: str
    key: str
    swept: dict[str, Any]  # axis -> value
    words: list[str]  # the overrides that set the axes
    status: str  # that of its last line
    time: str  # when that was written, in ISO format
    training: str = ""  # equal only for jobs that train the same network in the same way; "": nothing can be said
    same_as: str = ""  # the job that is the same training, and is run in its place

    @property
    def folder(self) -> str:
        """The job whose run is its own."""
        return self.same_as or self.name


class SweepDirectory:
    """One sweep on disk, and every path of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.description_file = path / "sweep.yaml"
        self.manifest_file = path / "manifest.jsonl"
        self.leaderboard_csv = path / "leaderboard.csv"
        self.leaderboard_md = path / "leaderboard.md"
        self.seeds_csv = path / "seeds.csv"
        self.folds_csv = path / "folds.csv"
        self.lock_file = path / ".lock"

    @classmethod
    def named(cls, name: str) -> "SweepDirectory":
        """Where the sweep of this name is, or will be, below the current folder."""
        return cls(Path(ROOT).absolute() / name)

    @classmethod
    def open(cls, path: Path | str) -> "SweepDirectory":
        """An existing sweep directory. Raises RunError if it is none."""
        sweep = cls(Path(os.path.abspath(Path(path).expanduser())))  # without any `..`
        if not sweep.path.is_dir():
            raise RunError(f"{path}: no such sweep directory")
        if not sweep.description_file.is_file():
            raise RunError(f"{path}: not a sweep directory (it has no sweep.yaml)")
        return sweep

    def run(self, job: str) -> RunDirectory:
        """The run directory of a job."""
        return RunDirectory(self.path / "jobs" / job)

    def description(self) -> dict[str, Any]:
        """sweep.yaml; empty if there is none yet. Raises RunError if it cannot be read."""
        try:
            description = parse(read_regular(self.description_file).decode())
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            why = one_line(getattr(error, "strerror", None) or error)
            raise RunError(f"{self.description_file}: cannot be read: {why}") from error
        if not isinstance(description, dict) or not isinstance(description.get("axes"), list):
            raise RunError(f"{self.description_file}: not the description of a sweep")
        return description

    def describe(self, **fields: Any) -> None:
        """Write sweep.yaml."""
        write_atomically(self.description_file, yaml.safe_dump(fields, sort_keys=False, allow_unicode=True))

    def make(self) -> None:
        """Make the directory, if it is not there. Raises ConfigError where that cannot be done."""
        try:
            (self.path / "jobs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"sweep.name={self.name}: {self.path}: cannot be written ({error.strerror})") from error

    def entry(self, job: str, status: Status, **facts: Any) -> dict[str, Any]:
        """A line for the manifest, of this moment."""
        return {"time": _now(), "job": job, "status": status, **facts}

    def append(self, entries: Iterable[dict[str, Any]]) -> None:
        """Add lines to the manifest, of this moment unless they have a time, and be sure that they are on the disk."""
        lines = [json.dumps({"time": _now(), **entry}, ensure_ascii=False) + "\n" for entry in entries]
        if not lines:
            return
        with self.manifest_file.open("a+b") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":
                    file.write(b"\n")  # a kill cut the last one short
            file.write("".join(lines).encode())
            file.flush()
            os.fsync(file.fileno())

    def known(self) -> dict[str, Known]:
        """The jobs of the manifest by name, in their order. A line that a kill has cut short counts for nothing."""
        jobs: dict[str, Known] = {}
        for entry in self.entries():
            name = entry["job"]
            if {"key", "swept", "words"} <= entry.keys():
                same = entry.get("same_as", "")
                same = same if same in jobs and not jobs[same].same_as else ""
                told = {field: entry[field] for field in ("key", "swept", "words", "status", "time")}
                jobs[name] = Known(name, **told, training=entry.get("training", ""), same_as=same)
            elif name in jobs:
                jobs[name] = jobs[name]._replace(status=entry["status"], time=entry["time"])
        for name, job in jobs.items():
            if job.same_as:
                jobs[name] = job._replace(status=jobs[job.same_as].status, time=jobs[job.same_as].time)
        return jobs

    def entries(self) -> Iterator[dict[str, Any]]:
        """The lines of the manifest that are whole."""
        try:
            text = read_regular(self.manifest_file).decode(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return
        for line in text.split("\n"):  # not splitlines: JSON leaves other ends of lines as they are
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if _is_entry(entry):
                yield entry

    def locked(self) -> AbstractContextManager[None]:
        """Be the only controller. Raises RunError if another process is; the lock ends with the process."""
        holder = f"process {os.getpid()} on {socket.gethostname()}"
        return locked(self.lock_file, holder, "this sweep is being run by {}")

    def is_locked(self) -> bool:
        """Whether a controller is at work."""
        return is_held(self.lock_file)


PLAIN_NAME = re.compile(r"[\w][\w.-]*")
TYPES = {
    "job": str,
    "status": str,
    "time": str,
    "key": str,
    "swept": dict,
    "words": list,
    "training": str,
    "same_as": str,
}


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="milliseconds")


def _is_entry(entry: Any) -> bool:
    """Whether a line is one of ours: a manifest may come from somebody else, and names folders."""
    return (
        isinstance(entry, dict)
        and {"job", "status", "time"} <= entry.keys()
        and all(isinstance(entry[name], kind) for name, kind in TYPES.items() if name in entry)
        and all(isinstance(word, str) for word in entry.get("words", []))
        and PLAIN_NAME.fullmatch(entry["job"]) is not None
    )
