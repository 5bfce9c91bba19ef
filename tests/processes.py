"""Experiments in processes of their own, without paying for the imports each time.

A fork server imports everything once and runs nothing; each experiment is a fork of it, to be killed or signalled.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["convarium.cli", "convarium.run.launch", "convarium.run.fit", "convarium.run.resume"])


def start(function: Callable[..., Any], *arguments: Any, log: Path, errors: Path | None = None) -> BaseProcess:
    """Call `function(*arguments)` in a new process; its return value is the exit code.

    What it prints goes to `log`, and what to stderr to `errors`, if given.
    """
    process = _context.Process(target=_run, args=(function, arguments, str(log), str(errors or log), os.getcwd()))
    process.start()
    return process


def run(
    function: Callable[..., Any], *arguments: Any, log: Path, errors: Path | None = None, timeout: float = 240
) -> int:
    """`start`, and wait; the exit code, negative for a signal."""
    process = start(function, *arguments, log=log, errors=errors)
    process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
        raise TimeoutError(f"{function.__name__}{arguments}:\n{log.read_text()}")
    assert process.exitcode is not None
    return process.exitcode


def train(*overrides: str) -> int:
    """`python train.py OVERRIDES`."""
    from convarium.cli import train as front_door

    return _command("train.py", overrides, front_door)


def convarium(*words: str) -> int:
    """`convarium VERB ...`."""
    from convarium.cli import main

    return _command("convarium", words, main)


def _command(name: str, words: tuple[str, ...], front_door: Callable[[], Any]) -> int:
    sys.argv = [name, *words]
    try:
        front_door()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def train_killed(moment: str, count: int, *overrides: str) -> int:
    """`train`, but the process is killed by SIGKILL when it comes to `moment` for the `count`-th time."""
    return train_signalled(signal.SIGKILL, moment, count, *overrides)


def train_signalled(signum: int, moment: str, count: int, *overrides: str) -> int:
    """`train`, but the process gets a signal when it comes to `moment` for the `count`-th time."""
    from convarium.data import module
    from convarium.learn import checkpoint_file, learner
    from convarium.observe import figures

    owner, name = {
        "step": (learner.Learner, "training_step"),
        "optimizer": (learner.Learner, "configure_gradient_clipping"),
        "validation": (learner.Learner, "validation_step"),
        "test": (learner.Learner, "test_step"),
        "epoch end": (learner.Learner, "on_train_epoch_end"),
        "rename": (checkpoint_file.os, "replace"),
        "loading": (module.ImageData, "on_after_batch_transfer"),
        "drawing": (figures, "save_png"),
    }[moment]
    original = getattr(owner, name)
    calls = 0

    def counting(*arguments: Any, **keywords: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signum)
        return original(*arguments, **keywords)

    if hasattr(original, "__signature__"):
        counting.__signature__ = original.__signature__  # type: ignore[attr-defined]
    setattr(owner, name, counting)
    return train(*overrides)


def _run(function: Callable[..., Any], arguments: tuple[Any, ...], log: str, errors: str, directory: str) -> None:
    os.chdir(directory)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal: what a shell starts with & ignores it
    for descriptor, file in ((1, log), (2, errors)):
        os.dup2(os.open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY), descriptor)
    code = function(*arguments)
    with contextlib.suppress(ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code or 0)
