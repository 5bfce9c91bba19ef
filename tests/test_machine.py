"""Signals that wait until what must be whole is whole."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from convarium.machine import AT_ONCE_SECONDS, deaf_children, free_memory, signals_wait


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_when_all_is_done(signum: signal.Signals) -> None:
    done, heard = [], []
    before = signal.signal(signum, lambda number, _: heard.append((number, list(done))))
    try:
        with signals_wait(signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(signum)
            signal.raise_signal(signum)  # by the terminal and by a parent
            done.append("this")
    finally:
        signal.signal(signum, before)
    assert heard == [(signum, ["this"])]


def test_a_second_ctrl_c_does_not_wait() -> None:
    def draw() -> None:
        with signals_wait(signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(signal.SIGTERM)
            time.sleep(AT_ONCE_SECONDS + 0.05)
            signal.raise_signal(signal.SIGTERM)
            done.append("this")
            signal.raise_signal(signal.SIGINT)
            done.append("not this")

    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        draw()
    assert done == ["this"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_may_draw_too() -> None:
    def draw() -> None:
        with signals_wait(signal.SIGINT):
            done.append(True)

    done: list[bool] = []
    thread = threading.Thread(target=draw)
    thread.start()
    thread.join()
    assert done == [True]


DEAF = """
import signal, sys
print("started", flush=True)
sys.stdin.readline()  # by now the signal has been sent
from convarium.machine import hear
try:
    hear(signal.SIGINT)
except KeyboardInterrupt:
    print("heard")
"""


def interrupt_us() -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.5)  # another thread hears of it, and does not wake this one


def test_what_is_started_deaf_hears_of_a_ctrl_c_when_it_listens_and_we_do_at_once() -> None:
    with deaf_children(signal.SIGINT):
        child = subprocess.Popen([sys.executable, "-c", DEAF], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "started\n"
        child.send_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            interrupt_us()
    assert child.communicate("\n", timeout=30)[0] == "heard\n"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def machine_with(root: Path, cgroup: str, **groups: tuple[str, str, str]) -> Path:
    """The files of a machine with 8,000 kB to give: of each control group its limit, its use and what it caches."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/meminfo").write_text("MemTotal: 16000 kB\nMemAvailable:  8000 kB\nHugePages_Total: 0\n")
    (root / "proc/self/cgroup").write_text(cgroup)
    for name, (limit, used, cached) in groups.items():
        one = name.startswith("memory")
        folder = root / "sys/fs/cgroup" / name.replace("_", "/")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ("memory.limit_in_bytes" if one else "memory.max")).write_text(f"{limit}\n")
        (folder / ("memory.usage_in_bytes" if one else "memory.current")).write_text(f"{used}\n")
        stat = f"anon 5\n{'total_inactive_file' if one else 'inactive_file'} {cached}\n"
        (folder / "memory.stat").write_text(stat)
    return root


@pytest.mark.parametrize(
    ("cgroup", "groups", "free"),
    [
        ("", {}, 8_192_000),
        ("0::/a/b\n", {"a_b": ("max", "100", "0")}, 8_192_000),
        ("0::/a/b\n", {"a_b": ("5000", "3000", "1000")}, 3000),
        ("0::/a/b\n", {"a_b": ("max", "0", "0"), "a": ("5000", "3000", "0")}, 2000),
        ("4:memory:/a\n1:cpu:/\n0::/\n", {"memory_a": ("5000", "3000", "500")}, 2500),
        ("0::/a\n", {"a": ("1000", "3000", "0")}, 0),
    ],
)
def test_free_memory_is_what_the_machine_and_each_control_group_leave(
    cgroup: str, groups: dict[str, tuple[str, str, str]], free: int, tmp_path: Path
) -> None:
    assert free_memory(machine_with(tmp_path, cgroup, **groups)) == free
