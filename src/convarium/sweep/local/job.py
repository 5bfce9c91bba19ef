"""One job of a sweep, in a process of its own: begin or go on with the run whose directory is there."""

import json
import sys
import traceback
from contextlib import nullcontext, suppress
from pathlib import Path

from convarium.errors import ConfigError, RunError
from convarium.observe.figures import Figures, draw_left
from convarium.report.run_page import leave_run_page
from convarium.run.console import own_log_lines, tee
from convarium.run.devices import Placement, Preflight, first_rank
from convarium.run.directory import FINISHED, Result, RunDirectory
from convarium.run.finished import check_resumable
from convarium.run.fit import classify_failure
from convarium.run.launch import built_here, start
from convarium.run.prepare import prepare
from convarium.run.worker import run_rank
from convarium.wording import one_line


def run(path: str, checked: str) -> int:
    """Run the experiment frozen in a directory, from its last checkpoint if there is one; the exit code.

    checked: the fields of its `Preflight`, as JSON; null: the checks were made on another machine. However the run
    ends, result.json says so, unless the process itself is ended.
    """
    directory = RunDirectory.open(path)
    config = directory.config()
    with directory.locked():
        try:
            Result(directory, config, anew=not directory.last.is_file()).write()
            at, *costs = json.loads(checked) or (None,)
            prepared = prepare(config, preflight=Preflight(Placement(*at), *costs) if at else None)
            saved = check_resumable(directory, prepared)
            experiment = built_here(directory, prepared)
            if experiment is not None and at and not config["logger"]:  # trackers take them at the end of the run
                for callback in experiment.trainer.callbacks:  # type: ignore[attr-defined]
                    if isinstance(callback, Figures):
                        callback.later = True
            return start(directory, prepared, experiment, saved, leave_run_page)
        except (ConfigError, RunError) as error:
            line = one_line(error)
            print(f"error: {line}", file=sys.stderr)
            directory.close("failed", line)
            return 1
        except BaseException as failure:
            return _close(directory, failure, writes=True)


def draw(*paths: str) -> int:
    """Draw what runs have left to be drawn; the exit code."""
    for path in paths:
        with suppress(OSError), tee(RunDirectory(Path(path)).log_file), own_log_lines():  # its folder is gone
            draw_left(Path(path))
    return 0


def rank(path: str) -> int:
    """One rank of a job on several machines, as Slurm has started it: its exit code. Rank 0 keeps result.json."""
    directory = RunDirectory.open(path)
    config = directory.config()
    first = first_rank()
    with directory.locked() if first else nullcontext():
        try:
            if first:
                Result(directory, config, anew=not directory.last.is_file()).write()
            return run_rank(directory)
        except BaseException as failure:
            return _close(directory, failure, writes=first)


def _close(directory: RunDirectory, failure: BaseException, *, writes: bool) -> int:
    """The exit code of a run that failed; result.json says why, if we may write it and the run has not done so."""
    ending = classify_failure(failure, directory)
    if ending.is_plain:
        print(f"{ending.status}: {ending.error}", file=sys.stderr)
    else:
        traceback.print_exc()
    if writes and directory.written_result().get("status") not in FINISHED:
        with suppress(OSError, RunError):  # on a full disk; the controller sees the exit code
            directory.close(ending.status, ending.error or "")
    return ending.code
