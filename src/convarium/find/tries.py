"""One try of a batch size: a few real steps, the memory that they take at most, and their seconds.

On a CPU each try is a process of its own, a fork of this one, whose peak the system counts; the kernel would end it
before any other. On a CUDA GPU it is this process, whose allocator may not take more than the try is allowed, so that
nobody else's memory is touched; what it has taken is given back.
"""

import gc
import json
import math
import multiprocessing
import os
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

from convarium.errors import ConfigError
from convarium.find.largest import AIR, Try
from convarium.find.trial import as_before, shortened, train
from convarium.machine import die_with_parent, free_memory
from convarium.out_of_memory import is_lack_of_memory
from convarium.run.directory import RunDirectory
from convarium.run.fit import assemble
from convarium.run.prepare import Prepared
from convarium.run.stop_request import Interrupted

KILOBYTE = 1 if sys.platform == "darwin" else 1024  # in which getrusage counts
NOWHERE = RunDirectory(Path(os.devnull))
"""No callback and no logger is there to write anything."""


def memory_of(prepared: Prepared) -> int:
    """Bytes that a process of the experiment may have at most: what its device, or on a CPU the machine, has left, and
    what this process has taken. Raises ConfigError for a device whose memory cannot be counted."""
    kind = prepared.placement.accelerator
    if kind == "cuda":
        return int(torch.cuda.mem_get_info()[0] + torch.cuda.memory_reserved())
    if kind != "cpu":
        raise ConfigError(f"trainer.accelerator={kind}: its memory cannot be counted; accepted: cpu, cuda")
    return free_memory() + _resident(1)


def _resident(field: int) -> int:
    """Bytes of memory that this process has by a field of /proc/self/statm: 1: all, 2: those of files, such as
    libraries; 0 where there is no such file."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[field]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@contextmanager
def unthreaded() -> Iterator[None]:
    """Let torch compute in one thread: a process in which several have worked cannot be forked and work again."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def trier(prepared: Prepared, steps: int, memory: float) -> Callable[[int], Try]:
    """What tries a number of images per device, in so many optimizer steps, of which the first is not timed."""
    parts = prepared.placement.ranks * prepared.config["trainer"]["accumulate_grad_batches"]

    def measure(size: int) -> Try:
        short = shortened(prepared, steps, batch_size=size * parts)
        if prepared.placement.accelerator == "cuda":
            return Try(size, *_on_gpu(short, memory))
        return Try(size, *_in_child(short))

    return measure


class _Clock(L.Callback):
    """The seconds of a step: of the fastest after the first, for a machine may have others to serve."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if trainer.global_step > len(self.ends):
            if pl_module.device.type == "cuda":
                torch.cuda.synchronize()
            self.ends.append(time.perf_counter())

    @property
    def seconds(self) -> float:
        return min(later - sooner for sooner, later in pairwise(self.ends))


def _seconds(short: Prepared) -> float:
    """Take the steps; the seconds of one."""
    experiment, clock = assemble(NOWHERE, short), _Clock()
    experiment.trainer.callbacks.insert(0, clock)  # type: ignore[attr-defined]
    train(experiment, short)
    return clock.seconds


def _on_gpu(short: Prepared, memory: float) -> tuple[float, float]:
    """The peak of the allocator and the seconds of a step."""
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(min(1.0, (1 - AIR) * memory / total))
    torch.cuda.reset_peak_memory_stats()
    try:
        with as_before(short):
            seconds = _seconds(short)
        return torch.cuda.max_memory_reserved(), seconds
    except Interrupted as stop:
        raise KeyboardInterrupt from stop
    except Exception as error:
        if not is_lack_of_memory(error.__cause__ or error):
            raise
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        gc.collect()
        torch.cuda.empty_cache()
    return math.inf, 0.0


def _in_child(short: Prepared) -> tuple[float, float]:
    """The peak of a process that does nothing else, and the seconds of a step. Raises ConfigError as the steps do."""
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=_be_child, args=(short, writer, os.getpid(), _resident(2)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that are not forked: `doing` has one
        child.start()
    writer.close()
    answer: dict[str, Any] = {"ended": True}
    with suppress(EOFError):
        try:
            answer = json.loads(reader.recv_bytes())
        except KeyboardInterrupt:
            child.kill()
            raise
        finally:
            child.join()
    if "ended" in answer and child.exitcode != -signal.SIGKILL:
        raise ConfigError(f"a try ended with exit code {child.exitcode}")
    if "error" in answer:
        raise ConfigError(answer["error"])
    return answer.get("peak", math.inf), answer.get("seconds", 0.0)


def _be_child(short: Prepared, writer: Connection, parent: int, libraries: int) -> None:
    """Take the steps and say what they have taken; `{}` for a lack of memory.

    libraries: bytes that the parent has of files, with which a fork does not begin, but a process of its own does.
    """
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    answer: dict[str, Any] = {}
    try:
        answer["seconds"] = _seconds(short)
        answer["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * KILOBYTE + max(
            0, libraries - _resident(2)
        )
    except Exception as error:
        if not is_lack_of_memory(error.__cause__ or error):
            answer = {"error": str(error) or type(error).__name__}
    writer.send_bytes(json.dumps(answer).encode())
