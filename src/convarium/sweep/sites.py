"""Where the jobs of a sweep run: on this machine, or (convarium.sweep.slurm) on others. No torch here."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from convarium.errors import ConfigError
from convarium.machine import available_cores
from convarium.run.devices import Placement
from convarium.sweep.directory import SweepDirectory
from convarium.sweep.local.pool import Pool, Share, memory_available, share_out, visible_gpus
from convarium.sweep.local.processes import Processes
from convarium.sweep.outcome import Starter
from convarium.sweep.task import Task


class Site(Protocol):
    """A place for jobs."""

    @property
    def processes(self) -> Processes:
        """Those of this machine, to check the jobs in."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether the jobs run on machines of which nothing is known here."""

    @property
    def description(self) -> dict[str, Any]:
        """By which `convarium sweep resume` finds the place again."""

    def still_running(self, sweep: SweepDirectory) -> Mapping[str, str]:
        """The jobs that an earlier controller has started here and that have outlived it, with their identities."""

    def share_out(
        self, placements: Sequence[Placement], threads: Sequence[int | None], settings: dict[str, Any], gpus: int
    ) -> tuple[Pool, list[Share]]:
        """The devices, and what each job takes of them. Raises ConfigError for what cannot be here."""

    def starter(self, sweep: SweepDirectory, tasks: Sequence[Task], adopted: Mapping[str, str]) -> Starter:
        """What starts the jobs; adopted: those `still_running`."""


class ThisMachine:
    """Processes of this machine, on its GPUs and cores."""

    is_elsewhere = False

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.description: dict[str, Any] = {}

    def still_running(self, sweep: SweepDirectory) -> Mapping[str, str]:
        return {}  # none outlives its controller

    def share_out(
        self, placements: Sequence[Placement], threads: Sequence[int | None], settings: dict[str, Any], gpus: int
    ) -> tuple[Pool, list[Share]]:
        for at in placements:
            if at.nodes > 1:
                raise ConfigError(
                    f"trainer.num_nodes={at.nodes}: these jobs run on one machine; accepted: 1, or hydra/launcher=slurm"
                )
        layout = share_out(
            placements,
            threads,
            jobs=settings["jobs"],
            devices_per_job=settings["devices_per_job"],
            gpus=gpus,
            cores=available_cores(),
            memory=memory_available(),
        )
        parts = 1 if settings["devices_per_job"] == "auto" else int(1 / settings["devices_per_job"])
        return Pool(layout.slots, visible_gpus(gpus), parts=parts), layout.shares

    def starter(self, sweep: SweepDirectory, tasks: Sequence[Task], adopted: Mapping[str, str]) -> Starter:
        return self.processes
