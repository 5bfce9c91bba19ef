"""Searches whose jobs are only played: the real controller, directories and samplers, and a formula for a training."""

import json
import math
import os
import signal
import socket
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from convarium.config.compose import Conf
from convarium.config.overrides import readable
from convarium.results.directory import SweepDirectory
from convarium.run.devices import Placement, Preflight
from convarium.sweep import run as run_module
from convarium.sweep.hydra_launch import run_search
from convarium.sweep.local.pool import Pool, Share
from convarium.sweep.outcome import Ended, Event, Moved

BASE = ("arch=mlp", "arch.hidden=[16]", "trainer.max_epochs=9", "schedule.warmup=0", "sweep.name=s")
SPACE = ("optimizer.lr=interval(1e-4,1)", "clip=choice(none,norm,adaptive)")
Formula = Callable[[dict[str, Any]], float | None]


def hill(config: dict[str, Any]) -> float:
    """Best at lr=0.01 with clip=adaptive."""
    best = 0.1 * (config["choices"]["clip"] == "adaptive")
    return 0.8 + best - 0.05 * (math.log10(config["optimizer"]["lr"]) + 2) ** 2


class Played:
    """A site, and the starter of its jobs: each takes an epoch at a look, and is worth what the formula says.

    A job of which that is None diverges. slots: jobs at a time. dies_after: looks until SIGKILL ends this process.
    """

    is_elsewhere = False
    processes: Any = None
    description: Mapping[str, Any] = {}

    def __init__(self, formula: Formula = hill, *, slots: int = 1, dies_after: int = 1_000_000) -> None:
        self.formula, self.slots, self.looks = formula, slots, dies_after
        self.started: list[str] = []
        self.signals: list[tuple[str, int]] = []
        self._events: deque[Event] = deque()
        self._jobs: dict[int, tuple[Path, int]] = {}
        self._configs: dict[Path, dict[str, Any]] = {}

    def still_running(self, sweep: SweepDirectory) -> dict[str, str]:
        return {}

    def share_out(self, placements: Sequence[Any], *_: Any) -> tuple[Pool, list[Share]]:
        return Pool(self.slots), [Share(0, 1, 1)] * len(placements)

    def starter(self, *_: Any) -> "Played":
        return self

    def start(self, number: int, call: str, arguments: Sequence[str], *, log: str, env: dict[str, str]) -> None:
        path = Path(arguments[0])
        self.started.append(path.name)
        self._jobs[number] = path, 0
        self._configs[path] = yaml.load((path / "config.yaml").read_text(), yaml.CSafeLoader)
        self._events.append(Moved(number, "running", {"pid": 1}))

    def signal(self, number: int, signum: int) -> None:
        path, epochs = self._jobs.pop(number)
        self.signals.append((path.name, epochs))
        self._write(path, "interrupted", epochs)
        self._events.append(Ended(number, 143))

    def poll(self, seconds: float, waker: int | None = None) -> list[Event]:
        self.looks -= 1
        if self.looks == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        for number, (path, epochs) in list(self._jobs.items()):
            config = self._configs[path]
            longest, diverges = config["trainer"]["max_epochs"], self.formula(config) is None
            self._jobs[number] = path, epochs + 1
            ends = diverges or epochs + 1 == longest
            self._write(path, "diverged" if diverges else "ok" if ends else "running", epochs + 1)
            if ends:
                del self._jobs[number]
                self._events.append(Ended(number, int(diverges)))
        events = list(self._events)
        self._events.clear()
        return events

    def _write(self, path: Path, status: str, epochs: int) -> None:
        config = self._configs[path]
        worth, longest = self.formula(config), config["trainer"]["max_epochs"]
        table = path / "metrics.csv"
        values = [] if worth is None else [worth * (1 - 0.5 ** (epoch + 1)) for epoch in range(epochs)]
        rows = [f"{epoch},{epoch},{value}" for epoch, value in enumerate(values)]
        table.write_text("\n".join(["step,epoch,val/acc1", *rows]) + "\n")
        metrics = {"val/acc1": values[-1], "best/val/acc1": worth if status == "ok" else values[-1]} if values else {}
        result = {"status": status, "error": None, "metrics": metrics, "epochs": epochs, "params": config["seed"]}
        process = {"pid": os.getpid(), "host": socket.gethostname()}
        (path / "result.json").write_text(json.dumps({**result, **process, "total_steps": 10 * longest}))


@cache
def shared_conf() -> Conf:
    """It reads every yaml file once."""
    return Conf()


def search(*words: str, site: Any = None, **settings: Any) -> int:
    """The exit code of `python train.py -m hydra/sweeper=optuna BASE WORDS`; settings: those of `search`."""
    conf = shared_conf()
    node = {**conf.compose([]).config["search"], "sampler": "tpe", "trials": 10, **settings}
    given = [f"search.{key}={_written(value)}" for key, value in settings.items()]
    played = site or Played()
    before, checked = run_module.preflight_jobs, Preflight(Placement("cpu", 1, 1), 0, 0)
    if isinstance(played, Played):
        run_module.preflight_jobs = lambda jobs, *_, **__: ([checked] * len(jobs), 0)
    try:
        return run_search(conf, readable([*BASE, *words, *given]), node, played)
    finally:
        run_module.preflight_jobs = before


def _written(value: Any) -> str:
    return f"[{','.join(value)}]" if isinstance(value, list) else "null" if value is None else str(value)


def killed(looks: int, trials: int) -> int:
    """A search whose controller is killed after so many looks at its jobs; in a process of its own."""
    return search(*SPACE, site=Played(slots=2, dies_after=looks), trials=trials)


def directory() -> SweepDirectory:
    """That of the search."""
    return SweepDirectory.named("s")


def points() -> list[dict[str, Any]]:
    """What was swept of each job, in the order of the manifest."""
    return [known.swept for known in directory().known().values()]


def statuses() -> Counter[str]:
    """How many jobs ended how, by the manifest."""
    return Counter(known.status for known in directory().known().values())
