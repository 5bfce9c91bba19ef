"""Who computes where: GPUs leased to one job at a time, or to equal shares of several; cores shared out. No torch."""

import fcntl
import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from convarium.errors import ConfigError, RunError
from convarium.machine import CORES
from convarium.run.devices import Placement

MEMORY_OF_A_JOB = 2 << 30  # bytes; fewer jobs side by side on the CPU, if nobody says how many, than would have as much


class Share(NamedTuple):
    """What a job takes of its machine while it runs."""

    gpus: int  # whole ones, or with `part` one part of one
    cores: int
    slots: int  # of those that `Pool` has for jobs side by side
    part: bool = False


class Lease(NamedTuple):
    """What a job has got."""

    share: Share
    gpus: tuple[str, ...]

    @property
    def environment(self) -> dict[str, str]:
        """By which its process knows of it."""
        visible = {"CUDA_VISIBLE_DEVICES": ",".join(self.gpus)} if self.gpus else {}
        return {CORES: str(self.share.cores), **visible}


def share_out(
    placements: Sequence[Placement],
    threads: Sequence[int | None],
    *,
    jobs: int | str,
    devices_per_job: float | str,
    gpus: int,
    cores: int,
    memory: int,
) -> tuple[int, list[Share]]:
    """How many jobs run at a time, and what each of them takes.

    placements, threads: of each job, null threads being decided here: of the cores of a job, as many as its devices
    leave to each. jobs: how many at a time, or "auto": as many as the GPUs allow, on a CPU as there are cores for their
    processes and memory for them. devices_per_job: "auto", or the share of one GPU. Raises ConfigError for a share of
    what cannot be shared.
    """
    part = devices_per_job != "auto" and float(devices_per_job) < 1
    for at in placements:
        if devices_per_job != "auto" and (at.accelerator != "cuda" or at.devices > 1):
            why = "shares out GPUs, and there is a job" + (" on several" if at.accelerator == "cuda" else " without")
            raise ConfigError(f"sweep.devices_per_job={devices_per_job}: {why}; accepted: auto")
    per_gpu = int(1 / float(devices_per_job)) if part else 1
    on_gpus = any(at.accelerator == "cuda" for at in placements)
    fewest = min((at.devices for at in placements), default=1)
    if jobs == "auto":
        slots = gpus * per_gpu // fewest if on_gpus else min(cores // fewest, memory // MEMORY_OF_A_JOB)
        if any(at.accelerator == "mps" for at in placements):
            slots = 1
        slots = max(1, min(slots, len(placements)))
    else:
        slots = int(jobs)
    base = max(1, cores // min(slots, max(1, len(placements))))  # the cores of a slot
    shares = []
    for at, fixed in zip(placements, threads, strict=True):
        if at.accelerator == "cuda":
            takes = at.devices // fewest if jobs == "auto" else 1  # its GPUs would do for so many of the smallest jobs
            shares.append(Share(at.devices, base * min(slots, takes), min(slots, takes), part))
        else:
            own = min(cores, fixed * at.devices) if fixed else max(base, min(cores, at.devices))
            shares.append(Share(0, own, min(slots, -(-own // base))))
    return slots, shares


class Pool:
    """The devices of one controller. A GPU is also locked against other controllers of the same user."""

    def __init__(self, slots: int, gpus: Iterable[str] = (), *, parts: int = 1, locks: Path | None = None) -> None:
        self.slots = slots
        self._free = dict.fromkeys(gpus, parts)
        self._parts = parts
        self._locks = locks or Path(tempfile.gettempdir()) / f"convarium-{os.getuid()}"
        self._held: dict[str, IO[str]] = {}

    def lease(self, share: Share) -> Lease | None:
        """Take a share, if so much is free."""
        if share.slots > self.slots:
            return None
        takes = 1 if share.part else self._parts
        taken: list[str] = []
        # a part of one that is in use already, if there is one: it leaves the others whole
        for gpu in sorted(self._free, key=lambda gpu: self._free[gpu]) if share.part else self._free:
            if len(taken) < share.gpus and self._free[gpu] >= takes and (gpu in self._held or self._lock(gpu)):
                taken.append(gpu)
        if len(taken) < share.gpus:
            for gpu in taken:
                self._held.pop(gpu).close()
            return None
        for gpu in taken:
            self._free[gpu] -= takes
        self.slots -= share.slots
        return Lease(share, tuple(taken))

    def give_back(self, lease: Lease) -> None:
        """The job has ended."""
        self.slots += lease.share.slots
        for gpu in lease.gpus:
            self._free[gpu] += 1 if lease.share.part else self._parts
            if self._free[gpu] == self._parts:
                self._held.pop(gpu).close()

    def _lock(self, gpu: str) -> bool:
        """Keep other controllers from it; the lock ends with this process. Raises RunError for a folder not our own."""
        self._locks.mkdir(mode=0o700, exist_ok=True)
        if self._locks.is_symlink() or self._locks.stat().st_uid != os.getuid():
            raise RunError(f"{self._locks}: belongs to somebody else; set TMPDIR")
        name = self._locks / f"gpu-{gpu.replace('/', '_')}.lock"
        file = os.fdopen(os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        self._held[gpu] = file
        return True


def visible_gpus(count: int) -> list[str]:
    """How CUDA calls the `count` GPUs that this process sees."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [gpu.strip() for gpu in named.split(",")][:count] if named else [str(number) for number in range(count)]


def memory_available() -> int:
    """Bytes of memory that new processes can have; a great many where the system does not say."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    return 1 << 62
