"""What this process may use of its machine, and with whom it ends. No torch here."""

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from convarium.errors import ConfigError
from convarium.wording import file_size

CORES = "CONVARIUM_CORES"
"""The variable by which whoever shares out a machine tells a process how many of its cores are meant for it."""

PR_SET_PDEATHSIG = 1
V1_MEMORY = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")

AT_ONCE_SECONDS = 0.5  # the terminal and a parent may both pass on one Ctrl-C


@contextmanager
def handlers_given_back(*signums: int) -> Iterator[None]:
    """Restore the handlers of these signals at the end."""
    before = {signum: signal.getsignal(signum) for signum in signums}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextmanager
def deaf_children(signum: int) -> Iterator[None]:
    """What is started meanwhile does not hear a signal until it calls `hear`; this process does, by another thread."""
    from multiprocessing.resource_tracker import ensure_running

    ensure_running()  # it unblocks the signal where it starts its own process
    over = threading.Event()
    threading.Thread(target=over.wait, daemon=True).start()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signum,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        over.set()


def hear(signum: int) -> None:
    """Hear a signal again, and the one that came while nothing was heard."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signum,))


@contextmanager
def signals_wait(*signums: int) -> Iterator[None]:
    """Hear these signals only when this is done; but a second Ctrl-C is a KeyboardInterrupt at once."""
    if threading.current_thread() is not threading.main_thread():  # which alone hears signals
        yield
        return
    heard: list[tuple[int, float]] = []

    def note(signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if heard and signum == signal.SIGINT and now - heard[0][1] > AT_ONCE_SECONDS:
            raise KeyboardInterrupt
        heard.append((signum, now))

    with handlers_given_back(*signums):
        for signum in signums:
            signal.signal(signum, note)
        yield
    if heard:
        signal.raise_signal(heard[0][0])


# What a launcher tells its ranks; a variable left behind by another one would mislead ours.
RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "NODE_RANK")
RANK_PREFIXES = ("MASTER_", "TORCHELASTIC_", "PL_", "ROLE_")


def cores() -> int:
    """The processor cores that this process may use, or those that it was told to use."""
    given = os.environ.get(CORES, "")
    return int(given) if given.isdecimal() and int(given) > 0 else available_cores()


def available_cores() -> int:
    """The processor cores that the system lets this process use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_memory(needed: int, what: str, has: int | None = None) -> None:
    """Raise ConfigError, which begins with `what`, for more bytes than this machine has, or than its device `has`."""
    owner = "this machine" if has is None else "the device"
    has = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if has is None else has
    if needed > has:
        raise ConfigError(f"{what} at least {file_size(needed)} of memory; {owner} has {file_size(has)}")


def free_memory(root: Path = Path("/")) -> int:
    """Bytes of memory that this process may still take: those that the machine has to give, or as many as its control
    group (version 1 or 2) or one around it leaves."""
    try:
        meminfo = dict(line.split(":") for line in (root / "proc/meminfo").read_text().splitlines())
        free = [int(meminfo["MemAvailable"].split()[0]) * 1024]
        groups = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except (OSError, KeyError, ValueError):  # another system
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for number, controllers, path in groups:
        if number != "0" and controllers != "memory":
            continue
        mounted = root / "sys/fs/cgroup" / ("memory" if controllers == "memory" else "")
        limit, used, cached = ("memory.max", "memory.current", "inactive_file") if number == "0" else V1_MEMORY
        for group in (mounted / path.lstrip("/"), *(mounted / path.lstrip("/")).parents):
            if group.is_relative_to(mounted):
                with suppress(OSError, ValueError, KeyError):  # no limit, or none that we may see
                    stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
                    taken = int((group / used).read_text()) - int(stat[cached])
                    free.append(int((group / limit).read_text()) - taken)
    return max(0, min(free))


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set variables meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            os.environ.update({} if value is None else {name: value})


def cores_of_a_rank() -> int:
    """The cores shared out among the ranks on this machine, as their launcher counts them."""
    return max(1, cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def threads_of(processes: int) -> int:
    """Threads of each of so many processes on this machine: those of OMP_NUM_THREADS, else the cores shared out."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else max(1, cores() // processes)


def die_with_parent(parent: int) -> None:
    """End this process, whatever it is doing, when process `parent` ends (Linux; elsewhere torch's launcher tries).

    The kernel sends the signal when the parent's *thread* that started this process ends: start from the main thread.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)


def scrub_rank_variables() -> None:
    """Forget whatever says that this process is a rank of something."""
    for name in list(os.environ):
        if name in RANK_VARIABLES or name.startswith(RANK_PREFIXES):
            del os.environ[name]
