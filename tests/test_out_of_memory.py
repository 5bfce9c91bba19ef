"""How a lack of memory shows: in an exception, in the last line of a traceback, in what the kernel counts."""

import errno
import time
import traceback
from pathlib import Path

import pytest
import torch

from convarium.out_of_memory import Kills, is_lack_of_memory, is_said_in

CUDA = "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.11 GiB"
CPU = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
    " 140737488355328 bytes. Error code 12 (Cannot allocate memory)"
)
WINDOWS = "DefaultCPUAllocator: not enough memory: you tried to allocate 140737488355328 bytes."
CUBLAS = "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"


class DeviceLost(RuntimeError):
    """As torch's own errors of an accelerator."""


# exceptions


@pytest.mark.parametrize(
    "failure",
    [
        MemoryError(),
        torch.OutOfMemoryError(CUDA),
        RuntimeError(CPU),
        RuntimeError(WINDOWS),
        RuntimeError(CUBLAS),
        RuntimeError("CUDA error: out of memory\nCompile with `TORCH_USE_CUDA_DSA`"),
        DeviceLost("CUDA error: out of memory"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
    ids=lambda failure: f"{type(failure).__name__}: {failure}"[:40],
)
def test_a_lack_of_memory_is_told_by_its_exception(failure: BaseException) -> None:
    assert is_lack_of_memory(failure)


@pytest.mark.parametrize(
    "failure",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        ValueError("not enough memory"),
        KeyError("OutOfMemoryError"),
        OSError(errno.ENOSPC, "No space left on device"),
        KeyboardInterrupt(),
        SystemExit(1),
    ],
    ids=lambda failure: f"{type(failure).__name__}: {failure}"[:40],
)
def test_another_failure_tells_of_no_lack_of_memory(failure: BaseException) -> None:
    assert not is_lack_of_memory(failure)


def test_what_torch_raises_for_too_large_a_tensor_tells() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(1 << 45)
    assert is_lack_of_memory(caught.value)


def test_what_numpy_raises_for_too_large_an_array_tells() -> None:
    import numpy as np

    with pytest.raises(MemoryError) as caught:
        np.zeros(1 << 45)
    assert is_lack_of_memory(caught.value)


# the last line of a traceback


@pytest.mark.parametrize(
    "line",
    [
        "MemoryError",
        "MemoryError: no more",
        f"torch.OutOfMemoryError: {CUDA}",
        f"torch.cuda.OutOfMemoryError: {CUDA}",
        f"RuntimeError: {CPU}",
        f"RuntimeError: {WINDOWS}",
        f"RuntimeError: {CUBLAS}",
        "torch.AcceleratorError: CUDA error: out of memory",
    ],
)
def test_a_lack_of_memory_is_told_by_the_last_line_of_a_traceback(line: str) -> None:
    assert is_said_in(line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "KeyError: 'the cause'",
        "ValueError: MemoryError is the name of a class",
        "mylab.MemoryErrors: all is well",
        "MemoryErrors: two",
        "RuntimeError: CUDA error: an illegal memory access was encountered",
    ],
)
def test_another_last_line_tells_of_no_lack_of_memory(line: str) -> None:
    assert not is_said_in(line)


@pytest.mark.parametrize("failure", [MemoryError(), MemoryError("no more"), torch.OutOfMemoryError(CUDA)])
def test_an_exception_and_its_last_line_tell_the_same(failure: BaseException) -> None:
    assert is_said_in(traceback.format_exception_only(failure)[-1].strip())


# what the kernel counts


class Machine:
    """The files of a kernel that counts, below a folder; `groups` is its /proc/self/cgroup."""

    def __init__(self, root: Path, groups: str | None = None) -> None:
        self.root = root
        if groups is not None:
            self.write("proc/self/cgroup", groups)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def counts(self, number: int) -> None:
        """Of the whole machine."""
        self.write("proc/vmstat", f"nr_free_pages 8\noom_kill {number}\noom_kill_other 9\n")


@pytest.fixture
def machine(own_directory: Path) -> Machine:
    """Without control groups; it has ended three processes."""
    found = Machine(own_directory)
    found.counts(3)
    return found


V2 = (
    "0::/job/7\n",
    "sys/fs/cgroup/job/7/memory.events",
    "low 0\nhigh 0\nmax 9\noom 9\noom_kill {}\noom_group_kill 0\n",
)
V2_AT_THE_TOP = ("0::/\n", "sys/fs/cgroup/memory.events", "oom 9\noom_kill {}\n")
V1 = (
    "9:name=systemd:/\n7:cpu,cpuacct:/job\n4:memory:/job/7\n",
    "sys/fs/cgroup/memory/job/7/memory.oom_control",
    "oom_kill_disable 0\nunder_oom 0\noom_kill {}\n",
)
BOTH = ("4:memory:/job/7\n1:name=systemd:/job\n0::/job\n", V1[1], V1[2])


def test_what_was_ended_before_does_not_count(machine: Machine) -> None:
    assert not Kills(machine.root).take()


def test_a_process_that_the_kernel_ends_counts_once(machine: Machine) -> None:
    kills = Kills(machine.root)
    machine.counts(4)
    assert [kills.take(), kills.take()] == [True, False]


def test_each_of_several_counts(machine: Machine) -> None:
    kills = Kills(machine.root)
    machine.counts(6)
    assert [kills.take() for _ in range(4)] == [True, True, True, False]


def test_one_that_was_seen_by_looking_is_taken_later(machine: Machine) -> None:
    kills = Kills(machine.root)
    machine.counts(4)
    for _ in range(3):
        kills.look()
    assert [kills.take(), kills.take()] == [True, False]


def test_one_that_is_too_long_ago_explains_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kills, "MOMENT", 0.02)
    kills = Kills(machine.root)
    machine.counts(4)
    kills.look()
    time.sleep(0.05)
    assert not kills.take()


@pytest.mark.parametrize(
    ("groups", "file", "text"), [V2, V2_AT_THE_TOP, V1, BOTH], ids=["2", "2 at the top", "1", "1+2"]
)
def test_the_count_of_our_control_group_counts(groups: str, file: str, text: str, own_directory: Path) -> None:
    machine = Machine(own_directory, groups)
    machine.write(file, text.format(10))
    kills = Kills(own_directory)
    seen = [kills.take()]
    machine.write(file, text.format(11))
    assert [*seen, kills.take(), kills.take()] == [False, True, False]


@pytest.mark.parametrize(("groups", "file", "text"), [V2, V1], ids=["2", "1"])
def test_a_process_of_our_group_that_the_machine_counts_too_is_one(
    groups: str, file: str, text: str, own_directory: Path
) -> None:
    machine = Machine(own_directory, groups)
    machine.counts(3)
    machine.write(file, text.format(0))
    kills = Kills(own_directory)
    machine.counts(4)
    machine.write(file, text.format(1))
    assert [kills.take(), kills.take()] == [True, False]


def test_another_group_does_not_count(own_directory: Path) -> None:
    machine = Machine(own_directory, V2[0])
    machine.write("sys/fs/cgroup/job/8/memory.events", "oom_kill 0\n")
    kills = Kills(own_directory)
    machine.write("sys/fs/cgroup/job/8/memory.events", "oom_kill 1\n")
    assert not kills.take()


@pytest.mark.parametrize("groups", [None, "", V2[0], V1[0]])
def test_a_kernel_that_does_not_count_has_ended_nothing(groups: str | None, own_directory: Path) -> None:
    Machine(own_directory, groups)
    assert not Kills(own_directory).take()


@pytest.mark.parametrize("text", ["", "oom_kill\n", "oom_kill many\n", "oom_kill -4\n", "oom 4\n"])
def test_what_is_no_count_is_none(text: str, machine: Machine) -> None:
    machine.write("proc/vmstat", "oom_kill 0\n")
    kills = Kills(machine.root)
    machine.write("proc/vmstat", text)
    assert not kills.take()


def test_a_count_that_begins_anew_takes_nothing_back(machine: Machine) -> None:
    kills = Kills(machine.root)
    machine.counts(0)
    kills.look()
    machine.counts(1)
    assert [kills.take(), kills.take()] == [True, False]
