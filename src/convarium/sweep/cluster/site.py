"""A Slurm cluster as a place for the jobs of a sweep. No torch here."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convarium.errors import ConfigError
from convarium.machine import available_cores
from convarium.run.placement import Placement
from convarium.sweep.cluster.local import Local
from convarium.sweep.cluster.options import Options
from convarium.sweep.cluster.slurm import Slurm
from convarium.sweep.cluster.submitted import Submitted
from convarium.sweep.directory import SweepDirectory
from convarium.sweep.pool import Pool, Share, memory_available, share_out
from convarium.sweep.processes import Processes

if TYPE_CHECKING:
    from convarium.sweep.controller import Task

MOST_AT_A_TIME = 1000  # of an array, unless sweep.jobs says


class Cluster:
    """A Slurm cluster, or with `cluster: local` this machine in its place, to try things out."""

    def __init__(self, processes: Processes, options: Options) -> None:
        self.processes = processes
        self.options = options
        self.is_elsewhere = options.cluster == "slurm"
        self.description: dict[str, Any] = {"slurm": vars(options)}
        require_submitit()

    def still_at_work(self, sweep: SweepDirectory) -> Mapping[str, str]:
        last: dict[str, str] = {}
        for entry in sweep.entries():
            if entry["status"] not in ("queued", "running") or "key" in entry:
                last.pop(entry["job"], None)
            if "slurm" in entry:
                last[entry["job"]] = entry["slurm"]
        if self.options.cluster == "local" or not last:
            return {}
        states = Slurm(sweep, self.options, None).states(list(last.values()))
        return {job: identity for job, identity in last.items() if states[identity].name != "ended"}

    def share_out(
        self, placements: Sequence[Placement], threads: Sequence[int | None], settings: dict[str, Any], gpus: int
    ) -> tuple[Pool, list[Share]]:
        if settings["devices_per_job"] != "auto":
            raise ConfigError(
                f"sweep.devices_per_job={settings['devices_per_job']}: shares out the GPUs of one machine; accepted"
                " under Slurm: auto"
            )
        if self.options.cluster == "slurm":  # it has a queue of its own
            cores = [self.options.cpus_per_device * at.devices for at in placements]
            return Pool(len(placements)), [Share(0, own, 1) for own in cores]
        for at in placements:
            if at.nodes > 1 or at.accelerator != "cpu":
                raise ConfigError(
                    "hydra.launcher.cluster=local: runs on the CPU of one machine; add trainer=cpu trainer.num_nodes=1"
                )
        layout = share_out(
            placements,
            threads,
            jobs=settings["jobs"],
            devices_per_job="auto",
            gpus=0,
            cores=available_cores(),
            memory=memory_available(),
        )
        return Pool(layout.slots), layout.shares

    def starter(self, sweep: SweepDirectory, tasks: "Sequence[Task]") -> "Submitted":
        self.processes.close()  # the jobs are checked, and theirs are elsewhere
        jobs = tasks[0].job.config["sweep"]["jobs"] if tasks else "auto"
        most = MOST_AT_A_TIME if jobs == "auto" else int(jobs)
        kind = Slurm if self.options.cluster == "slurm" else Local
        return Submitted(tasks, kind(sweep, self.options, most), self.still_at_work(sweep), self.options.poll_seconds)


def require_submitit() -> None:
    """Raise ConfigError where it is not installed."""
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise ConfigError("hydra/launcher=slurm: needs submitit; pip install 'convarium[slurm]'") from error
