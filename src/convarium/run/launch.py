"""From a checked config to a run: in this process, in several of this machine, or as a command for a cluster."""

import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from convarium import out_of_memory
from convarium.config.rules import check_batch_divides
from convarium.errors import RunError
from convarium.learn.lengths import Clock
from convarium.machine import cores, scrub_rank_variables
from convarium.run.devices import Preflight
from convarium.run.directory import FINISHED, Result, RunDirectory, Status
from convarium.run.preflight import preflight

if TYPE_CHECKING:
    from convarium.data.module import ImageData
    from convarium.run.fit import Assembly

SHUTDOWN_SECONDS = 300  # for ranks to end their step and save, once told to stop


class Rehearsed(NamedTuple):
    """An experiment checked as far as it can be without leaving a trace, and what was read on the way."""

    config: dict[str, Any]
    found: Preflight
    data: "ImageData"
    clock: Clock


def rehearse(config: dict[str, Any], found: Preflight | None = None, data: "ImageData | None" = None) -> Rehearsed:
    """Do all that comes before the run directory: network, device, data, lengths. Raises ConfigError; makes nothing.

    found, data: what is known from another rehearsal, of which they are not looked at again.
    """
    found = found or preflight(config)
    at, accumulate = found.placement, config["trainer"]["accumulate_grad_batches"]
    check_batch_divides(config["batch_size"], at.devices, at.nodes, accumulate)
    config = {**config, "threads": config["threads"] or max(1, cores() // at.devices)}

    from convarium.run.fit import build_data, check_batch_fits, measure

    data = data or build_data(config)
    check_batch_fits(config, data)
    return Rehearsed(config, found, data, measure(config, data))


def run_experiment(config: dict[str, Any], overrides: list[str], *, resume: Path | None = None) -> int:
    """Check the last things, make the run directory (or take `resume`'s) and run; the exit code.

    Raises ConfigError or RunError, with nothing made, for what cannot be run.
    """
    config, found, data, clock = rehearse(config)
    run = RunDirectory.planned(config) if resume is None else RunDirectory.open(resume)
    if found.placement.nodes > 1:
        return prepare_cluster(run, config, overrides, found, fresh=resume is None)
    parts = assemble(run, config, found, data, clock)
    del data
    if resume is None:
        run.make(config, overrides)
    with run.locked():
        if resume is not None:
            check_resumable(run, config, clock)
            run.save_config(config, overrides)
        return carry_out(run, config, found, parts, resume=resume is not None)


def assemble(
    run: RunDirectory, config: dict[str, Any], found: Preflight, data: "ImageData", clock: Clock
) -> "Assembly | None":
    """What the run is made of, if this process alone is to run it; None if ranks are, who build their own."""
    from convarium.run.fit import build_parts

    scrub_rank_variables()
    return build_parts(config, run, found, data, clock) if found.placement.ranks == 1 else None


def carry_out(
    run: RunDirectory, config: dict[str, Any], found: Preflight, parts: "Assembly | None", *, resume: bool
) -> int:
    """Run what was assembled, in this process or as ranks; the exit code. The run directory is there, and locked."""
    from convarium.run.console import copied_to
    from convarium.run.fit import fit_and_test

    if parts is None:
        return launch_ranks(run, config, found, resume=resume)
    with copied_to(run.log_file):
        return fit_and_test(run, config, found, parts, resume=resume)


def check_resumable(run: RunDirectory, config: dict[str, Any], clock: Clock) -> None:
    """Refuse a run that has nothing left to do, and a checkpoint that is not one."""
    from convarium.learn.checkpoint_file import read_checkpoint

    if run.last.is_file():
        read_checkpoint(run.last)
    result = run.result()
    if result.get("status") == "ok" and (result.get("steps") or 0) >= clock.total_steps:
        name = "max_epochs" if config["trainer"]["max_steps"] == -1 else "max_steps"
        longer = 2 * config["trainer"][name]
        raise RunError(f"resume={run.path}: it is finished; trainer.{name}={longer} would go on with it")


class RankFailed(Exception):
    """A rank ended by itself: the first to do so, its exit code (negative: a signal), and its traceback, if any."""

    def __init__(self, rank: int, exitcode: int, trace: str) -> None:
        self.rank = rank
        self.exitcode = exitcode
        self.trace = trace
        cause = trace.strip().rpartition("\n")[2] or f"exit code {exitcode}"
        super().__init__(signal.Signals(-exitcode).name if exitcode < 0 else cause)


class Stopped(Exception):
    """This process was told to stop, and its ranks have."""

    def __init__(self, signum: signal.Signals) -> None:
        super().__init__(f"stopped by {signum.name}")
        self.signum = signum


def launch(function: Callable[..., Any], *arguments: Any, ranks: int, threads: int, logs: Path) -> None:
    """Call `function(*arguments)` in `ranks` new processes, by torch's elastic launcher, and wait until all have ended.

    Rank 0 writes to our terminal, the others into the folder `logs`. When one ends otherwise, all do: raises RankFailed
    for the first, or Stopped after a signal to this process.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    os.environ["OMP_NUM_THREADS"] = str(threads)
    # by the environment: the argument of LaunchConfig came after torch 2.11
    os.environ["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] = str(SHUTDOWN_SECONDS)
    # we say it ourselves, the first thing first
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    launcher = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id="convarium",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.1,
        start_method="spawn",
        logs_specs=DefaultLogsSpecs(log_dir=str(logs), redirects=dict.fromkeys(range(1, ranks), Std.ALL)),
    )
    try:
        elastic_launch(launcher, function)(*arguments)
    except ChildFailedError as failures:
        rank, failure = failures.get_first_failure()
        raise RankFailed(rank, failure.exitcode, _traceback(failure.message)) from failures
    except SignalException as stop:
        raise Stopped(stop.sigval) from stop


def launch_ranks(run: RunDirectory, config: dict[str, Any], found: Preflight, *, resume: bool) -> int:
    """One process per device; ends when all have ended, or the first has failed."""
    from convarium.run.console import copied_to
    from convarium.run.worker import rank

    logs = run.path / "ranks"
    logs.mkdir(exist_ok=True)
    try:
        arguments = (str(run.path), resume, found, os.getpid())
        launch(rank, *arguments, ranks=found.placement.devices, threads=config["threads"], logs=logs)
    except RankFailed as failure:
        with copied_to(run.log_file):
            return close_failed(run, config, failure)
    except Stopped as stop:
        if run.result().get("status") not in FINISHED:
            Result(run, config).write(status="interrupted", error=str(stop))
        return 128 + stop.signum
    return 0


def close_failed(run: RunDirectory, config: dict[str, Any], failure: RankFailed) -> int:
    """Record that a rank ended the run, and show its traceback; the exit code."""
    if run.result().get("status") in FINISHED - {"failed"}:  # all ranks agreed on it: interrupted, diverged
        return failure.exitcode if failure.exitcode > 0 else 1
    error = str(failure)
    status: Status = "failed"
    if failure.exitcode < 0:
        status = "killed"
    elif out_of_memory.told(error):
        status = "oom"
    print(failure.trace, file=sys.stderr)
    print(f"{status}: rank {failure.rank}: {error}\n  {run.path}", file=sys.stderr)
    Result(run, config).write(status=status, error=f"rank {failure.rank}: {error}")
    return 1


def _traceback(message: Any) -> str:
    """The traceback in what torch's @record kept of a failure."""
    if isinstance(message, dict):
        message = message.get("extraInfo", {}).get("py_callstack") or message.get("message", "")
    return str(message) if "Traceback" in str(message) else ""


def prepare_cluster(
    run: RunDirectory, config: dict[str, Any], overrides: list[str], found: Preflight, *, fresh: bool
) -> int:
    """Freeze the config and print the line that starts its ranks on every machine."""
    if fresh:
        run.make(config, overrides)
    else:
        run.save_config(config, overrides)
    kind, devices, nodes = found.placement
    gpus = "" if kind == "cpu" else f" --gpus-per-node={devices}"
    frozen = shlex.quote(str(run.config_file))
    print(
        f"{run.path}\n\nOn each of the {nodes} machines, which all see this folder:\n"
        f"  torchrun --nnodes={nodes} --nproc-per-node={devices} --rdzv-backend=c10d --rdzv-endpoint=HOST:29500"
        f" -m convarium.run.worker {frozen}\nor once, under Slurm:\n"
        f"  srun --nodes={nodes} --ntasks-per-node={devices}{gpus}"
        f" python -m convarium.run.worker {frozen}\nor, with RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT"
        f" set for each rank, by anything else:\n  python -m convarium.run.worker {frozen}\n"
        "The same line goes on where the run ended."
    )
    return 0
