"""From the words of a command to a sweep that is run: what Hydra's sweeper and launchers do. No torch here.

Private names of Hydra's: `_return_value` of its JobReturn.
"""

import itertools
import math
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, OmegaConf

from convarium.config.compose import Conf
from convarium.config.keys import check_values
from convarium.config.rules import check_not_searched
from convarium.errors import ConfigError
from convarium.progress_bar import doing
from convarium.results.directory import SweepDirectory
from convarium.results.search import values_of
from convarium.run.directory import SUCCEEDED
from convarium.sweep.grid import Point, off_axes, on_axes, shown, values
from convarium.sweep.plan import AtPoint, Plan, check_folder, check_same_base, default_name, plan
from convarium.sweep.run import run_sweep
from convarium.sweep.search.objective import objectives_of
from convarium.sweep.search.source import Question, Search
from convarium.sweep.search.space import read_space
from convarium.sweep.sites import Site, site_of

SIGNALLED = 128  # and above: the exit code of what a signal ended

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher


worst_code = 0
"""The exit code of jobs that failed while a sweeper of somebody else's went on; the command ends with it."""


def run_in_processes(
    config: DictConfig,
    loader: Any,
    points: Sequence[Point],
    axes: Sequence[str],
    slurm: Mapping[str, Any] | None,
    *,
    asked: bool = False,
) -> list[JobReturn]:
    """Run the points on this machine, or as jobs of Slurm with its options. Raises SystemExit unless all are well.

    asked: their sweeper asks what each is worth, and goes on where some fail: such are worth nan, and `worst_code` says
    that there were some. What a point is worth is its search.objective.
    """
    global worst_code
    with site_of(slurm, str(OmegaConf.select(config, "sweep.isolation"))) as site:  # it imports while we compose
        conf = Conf(loader=loader, root=config.hydra.job.config_name)
        wanted, sweep = _planned(conf, points, axes, list(config.hydra.overrides.hydra))
        objectives = {job.key: objectives_of(job.config, needed=False) for job in wanted.jobs} if asked else {}
        code = _run(sweep, wanted, site)
    if code and (not asked or code >= SIGNALLED):
        raise SystemExit(code)
    worst_code = max(worst_code, code)
    returns = [JobReturn(overrides=point, status=JobStatus.COMPLETED) for point in points]
    if asked:
        runs = {known.key: sweep.run(known.folder) for known in sweep.known().values()}
        for key, returned in zip(wanted.keys, returns, strict=True):
            names, result = [name for name, _ in objectives[key]], runs[key].result()
            values = values_of(result, names) if result.get("status") in SUCCEEDED else None
            worth = values or [math.nan] * len(names)
            returned.return_value = worth[0] if len(worth) == 1 else worth or None
    return returns


def search(
    config: DictConfig, loader: Any, words: Sequence[str], launcher: "Launcher", slurm: Mapping[str, Any] | None
) -> list[JobReturn]:
    """Search what the words leave open, on this machine. Raises ConfigError, and SystemExit unless all is well."""
    if slurm is not None or type(launcher).__name__ != "LocalLauncher":
        name = "slurm" if slurm is not None else type(launcher).__name__
        raise ConfigError(f"hydra/launcher={name}: a search runs on this machine; accepted: local")
    if find_spec("optuna") is None:
        raise ConfigError("hydra/sweeper=optuna: needs optuna; pip install 'convarium[search]'")
    node: Any = OmegaConf.to_container(config.search)
    space = [f"{key}={value}" for key, value in (node.pop("space", None) or {}).items()]
    with site_of(None, str(OmegaConf.select(config, "sweep.isolation"))) as site:
        conf = Conf(loader=loader, root=config.hydra.job.config_name)
        if code := run_search(conf, [*space, *words], node, site, hydra=list(config.hydra.overrides.hydra)):
            raise SystemExit(code)
    return []


def run_search(
    conf: Conf, words: Sequence[str], settings: dict[str, Any], site: Site, *, hydra: Sequence[str] = ()
) -> int:
    """Run the trials of a search in a sweep directory below the current folder; the exit code.

    settings: the answers under `search`. Raises ConfigError or RunError.
    """
    check_values({"search": settings})
    with doing("compose the jobs"):
        fixed, space, again = read_space(conf, words)
        question = Question(fixed, space, again, settings, list(hydra))
        name = values(fixed).get("sweep.name") or default_name(conf, fixed, [*question.axes, "search"])
        if "sweep.name" not in values(fixed):
            question = question._replace(fixed=[*fixed, f"sweep.name={name}"])
        source = Search(SweepDirectory.named(name), conf, question)
        check_same_base(source.sweep, conf, question.plan, hydra)
    return run_sweep(source.sweep, [], question.axes, source.sweep_settings, site, command=sys.argv[1:], search=source)


def run_points(
    conf: Conf, points: Sequence[Point], axes: Sequence[str], site: Site, *, hydra: Sequence[str] = ()
) -> int:
    """Run the points in a sweep directory below the current folder; the exit code. Raises ConfigError or RunError."""
    wanted, sweep = _planned(conf, points, axes, hydra)
    return _run(sweep, wanted, site)


def _planned(
    conf: Conf, points: Sequence[Point], axes: Sequence[str], hydra: Sequence[str]
) -> tuple[Plan, SweepDirectory]:
    with doing("compose the jobs"):
        wanted = plan(conf, named(conf, points, axes), axes, hydra)
    for job in wanted.jobs:
        check_folder(job)
        check_not_searched(job.config["choices"])
    sweep = SweepDirectory.named(wanted.jobs[0].config["sweep"]["name"])
    check_same_base(sweep, conf, wanted, hydra)
    return wanted, sweep


def _run(sweep: SweepDirectory, wanted: Plan, site: Site) -> int:
    told: dict[str, Any] = {"command": sys.argv[1:], "doubles": wanted.doubles, "study": wanted.study}
    settings = wanted.jobs[0].config["sweep"]
    return run_sweep(sweep, wanted.jobs, wanted.axes, settings, site, **told)


def named(conf: Conf, points: Sequence[Point], axes: Sequence[str]) -> list[Point]:
    """The points, each with `sweep.name=...` unless it has one."""
    fixed = off_axes(points[0], axes) if points else []
    if any(word.startswith("sweep.name=") for word in fixed):
        return [list(point) for point in points]
    name = default_name(conf, fixed, axes)
    return [[*point, f"sweep.name={name}"] for point in points]


def run_by_launcher(
    launcher: "Launcher", config: DictConfig, loader: Any, points: Sequence[Point], axes: Sequence[str], at_a_time: int
) -> list[Sequence[JobReturn]]:
    """Check all points, then hand them to a launcher of Hydra's, so many at a time.

    A job that fails does not keep the others from running; the failures are listed at the end, and SystemExit(1)
    raised. Ctrl-C ends the sweep.
    """
    conf = Conf(loader=loader, root=config.hydra.job.config_name)
    points = named(conf, points, axes)
    with doing("compose the jobs"):
        wanted = plan(conf, points, axes, list(config.hydra.overrides.hydra))
    folders = [job.config["run_dir"] for job in wanted.jobs if job.config["run_dir"] is not None]
    if len(folders) > len(set(folders)):
        raise ConfigError(f"run_dir={folders[0]}: the jobs of a sweep need a folder each; leave it out")
    from convarium.run.prepare import prepare

    for number, job in enumerate(wanted.jobs, 1):
        try:
            prepare(job.config)
        except ConfigError as error:
            raise AtPoint(error, number, len(wanted.jobs), job.words) from error
    returns, done = list[Sequence[JobReturn]](), 0
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
    failures = []
    for number, (point, returned) in enumerate(zip(points, itertools.chain(*returns), strict=True), 1):
        end = returned._return_value
        raised = (1, f"{type(end).__name__}: {end}")
        code, reason = (end or (0, "")) if returned.status == JobStatus.COMPLETED else raised
        if code:
            failures.append(f"  job {number}  {shown(on_axes(point, axes))}  exit {code}  {reason}")
    print(f"\nsweep: {len(points) - len(failures)} of {len(points)} jobs ended well", flush=True)
    if failures:
        print("\n".join(failures), file=sys.stderr)
        raise SystemExit(1)
    return returns
