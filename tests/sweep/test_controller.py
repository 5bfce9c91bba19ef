"""The queue of a sweep, with jobs that are only played and a clock that moves when it is waited for."""

import json
import math
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from convarium.errors import RunError
from convarium.results.directory import SweepDirectory
from convarium.run.devices import Placement, Preflight
from convarium.run.directory import RunDirectory
from convarium.sweep.controller import GRACE_SECONDS, LEADERBOARD_SECONDS, Controller
from convarium.sweep.local.pool import Pool, Share
from convarium.sweep.outcome import Ended, Event, Lost, Moved
from convarium.sweep.outlook import Outlook, Shown
from convarium.sweep.plan import Job
from convarium.sweep.task import Task

CONFIG: dict[str, Any] = {"arch": {}, "data": {}, "seed": 1}
CHECKED = Preflight(Placement("cpu", 1, 1), 0, 0)


@dataclass
class Life:
    """An attempt of a job: it runs for `seconds`, writes `status` unless that is None, and ends with `code`."""

    seconds: float = 1.0
    status: Any = "ok"
    code: int = 0
    hangs: bool = False
    """Gives no sign of life."""
    ignores: tuple[int, ...] = ()
    """Signals that do not end it."""
    waits: float = 0.0
    """Seconds before it gets its machine."""


FAILS = Life(status="failed", code=1)
HANGS = Life(seconds=math.inf, hangs=True, ignores=(signal.SIGTERM,))


@dataclass
class Sweep:
    """Jobs 1, 2, ... of a sweep, each with its lives one after the other; it is their starter too."""

    lives: dict[int, list[Life]]
    on_error: str = "continue"
    retries: int = 1
    timeout: float | None = None
    slots: int = 1
    sizes: dict[int, int] = field(default_factory=dict)
    """Slots that a job takes; 1 unless it is here."""
    at: dict[float, Callable[[], Any]] = field(default_factory=dict)
    """What happens at a time."""
    lost_at: list[float] = field(default_factory=list)
    leaderboard_takes: float = 0.0
    has_terminal: bool = True

    def __post_init__(self) -> None:
        self.now = 0.0
        self.directory = SweepDirectory.named("s")
        self.directory.make()
        self.tasks = [self._task(number) for number in self.lives]
        self.messages: list[str] = []
        self.shown: list[Shown] = []
        self.started: list[int] = []
        self.most = 0
        self.signals: list[tuple[float, int, int]] = []
        self.leaderboards: list[float] = []
        self.restarts = 0
        self._running: dict[int, tuple[float, Life]] = {}
        """Number -> when it ends by itself."""
        self._ended: list[Event] = []
        self.seen_at_start: list[list[str]] = []
        """What the manifest says of all jobs when one starts."""

    def _task(self, number: int) -> Task:
        job = Job(f"job-{number}", f"{number:012}", {"seed": number}, [f"seed={number}"], [], CONFIG)
        run = self.directory.run(job.name)
        run.make(CONFIG, [])
        self.directory.append([{"job": job.name, "status": "queued", "key": job.key, "swept": {}, "words": []}])
        return Task(number, job, run, Share(0, 1, self.sizes.get(number, 1)), CHECKED)

    def work(self) -> int:
        settings = {"on_error": self.on_error, "retries": self.retries, "timeout": self.timeout}
        outside = {"say": self.messages.append, "write_leaderboard": self._write_leaderboard, "clock": lambda: self.now}
        outside["show"] = self.shown.append if self.has_terminal else None
        return Controller(self.directory, self.tasks, self, Pool(self.slots), settings, **outside).work()

    def history(self, number: int) -> list[str]:
        return [entry["status"] for entry in self.directory.entries() if entry["job"] == f"job-{number}"]

    def _write_leaderboard(self) -> None:
        self.now += self.leaderboard_takes
        self.leaderboards.append(self.now)
        raise OSError("no space left")

    # as a starter

    def start(self, number: int, call: str, arguments: Sequence[str], *, log: str, env: dict[str, str]) -> None:
        assert (call, json.loads(arguments[1])) == ("run", json.loads(json.dumps(CHECKED)))
        if self.directory.manifest_file.is_file():
            self.seen_at_start.append([known.status for known in self.directory.known().values()])
        self.started.append(number)
        life = self.lives[number].pop(0)
        self._running[number] = (self.now + life.waits + life.seconds, life)
        self.most = max(self.most, len(self._running))
        started = Moved(number, "running", {"pid": 1})
        self._ended.append(Moved(number, "queued", {}) if life.waits else started)
        if life.waits:
            self.at[self.now + life.waits] = lambda: self._ended.append(started)

    def signal(self, number: int, signum: int) -> None:
        self.signals.append((self.now, number, signum))
        life = self._running[number][1]
        if signum not in life.ignores:
            stops = signum == signal.SIGTERM
            ending = Life(status="interrupted" if stops else None, code=143 if stops else -signum)
            self._running[number] = (self.now, ending)

    def poll(self, seconds: float, waker: int | None = None) -> list[Event]:
        """The clock goes on by `seconds` unless something happens."""
        if not self._ended and not self._due():
            self.now += seconds
        assert self.now < 1e6, "it waits for what does not come"
        for when in [when for when in self.at if when <= self.now]:
            self.at.pop(when)()
        for number, (_, life) in self._running.items():
            if not life.hangs:
                self._write(number, "running")
        for number in self._due():
            _, life = self._running.pop(number)
            if life.status is not None:
                self._write(number, life.status)
            self._ended.append(Ended(number, life.code))
        if self.lost_at and self.lost_at[0] <= self.now:
            self.lost_at.pop(0)
            self._running.clear()
            self._ended = [Lost()]
        events, self._ended = self._ended, []
        return events

    def restart(self) -> None:
        self.restarts += 1

    def _due(self) -> list[int]:
        return [number for number, (end, _) in self._running.items() if end <= self.now]

    def _write(self, number: int, status: Any) -> None:
        run = self.tasks[number - 1].run
        if not run.path.exists():
            return
        error = None if status in ("ok", "running") else "why"
        result = {"status": status, "error": error, "metrics": {"best/val/acc1": number / 10}}
        run.result_file.write_text(json.dumps(result))
        os.utime(run.result_file, ns=(round(self.now * 1e9) + 1, round(self.now * 1e9) + 1))


# the queue


def test_all_jobs_run_and_no_more_at_a_time_than_there_are_places() -> None:
    sweep = Sweep({number: [Life()] for number in range(1, 6)}, slots=2)
    assert sweep.work() == 0
    assert (sweep.started, sweep.most) == ([1, 2, 3, 4, 5], 2)
    assert all(sweep.history(number) == ["queued", "running", "ok"] for number in range(1, 6))


def test_larger_jobs_come_first_and_smaller_ones_fill_what_is_left() -> None:
    sweep = Sweep({number: [Life()] for number in range(1, 6)}, slots=3, sizes={3: 2, 5: 2})
    sweep.work()
    assert sweep.started == [3, 1, 5, 2, 4]


def test_a_free_place_is_taken_before_the_end_of_the_last_job_is_written() -> None:
    sweep = Sweep({1: [Life()], 2: [Life()]})
    sweep.work()
    assert sweep.seen_at_start == [["queued", "queued"], ["running", "queued"]]


def test_the_end_of_a_job_is_a_line_with_its_score_and_the_time_to_go() -> None:
    lines = ["[1/2]  ok        seed=1  best/val/acc1 0.1000  2.0 s", "[2/2]  failed    seed=2  why  1.0 s"]
    sweep = Sweep({1: [Life(2.0)], 2: [FAILS]}, has_terminal=False)
    sweep.work()
    assert sweep.messages == [f"{lines[0]}  0:00:02 to go", lines[1]]


def test_a_terminal_which_shows_the_time_to_go_does_not_get_it_with_each_line() -> None:
    sweep = Sweep({1: [Life(2.0)], 2: [FAILS]})
    sweep.work()
    assert sweep.messages[0] == "[1/2]  ok        seed=1  best/val/acc1 0.1000  2.0 s"


def test_every_second_it_is_shown_where_the_sweep_stands() -> None:
    sweep = Sweep({1: [Life(2.0)], 2: [FAILS], 3: [Life(3.0)]})
    sweep.work()
    assert [(now.done, len(now.running), now.waiting, now.failed, now.to_go) for now in sweep.shown] == [
        (0, 1, 2, 0, ""),
        (0, 1, 2, 0, ""),
        (1, 1, 1, 0, "0:00:04 to go"),
        (2, 1, 0, 1, "0:00:03 to go"),
        (2, 1, 0, 1, "0:00:02 to go"),
        (2, 1, 0, 1, "0:00:01 to go"),
        (3, 0, 0, 1, "0:00:00 to go"),
    ]
    assert [job.job for job in sweep.shown[2].running] == ["seed=2"]


def test_the_time_to_go_does_not_jump_where_a_job_takes_longer_than_those_before() -> None:
    sweep = Sweep({1: [Life(2.0)], 2: [Life(40.0)], 3: [Life(40.0)]})
    sweep.work()
    seconds = [60 * int(line[-11:-9]) + int(line[-8:-6]) for line in (now.to_go for now in sweep.shown) if line]
    assert max(after - before for before, after in pairwise(seconds)) <= 4


def task(number: int, **result: Any) -> Task:
    """A job of 10 epochs that has written a result."""
    config = {"trainer": {"max_epochs": 10}, "callbacks": {"checkpoint": {"monitor": "val/acc1"}}}
    job = Job(f"job-{number}", "", {}, [f"seed={number}"], [], config)
    run = RunDirectory(Path(f"{number}"))
    run.path.mkdir()
    run.result_file.write_text(json.dumps(result))
    return Task(number, job, run, Share(0, 1, 1), CHECKED, began=0.0, seen=1)


def test_a_job_at_work_says_how_far_it_is() -> None:
    told = task(1, steps=50, epochs=5, metrics={"val/acc1": 0.25, "train/loss": 1.0})
    outlook = Outlook()
    tasks = [task(2), told]
    # one takes 40 seconds and is half through, the other may take as long, and one waits
    assert outlook.to_go(tasks, 1, 20.0) == "0:00:40 to go"
    silent, standing = outlook.standings(tasks, 20.0)
    assert (silent.where, silent.left, silent.score) == ("", None, None)
    assert (standing.where, standing.left, standing.score) == ("6/10", 20.0, 0.25)


def test_the_time_to_go_is_that_of_the_steps_which_a_run_is_to_take() -> None:
    limited = task(1, steps=50, epochs=5, total_steps=60)  # trainer.max_steps=60
    assert Outlook().to_go([limited], 0, 20.0) == "0:00:04 to go"


def test_what_an_adopted_job_has_written_before_counts() -> None:
    sweep = Sweep({1: [Life(status=None)]})
    sweep._write(1, "ok")
    sweep.tasks[0].adopted = True
    sweep.lives[1][0].hangs = True
    sweep.work()
    assert sweep.history(1)[-1] == "ok"


# failures


def test_the_others_go_on_when_a_job_fails_and_the_manifest_has_the_reason() -> None:
    sweep = Sweep({1: [Life(status=None, code=3)], 2: [Life()]})
    assert sweep.work() == 0
    ends = [
        (entry["status"], entry["code"], entry.get("error")) for entry in sweep.directory.entries() if "code" in entry
    ]
    assert ends == [("exited", 3, "exit code 3"), ("ok", 0, None)]


def test_a_job_is_tried_again_at_once_and_as_often_as_asked() -> None:
    sweep = Sweep({1: [FAILS] * 3, 2: [FAILS, Life()], 3: [Life()]}, on_error="retry", retries=2)
    assert sweep.work() == 0
    assert sweep.started == [1, 1, 1, 2, 2, 3]
    attempts = [entry["attempt"] for entry in sweep.directory.entries() if entry["status"] == "running"]
    assert attempts == [1, 2, 3, 1, 2, 1]
    assert [sweep.history(number)[-1] for number in (1, 2, 3)] == ["failed", "ok", "ok"]
    assert sweep.messages[0] == "[0/3]  failed    seed=1  why  1.0 s  once more (1 of 2)"
    assert sweep.messages[2].startswith("[1/3]  failed    seed=1  why  1.0 s")


def test_the_first_failure_can_stop_the_others() -> None:
    sweep = Sweep({1: [FAILS], 2: [Life(math.inf)], 3: [Life()]}, on_error="stop", slots=2)
    assert sweep.work() == 0
    assert [sweep.history(number)[-1] for number in (1, 2, 3)] == ["failed", "interrupted", "queued"]
    assert [(number, signum) for _, number, signum in sweep.signals] == [(2, signal.SIGTERM)]


def test_a_job_whose_folder_is_gone_is_in_the_manifest_and_the_others_go_on() -> None:
    sweep = Sweep({1: [Life(2.0)], 2: [Life(status=None, code=1)], 3: [Life()]})
    path = sweep.tasks[1].run.path
    sweep.at[1.0] = lambda: [*map(Path.unlink, path.iterdir()), path.rmdir()]
    sweep.work()
    assert [sweep.history(number)[-1] for number in (1, 2, 3)] == ["ok", "exited", "ok"]


# no sign of life


def test_a_job_that_hangs_is_aborted_and_then_killed() -> None:
    sweep = Sweep({1: [Life(math.inf, hangs=True, ignores=(signal.SIGABRT,))], 2: [Life()]}, timeout=60.0)
    assert sweep.work() == 0
    (aborted, _, first), (killed, _, second) = sweep.signals
    assert (first, second) == (signal.SIGABRT, signal.SIGKILL)
    assert 60 < aborted < 61.5
    assert GRACE_SECONDS < killed - aborted < GRACE_SECONDS + 1.5
    assert (sweep.history(1)[-1], sweep.history(2)[-1]) == ("timeout", "ok")


def test_a_job_that_ends_when_it_is_aborted_is_not_killed() -> None:
    sweep = Sweep({1: [HANGS]}, timeout=60.0)
    sweep.work()
    assert [signum for _, _, signum in sweep.signals] == [signal.SIGABRT]
    assert sweep.history(1)[-1] == "timeout"


@pytest.mark.parametrize("life", [Life(100.0), Life(waits=100.0, hangs=True)], ids=["signs of life", "waiting"])
def test_a_job_with_signs_of_life_and_one_that_waits_for_its_machine_may_take_long(life: Life) -> None:
    sweep = Sweep({1: [life]}, timeout=60.0)
    sweep.work()
    assert (sweep.signals, sweep.history(1)[-1]) == ([], "ok")


def test_a_job_that_hangs_does_not_keep_a_stopped_sweep() -> None:
    sweep = Sweep({1: [FAILS], 2: [HANGS], 3: [Life()]}, on_error="stop", slots=2, timeout=60.0)
    sweep.work()
    assert [signum for _, _, signum in sweep.signals] == [signal.SIGTERM, signal.SIGABRT]
    assert [sweep.history(number)[-1] for number in (1, 2, 3)] == ["failed", "interrupted", "queued"]


# signals


def send(signum: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), signum)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_jobs_at_work_and_starts_no_others(signum: signal.Signals) -> None:
    before = signal.signal(signum, signal.SIG_DFL)  # nohup has SIGHUP ignored
    sweep = Sweep({1: [Life()], 2: [Life(math.inf)], 3: [Life()]}, at={2.0: send(signum)})
    try:
        assert sweep.work() == signum
    finally:
        signal.signal(signum, before)
    assert [sweep.history(number)[-1] for number in (1, 2, 3)] == ["ok", "interrupted", "queued"]
    assert sweep.messages[1] == f"{signum.name}: 1 job at work will save and end; Ctrl-C again: at once"


def test_a_second_signal_kills_jobs_that_do_not_listen() -> None:
    sweep = Sweep({1: [HANGS], 2: [HANGS]}, slots=2, at={2.0: send(signal.SIGINT), 5.0: send(signal.SIGINT)})
    assert sweep.work() == signal.SIGINT
    assert [(when, signum) for when, _, signum in sweep.signals] == [
        *[(2.0, signal.SIGTERM)] * 2,
        *[(5.0, signal.SIGKILL)] * 2,
    ]
    assert (sweep.history(1)[-1], sweep.history(2)[-1]) == ("interrupted", "interrupted")


# the process that starts the jobs


def test_when_the_starter_is_lost_its_jobs_were_killed_and_another_one_goes_on() -> None:
    sweep = Sweep({1: [Life()], 2: [Life(9.0), Life()], 3: [Life()]}, lost_at=[2.0], on_error="retry")
    assert sweep.work() == 0
    assert (sweep.restarts, sweep.started) == (1, [1, 2, 2, 3])
    assert sweep.history(2) == ["queued", "running", "killed", "queued", "running", "ok"]


def test_a_starter_that_is_lost_again_and_again_ends_the_sweep() -> None:
    sweep = Sweep({1: [Life(9.0)] * 3}, lost_at=[2.0, 3.0], on_error="retry", retries=9)
    with pytest.raises(RunError, match="was ended, and again before a job was done"):
        sweep.work()
    assert sweep.history(1)[-1] == "killed"


# the disk


def test_while_the_manifest_cannot_be_written_the_jobs_go_on_and_its_lines_are_kept() -> None:
    sweep = Sweep({1: [Life(4.0)], 2: [Life()]})
    manifest, kept = sweep.directory.manifest_file, sweep.directory.path / "kept"

    def take_away() -> None:
        manifest.rename(kept)
        manifest.mkdir()

    def give_back() -> None:
        manifest.rmdir()
        kept.rename(manifest)

    sweep.at = {2.0: take_away, 4.5: give_back}
    sweep.lives[2][0].seconds = 3.0
    sweep.work()
    assert sum("cannot be written (Is a directory); the jobs go on" in line for line in sweep.messages) == 1
    assert (sweep.history(1), sweep.history(2)) == (["queued", "running", "ok"],) * 2


@pytest.mark.parametrize(("takes", "gap"), [(0.0, LEADERBOARD_SECONDS), (1.0, 50.0)])
def test_the_leaderboard_is_written_now_and_then_and_less_often_if_that_takes_long(takes: float, gap: float) -> None:
    sweep = Sweep({1: [Life(4 * gap)]}, leaderboard_takes=takes)
    sweep.work()
    assert len(sweep.leaderboards) >= 3
    assert all(gap < later - earlier < gap + 3 for earlier, later in pairwise(sweep.leaderboards))
