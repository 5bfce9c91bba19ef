"""What Slurm runs for a job of a sweep: one such task, or one for each rank if it is on several machines.

A small process, which imports no torch, sees how the one that trains ends, however that is, and writes it to a file in
the run directory; it passes on the signals by which Slurm says that the time is up, or another job is to have the
machine. The job saves and ends then, and Slurm queues it again: its next attempt goes on from there.

Private names of submitit's: `_requeue` of its JobEnvironment.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from convarium.machine import CORES, die_with_parent
from convarium.out_of_memory import Kills
from convarium.run.directory import RunDirectory

TIME_IS_UP = signal.SIGUSR2  # what submitit lets Slurm send some time before the limit
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGABRT, TIME_IS_UP)
ENDING, ENDINGS = "ranks/ended-{rank}.json", "ranks/ended-*.json"
LOOK_SECONDS = 0.2


def run(path: str, nodes: int, cores: int) -> None:
    """Run a job, or one rank of it, in the directory `path`, on so many cores. Raises SystemExit with its exit code."""
    rank = int(os.environ.get("SLURM_PROCID", "0")) if nodes > 1 else 0
    directory = Path(path)
    ending = directory / ENDING.format(rank=rank)
    ending.parent.mkdir(parents=True, exist_ok=True)
    ending.unlink(missing_ok=True)
    log = directory / ("train.log" if rank == 0 else f"ranks/rank-{rank}.log")
    child = os.fork()
    if child == 0:
        code = 70
        try:
            code = _train(path, nodes, cores, log)
        finally:
            os._exit(code)
    code, lacked_memory, signals = _watch(child)
    with suppress(OSError):
        ending.write_text(json.dumps({"code": code, "oom": lacked_memory}))
    interrupted = RunDirectory(directory).written_result().get("status") == "interrupted"
    if signals and rank == 0 and interrupted and (TIME_IS_UP in signals or _is_preempted()):
        from submitit import JobEnvironment

        JobEnvironment()._requeue(1)  # Slurm itself only does so to what does not end by itself
    sys.exit(code if code >= 0 else 128 - code)


def _train(path: str, nodes: int, cores: int, log: Path) -> int:
    os.setsid()  # what is sent to the task's group reaches us through it, once
    die_with_parent(os.getppid())
    for signum in (*PASSED_ON, signal.SIGCONT):
        signal.signal(signum, signal.SIG_DFL)
    signal.signal(TIME_IS_UP, signal.SIG_IGN)  # Slurm may send it to every process of a task
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ[CORES] = str(cores)
    from convarium.sweep.local.calls import call

    return call("run", [path, "null"]) if nodes == 1 else call("rank", [path])


def _watch(child: int) -> tuple[int, bool, list[int]]:
    """Wait for the one that trains: its exit code, whether memory lacked, and the signals that came meanwhile."""
    signals: list[int] = []

    def pass_on(signum: int, frame: FrameType | None) -> None:
        signals.append(signum)
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGTERM if signum in (TIME_IS_UP, signal.SIGINT) else signum)

    for signum in PASSED_ON:
        signal.signal(signum, pass_on)
    kills = Kills()
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        kills.look()
        time.sleep(LOOK_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(ended[1])
    return code, code == -signal.SIGKILL and kills.take(), signals


def _is_preempted() -> bool:
    """Whether Slurm wants the machine for another job; one that a person has cancelled is not to come back."""
    text = answer_of("scontrol", "--oneliner", "show", "job", os.environ.get("SLURM_JOB_ID", "")) or ""
    return re.search(r"\bPreemptTime=\d", text) is not None and "JobState=CANCELLED" not in text


def answer_of(*command: str) -> str | None:
    """What a command prints; None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
