"""How a job ended: what it says itself, and where it could not, what its process and the kernel say. No torch here."""

import signal
from contextlib import suppress

from convarium.errors import RunError
from convarium.out_of_memory import Kills
from convarium.run.directory import FINISHED, RunDirectory, Status
from convarium.sweep.events import OUT_OF_MEMORY, Ended, Verdict

GOOD = frozenset({"ok", "pruned"})
TO_GO_ON = frozenset({"interrupted", "killed"})
"""A sweep that is continued goes on with jobs that ended so; others only if asked to."""


def stamp(run: RunDirectory) -> int:
    """When result.json was last written; to tell later whether an attempt has written anything. 0: never."""
    try:
        return run.result_file.stat().st_mtime_ns
    except OSError:
        return 0


def judge_end(run: RunDirectory, ended: Ended, *, since: int, sent: Status | None, kills: Kills) -> Verdict:
    """Judge the end of a job, and leave it in result.json.

    since: the `stamp` of before. sent: what a signal of ours was to make of it: interrupted or timeout.
    """
    result = run.written_result() if stamp(run) != since else {}
    said, code = result.get("status"), ended.code
    error = result.get("error") or ""
    killed = said not in FINISHED and (code == -signal.SIGKILL or said == "killed")
    killed |= said == "failed" and "killed" in error.lower()
    if killed and sent is None and kills.take():  # it, one of its ranks, or a process that loads its data
        verdict = OUT_OF_MEMORY
    elif said in FINISHED or said == "killed":
        return Verdict(said, error or None)
    elif sent == "timeout":
        verdict = Verdict("timeout", "no sign of life for sweep.timeout; train.log ends with where it hung")
    elif sent == "interrupted":
        verdict = Verdict("interrupted", "stopped with its sweep")
    elif ended.word is not None:
        verdict = ended.word
    elif code < 0:
        verdict = Verdict("killed", _name_of(-code))
    else:
        verdict = Verdict("exited", f"exit code {code}{'' if code else ', without a result'}")
    if run.is_locked():  # not by this job, which has ended
        return Verdict("failed", "another process is at work in its folder")
    with suppress(OSError, RunError):  # the folder is gone, or the disk is full: the manifest will have it
        run.close(verdict.status, verdict.error or "")
    return verdict


def _name_of(signum: int) -> str:
    try:
        return signal.Signals(signum).name
    except ValueError:  # a real-time signal
        return f"signal {signum}"
