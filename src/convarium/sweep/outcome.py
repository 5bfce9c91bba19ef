"""What becomes of a job: what its starter reports while it runs, and which status its end is. No torch here."""

import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, NamedTuple, Protocol

from convarium.errors import RunError
from convarium.out_of_memory import Kills
from convarium.run.directory import FINISHED, RunDirectory, Status

RESUMABLE = frozenset({"interrupted", "killed"})
"""A sweep that is continued goes on with jobs that ended so; with others only if asked to."""


class Outcome(NamedTuple):
    """How a job ended: a status and, unless it is ok, one line."""

    status: Status
    error: str | None


OUT_OF_MEMORY = Outcome("oom", "ended by the kernel for lack of memory")
STOPPED = Outcome("interrupted", "stopped with its sweep")


class Moved(NamedTuple):
    """A job is running, or it is queued: it waits for its machine, for the first time or again; `facts` say where."""

    number: int
    status: Literal["queued", "running"]
    facts: dict[str, Any]


class Ended(NamedTuple):
    """A job has ended; `code` is negative for a signal. `outcome` counts if the job wrote none itself."""

    number: int
    code: int
    outcome: Outcome | None = None


class Lost(NamedTuple):
    """The process that started the jobs has ended, and they with it."""


Event = Moved | Ended | Lost


class Starter(Protocol):
    """Starts jobs, which have numbers, and reports what becomes of them; `Processes` says what each method does."""

    def start(self, number: int, call: str, arguments: Sequence[str], *, log: str, env: dict[str, str]) -> None: ...
    def signal(self, number: int, signum: int) -> None: ...
    def poll(self, seconds: float, waker: int | None = None) -> list[Event]: ...
    def restart(self) -> None: ...


def stamp(run: RunDirectory) -> int:
    """When result.json was last written; to see later whether an attempt has written anything. 0: never."""
    try:
        return run.result_file.stat().st_mtime_ns
    except OSError:
        return 0


def classify_end(run: RunDirectory, ended: Ended, *, since: int, signalled: Status | None, kills: Kills) -> Outcome:
    """The outcome of a job, which is written into result.json unless the job has (`run.fit.classify_failure`).

    What the job wrote counts first, then what we signalled it for, what its starter reports, and its exit code.
    since: the `stamp` of before. signalled: interrupted, timeout or pruned if the controller has signalled it for that.
    """
    result = run.written_result() if stamp(run) != since else {}
    status, code = result.get("status"), ended.code
    error = result.get("error") or ""
    killed = status not in FINISHED and (code == -signal.SIGKILL or status == "killed")
    killed |= status == "failed" and "killed" in error.lower()
    if killed and signalled is None and kills.take():  # it, one of its ranks, or a process that loads its data
        outcome = OUT_OF_MEMORY
    elif signalled == "pruned" and status in (None, "running", "killed", "interrupted"):
        outcome = Outcome("pruned", None)
    elif status in FINISHED or status == "killed":
        return STOPPED if signalled == status == "interrupted" else Outcome(status, error or None)
    elif signalled == "timeout":
        outcome = Outcome("timeout", "no sign of life for sweep.timeout; train.log ends with where it hung")
    elif signalled == "interrupted":
        outcome = STOPPED
    elif ended.outcome is not None:
        outcome = ended.outcome
    elif code < 0:
        names = {-signum: signum.name for signum in signal.Signals}  # a real-time signal has none
        outcome = Outcome("killed", names.get(code, f"signal {-code}"))
    else:
        outcome = Outcome("exited", f"exit code {code}{'' if code else ', without a result'}")
    if run.is_locked():  # not by this job, which has ended
        return Outcome("failed", "another process is at work in its folder")
    with suppress(OSError, RunError):  # the folder is gone, or the disk is full: the manifest will have it
        run.close(outcome.status, outcome.error or "")
    return outcome
