"""The jobs of a sweep that were handed to a cluster, and what becomes of them. No torch here."""

import json
import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from convarium.run.placement import Placement
from convarium.sweep.cluster import task as cluster_task
from convarium.sweep.events import Ended, Event, Started, Verdict, Waiting

if TYPE_CHECKING:
    from convarium.sweep.controller import Task


@dataclass(frozen=True)
class State:
    """How a submitted job is: waiting, running or ended; if ended, `code` and `word` as in `Ended`."""

    name: str
    code: int = 0
    word: Verdict | None = None


class Submission(Protocol):
    """A way to have tasks run: Slurm, or processes of submitit's local executor in its place."""

    def submit(self, tasks: "Sequence[Task]", at: Placement) -> list[str]:
        """Submit tasks that need the same devices; the identities that the cluster gives them."""

    def states(self, identities: Sequence[str]) -> dict[str, "State"]:
        """How each of them is."""

    def signal(self, identity: str, signum: int) -> None:
        """Signal all processes of one; SIGKILL takes it from the queue as well."""


class Submitted:
    """The starter of a cluster: what is started between two looks is submitted as one array."""

    def __init__(
        self, tasks: "Sequence[Task]", submission: Submission, adopted: Mapping[str, str], poll_seconds: float
    ) -> None:
        self._tasks = {task.number: task for task in tasks}
        self._submission = submission
        self._adopted = dict(adopted)
        self._poll_seconds = poll_seconds
        self._to_submit: list[int] = []
        self._identities: dict[int, str] = {}
        self._states: dict[int, str] = {}
        self._signals: dict[int, int] = {}
        """The last one to each, which is sent again as long as it runs: Slurm refuses one now and then."""
        self._looked_at = 0.0

    def start(self, number: int, call: str, arguments: Sequence[str], *, log: str, env: dict[str, str]) -> None:
        identity = self._adopted.pop(self._tasks[number].job.name, None)
        if identity is None:
            self._to_submit.append(number)
        else:
            self._identities[number] = identity

    def signal(self, number: int, signum: int) -> None:
        if number in self._to_submit:
            self._to_submit.remove(number)
            self._identities[number] = ""
        elif identity := self._identities.get(number):
            waits = self._states.get(number) != "running"  # it has nothing to save
            self._signals[number] = signal.SIGKILL if waits else signum
            self._submission.signal(identity, self._signals[number])

    def poll(self, seconds: float, waker: int | None = None) -> list[Event]:
        events = self._submit()
        if not events and time.monotonic() < self._looked_at + self._poll_seconds:
            select.select([] if waker is None else [waker], [], [], seconds)
            return []
        self._looked_at = time.monotonic()
        return [*events, *self._look()]

    def restart(self) -> None:
        raise AssertionError("a cluster is never lost")

    def _submit(self) -> list[Event]:
        """Those that need the same devices together."""
        alike: dict[Placement, list[Task]] = {}
        for number in self._to_submit:
            task = self._tasks[number]
            alike.setdefault(Placement(*json.loads(task.found)[:3]), []).append(task)
        self._to_submit = []
        events: list[Event] = []
        for at, tasks in alike.items():
            for task, identity in zip(tasks, self._submission.submit(tasks, at), strict=True):
                self._identities[task.number] = identity
                events.append(Waiting(task.number, {"slurm": identity}))
        return events

    def _look(self) -> Iterator[Event]:
        states = self._submission.states([identity for identity in self._identities.values() if identity])
        for number, identity in list(self._identities.items()):
            state = states[identity] if identity else State("ended", -signal.SIGTERM)
            if state.name == "unknown":
                continue
            before, self._states[number] = self._states.get(number, "waiting"), state.name
            if state.name == "ended":
                del self._identities[number], self._states[number]
                self._signals.pop(number, None)
                yield self._ended(number, state)
                continue
            if number in self._signals:
                self._submission.signal(identity, self._signals[number])
            if state.name != before:
                kind = Started if state.name == "running" else Waiting
                yield kind(number, {"slurm": identity})

    def _ended(self, number: int, state: State) -> Ended:
        """What the task itself saw is more exact than what the cluster says of it."""
        endings = sorted(self._tasks[number].run.path.glob("ranks/ended-*.json"), key=lambda path: path.stat().st_mtime)
        for ending in endings:
            with suppress(OSError, ValueError):
                seen = json.loads(ending.read_text())
                if seen["oom"]:
                    return Ended(number, seen["code"], Verdict("oom", "ended by the kernel for lack of memory"))
                if seen["code"]:
                    return Ended(number, seen["code"], state.word)
        return Ended(number, state.code, state.word)


def call_of(task: "Task", at: Placement, controller: int | None) -> Any:
    """What a cluster runs for a task."""
    return partial(cluster_task.run, str(task.run.path), at.nodes, task.share.cores, controller)


@contextmanager
def importable() -> Iterator[None]:
    """Let what is started meanwhile import what this program can."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
