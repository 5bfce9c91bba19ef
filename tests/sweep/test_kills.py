"""SIGKILL, to anything at any moment: what goes on later ends as what was never disturbed, and nothing lives on."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from convarium.errors import RunError
from convarium.sweep.local.processes import Processes
from sweeps import BASE, assert_gone, board, processes_below, results, sweep, sweep_directory, weights

TRAIN = Path(__file__).resolve().parents[2] / "train.py"
LONG = ("trainer.max_epochs=15", "callbacks.checkpoint.every_n_steps=7", "dropout=0.1")


def start(*words: str, name: str) -> subprocess.Popen[bytes]:
    """`python train.py -m ...` in the current folder."""
    command = [sys.executable, str(TRAIN), "-m", *BASE, "arch.hidden=[16]", *words, f"sweep.name={name}"]
    with Path(f"{name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def at_work(name: str) -> list[int]:
    """The processes of the jobs that have begun and not ended, by the manifest."""
    try:
        sweep = sweep_directory(name)
    except RunError:  # not there yet
        return []
    pids: dict[str, int] = {}
    for entry in sweep.entries():
        if entry["status"] == "running":
            pids[entry["job"]] = entry["pid"]
        else:
            pids.pop(entry["job"], None)
    return list(pids.values())


def wait_for_work(process: subprocess.Popen[bytes], name: str) -> None:
    """Until a job is at work, or nothing is any more."""
    while process.poll() is None and not processes_below(process.pid).intersection(at_work(name)):
        time.sleep(0.02)


def kill(target: str, process: subprocess.Popen[bytes], name: str) -> set[int]:
    """Kill the controller, its supervisor, a job or one of its ranks; all processes that there were, none if it was
    not there."""
    everything = processes_below(process.pid)
    jobs = [pid for pid in at_work(name) if pid in everything]
    supervisors = [pid for pid in everything - set(jobs) if b"convarium.sweep.local.supervisor" in command_of(pid)]
    ranks = [pid for job in jobs for pid in processes_below(job) if b"spawn_main" in command_of(pid)]
    victims = {"controller": [process.pid], "supervisor": supervisors, "job": jobs, "rank": ranks or jobs}[target]
    if not victims:
        return set()
    os.kill(random.choice(victims), signal.SIGKILL)
    return everything


def command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def disturb(targets: Sequence[str], *words: str, name: str, seconds: float) -> int:
    """Start the sweep, and kill one after the other, each some time after a job was at work; how many were killed."""
    process = start(*words, name=name)
    there: set[int] = set()
    kills = 0
    try:
        for target in targets:
            wait_for_work(process, name)
            time.sleep(random.uniform(0, seconds))
            if process.poll() is not None:
                break
            before = kill(target, process, name)
            there |= before
            kills += bool(before)
            if target == "controller":
                break
        process.wait(600)
    finally:
        process.kill()
    assert_gone(there)
    return kills


def assert_as_undisturbed(jobs: int) -> None:
    """The sweep that was killed has ended as the one that was not."""
    assert len(board("disturbed")) == len(results("disturbed")) == jobs
    assert {row["status"] for row in board("disturbed")} == {"ok"}
    assert weights("disturbed") == weights("whole")
    for job, result in results("whole").items():
        assert results("disturbed")[job]["metrics"] == result["metrics"]
        tables = [Path("sweeps", name, "jobs", job, "metrics.csv").read_text() for name in ("disturbed", "whole")]
        assert tables[0] == tables[1]


def test_a_killed_sweep_goes_on_to_the_same_weights_and_leaves_nobody_behind(
    processes: Processes, own_directory: Path
) -> None:
    random.seed(1)
    words = ("seed=1,2,3", *LONG)
    disturb(["job", "controller"], *words, name="disturbed", seconds=0.4)
    for name in ("disturbed", "whole"):
        assert sweep(processes, *words, name=name) == 0
    assert_as_undisturbed(3)


@pytest.mark.slow
def test_so_it_is_after_twenty_kills_in_a_row(own_directory: Path) -> None:
    random.seed(int(os.environ.get("CONVARIUM_TEST_SEED", "20")))
    words = (*LONG, "seed=1,2,3,4", "trainer.devices=1,2", "trainer.max_epochs=100")
    targets = [random.choice(["controller", "supervisor", "job", "rank"]) for _ in range(20)]
    while targets:
        done = disturb(targets, *words, name="disturbed", seconds=6)
        assert done, "all jobs have ended before"
        del targets[:done]
    for name in ("disturbed", "whole"):
        assert start(*words, name=name).wait(600) == 0, Path(f"{name}.log").read_text()
    assert_as_undisturbed(8)
