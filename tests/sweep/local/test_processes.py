"""The processes of jobs: what each has for itself, and that nothing outlives those who started it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO

import pytest

from convarium.errors import RunError
from convarium.sweep.local.processes import Processes, supervised
from convarium.sweep.outcome import Ended, Lost, Moved
from experiments import config_of
from sweeps import assert_gone

SECONDS = 60.0  # for what takes a moment unless others need the machine
NUMBERS = count(1000)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc")


class Jobs:
    """Those that a test starts, by their processes; `answer.json` and `log` are in the current folder."""

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self.codes: dict[int, int] = {}
        self.is_lost = False
        self._numbers: dict[int, int] = {}

    def start(self, asked: str, *, log: str = "log", env: dict[str, str] | None = None) -> int:
        """Start the check of what is in the file `asked`; its process."""
        number = next(NUMBERS)
        arguments = [os.path.abspath(asked), os.path.abspath("answer.json")]
        self.processes.start(number, "preflight", arguments, log=os.path.abspath(log), env=env or {})
        wait_for(lambda: self._hear() or number in self._numbers.values())
        return next(pid for pid, known in self._numbers.items() if known == number)

    def start_waiting(self, **keywords: object) -> int:
        """Start a job that waits for its question."""
        if not os.path.exists("asked"):
            os.mkfifo("asked")
        return self.start("asked", **keywords)  # type: ignore[arg-type]

    def start_restless(self, layer: str) -> int:
        """Start a job that builds a layer of `restless`."""
        config = config_of("norm=none", f"norm._target_=restless.{layer}")
        Path("asked.json").write_text(question(config))
        return self.start("asked.json", env={"CONVARIUM_TRUST": "restless", "NOTES": os.path.abspath("notes")})

    def signal(self, pid: int, signum: int) -> None:
        self.processes.signal(self._numbers[pid], signum)

    def code(self, pid: int) -> int:
        """How a job has ended, once it has."""
        wait_for(lambda: self._hear() or pid in self.codes)
        return self.codes[pid]

    def lose(self) -> None:
        """Hear that the supervisor is gone."""
        wait_for(lambda: self._hear() or self.is_lost)

    def end(self) -> None:
        for pid in self._numbers.keys() - self.codes.keys():
            self.signal(pid, signal.SIGKILL)
            self.code(pid)

    def _hear(self) -> None:
        for event in self.processes.poll(0.1):
            if isinstance(event, Moved):
                self._numbers[event.facts["pid"]] = event.number
            elif isinstance(event, Ended):
                self.codes[next(pid for pid, number in self._numbers.items() if number == event.number)] = event.code
            else:
                assert event == Lost()
                self.is_lost = True
                self._numbers.clear()


@pytest.fixture(autouse=True)
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVARIUM_TRUST", "restless")


@pytest.fixture(scope="module")
def spawning() -> Iterator[Processes]:
    with supervised("spawn") as found:
        yield found


@pytest.fixture
def forked(processes: Processes) -> Iterator[Jobs]:
    """Jobs that are forks of their supervisor."""
    jobs = Jobs(processes)
    yield jobs
    jobs.end()


@pytest.fixture(params=["processes", "spawning"], ids=["fork", "spawn"])
def jobs(request: pytest.FixtureRequest) -> Iterator[Jobs]:
    """Jobs of either kind."""
    jobs = Jobs(request.getfixturevalue(request.param))
    yield jobs
    jobs.end()


def wait_for(is_so: Callable[[], object], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, "it has not come to be"
        time.sleep(0.01)


def question(*configs: dict[str, object]) -> str:
    """What the check of configs is asked."""
    return json.dumps({"configs": configs, "elsewhere": False})


@contextmanager
def reading() -> Iterator[IO[str]]:
    """The other end of what a job waits for, once it reads from there."""

    def opened() -> bool:
        with suppress(OSError):  # nobody reads
            ends.append(os.open("asked", os.O_WRONLY | os.O_NONBLOCK))
        return bool(ends)

    ends: list[int] = []
    wait_for(opened)
    with os.fdopen(ends[0], "w") as end:
        yield end


def notes(number: int) -> list[int]:
    """The numbers that restless layers have written, once there are so many."""
    wait_for(lambda: Path("notes").exists() and len(Path("notes").read_text().split()) >= number)
    return [int(line) for line in Path("notes").read_text().split()]


def descriptor(pid: int, number: int) -> str:
    """What a file descriptor of a process leads to, once it is a job."""
    wait_for(lambda: os.readlink(f"/proc/{pid}/fd/2") == os.path.abspath("log"))
    return os.readlink(f"/proc/{pid}/fd/{number}")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# what a job has for itself


def test_a_job_has_a_session_a_group_and_descriptors_of_its_own(jobs: Jobs) -> None:
    pid = jobs.start_waiting()
    log = os.path.abspath("log")
    assert [descriptor(pid, number) for number in range(3)] == ["/dev/null", log, log]
    assert (os.getsid(pid), os.getpgid(pid)) == (pid, pid)
    links = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile: a new interpreter is at its imports
            links.append(os.readlink(link))
    assert [link for link in links if link.startswith("socket:")] == []  # no end of its supervisor's channel


def test_where_memory_runs_out_a_job_goes_before_its_supervisor(jobs: Jobs) -> None:
    pid = jobs.start_waiting()
    wait_for(lambda: Path(f"/proc/{pid}/oom_score_adj").read_text() == "500\n")
    assert int(Path(f"/proc/{parent_of(pid)}/oom_score_adj").read_text()) < 500


def test_a_spawned_job_has_the_environment_that_it_is_given(spawning: Processes) -> None:
    jobs = Jobs(spawning)
    pid = jobs.start_waiting(env={"HOME": "/nowhere", "GREETING": "Grüße"})
    wait_for(lambda: b"convarium.sweep.local.calls" in Path(f"/proc/{pid}/cmdline").read_bytes())
    variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
    jobs.end()
    assert [word for word in variables if word.startswith(("HOME=", "GREETING="))] == [
        "HOME=/nowhere",
        "GREETING=Grüße",
    ]


def test_a_forked_job_has_the_environment_that_it_is_given(forked: Jobs) -> None:
    forked.start_restless("Forks")  # trusted by one variable, and told by another where to write
    assert len(notes(2)) == 2


# how it ends


def test_a_job_that_does_its_work_ends_with_zero(forked: Jobs) -> None:
    Path("asked.json").write_text(question(config_of()))
    assert forked.code(forked.start("asked.json")) == 0
    assert json.loads(Path("answer.json").read_text())["preflights"] == [[["cpu", 1, 1], 1210, 1184, [], ""]]


def test_a_job_that_fails_ends_with_one_and_its_traceback_is_in_its_log_behind_what_was_there(forked: Jobs) -> None:
    Path("log").write_text("before\n")
    assert [forked.code(forked.start("nowhere.json")) for _ in range(2)] == [1, 1]
    lines = [line[:17] for line in Path("log").read_text().splitlines() if not line.startswith((" ", "T"))]
    assert lines == ["before", "FileNotFoundError", "FileNotFoundError"]


def test_a_job_whose_log_cannot_be_written_ends_with_seventy(jobs: Jobs) -> None:
    assert jobs.code(jobs.start("nowhere.json", log="nowhere/log")) == 70


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGABRT])
def test_a_job_that_is_signalled_ends_by_it(jobs: Jobs, signum: signal.Signals) -> None:
    pid = jobs.start_waiting()
    descriptor(pid, 2)
    jobs.signal(pid, signum)
    assert jobs.code(pid) == -signum


def test_ctrl_c_interrupts_a_job_though_its_supervisor_ignores_it(forked: Jobs) -> None:
    pid = forked.start_waiting()
    with reading():
        os.kill(parent_of(pid), signal.SIGINT)
        forked.signal(pid, signal.SIGINT)
        assert forked.code(pid) == 1
    assert Path("log").read_text().endswith("KeyboardInterrupt\n")


def test_jobs_end_when_they_do_and_not_in_their_order(forked: Jobs) -> None:
    first = forked.start_waiting()
    assert forked.code(forked.start("nowhere.json", log="other")) == 1
    assert first not in forked.codes
    with reading() as end:
        end.write(question())
    assert forked.code(first) == 0


def test_a_signal_to_a_job_that_has_ended_reaches_no_other(forked: Jobs) -> None:
    waiting = forked.start_waiting()
    ended = forked.start("nowhere.json", log="other")
    forked.code(ended)
    forked.signal(ended, signal.SIGKILL)
    with reading() as end:
        end.write(question())
    assert forked.code(waiting) == 0


# its group


def test_what_a_job_leaves_behind_ends_with_it(forked: Jobs) -> None:
    assert forked.code(forked.start_restless("Leaves")) == 0
    assert_gone(set(notes(1)))


def test_a_signal_reaches_all_processes_of_a_job(forked: Jobs) -> None:
    pid = forked.start_restless("Listens")
    both = notes(2)
    assert pid in both
    forked.signal(pid, signal.SIGUSR1)
    assert sorted(notes(4)) == sorted([*both, *both])


def test_a_killed_job_takes_what_it_forked_with_it(forked: Jobs) -> None:
    pid = forked.start_restless("Forks")
    both = notes(2)
    os.kill(pid, signal.SIGKILL)
    assert forked.code(pid) == -signal.SIGKILL
    assert_gone(set(both))


# those who start them


def test_with_a_killed_supervisor_its_jobs_end_and_what_these_forked() -> None:
    with supervised("fork") as processes:
        jobs = Jobs(processes)
        pid = jobs.start_restless("Forks")
        both = notes(2)
        os.kill(parent_of(pid), signal.SIGKILL)
        jobs.lose()
        assert_gone(set(both))


def test_after_a_killed_supervisor_there_can_be_another() -> None:
    with supervised("spawn") as processes:
        jobs = Jobs(processes)
        pid = jobs.start_waiting()
        supervisor = parent_of(pid)
        os.kill(supervisor, signal.SIGKILL)
        for _ in range(3):  # what is said to it now is not an error
            processes.start(1, "preflight", [], log="log", env={})
            processes.signal(1, signal.SIGTERM)
        jobs.lose()
        assert_gone({pid, supervisor})
        processes.restart()
        assert parent_of(jobs.start_waiting()) != supervisor


def test_jobs_end_with_the_context_of_their_supervisor() -> None:
    with supervised("spawn") as processes:
        pid = Jobs(processes).start_waiting()
        supervisor = parent_of(pid)
    assert_gone({pid, supervisor})


@pytest.mark.slow
def test_what_left_its_group_ends_with_them() -> None:
    with supervised("fork") as processes:
        pid = Jobs(processes).start_restless("Flees")
        (fled,) = notes(1)
        assert os.getsid(fled) == fled
    assert_gone({pid, fled})


def test_jobs_end_with_a_killed_controller(own_directory: Path) -> None:
    code = (
        "import os, sys\n"
        "from convarium.sweep.local.processes import supervised\n"
        "with supervised('spawn') as processes:\n"
        "    processes.start(1, 'preflight', ['asked', 'answer'], log='log', env={})\n"
        "    while not (events := processes.poll(1)): pass\n"
        "    print(events[0].facts['pid'], flush=True)\n"
        "    sys.stdin.read()"
    )
    os.mkfifo("asked")
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as controller:
        assert controller.stdout is not None
        pid = int(controller.stdout.readline())
        supervisor = parent_of(pid)
        controller.kill()
    assert_gone({pid, supervisor})


def test_a_supervisor_that_nobody_needed_ends_at_once() -> None:
    began = time.monotonic()
    with supervised("fork"):
        pass
    assert time.monotonic() - began < 2  # its imports take longer


@pytest.mark.slow
def test_where_an_import_starts_a_thread_jobs_cannot_be_forked(
    own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    thread = "import threading, time; threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()"
    Path("sitecustomize.py").write_text(thread)
    monkeypatch.syspath_prepend(own_directory)
    with supervised("fork") as processes, pytest.raises(RunError) as caught:
        wait_for(lambda: processes.poll(1))
    assert str(caught.value) == (
        "sweep.isolation=fork: not possible here, something it imported has started a thread; accepted: spawn"
    )


def test_jobs_are_forked_where_nothing_else_is_asked_for() -> None:
    with supervised("auto") as processes:
        assert processes.isolation == "fork"


# waiting


def test_waiting_ends_after_its_time(spawning: Processes) -> None:
    began = time.monotonic()
    assert spawning.poll(0.1) == []
    assert time.monotonic() - began >= 0.1


def test_waiting_ends_when_somebody_writes_to_its_waker(spawning: Processes) -> None:
    waker, woken = os.pipe()
    os.write(woken, b"!")
    began = time.monotonic()
    assert spawning.poll(SECONDS, waker) == []
    assert time.monotonic() - began < SECONDS / 2
    os.close(waker)
    os.close(woken)
