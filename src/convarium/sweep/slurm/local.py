"""`hydra.launcher.cluster=local`: processes of submitit's local executor in place of a cluster, to try things out."""

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from convarium.errors import ConfigError
from convarium.run.devices import Placement
from convarium.sweep.directory import SweepDirectory
from convarium.sweep.local.pool import Pool, Share
from convarium.sweep.local.processes import Processes
from convarium.sweep.sites import ThisMachine
from convarium.sweep.slurm.options import Options
from convarium.sweep.slurm.submitted import State, Submitted, call_of, importable

if TYPE_CHECKING:
    from convarium.sweep.controller import Task


class LocalCluster(ThisMachine):
    """This machine, whose jobs go the way of those of a cluster."""

    def __init__(self, processes: Processes, options: Options) -> None:
        super().__init__(processes)
        self.options = options
        self.description = {"slurm": vars(options)}

    def share_out(
        self, placements: Sequence[Placement], threads: Sequence[int | None], settings: dict[str, Any], gpus: int
    ) -> tuple[Pool, list[Share]]:
        if any(at.accelerator != "cpu" for at in placements):
            raise ConfigError("hydra.launcher.cluster=local: has no part in sharing out GPUs; add trainer=cpu")
        return super().share_out(placements, threads, settings, gpus)

    def starter(self, sweep: SweepDirectory, tasks: "Sequence[Task]") -> Submitted:
        self.processes.close()  # the jobs are checked, and are not to be its
        adopted: Mapping[str, str] = {}
        return Submitted(tasks, Executor(sweep, self.options), adopted, self.options.poll_seconds)


class Executor:
    """Processes that end with this one."""

    def __init__(self, sweep: SweepDirectory, options: Options) -> None:
        self._sweep = sweep
        self._options = options
        self._jobs: dict[str, Any] = {}

    def submit(self, tasks: "Sequence[Task]", at: Placement) -> list[str]:
        import submitit

        executor = submitit.LocalExecutor(folder=self._sweep.path / "slurm")
        executor.update_parameters(timeout_min=self._options.minutes, signal_delay_s=self._options.save_seconds)
        with importable():
            jobs = [executor.submit(call_of(task, at, os.getpid())) for task in tasks]
        self._jobs |= {str(job.job_id): job for job in jobs}
        return [str(job.job_id) for job in jobs]

    def states(self, identities: Sequence[str]) -> dict[str, State]:
        return {identity: State("ended" if self._jobs[identity].done() else "running") for identity in identities}

    def signal(self, identities: Sequence[str], signum: int) -> None:
        for identity in identities:
            with suppress(ProcessLookupError):  # submitit's own, which passes SIGTERM on and takes its tasks with it
                self._jobs[identity]._process.send_signal(
                    signal.SIGKILL if signum == signal.SIGKILL else signal.SIGTERM
                )
