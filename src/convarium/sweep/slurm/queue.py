"""Slurm by its own commands; submitit writes the batch files and what they run. No torch here."""

import getpass
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from convarium.errors import RunError
from convarium.run.devices import Placement
from convarium.sweep.directory import SweepDirectory
from convarium.sweep.events import Verdict
from convarium.sweep.slurm.options import Options
from convarium.sweep.slurm.submitted import State, call_of, importable

if TYPE_CHECKING:
    from convarium.sweep.controller import Task

LARGEST_ARRAY = 500  # Slurm takes a thousand, unless it is told otherwise
FORGOTTEN_SECONDS = 30.0  # a job just submitted may not be listed yet


class Slurm:
    """Slurm's own commands; submitit writes the batch files."""

    ACTIVE: ClassVar = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "STAGE_OUT", "SIGNALING")
    WAITING: ClassVar = (
        "PENDING",
        "CONFIGURING",
        "REQUEUED",
        "REQUEUE_HOLD",
        "REQUEUE_FED",
        "RESIZING",
        "SPECIAL_EXIT",
    )
    WORDS: ClassVar = {
        "OUT_OF_MEMORY": Verdict("oom", "Slurm: OUT_OF_MEMORY"),
        "TIMEOUT": Verdict("timeout", "Slurm: TIMEOUT, and not in time to save; see hydra.launcher.save_seconds"),
        "NODE_FAIL": Verdict("killed", "Slurm: NODE_FAIL"),
        "BOOT_FAIL": Verdict("killed", "Slurm: BOOT_FAIL"),
        "PREEMPTED": Verdict("killed", "Slurm: PREEMPTED"),
        "DEADLINE": Verdict("timeout", "Slurm: DEADLINE"),
        "CANCELLED": Verdict("interrupted", "Slurm: CANCELLED"),
        "REVOKED": Verdict("killed", "Slurm: REVOKED"),
    }

    def __init__(self, sweep: SweepDirectory, options: Options, most_at_a_time: int) -> None:
        self._sweep = sweep
        self._options = options
        self._most = most_at_a_time
        self._submitted_at: dict[str, float] = {}

    def submit(self, tasks: "Sequence[Task]", at: Placement) -> list[str]:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        identities: list[str] = []
        try:
            executor = submitit.SlurmExecutor(folder=self._sweep.path / "slurm" / "%j")
            executor.update_parameters(
                **self._options.of_job(at), job_name=self._sweep.name[:64], array_parallelism=self._most
            )
            for start in range(0, len(tasks), LARGEST_ARRAY):
                calls = [call_of(task, at, None) for task in tasks[start : start + LARGEST_ARRAY]]
                with importable():
                    identities += [str(job.job_id) for job in executor.submit_array(calls)]
        except (FailedJobError, FailedSubmissionError, RuntimeError) as error:
            self.signal(identities, signal.SIGKILL)
            raise RunError(f"sbatch: {' '.join(str(error).split()).removeprefix('sbatch: error: ')}") from error
        self._submitted_at |= dict.fromkeys(identities, time.monotonic())
        return identities

    def states(self, identities: Sequence[str]) -> dict[str, State]:
        if not identities:
            return {}
        user = f"--user={getpass.getuser()}"
        listed = _answer("squeue", "--noheader", "--array", user, "--states=all", "--format=%i %T")
        if listed is None:  # the daemon does not answer now; no news
            return {identity: State("unknown") for identity in identities}
        told = dict(line.split()[:2] for line in listed.splitlines() if len(line.split()) >= 2)
        return {identity: self._state(identity, told.get(identity)) for identity in identities}

    def _state(self, identity: str, name: str | None) -> State:
        code = 0
        if name is None or not (name in self.ACTIVE or name in self.WAITING):
            young = time.monotonic() - self._submitted_at.get(identity, 0) < FORGOTTEN_SECONDS
            if name is None and young:
                return State("waiting")
            name, code = self._outcome(identity, name)
        if name in self.WAITING:
            return State("waiting")
        if name in self.ACTIVE:
            return State("running")
        return State("ended", code, self.WORDS.get(name))

    def _outcome(self, identity: str, name: str | None) -> tuple[str, int]:
        """State and exit code of a job that squeue no longer counts; as long as scontrol remembers, else accounting."""
        said = _answer("scontrol", "--oneliner", "show", "job", identity) or ""
        state, code = re.search(r"\bJobState=(\w+)", said), re.search(r"\bExitCode=(\d+):(\d+)", said)
        if not state:
            said = _answer("sacct", "-X", "-n", "-P", "-o", "State,ExitCode", "-j", identity) or ""
            state, code = re.match(r"(\w+)", said), re.search(r"\|(\d+):(\d+)", said)
        exit_code = 0
        if code:
            exit_code = -int(code[2]) if int(code[2]) else int(code[1])
        return (state[1] if state else name or "NODE_FAIL"), exit_code

    def signal(self, identities: Sequence[str], signum: int) -> None:
        how = [] if signum == signal.SIGKILL else [f"--signal={signal.Signals(signum).name.removeprefix('SIG')}"]
        for start in range(0, len(identities), LARGEST_ARRAY):
            _answer("scancel", *how, *identities[start : start + LARGEST_ARRAY])


def check_reachable() -> None:
    """Raise RunError, with Slurm's own word for it, unless its commands are here and get an answer."""
    try:
        done = subprocess.run(["squeue", "--noheader", "--me"], capture_output=True, text=True, timeout=60)
    except FileNotFoundError as error:
        raise RunError(
            "hydra/launcher=slurm: this machine has no Slurm (no squeue); give the command where it is"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise RunError("hydra/launcher=slurm: squeue gets no answer within a minute") from error
    if done.returncode:
        raise RunError(f"hydra/launcher=slurm: {(done.stderr.strip().splitlines() or ['squeue fails'])[-1]}")


def _answer(*command: str) -> str | None:
    """What a command prints; None if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
