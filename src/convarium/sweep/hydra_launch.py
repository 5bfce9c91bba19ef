"""From the words of a command to a sweep that is run: what our launchers do. No torch here."""

import sys
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from convarium.config.compose import Conf
from convarium.errors import ConfigError
from convarium.sweep.directory import SweepDirectory
from convarium.sweep.grid import Point, off_axes
from convarium.sweep.local.processes import supervised
from convarium.sweep.plan import check_same_base, default_name, plan
from convarium.sweep.run import conduct
from convarium.sweep.sites import Site, ThisMachine


def run_on_this_machine(
    config: DictConfig, loader: Any, points: Sequence[Point], axes: Sequence[str]
) -> list[JobReturn]:
    """Run the points in processes of this machine. Raises SystemExit unless all are well in the end."""
    with supervised(str(OmegaConf.select(config, "sweep.isolation"))) as processes:  # it imports while we compose
        return _run(config, loader, points, axes, ThisMachine(processes))


def run_on_a_cluster(
    config: DictConfig, loader: Any, points: Sequence[Point], axes: Sequence[str], options: dict[str, Any]
) -> list[JobReturn]:
    """Run the points as jobs of Slurm. Raises SystemExit unless all are well in the end."""
    from convarium.sweep.slurm.site import cluster_of

    with supervised("spawn") as processes:
        return _run(config, loader, points, axes, cluster_of(processes, options))


def _run(config: DictConfig, loader: Any, points: Sequence[Point], axes: Sequence[str], site: Site) -> list[JobReturn]:
    conf = Conf(loader=loader, root=config.hydra.job.config_name)
    if code := run_points(conf, points, axes, site, hydra=list(config.hydra.overrides.hydra)):
        raise SystemExit(code)
    return [JobReturn(overrides=point, status=JobStatus.COMPLETED) for point in points]


def run_points(
    conf: Conf, points: Sequence[Point], axes: Sequence[str], site: Site, *, hydra: Sequence[str] = ()
) -> int:
    """Run the points in a sweep directory below the current folder; the exit code. Raises ConfigError or RunError.

    site: where they run. hydra: overrides of Hydra's own keys, which belong to all points.
    """
    wanted = plan(conf, named(conf, points, axes), axes, hydra)
    for job in wanted.jobs:
        if job.config["run_dir"] is not None:
            raise ConfigError(
                f"run_dir={job.config['run_dir']}: the jobs of a sweep have their folders in its own; leave it out"
                " (sweep.name=NAME says where)"
            )
    settings = wanted.jobs[0].config["sweep"]
    sweep = SweepDirectory.named(settings["name"])
    check_same_base(sweep, conf, wanted, hydra)
    return conduct(sweep, wanted.jobs, axes, settings, site, command=sys.argv[1:], doubles=wanted.doubles)


def named(conf: Conf, points: Sequence[Point], axes: Sequence[str]) -> list[Point]:
    """The points, each with `sweep.name=...` unless it has one."""
    fixed = off_axes(points[0], axes) if points else []
    if any(word.startswith("sweep.name=") for word in fixed):
        return [list(point) for point in points]
    name = default_name(conf, fixed, axes)
    return [[*point, f"sweep.name={name}"] for point in points]
