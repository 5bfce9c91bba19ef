"""The queue of a sweep: start what there is room for, see how it ends, write it down. No torch here."""

import signal
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from convarium.errors import RunError
from convarium.out_of_memory import Kills
from convarium.run.directory import RunDirectory, Status
from convarium.sweep.directory import SweepDirectory
from convarium.sweep.events import Ended, Event, Lost, Started, Starter, Verdict, Waiting
from convarium.sweep.local.pool import Lease, Pool, Share
from convarium.sweep.local.signals import Signals
from convarium.sweep.outcome import GOOD, judge_end, stamp
from convarium.sweep.plan import Job

TICK_SECONDS = 0.5
LEADERBOARD_SECONDS, LEADERBOARD_SHARE = 10.0, 50.0  # between two, or so many times as long as one takes to write
NEVER = float("inf")
GRACE_SECONDS = 3.0  # for a job that hangs to write where it does, before it is killed


class Settings(NamedTuple):
    """The answers under `sweep` that the queue needs."""

    on_error: str
    retries: int
    timeout: float | None


@dataclass
class Task:
    """A job in the queue or at work."""

    number: int
    job: Job
    run: RunDirectory
    share: Share
    found: str
    """What the check found out about it, as JSON."""
    adopted: bool = False
    """Whether it is at work already, since another controller started it."""
    attempts: int = 0
    lease: Lease | None = None
    began: float | None = None
    """When its process began, by the monotonic clock; None while it waits for its machine."""
    since: int = 0
    """The stamp of its result when this attempt began."""
    seen: int = 0
    """The last stamp, and `seen_at` when it was new: a clock that jumps, or another machine's, tells nothing."""
    seen_at: float = 0.0
    sent: Status | None = None
    """What a signal of ours is to make of it."""
    dies_at: float = NEVER
    """When it is killed, since it hangs."""

    def silence(self, now: float) -> float:
        """Seconds since its last sign of life; none while it waits for its machine."""
        if self.began is None:
            return 0.0
        if (written := stamp(self.run)) != self.seen:
            self.seen, self.seen_at = written, now
        return now - max(self.began, self.seen_at)


class Controller:
    """Runs tasks until none is left, at most as many at a time as the pool has room for.

    Jobs that need more devices come first; what is left is filled with smaller ones.
    """

    def __init__(
        self,
        sweep: SweepDirectory,
        tasks: Sequence[Task],
        starter: Starter,
        pool: Pool,
        settings: Settings,
        say: Callable[[str], None],
        written: Callable[[], None],
    ) -> None:
        self.sweep = sweep
        self.starter = starter
        self.pool = pool
        self.settings = settings
        self.say = say
        self.written = written
        """Called now and then, when there is something new for the leaderboard."""
        self.queue = deque(sorted(tasks, key=lambda task: -task.share.slots - task.share.gpus))
        self.running: dict[int, Task] = {}
        self.total = len(tasks)
        self.done = 0
        self.stopped_by = 0
        self._halted = False
        self._kills = Kills()
        self._began = time.monotonic()
        self._write_at = time.monotonic() + LEADERBOARD_SECONDS
        self._lost_at = -1
        self._notes: list[dict[str, Any]] = []
        """Lines for the manifest, written together."""
        self._full = False

    def work(self) -> int:
        """Do it all; 0, or the number of the signal that stopped it."""
        with Signals() as signals:
            while self.running or (self.queue and not self._halted):
                self._dispatch()
                try:
                    for event in self.starter.poll(TICK_SECONDS, signals.descriptor):
                        self._take(event)
                finally:
                    self._write_down()
                self._heed(signals)
                self._look_after()
        return self.stopped_by

    # start

    def _dispatch(self) -> None:
        if self._halted:
            return
        if not self.pool.slots:
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
        task.lease, task.sent, task.began, task.dies_at = lease, None, None, NEVER
        task.since = task.seen = 0 if task.adopted else stamp(task.run)
        task.attempts += 1
        self.running[task.number] = task
        arguments = [str(task.run.path), task.found]
        self.starter.start(task.number, "run", arguments, log=str(task.run.log_file), env=lease.environment)

    # end

    def _take(self, event: Event) -> None:
        if isinstance(event, Lost):
            self._lose()
        elif isinstance(event, Ended):
            self._end(self.running.pop(event.number), event)
        elif isinstance(event, Started):
            task = self.running[event.number]
            task.began = time.monotonic()
            self._note(task, "running", **event.facts, attempt=task.attempts)
        elif isinstance(event, Waiting):
            task = self.running[event.number]
            task.began = None
            self._note(task, "queued", **event.facts)

    def _end(self, task: Task, ended: Ended) -> None:
        assert task.lease is not None
        self.pool.give_back(task.lease)
        task.adopted = False
        if self.settings.on_error == "continue":
            self._dispatch()  # first of all, so that no device waits for us to write
        verdict = judge_end(task.run, ended, since=task.since, sent=task.sent, kills=self._kills)
        self._note(task, verdict.status, code=ended.code, **({"error": verdict.error} if verdict.error else {}))
        again = (
            verdict.status not in (*GOOD, "interrupted")
            and self.settings.on_error == "retry"
            and task.attempts <= self.settings.retries
            and not self._halted
        )
        self.say(self._told(task, verdict, again))
        if again:
            self._note(task, "queued")
            self.queue.appendleft(task)
            return
        self.done += 1
        if verdict.status not in (*GOOD, "interrupted") and self.settings.on_error == "stop" and not self._halted:
            self.say("sweep.on_error=stop: no more jobs start, others at work save and end; the same command goes on")
            self._stop()

    def _lose(self) -> None:
        """The supervisor is gone, and with it all that ran."""
        lost = list(self.running.values())
        self.running.clear()
        once_more = self.done > self._lost_at  # not if it is lost again and again, and nothing is done
        self._lost_at = self.done + len(lost)
        if once_more and not self._halted:
            self.starter.restart()
        self._halted |= not once_more
        for task in lost:
            self._end(task, Ended(task.number, -signal.SIGKILL))
        if not once_more:
            raise RunError("the process that starts the jobs was ended, and again before a job was done")

    # look after those at work

    def _heed(self, signals: Signals) -> None:
        """The first signal stops, another one kills."""
        signals.drain()
        if signals.first and not self.stopped_by:
            self.stopped_by = signals.first
            self._stop()
            name, number = signal.Signals(self.stopped_by).name, len(self.running)
            self.say(f"{name}: {number} job{'s' * (number != 1)} at work will save and end; Ctrl-C again: at once")
        elif signals.insists:
            signals.insists = False
            for number in self.running:
                self.starter.signal(number, signal.SIGKILL)

    def _stop(self) -> None:
        self._halted = True
        for task in self.running.values():
            task.sent = task.sent or "interrupted"
            self.starter.signal(task.number, signal.SIGTERM)

    def _look_after(self) -> None:
        self._kills.look()
        now = time.monotonic()
        limit = self.settings.timeout or NEVER
        for task in self.running.values():
            if now > task.dies_at:
                self.starter.signal(task.number, signal.SIGKILL)
            elif task.dies_at == NEVER and task.silence(now) > limit:
                task.sent, task.dies_at = task.sent or "timeout", now + GRACE_SECONDS
                self.starter.signal(task.number, signal.SIGABRT)  # by which it writes where it hangs
        if now > self._write_at:
            with suppress(OSError):  # a full disk, which a later one may find empty again
                self.written()
            took = time.monotonic() - now
            self._write_at = now + max(LEADERBOARD_SECONDS, LEADERBOARD_SHARE * took)

    def _note(self, task: Task, status: Status, **facts: Any) -> None:
        self._notes.append(self.sweep.entry(task.job.name, status, **facts))

    def _write_down(self) -> None:
        """Put what was noted on the disk; if that is full, it is kept for the next time."""
        try:
            self.sweep.append(self._notes)
            self._notes = []
        except OSError as error:
            if not self._full:
                self.say(f"{self.sweep.manifest_file}: cannot be written ({error.strerror}); the jobs go on")
            self._full = True
        else:
            self._full = False

    def _told(self, task: Task, verdict: Verdict, again: bool) -> str:
        done = self.done + (not again)
        seconds = time.monotonic() - (task.began or time.monotonic())
        words = [f"[{done}/{self.total}]", f"{verdict.status:<8}", str(task.job)]
        metrics = task.run.result().get("metrics") or {}
        score = next((f"{name} {metrics[name]:.4f}" for name in metrics if name.startswith("best/")), "")
        words += [score] if verdict.status in GOOD else [verdict.error or ""]
        words.append(f"{seconds:.1f} s")
        if again:
            words.append(f"once more ({task.attempts} of {self.settings.retries})")
        elif 0 < done < self.total and not self._halted:
            left = (time.monotonic() - self._began) / done * (self.total - done)
            words.append(f"{timedelta(seconds=round(left))} to go")
        return "  ".join(word for word in words if word)
