"""The jobs of a sweep that were submitted to Slurm, and what becomes of them. No torch here."""

import json
import select
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from convarium.errors import RunError
from convarium.run.devices import Placement
from convarium.sweep.outcome import OUT_OF_MEMORY, Ended, Event, Moved, Outcome
from convarium.sweep.slurm.queue import Slurm, State
from convarium.sweep.slurm.watch import ENDINGS
from convarium.sweep.task import Task


class Submitted:
    """The starter of a cluster: jobs that are started between two looks at the queue are submitted together.

    adopted: the identities of jobs that another controller has submitted, by their names.
    """

    def __init__(self, tasks: Sequence[Task], slurm: Slurm, adopted: Mapping[str, str], poll_seconds: float) -> None:
        self._tasks = {task.number: task for task in tasks}
        self._slurm, self._adopted, self._poll_seconds = slurm, dict(adopted), poll_seconds
        self._to_submit: list[int] = []
        self._identities: dict[int, str] = {}
        self._states: dict[int, str] = {}
        self._signals: dict[int, int] = {}
        """The last one to each, which is sent again at every look: Slurm refuses one now and then."""
        self._look_at = 0.0

    def start(self, number: int, call: str, arguments: Sequence[str], *, log: str, env: dict[str, str]) -> None:
        identity = self._adopted.pop(self._tasks[number].job.name, None)
        if identity is None:
            self._to_submit.append(number)
        else:
            self._identities[number] = identity
        self._look_at = 0.0

    def signal(self, number: int, signum: int) -> None:
        self._signals[number] = signum
        self._look_at = 0.0

    def poll(self, seconds: float, waker: int | None = None) -> list[Event]:
        if (left := self._look_at - time.monotonic()) > 0:
            select.select([] if waker is None else [waker], [], [], min(seconds, left))
            return []
        events = [*self._submit(), *self._look()]
        self._look_at = time.monotonic() + self._poll_seconds
        return events

    def restart(self) -> None:
        raise AssertionError("a cluster is never lost")

    def _submit(self) -> Iterator[Event]:
        """Submit what was started, jobs that need the same devices together."""
        alike: dict[Placement, list[Task]] = {}
        for number in self._to_submit:
            if self._signals.pop(number, None):  # stopped before it was submitted
                yield Ended(number, -signal.SIGTERM)
                continue
            task = self._tasks[number]
            alike.setdefault(task.preflight.placement, []).append(task)
            for ending in task.run.path.glob(ENDINGS):  # of an earlier attempt
                ending.unlink(missing_ok=True)
        self._to_submit = []
        for at, tasks in alike.items():
            try:
                identities = self._slurm.submit(tasks, at)
            except RunError as error:
                yield from (Ended(task.number, 1, Outcome("failed", str(error))) for task in tasks)
                continue
            for task, identity in zip(tasks, identities, strict=True):
                self._identities[task.number] = identity
                yield Moved(task.number, "queued", {"slurm": identity})

    def _look(self) -> Iterator[Event]:
        states = self._slurm.states(list(self._identities.values()))
        to_signal: dict[int, list[str]] = {}
        for number, identity in list(self._identities.items()):
            state = states[identity]
            if state.name == "unknown":
                continue
            before, self._states[number] = self._states.get(number, "waiting"), state.name
            if state.name == "ended":
                del self._identities[number], self._states[number]
                self._signals.pop(number, None)
                yield self._ended(number, state)
                continue
            if (signum := self._signals.get(number)) is not None:
                # one that waits has nothing to save
                to_signal.setdefault(signum if state.name == "running" else signal.SIGKILL, []).append(identity)
            if state.name != before:
                yield Moved(number, "running" if state.name == "running" else "queued", {"slurm": identity})
        for signum, identities in to_signal.items():
            self._slurm.signal(identities, signum)

    def _ended(self, number: int, state: State) -> Ended:
        """What its task has seen is more exact than what Slurm says of it."""
        endings = sorted(self._tasks[number].run.path.glob(ENDINGS), key=lambda path: path.stat().st_mtime)
        for ending in endings:
            with suppress(OSError, ValueError):
                seen = json.loads(ending.read_text())
                if seen["oom"]:
                    return Ended(number, seen["code"], OUT_OF_MEMORY)
                if seen["code"]:
                    return Ended(number, seen["code"], state.outcome)
        return Ended(number, state.code, state.outcome)
