"""The queue of a sweep: start what there is room for, see how it ends, write it down. No torch here."""

import json
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from convarium.errors import RunError
from convarium.out_of_memory import Kills
from convarium.results.directory import SweepDirectory
from convarium.run.directory import SUCCEEDED, RunDirectory, Status
from convarium.sweep.local.pool import Lease, Pool
from convarium.sweep.local.signals import Signals
from convarium.sweep.outcome import Ended, Event, Lost, Outcome, Starter, classify_end, stamp
from convarium.sweep.outlook import Outlook, Shown
from convarium.sweep.task import Task
from convarium.wording import counted

TICK_SECONDS = 0.5
TICK_OF_A_SEARCH = 0.1  # a job that is not worth going on is seen sooner
SHOW_SECONDS = 1.0
LEADERBOARD_SECONDS, LEADERBOARD_SHARE = 10.0, 50.0  # between two, or so many times as long as one takes to write
GRACE_SECONDS = 3.0  # for a job that hangs to write where it does, before it is killed


class Source(Protocol):
    """Where tasks come from that are not known when the sweep begins: each is asked for when there is room for it."""

    @property
    def total(self) -> int:
        """The tasks that it has given and, as far as is known, will give."""

    def ask(self) -> Task | None:
        """The next task, which is in the manifest then; None: there is none at present."""

    def tell(self, task: Task, outcome: Outcome) -> None:
        """A job has ended, and is not run again."""

    def prunes(self, task: Task) -> bool:
        """Whether a job at work is not worth going on."""


class Controller:
    """Runs tasks until none is left, at most as many at a time as the pool has room for.

    Jobs that need more devices come first; what is left is filled with smaller ones. source: gives more, when there is
    room and none waits. write_leaderboard: called now and then. write_page: called with a run that has ended once the
    next ones are started; not with the last ones. show: called every second with where all of them stand. settings: the
    answers under `sweep`. clock: seconds that never go back.
    """

    def __init__(
        self,
        sweep: SweepDirectory,
        tasks: Sequence[Task],
        starter: Starter,
        pool: Pool,
        settings: Mapping[str, Any],
        *,
        source: Source | None = None,
        say: Callable[[str], None],
        write_leaderboard: Callable[[], None],
        write_page: Callable[[RunDirectory], object] = lambda run: None,
        show: Callable[[Shown], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sweep, self.starter, self.pool, self.settings = sweep, starter, pool, settings
        self.say, self.write_leaderboard, self.show, self.clock = say, write_leaderboard, show, clock
        self.write_page = write_page
        self.queue = deque(sorted(tasks, key=lambda task: -task.share.slots - task.share.gpus))
        self.running: dict[int, Task] = {}
        self.source, self._known = source, len(tasks)
        self.done = self.failed = 0
        self.outlook = Outlook()
        self.stopped_by = 0
        self._halted = False
        self._kills = Kills()
        self._show_at = clock()
        self._write_at = clock() + LEADERBOARD_SECONDS
        self._done_when_lost = -1
        self._entries: list[dict[str, Any]] = []  # lines for the manifest, written together
        self._disk_is_full = False
        self._without_page: deque[RunDirectory] = deque()

    @property
    def total(self) -> int:
        """The tasks that there are, as far as is known."""
        return self._known + (self.source.total if self.source else 0)

    def _waiting(self) -> int:
        return self.total - self.done - len(self.running)

    def work(self) -> int:
        """Run all tasks; 0, or the number of the signal that stopped the sweep."""
        tick = TICK_OF_A_SEARCH if self.source else TICK_SECONDS
        with Signals(self.clock) as signals:
            self._start_what_fits()
            while self.running or (self.queue and not self._halted):
                self._start_what_fits()
                try:
                    for event in self.starter.poll(tick, signals.descriptor):
                        self._handle_event(event)
                finally:
                    self._append_entries()
                self._handle_signals(signals)
                self._check_running()
                self._show_outlook()
                if self._without_page:  # one at a time, so that no device waits for them
                    self.write_page(self._without_page.popleft())
        return self.stopped_by

    def _start_what_fits(self) -> None:
        self._take_from_queue()
        while self.source and not self.queue and self.pool.slots and not self._halted:
            if (task := self.source.ask()) is None:
                return
            self.queue.append(task)
            self._take_from_queue()

    def _take_from_queue(self) -> None:
        if self._halted or not self.pool.slots:
            return
        largest = max((task.share.slots for task in self.running.values()), default=0)
        for task in list(self.queue):
            lease = self.pool.lease(task.share)
            if lease is not None:
                self.queue.remove(task)
                self._start(task, lease)
            elif task.share.slots > largest and self.running:
                return  # one that came back needs more than the others leave: they are not to keep it waiting

    def _start(self, task: Task, lease: Lease) -> None:
        task.lease, task.signalled, task.began, task.dies_at = lease, None, None, math.inf
        task.since = task.seen = 0 if task.adopted else stamp(task.run)
        task.attempts += 1
        self.running[task.number] = task
        arguments = [str(task.run.path), json.dumps(task.preflight if task.is_checked else None)]
        self.starter.start(task.number, "run", arguments, log=str(task.run.log_file), env=lease.environment)

    def _handle_event(self, event: Event) -> None:
        if isinstance(event, Lost):
            self._handle_lost_starter()
        elif isinstance(event, Ended):
            self._finish(self.running.pop(event.number), event)
        else:
            task, runs = self.running[event.number], event.status == "running"
            task.began = self.clock() if runs else None
            self._record(task, event.status, **event.facts, **({"attempt": task.attempts} if runs else {}))

    def _finish(self, task: Task, ended: Ended) -> None:
        assert task.lease is not None
        self.pool.give_back(task.lease)
        task.adopted = False
        if self.settings["on_error"] == "continue" and not self.source:
            self._start_what_fits()  # first of all, so that no device waits for us to write
        outcome = classify_end(task.run, ended, since=task.since, signalled=task.signalled, kills=self._kills)
        self._record(task, outcome.status, code=ended.code, **({"error": outcome.error} if outcome.error else {}))
        failed = outcome.status not in (*SUCCEEDED, "interrupted") and not self._halted
        again = failed and self.settings["on_error"] == "retry" and task.attempts <= self.settings["retries"]
        self.done += not again
        self.failed += failed and not again
        if self.source and not again:
            self.source.tell(task, outcome)
        if outcome.status in SUCCEEDED and task.began is not None:
            self.outlook.took.append(self.clock() - task.began)
        self.say(self._line(task, outcome, again))
        if not again:
            self._without_page.append(task.run)
        if again:
            self._record(task, "queued")
            self.queue.appendleft(task)
        elif failed and self.settings["on_error"] == "stop":
            self.say("sweep.on_error=stop: no more jobs start, others at work save and end; the same command goes on")
            self._stop()
        if self.source:
            self._start_what_fits()  # by now it knows how this one has ended

    def _handle_lost_starter(self) -> None:
        """Count all jobs at work as killed, and restart the starter. Raises RunError if no job ended in between."""
        lost = list(self.running.values())
        self.running.clear()
        once_more = self.done > self._done_when_lost  # not if it is lost again and again, and nothing is done
        self._done_when_lost = self.done + len(lost)
        if once_more and not self._halted:
            self.starter.restart()
        self._halted |= not once_more
        for task in lost:
            self._finish(task, Ended(task.number, -signal.SIGKILL))
        if not once_more:
            raise RunError("the process that starts the jobs was ended, and again before a job was done")

    def _handle_signals(self, signals: Signals) -> None:
        """Stop the sweep at the first signal; kill the jobs at another one."""
        signals.drain()
        if signals.first and not self.stopped_by:
            self.stopped_by = signals.first
            self._stop()
            name, number = signal.Signals(self.stopped_by).name, len(self.running)
            self.say(f"{name}: {counted(number, 'job')} at work will save and end; Ctrl-C again: at once")
        elif signals.repeated:
            signals.repeated = False
            for number in self.running:
                self.starter.signal(number, signal.SIGKILL)

    def _stop(self) -> None:
        self._halted = True
        for task in self.running.values():
            task.signalled = task.signalled or "interrupted"
            self.starter.signal(task.number, signal.SIGTERM)

    def _check_running(self) -> None:
        """End jobs that give no sign of life, or are not worth going on; write the leaderboard if it is time."""
        self._kills.look()
        now = self.clock()
        limit = self.settings["timeout"] or math.inf
        for task in self.running.values():
            if now > task.dies_at:
                self.starter.signal(task.number, signal.SIGKILL)
            elif task.dies_at == math.inf and task.silence(now) > limit:
                task.signalled, task.dies_at = task.signalled or "timeout", now + GRACE_SECONDS
                self.starter.signal(task.number, signal.SIGABRT)  # by which it writes where it hangs
            elif self.source and task.signalled is None and task.began is not None and self.source.prunes(task):
                task.signalled = "pruned"  # and it saves, as it does at any stop
                self.starter.signal(task.number, signal.SIGTERM)
        if now > self._write_at:
            with suppress(OSError):  # a full disk, which a later one may find empty again
                self.write_leaderboard()
            took = self.clock() - now
            self._write_at = now + max(LEADERBOARD_SECONDS, LEADERBOARD_SHARE * took)

    def _show_outlook(self) -> None:
        now = self.clock()
        if self.show is not None and now >= self._show_at:
            running, waiting = self.running.values(), self._waiting()
            to_go = self.outlook.to_go(running, waiting, now)
            standings = self.outlook.standings(running, now)
            self.show(Shown(standings, self.done, self.total, waiting, self.failed, to_go, self._halted))
            self._show_at = now + SHOW_SECONDS

    def _record(self, task: Task, status: Status, **facts: Any) -> None:
        self._entries.append(self.sweep.entry(task.job.name, status, **facts))

    def _append_entries(self) -> None:
        """Append what was recorded to the manifest; if the disk is full, it is kept for the next time."""
        try:
            self.sweep.append(self._entries)
            self._entries, self._disk_is_full = [], False
        except OSError as error:
            if not self._disk_is_full:
                self.say(f"{self.sweep.manifest_file}: cannot be written ({error.strerror}); the jobs go on")
            self._disk_is_full = True

    def _line(self, task: Task, outcome: Outcome, again: bool) -> str:
        """What is printed at the end of an attempt."""
        now = self.clock()
        words = [f"[{self.done}/{self.total}]", f"{outcome.status:<8}", str(task.job)]
        metrics = task.run.result().get("metrics") or {}
        score = next((f"{name} {metrics[name]:.4f}" for name in metrics if name.startswith("best/")), "")
        words += [score if outcome.status in SUCCEEDED else outcome.error or ""]
        words.append(f"{0.0 if task.began is None else now - task.began:.1f} s")
        if again:
            words.append(f"once more ({task.attempts} of {self.settings['retries']})")
        elif self.done < self.total and not self._halted and self.show is None:  # else the table says it
            words.append(self.outlook.to_go(self.running.values(), self._waiting(), now))
        return "  ".join(word for word in words if word)
