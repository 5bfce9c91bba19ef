"""Sweeps by a launcher of Hydra's: all points are checked, then handed to it. No torch until they are."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig

from convarium.config.compose import Conf
from convarium.errors import ConfigError
from convarium.sweep.grid import Point, on_axes, shown
from convarium.sweep.hydra_launch import named
from convarium.sweep.plan import AtPoint, plan

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher


def run_by(
    launcher: "Launcher", config: DictConfig, loader: Any, points: Sequence[Point], axes: Sequence[str], at_a_time: int
) -> list[Sequence[JobReturn]]:
    """Check all points, then hand them to a launcher of Hydra's, so many at a time.

    A job that fails does not keep the others from running; the failures are listed at the end, and SystemExit(1)
    raised. Ctrl-C ends the sweep.
    """
    conf = Conf(loader=loader, root=config.hydra.job.config_name)
    hydra = list(config.hydra.overrides.hydra)
    points = named(conf, points, axes)
    wanted = plan(conf, points, axes, hydra)
    folders = [job.config["run_dir"] for job in wanted.jobs if job.config["run_dir"] is not None]
    if len(folders) > len(set(folders)):
        raise ConfigError(f"run_dir={folders[0]}: the jobs of a sweep need a folder each; leave it out")
    from convarium.run.launch import rehearse

    for number, job in enumerate(wanted.jobs, 1):
        try:
            rehearse(job.config)
        except ConfigError as error:
            raise AtPoint(error, number, len(wanted.jobs), job.words) from error
    returns: list[Sequence[JobReturn]] = []
    done = 0
    try:
        for start in range(0, len(points), at_a_time):
            batch = points[start : start + at_a_time]
            for number, point in enumerate(batch, done + 1):
                print(f"\njob {number} of {len(points)}: {shown(on_axes(point, axes))}", flush=True)
            returns.append(launcher.launch(batch, initial_job_idx=done))
            done += len(batch)
    except (SystemExit, KeyboardInterrupt) as stop:
        print(f"\nsweep stopped: {done} of {len(points)} jobs had ended", file=sys.stderr)
        raise SystemExit(stop.code if isinstance(stop, SystemExit) else 130) from None
    _list_failures(points, axes, [job for batch in returns for job in batch])
    return returns


def _list_failures(points: Sequence[Point], axes: Sequence[str], jobs: Sequence[JobReturn]) -> None:
    failures = []
    for number, (point, job) in enumerate(zip(points, jobs, strict=True), 1):
        end = job._return_value
        if job.status != JobStatus.COMPLETED:
            failures.append((number, point, 1, f"{type(end).__name__}: {end}"))
        elif end is not None and end.code != 0:
            failures.append((number, point, end.code, end.reason))
    print(f"\nsweep: {len(points) - len(failures)} of {len(points)} jobs ended well", flush=True)
    for number, point, code, reason in failures:
        print(f"  job {number}  {shown(on_axes(point, axes))}  exit {code}  {reason}", file=sys.stderr)
    if failures:
        raise SystemExit(1)
