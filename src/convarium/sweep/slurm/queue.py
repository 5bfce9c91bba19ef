"""Slurm by its own commands: submit, look, signal; submitit writes the batch files. No torch here."""

import getpass
import os
import re
import signal
import subprocess
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

from convarium.errors import RunError
from convarium.results.directory import SweepDirectory
from convarium.run.devices import Placement
from convarium.sweep.local.processes import import_path
from convarium.sweep.outcome import Outcome
from convarium.sweep.slurm import watch
from convarium.sweep.slurm.options import Options
from convarium.sweep.task import Task
from convarium.wording import one_line

LARGEST_ARRAY = 500  # Slurm takes a thousand, unless its configuration says otherwise
FORGOTTEN_SECONDS = 30.0  # a job just submitted may not be listed yet


class State(NamedTuple):
    """How a submitted job is: waiting, running, ended or unknown; if ended, `code` and `outcome` as in `Ended`."""

    name: str
    code: int = 0
    outcome: Outcome | None = None


class Slurm:
    """The jobs of one sweep in Slurm's queue."""

    ACTIVE: ClassVar = ("RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "STAGE_OUT", "SIGNALING")
    WAITING: ClassVar = (
        *("PENDING", "CONFIGURING", "RESIZING", "SPECIAL_EXIT"),
        *("REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED"),
    )
    OUTCOMES: ClassVar = {
        "OUT_OF_MEMORY": Outcome("oom", "Slurm: OUT_OF_MEMORY"),
        "TIMEOUT": Outcome("timeout", "Slurm: TIMEOUT, and not in time to save; see hydra.launcher.save_seconds"),
        "DEADLINE": Outcome("timeout", "Slurm: DEADLINE"),
        "CANCELLED": Outcome("interrupted", "Slurm: CANCELLED"),
        **{name: Outcome("killed", f"Slurm: {name}") for name in ("NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "REVOKED")},
    }

    def __init__(self, sweep: SweepDirectory, options: Options, most_at_a_time: int) -> None:
        self._sweep, self._options, self._most = sweep, options, most_at_a_time
        self._submitted_at: dict[str, float] = {}

    def submit(self, tasks: Sequence[Task], at: Placement) -> list[str]:
        """Submit tasks that need the same devices; the identities that they get. Raises RunError if it is refused."""
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        identities: list[str] = []
        os.environ["PYTHONPATH"] = import_path()  # a job imports what this program can
        try:
            executor = submitit.SlurmExecutor(folder=self._sweep.path / "slurm" / "%j")
            asked = {**self._options.of_job(at), "job_name": self._sweep.name[:64], "array_parallelism": self._most}
            executor.update_parameters(**asked)
            for start in range(0, len(tasks), LARGEST_ARRAY):
                calls = [call_of(task, at) for task in tasks[start : start + LARGEST_ARRAY]]
                identities += [str(job.job_id) for job in executor.submit_array(calls)]
        except (FailedJobError, FailedSubmissionError, RuntimeError) as error:
            self.signal(identities, signal.SIGKILL)
            raise RunError(f"sbatch: {one_line(error).removeprefix('sbatch: error: ')}") from error
        self._submitted_at |= dict.fromkeys(identities, time.monotonic())
        return identities

    def states(self, identities: Sequence[str]) -> dict[str, State]:
        """How each of them is."""
        if not identities:
            return {}
        user = f"--user={getpass.getuser()}"
        listed = watch.answer_of("squeue", "--noheader", "--array", user, "--states=all", "--format=%i %T")
        if listed is None:  # the daemon does not answer now; no news
            return {identity: State("unknown") for identity in identities}
        names = dict(line.split()[:2] for line in listed.splitlines() if len(line.split()) >= 2)
        return {identity: self._state(identity, names.get(identity)) for identity in identities}

    def _state(self, identity: str, name: str | None) -> State:
        code = 0
        if name not in (*self.ACTIVE, *self.WAITING):
            if name is None and time.monotonic() - self._submitted_at.get(identity, 0) < FORGOTTEN_SECONDS:
                return State("waiting")
            name, code = self._end_of(identity, name)
        if name in self.WAITING:
            return State("waiting")
        if name in self.ACTIVE:
            return State("running")
        return State("ended", code, self.OUTCOMES.get(name))

    def _end_of(self, identity: str, name: str | None) -> tuple[str, int]:
        """State and exit code of a job that squeue no longer counts; as long as scontrol remembers, else accounting."""
        text = watch.answer_of("scontrol", "--oneliner", "show", "job", identity) or ""
        state, code = re.search(r"\bJobState=(\w+)", text), re.search(r"\bExitCode=(\d+):(\d+)", text)
        if not state:
            text = watch.answer_of("sacct", "-X", "-n", "-P", "-o", "State,ExitCode", "-j", identity) or ""
            state, code = re.match(r"(\w+)", text), re.search(r"\|(\d+):(\d+)", text)
        exit_code, signum = (int(code[1]), int(code[2])) if code else (0, 0)
        return (state[1] if state else name or "NODE_FAIL"), -signum or exit_code

    def signal(self, identities: Sequence[str], signum: int) -> None:
        """Signal all processes of each; SIGKILL takes it from the queue as well."""
        how = [] if signum == signal.SIGKILL else [f"--signal={signal.Signals(signum).name.removeprefix('SIG')}"]
        for start in range(0, len(identities), LARGEST_ARRAY):
            watch.answer_of("scancel", *how, *identities[start : start + LARGEST_ARRAY])


def call_of(task: Task, at: Placement) -> Any:
    """What Slurm runs for a task."""
    return partial(watch.run, str(task.run.path), at.nodes, task.share.cores)


def check_reachable() -> None:
    """Raise RunError, with Slurm's own message, unless its commands are here and get an answer."""
    try:
        done = subprocess.run(["squeue", "--noheader", "--me"], capture_output=True, text=True, timeout=60)
    except FileNotFoundError as error:
        why = "this machine has no Slurm (no squeue); give the command where it is"
        raise RunError(f"hydra/launcher=slurm: {why}") from error
    except subprocess.TimeoutExpired as error:
        raise RunError("hydra/launcher=slurm: squeue gets no answer within a minute") from error
    if done.returncode:
        raise RunError(f"hydra/launcher=slurm: {(done.stderr.strip().splitlines() or ['squeue fails'])[-1]}")
