"""Whole sweeps from this process, their jobs in processes of a supervisor that several tests share."""

import csv
import json
import time
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from convarium.config.compose import Conf
from convarium.config.overrides import readable
from convarium.results.directory import SweepDirectory
from convarium.sweep.grid import points_of
from convarium.sweep.hydra_launch import run_points
from convarium.sweep.local.processes import Processes
from convarium.sweep.sites import Site, ThisMachine
from experiments import SMALL

# jobs of 16 steps an epoch, a fraction of a second each; a sign of life every 10 seconds would be too rare for them
BASE = tuple(word for word in SMALL if word != "threads=1")


def sweep(place: Processes | Site, *words: str, name: str = "s") -> int:
    """The exit code of `python train.py -m BASE WORDS`, below the current folder; place: by what, or where."""
    conf = Conf()
    mlp = not any(word.startswith("arch=") for word in words)
    every = [*BASE, *(["arch.hidden=[16]"] if mlp else []), f"sweep.name={name}", *words]
    points, axes = points_of(conf.loader, readable(every))
    return run_points(conf, points, axes, ThisMachine(place) if isinstance(place, Processes) else place)


def sweep_directory(name: str = "s") -> SweepDirectory:
    """The directory of a sweep."""
    return SweepDirectory.open(Path("sweeps") / name)


def board(name: str = "s") -> list[dict[str, str]]:
    """The rows of its leaderboard.csv."""
    with (Path("sweeps") / name / "leaderboard.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def statuses(axis: str, name: str = "s") -> dict[str, str]:
    """Value of an axis -> status."""
    return {row[axis]: row["status"] for row in board(name)}


def results(name: str = "s") -> dict[str, dict[str, Any]]:
    """Job -> result.json."""
    return {path.parent.name: json.loads(path.read_text()) for path in Path("sweeps", name).glob("jobs/*/result.json")}


def weights(name: str = "s") -> dict[str, dict[str, bytes]]:
    """Job -> its weights, bit for bit."""
    return {
        path.parent.name: {key: value.numpy().tobytes() for key, value in load_file(path).items()}
        for path in Path("sweeps", name).glob("jobs/*/weights.safetensors")
    }


def processes_below(pid: int) -> set[int]:
    """All living descendants of a process."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if words[0] != "Z":
            children.setdefault(int(words[1]), []).append(int(stat.parent.name))
    below: set[int] = set()
    fresh = [pid]
    while fresh:
        fresh = [child for parent in fresh for child in children.get(parent, []) if child not in below]
        below.update(fresh)
    return below


def assert_gone(pids: set[int], seconds: float = 5.0) -> None:
    """Each of these processes ends in time."""
    end = time.monotonic() + seconds
    while living := [pid for pid in pids if _lives(pid)]:
        assert time.monotonic() < end, f"{living} live on"
        time.sleep(0.02)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
