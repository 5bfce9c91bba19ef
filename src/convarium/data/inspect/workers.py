"""Decode pictures in several processes: a decoder that crashes takes its file with it, no other. No torch here."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from convarium.data.inspect.file import FileReport, inspect_file
from convarium.errors import RunError
from convarium.machine import signals_wait

CHUNK = 32  # files that a process is sent at once: a message costs about as much as decoding two small pictures
AHEAD = 2  # chunks under way for each process, so that it need not wait for us

T = TypeVar("T")
Inspect = Callable[[str], FileReport]


def inspect_files(
    root: str, names: Sequence[str], workers: int, inspect: Inspect = inspect_file
) -> Generator[tuple[int, FileReport]]:
    """Every file below `root`, with its number, in any order; with 0 workers in this process.
    Raises RunError if a process cannot start."""
    paths = [os.path.join(root, name) for name in names]
    if workers == 0:
        yield from enumerate(map(inspect, paths))
        return
    waiting = deque(range(first, min(first + CHUNK, len(paths))) for first in range(0, len(paths), CHUNK))
    while waiting:
        under_way: dict[Future[list[FileReport]], range] = {}
        try:
            with _processes(workers) as pool:
                while waiting or under_way:
                    while waiting and len(under_way) < AHEAD * workers:
                        chunk = [paths[number] for number in waiting[0]]
                        future: Future[list[FileReport]] = _submit(pool, list, map(inspect, chunk))
                        under_way[future] = waiting.popleft()
                    for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                        reports = future.result()
                        yield from zip(under_way.pop(future), reports, strict=True)
        except BrokenProcessPool:  # it does not say at which file
            suspects = [number for chunk in under_way.values() for number in chunk]
            yield from _one_by_one(paths, suspects, inspect)


def _one_by_one(paths: Sequence[str], numbers: Sequence[int], inspect: Inspect) -> Iterator[tuple[int, FileReport]]:
    """The files of a broken pool, each alone in a process: a file at which that one dies is bad."""
    waiting = deque(numbers)
    while waiting:
        with _processes(1) as pool:
            try:
                _submit(pool, os.getpid).result()
            except BrokenProcessPool:
                raise RunError("a process to decode pictures in could not start") from None
            while waiting:
                number = waiting.popleft()
                try:
                    yield number, _submit(pool, inspect, paths[number]).result()
                except BrokenProcessPool:
                    yield number, FileReport(bad="damaged: the decoder crashed on it, or ran out of memory")
                    break


@contextmanager
def _processes(number: int) -> Iterator[ProcessPoolExecutor]:
    """A pool whose processes are ended at once, whatever they do, when the block is left by an error or a Ctrl-C."""
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(number, mp_context=multiprocessing.get_context("spawn"), initializer=_begin)
    try:
        yield pool
    except BaseException:
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ProcessPoolExecutor, work: Callable[..., T], *args: Any) -> Future[T]:
    with ctrl_c_waits():  # a process may be started
        return pool.submit(work, *args)


@contextmanager
def ctrl_c_waits() -> Iterator[None]:
    """Hear a Ctrl-C only when this is done: a process left half started waits for ever, or fails aloud.
    What is started inherits the mask, so that Ctrl-C is for us alone. It does not keep the signal from us: another
    thread (of OpenBLAS) takes it, and Python then runs the handler in this one."""
    with signals_wait(signal.SIGINT):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _begin() -> None:
    """In a new process: leave Ctrl-C to the one that started it, and end when that one is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()
