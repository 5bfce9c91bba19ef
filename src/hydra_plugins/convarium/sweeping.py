"""Sweepers `grid` and `optuna`, launchers `local` and `slurm`: what Hydra calls; the work is in convarium.sweep.

Private names of Hydra's: its module `_internal` for BasicSweeper, and `_parse_config` of that.
"""

from collections.abc import Sequence
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GridSweeper(BasicSweeper):
    """Every combination of the swept values, all of them checked before the first job starts."""

    def sweep(self, arguments: list[str]) -> Any:
        """Run the sweep that `arguments` (and `hydra.sweeper.params`) describe; SystemExit unless all is well."""
        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        from convarium.sweep.grid import points_of
        from convarium.sweep.hydra_launch import run_by_launcher

        loader = self.hydra_context.config_loader
        points, axes = points_of(loader, [*self._parse_config(), *arguments])
        if isinstance(self.launcher, LocalLauncher):
            return self.launcher.run(points, axes)
        return run_by_launcher(self.launcher, self.config, loader, points, axes, self.max_batch_size or len(points))


class OptunaSweeper(BasicSweeper):
    """Points that a sampler chooses while the jobs of those before run."""

    def __init__(self, params: dict[str, str] | None = None) -> None:
        super().__init__(max_batch_size=None, params=params)

    def sweep(self, arguments: list[str]) -> Any:
        """Search what `search.space`, `hydra.sweeper.params` and `arguments` leave open; SystemExit unless well."""
        assert self.config is not None
        assert self.launcher is not None
        assert self.hydra_context is not None
        from convarium.sweep.hydra_launch import search

        params, slurm = self._parse_config(), getattr(self.launcher, "slurm", None)
        return search(self.config, self.hydra_context.config_loader, [*params, *arguments], self.launcher, slurm)


class LocalLauncher(Launcher):
    """Jobs in processes of their own on this machine, as many at a time as it has devices for."""

    slurm: dict[str, Any] | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the points of a sweeper that is not ours, which may ask what each is worth: what differs from the command
        is taken for its axes."""
        from convarium.sweep.grid import varied

        points = [list(point) for point in job_overrides]
        return self.run(points, varied(points, self.config.hydra.overrides.task), asked=True)

    def run(self, points: Sequence[list[str]], axes: Sequence[str], *, asked: bool = False) -> Sequence[JobReturn]:
        """Run points whose axes are known."""
        from convarium.sweep.hydra_launch import run_in_processes

        return run_in_processes(self.config, self.hydra_context.config_loader, points, axes, self.slurm, asked=asked)


class SlurmLauncher(LocalLauncher):
    """Jobs of a Slurm cluster, in the same sweep directory, with the same statuses and continuation."""

    def __init__(self, **options: Any) -> None:
        self.slurm = options
