"""From a prepared experiment to a run: in this process, in several of this machine, or by a command for a cluster."""

import os
import shlex
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convarium import out_of_memory
from convarium.errors import RunError
from convarium.files import full_disk_line, is_full_disk
from convarium.machine import scrub_rank_variables
from convarium.progress_bar import doing
from convarium.run.devices import Placement
from convarium.run.directory import FINISHED, Result, RunDirectory, Status
from convarium.run.prepare import Prepared

if TYPE_CHECKING:
    from convarium.run.checkpoint import Saved
    from convarium.run.fit import Experiment
    from convarium.run.worker import RankFailed


def launch(
    prepared: Prepared,
    overrides: list[str],
    *,
    resume: Path | None = None,
    write_page: Callable[[RunDirectory], object] | None = None,
    at_end: Callable[[RunDirectory], object] = lambda run: None,
) -> int:
    """Make the run directory, or take that of `resume`, and run the experiment there; the exit code.

    write_page: see `fit`. at_end: called when it has ended, however it did, with the last word in its result.json.
    Raises ConfigError or RunError, with nothing made, for what cannot be run.
    """
    config = prepared.config
    run = RunDirectory.planned(config) if resume is None else RunDirectory.open(resume)
    experiment = built_here(run, prepared)
    while resume is None and not run.make(config, overrides):  # another run was as fast and took the name
        run = RunDirectory.planned(config)
        experiment = built_here(run, prepared)
    saved = None
    with run.locked():
        try:
            if resume is not None:
                from convarium.run.finished import check_resumable

                saved = check_resumable(run, prepared)
                run.save_config(config, overrides)
            if prepared.placement.nodes == 1:
                code = start(run, prepared, experiment, saved, write_page)
                at_end(run)
                return code
        except OSError as error:
            if is_full_disk(error):
                line = full_disk_line(error, run.path)
                if resume is None:
                    with suppress(OSError):
                        run.close("failed", line)
                raise RunError(line) from error
            raise
    return print_cluster_command(run, prepared.placement)


def built_here(run: RunDirectory, prepared: Prepared) -> "Experiment | None":
    """What the run is made of, if this process alone is to run it; None if ranks are, which build their own."""
    scrub_rank_variables()
    if prepared.placement.ranks > 1:
        return None
    with doing("build the network"), out_of_memory.refused("arch"):
        from convarium.run.fit import assemble

        return assemble(run, prepared)


def start(
    run: RunDirectory,
    prepared: Prepared,
    experiment: "Experiment | None",
    saved: "Saved | None",
    write_page: Callable[[RunDirectory], object] | None = None,
) -> int:
    """Run it in this process or as ranks; the exit code. The run directory is there, and locked. write_page: see `fit`,
    which may be in another process: a function of a module."""
    from convarium.run.console import tee
    from convarium.run.fit import fit

    if experiment is None:
        return _start_ranks(run, prepared, saved, write_page)
    with tee(run.log_file):
        return fit(run, prepared, experiment, saved, write_page)


def _start_ranks(
    run: RunDirectory,
    prepared: Prepared,
    saved: "Saved | None",
    write_page: Callable[[RunDirectory], object] | None,
) -> int:
    """One process per device; ends when all have ended, or the first has failed."""
    from convarium.run.console import tee
    from convarium.run.worker import RankFailed, Stopped, rank, start_ranks

    logs, config, at = run.path / "ranks", prepared.config, prepared.placement
    logs.mkdir(exist_ok=True)
    before = run.written_result()

    def said() -> str:
        """Of the processes, while rank 0, which has the terminal, does not speak."""
        result = run.written_result()
        if result == before:
            return "start the processes"
        silent = time.time() - run.log_file.stat().st_mtime > 1 if run.log_file.is_file() else False
        return "end the processes" if silent and result.get("status") in FINISHED else ""

    try:
        arguments = (str(run.path), saved, prepared.preflight, os.getpid(), write_page)
        with doing(said):
            start_ranks(rank, *arguments, ranks=at.devices, threads=config["threads"], logs=logs)
    except RankFailed as failure:
        with tee(run.log_file):
            return _close_failed(run, config, failure)
    except Stopped as stop:
        if run.result().get("status") not in FINISHED:
            Result(run, config).write(status="interrupted", error=str(stop))
            print(f"interrupted: {stop}\n  {run.path}", file=sys.stderr)
        return 128 + stop.signum
    return 0


def _close_failed(run: RunDirectory, config: dict[str, Any], failure: "RankFailed") -> int:
    """Record that a rank ended the run, and show its traceback; the exit code."""
    if run.result().get("status") in FINISHED - {"failed"}:  # all ranks know of it: interrupted, diverged
        return failure.exitcode if failure.exitcode > 0 else 1
    error = str(failure)
    status: Status = "failed"
    if failure.exitcode < 0:
        status = "killed"
    elif out_of_memory.is_said_in(error):
        status = "oom"
    if not failure.is_plain:
        print(failure.trace, file=sys.stderr)
    print(f"{status}: rank {failure.rank}: {error}\n  {run.path}", file=sys.stderr)
    Result(run, config).write(status=status, error=f"rank {failure.rank}: {error}")
    return 1


def print_cluster_command(run: RunDirectory, placement: Placement) -> int:
    """Print the line that starts the ranks on every machine."""
    kind, devices, nodes = placement
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
