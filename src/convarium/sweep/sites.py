"""Where the jobs of a sweep run: on this machine, or (convarium.sweep.slurm) on others. No torch here."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from convarium.errors import ConfigError
from convarium.machine import available_cores
from convarium.results.directory import SweepDirectory
from convarium.run.devices import Placement
from convarium.sweep.local.pool import Pool, Share, memory_available, share_out, visible_gpus
from convarium.sweep.local.processes import Processes, supervised
from convarium.sweep.outcome import Starter
from convarium.sweep.slurm.site import Cluster
from convarium.sweep.task import Task


class ThisMachine:
    """Processes of this machine, on its GPUs and cores."""

    is_elsewhere = False  # whether the jobs run on machines of which nothing is known here

    def __init__(self, processes: Processes) -> None:
        self.processes = processes  # those that check the jobs
        self.description: dict[str, Any] = {}  # by which `convarium sweep resume` finds the place again

    def still_running(self, sweep: SweepDirectory) -> Mapping[str, str]:
        """The jobs that an earlier controller has started here and that have outlived it, with their identities."""
        return {}

    def share_out(
        self, placements: Sequence[Placement], threads: Sequence[int | None], settings: dict[str, Any], gpus: int
    ) -> tuple[Pool, list[Share]]:
        """The devices, and what each job takes of them. Raises ConfigError for what cannot be here."""
        for at in placements:
            if at.nodes > 1:
                why = "these jobs run on one machine; accepted: 1, or hydra/launcher=slurm"
                raise ConfigError(f"trainer.num_nodes={at.nodes}: {why}")
        part = settings["devices_per_job"]
        here = {"gpus": gpus, "cores": available_cores(), "memory": memory_available()}
        slots, shares = share_out(placements, threads, jobs=settings["jobs"], devices_per_job=part, **here)
        return Pool(slots, visible_gpus(gpus), parts=1 if part == "auto" else int(1 / part)), shares

    def starter(self, sweep: SweepDirectory, tasks: Sequence[Task], adopted: Mapping[str, str]) -> Starter:
        """What starts the jobs; adopted: those `still_running`."""
        return self.processes


Site = ThisMachine | Cluster


@contextmanager
def site_of(slurm: Mapping[str, Any] | None, isolation: str) -> Iterator[Site]:
    """The cluster of these options of hydra/launcher=slurm, or this machine; its processes end with the context."""
    with supervised("spawn" if slurm else isolation) as processes:
        yield Cluster(processes, slurm) if slurm else ThisMachine(processes)
