"""A run over several processes: how its ranks are started on this machine, and what each of them does.

On clusters torchrun or srun starts `python -m convarium.run.worker RUN/config.yaml`. Either way the run directory with
its frozen config.yaml is all that a rank is told.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import record

from convarium.errors import INTERRUPTED, ConfigError, RunError
from convarium.machine import deaf_children, die_with_parent, environment, handlers_given_back, hear
from convarium.run.checkpoint import Saved
from convarium.run.console import tee
from convarium.run.devices import Preflight, first_rank
from convarium.run.directory import RunDirectory
from convarium.run.finished import check_resumable
from convarium.run.fit import assemble, fit
from convarium.run.prepare import prepare

TAKEN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)  # by torch's launcher, and not given back
SHUTDOWN_SECONDS = 300  # for ranks to end their step and save, once told to stop


class RankFailed(Exception):
    """A rank ended by itself: the first to do so, its exit code (negative: a signal), and its traceback, if any.

    is_plain: it is one of `convarium.errors`, whose line says all there is.
    """

    def __init__(self, rank: int, exitcode: int, trace: str) -> None:
        self.rank = rank
        self.exitcode = exitcode
        self.trace = trace
        cause = trace.strip().rpartition("\n")[2] or f"exit code {exitcode}"
        self.is_plain = cause.startswith(f"{RunError.__module__}.")
        cause = cause.partition(": ")[2] if self.is_plain else cause
        super().__init__(signal.Signals(-exitcode).name if exitcode < 0 else cause)


class Stopped(Exception):
    """This process was told to stop, and its ranks have."""

    def __init__(self, signum: signal.Signals) -> None:
        super().__init__(f"stopped by {signum.name}")
        self.signum = signum


def start_ranks(function: Callable[..., Any], *arguments: Any, ranks: int, threads: int, logs: Path) -> None:
    """Call `function(*arguments)` in `ranks` new processes, by torch's elastic launcher, and wait until all have ended.

    Rank 0 writes to our terminal, the others into the folder `logs`. When one ends otherwise, all do: raises RankFailed
    for the first, or Stopped after a signal to this process.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    # by the environment: the argument of LaunchConfig came after torch 2.11
    variables = {"OMP_NUM_THREADS": str(threads), "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(SHUTDOWN_SECONDS)}
    for name in logging.root.manager.loggerDict:  # we say it ourselves, the first thing first
        if name.startswith(("torch.distributed.elastic", "torch.multiprocessing")):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    with handlers_given_back(*TAKEN), environment(**variables), deaf_children(signal.SIGINT):
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
            elastic_launch(launcher, _hearing)(function, *arguments)
        except ChildFailedError as failures:
            rank, failure = failures.get_first_failure()
            if failure.exitcode == INTERRUPTED[0]:  # it was as fast as we to hear of a Ctrl-C
                raise Stopped(signal.SIGINT) from failures
            raise RankFailed(rank, failure.exitcode, _traceback(failure.message)) from failures
        except SignalException as stop:
            raise Stopped(stop.sigval) from stop


def _hearing(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process that could not hear of a Ctrl-C while it imported what the function needs, where all
    ranks would have shown their tracebacks at once."""
    try:
        hear(signal.SIGINT)
        return function(*arguments)
    except KeyboardInterrupt:
        os._exit(INTERRUPTED[0])


def _traceback(message: Any) -> str:
    """The traceback in what torch's @record kept of a failure."""
    if isinstance(message, dict):
        message = message.get("extraInfo", {}).get("py_callstack") or message.get("message", "")
    return str(message) if "Traceback" in str(message) else ""


@record
def rank(
    path: str,
    saved: Saved | None,
    preflight: Preflight,
    parent: int,
    write_page: Callable[[RunDirectory], object] | None = None,
) -> int:
    """Run one rank on this machine, started by process `parent`; the exit code, if it ends by itself."""
    die_with_parent(parent)
    code = run_rank(RunDirectory(Path(path)), preflight, saved, write_page)
    if code:  # a launcher told to stop no longer reads what we return, and would wait for it
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


@record
def main(arguments: list[str] | None = None) -> int:
    """Run one rank under torchrun or srun; started again with the same line it resumes."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) != 1:
        print("error: usage: python -m convarium.run.worker RUN/config.yaml", file=sys.stderr)
        return 2
    try:
        run = RunDirectory.open(Path(arguments[0]).absolute().parent)
        with run.locked() if first_rank() else nullcontext():
            return run_rank(run)
    except (ConfigError, RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run_rank(
    run: RunDirectory,
    preflight: Preflight | None = None,
    saved: Saved | None = None,
    write_page: Callable[[RunDirectory], object] | None = None,
) -> int:
    """Prepare the frozen experiment and run it as this rank; only rank 0 is seen and heard.

    preflight: None: nobody has checked the experiment on this machine yet, nor looked for what it goes on from.
    """
    with tee(run.log_file) if first_rank() else nullcontext():
        prepared = prepare(run.config(), preflight=preflight)
        if preflight is None:
            saved = check_resumable(run, prepared)
        return fit(run, prepared, assemble(run, prepared), saved, write_page)


if __name__ == "__main__":
    sys.exit(main())
