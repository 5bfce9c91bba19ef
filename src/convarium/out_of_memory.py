"""How a lack of memory shows: in the words of an exception, and in the kernel's count of the processes it has ended.

No torch here.
"""

import errno
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from convarium.errors import ConfigError

# torch's, Python's and numpy's own classes, by the ends of their names; then what torch says where it raises a plain
# RuntimeError: its CPU allocator, CUDA, cuBLAS
CLASSES = ("OutOfMemoryError", "MemoryError")
WORDS = ("can't allocate memory", "not enough memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def is_lack_of_memory(failure: BaseException) -> bool:
    """Whether an exception says that memory, of the machine or of a device, did not suffice."""
    names = [kind.__name__ for kind in type(failure).__mro__]
    if any(name.endswith(CLASSES) for name in names) or (
        isinstance(failure, OSError) and failure.errno == errno.ENOMEM
    ):
        return True
    return "RuntimeError" in names and any(words in str(failure) for words in WORDS)


def is_said_in(line: str) -> bool:
    """Whether the last line of a traceback says so."""
    return re.match(rf"[\w.]*({'|'.join(CLASSES)})\b", line) is not None or any(
        words in line for words in (*WORDS, f"[Errno {errno.ENOMEM}]")
    )


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Raise ConfigError, about `what`, where memory does not suffice before a run."""
    try:
        yield
    except Exception as error:
        if is_lack_of_memory(error):
            raise ConfigError(f"{what}: this machine has not enough memory") from error
        raise


class Kills:
    """The kernel's count of processes ended for lack of memory: of our control group, and of the whole machine.

    A process that died of SIGKILL is taken for one of them if the count has risen in the moment before.
    """

    MOMENT = 5.0  # seconds

    def __init__(self, root: Path = Path("/")) -> None:
        self._files = [root / "proc/vmstat", *_of_control_group(root)]
        self._seen = [_count(file) for file in self._files]
        self._fresh: list[float] = []

    def look(self) -> None:
        """Note when the count has risen; to be called more often than every MOMENT."""
        before, self._seen = self._seen, [_count(file) for file in self._files]
        risen = max(now - then for now, then in zip(self._seen, before, strict=True))
        self._fresh += [time.monotonic()] * risen

    def take(self) -> bool:
        """Whether there was one a moment ago that nobody has taken yet."""
        self.look()
        self._fresh = [at for at in self._fresh if time.monotonic() - at < self.MOMENT]
        return bool(self._fresh and self._fresh.pop())


def _count(file: Path) -> int:
    """The number after `oom_kill`; 0 where the kernel does not count, or does not let us look."""
    with suppress(OSError):
        for line in file.read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill" and number.isdecimal():
                return int(number)
    return 0


def _of_control_group(root: Path) -> list[Path]:
    """The files in which version 2 or 1 of control groups counts for this process."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    mounted = root / "sys/fs/cgroup"
    counts = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        group = path.lstrip("/")
        if number == "0":
            counts.append(mounted / group / "memory.events")
        elif controllers == "memory":
            counts.append(mounted / "memory" / group / "memory.oom_control")
    return counts
