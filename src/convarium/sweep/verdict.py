"""How a job ended: what it says itself, and where it could not, what its process and the kernel say. No torch here."""

import signal
from typing import NamedTuple

from convarium.run.out_of_memory import Kills
from convarium.run.record import FINISHED, RunDirectory, Status

GOOD = frozenset({"ok", "pruned"})
TO_GO_ON = frozenset({"interrupted", "killed"})
"""A sweep that is continued goes on with jobs that ended so; others only if asked to."""


class Verdict(NamedTuple):
    """A status and, unless it is ok, one line."""

    status: Status
    error: str | None


def stamp(run: RunDirectory) -> int:
    """When result.json was last written; to tell later whether an attempt has written anything. 0: never."""
    try:
        return run.result_file.stat().st_mtime_ns
    except OSError:
        return 0


def judge_end(run: RunDirectory, code: int, *, since: int, sent: Status | None, kills: Kills) -> Verdict:
    """Judge the end of a job's process with exit code `code` (negative: a signal), and leave it in result.json.

    since: the `stamp` of before. sent: what a signal of ours was to make of it: interrupted or timeout.
    """
    result = run.written_result() if stamp(run) != since else {}
    said = result.get("status")
    error = result.get("error") or ""
    killed = code == -signal.SIGKILL or said == "killed" or (said == "failed" and "killed" in error.lower())
    if killed and sent is None and kills.take():  # it, one of its ranks, or a process that loads its data
        verdict = Verdict("oom", "ended by the kernel for lack of memory")
    elif said in FINISHED or said == "killed":
        return Verdict(said, error or None)
    elif sent == "timeout":
        verdict = Verdict("timeout", "no sign of life for sweep.timeout; train.log ends with where it hung")
    elif sent == "interrupted":
        verdict = Verdict("interrupted", "stopped with its sweep")
    elif code < 0:
        verdict = Verdict("killed", signal.Signals(-code).name)
    else:
        verdict = Verdict("exited", f"exit code {code}{'' if code else ', without a result'}")
    run.close(verdict.status, verdict.error or "")
    return verdict
