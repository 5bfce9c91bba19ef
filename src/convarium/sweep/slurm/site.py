"""A Slurm cluster as a place for the jobs of a sweep. No torch here."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from convarium.errors import ConfigError
from convarium.results.directory import SweepDirectory
from convarium.run.devices import Placement
from convarium.sweep.local.pool import Pool, Share
from convarium.sweep.local.processes import Processes
from convarium.sweep.slurm.options import options_of
from convarium.sweep.slurm.queue import Slurm, check_reachable
from convarium.sweep.slurm.submitted import Submitted
from convarium.sweep.task import Task

MOST_AT_A_TIME = 1000  # of an array, unless sweep.jobs says


class Cluster:
    """Other machines, which Slurm gives to jobs in its own order, as the keys of hydra/launcher=slurm say.

    Raises ConfigError for a wrong value of these, and without submitit.
    """

    is_elsewhere = True

    def __init__(self, processes: Processes, node: Mapping[str, Any]) -> None:
        self.processes, self.options = processes, options_of(node)
        self.description: dict[str, Any] = {"slurm": vars(self.options)}
        if find_spec("submitit") is None:
            raise ConfigError("hydra/launcher=slurm: needs submitit; pip install 'convarium[slurm]'")

    def still_running(self, sweep: SweepDirectory) -> Mapping[str, str]:
        last: dict[str, str] = {}
        for entry in sweep.entries():
            if entry["status"] not in ("queued", "running"):
                last.pop(entry["job"], None)
            if "slurm" in entry:
                last[entry["job"]] = str(entry["slurm"])
        states = Slurm(sweep, self.options, MOST_AT_A_TIME).states(list(last.values()))
        return {job: identity for job, identity in last.items() if states[identity].name != "ended"}

    def share_out(
        self, placements: Sequence[Placement], threads: Sequence[int | None], settings: dict[str, Any], gpus: int
    ) -> tuple[Pool, list[Share]]:
        if (asked := settings["devices_per_job"]) != "auto":
            why = "shares out the GPUs of one machine; accepted under Slurm: auto"
            raise ConfigError(f"sweep.devices_per_job={asked}: {why}")
        check_reachable()  # after the checks that need no Slurm, before anything is made
        return Pool(len(placements)), [Share(0, self.options.cpus_per_device * at.devices, 1) for at in placements]

    def starter(self, sweep: SweepDirectory, tasks: Sequence[Task], adopted: Mapping[str, str]) -> Submitted:
        self.processes.close()  # the jobs are checked, and their processes are elsewhere
        jobs = tasks[0].job.config["sweep"]["jobs"] if tasks else "auto"
        slurm = Slurm(sweep, self.options, MOST_AT_A_TIME if jobs == "auto" else int(jobs))
        return Submitted(tasks, slurm, adopted, self.options.poll_seconds)
