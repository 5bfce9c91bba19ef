"""Processes of submitit's local executor in place of a cluster, to try things out. No torch here."""

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from convarium.run.placement import Placement
from convarium.sweep.cluster.options import Options
from convarium.sweep.cluster.submitted import State, call_of, importable
from convarium.sweep.directory import SweepDirectory

if TYPE_CHECKING:
    from convarium.sweep.controller import Task


class Local:
    """Processes of submitit's local executor, which end with this one."""

    def __init__(self, sweep: SweepDirectory, options: Options, most_at_a_time: int | None) -> None:
        self._sweep = sweep
        self._options = options
        self._jobs: dict[str, Any] = {}

    def submit(self, tasks: "Sequence[Task]", at: Placement) -> list[str]:
        import submitit

        executor = submitit.LocalExecutor(folder=self._sweep.path / "slurm" / "%j")
        executor.update_parameters(timeout_min=self._options.minutes, signal_delay_s=self._options.save_seconds)
        with importable():
            jobs = [executor.submit(call_of(task, at, os.getpid())) for task in tasks]
        self._jobs |= {str(job.job_id): job for job in jobs}
        return [str(job.job_id) for job in jobs]

    def states(self, identities: Sequence[str]) -> dict[str, State]:
        return {identity: State("ended" if self._jobs[identity].done() else "running") for identity in identities}

    def signal(self, identity: str, signum: int) -> None:
        process = self._jobs[identity]._process
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM if signum != signal.SIGKILL else signal.SIGINT)
