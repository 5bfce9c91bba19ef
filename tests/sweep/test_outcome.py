"""How a job ended: what it says itself, its exit code, what it was signalled for, and what the kernel counts."""

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from convarium.out_of_memory import Kills
from convarium.run.directory import FINISHED, SUCCEEDED, Result, RunDirectory, Status
from convarium.sweep.outcome import RESUMABLE, Ended, Outcome, classify_end, stamp

CONFIG: dict[str, Any] = {"arch": {"depth": 20}, "data": {"num_classes": 10}, "seed": 1}
OF_A_LOADER = "RuntimeError: DataLoader worker (pid 7) is killed by signal: Killed."
OUT_OF_MEMORY = Outcome("oom", "ended by the kernel for lack of memory")
TIMEOUT = Outcome("timeout", "no sign of life for sweep.timeout; train.log ends with where it hung")
INTERRUPTED = Outcome("interrupted", "stopped with its sweep")


@pytest.fixture
def run(own_directory: Path) -> RunDirectory:
    """Of a job that has not begun."""
    found = RunDirectory(own_directory / "run")
    found.path.mkdir()
    found.save_config(CONFIG, [])
    return found


class Kernel:
    """Counts the processes that it has ended, where `Kills` looks."""

    def __init__(self, root: Path) -> None:
        (root / "proc").mkdir()
        self._file = root / "proc" / "vmstat"
        self._count = 0
        self.end_processes(0)
        self.kills = Kills(root)

    def end_processes(self, number: int = 1) -> None:
        self._count += number
        self._file.write_text(f"oom_kill {self._count}\n")


@pytest.fixture
def kernel(own_directory: Path) -> Kernel:
    return Kernel(own_directory)


def say(run: RunDirectory, status: Status, error: str | None = None) -> None:
    """What the job writes into result.json."""
    Result(run, CONFIG).write(status=status, error=error)


def ended(
    run: RunDirectory,
    kernel: Kernel,
    code: int,
    *,
    written: Status | None = None,
    error: str | None = None,
    signalled: Status | None = None,
    outcome: Outcome | None = None,
) -> Outcome:
    """What is made of a job that says so, if it says anything, and then ends so."""
    since = stamp(run)
    if written is not None:
        say(run, written, error)
    return classify_end(run, Ended(1, code, outcome), since=since, signalled=signalled, kills=kernel.kills)


# what it says itself


@pytest.mark.parametrize("code", [0, 1, 143, -signal.SIGTERM, -signal.SIGKILL])
@pytest.mark.parametrize("signalled", [None, "interrupted", "timeout"])
@pytest.mark.parametrize("written", [*sorted(FINISHED), "killed"])
def test_what_a_job_says_of_its_end_holds(
    written: Status, signalled: Status | None, code: int, run: RunDirectory, kernel: Kernel
) -> None:
    error = None if written == "ok" else "why"
    outcome = ended(run, kernel, code, written=written, error=error, signalled=signalled)
    stopped = written == signalled == "interrupted"
    assert outcome == (INTERRUPTED if stopped else (written, error))


def test_what_a_job_says_is_not_written_again(run: RunDirectory, kernel: Kernel) -> None:
    say(run, "failed", "why")
    written = stamp(run)
    classify_end(run, Ended(1, 1), since=0, signalled=None, kills=kernel.kills)
    assert stamp(run) == written


# what its process says


@pytest.mark.parametrize("written", [None, "running"])
@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (0, Outcome("exited", "exit code 0, without a result")),
        (3, Outcome("exited", "exit code 3")),
        (255, Outcome("exited", "exit code 255")),
        (-signal.SIGKILL, Outcome("killed", "SIGKILL")),
        (-signal.SIGTERM, Outcome("killed", "SIGTERM")),
        (-signal.SIGSEGV, Outcome("killed", "SIGSEGV")),
        (-signal.SIGABRT, Outcome("killed", "SIGABRT")),
    ],
)
def test_of_a_job_without_a_last_word_its_process_says_how_it_ended(
    code: int, outcome: Outcome, written: Status | None, run: RunDirectory, kernel: Kernel
) -> None:
    assert ended(run, kernel, code, written=written) == outcome


@pytest.mark.parametrize("written", [None, "running"])
@pytest.mark.parametrize("code", [0, 1, 143, -signal.SIGTERM, -signal.SIGABRT, -signal.SIGKILL])
@pytest.mark.parametrize("outcome", [TIMEOUT, INTERRUPTED])
def test_of_a_job_without_a_last_word_what_it_was_signalled_for_says_why(
    outcome: Outcome, code: int, written: Status | None, run: RunDirectory, kernel: Kernel
) -> None:
    assert ended(run, kernel, code, written=written, signalled=outcome.status) == outcome


@pytest.mark.parametrize("code", [0, 1, -signal.SIGTERM])
def test_of_a_job_without_a_last_word_who_started_it_may_know_why(code: int, run: RunDirectory, kernel: Kernel) -> None:
    reported = Outcome("timeout", "the time it was given has run out")
    assert ended(run, kernel, code, written="running", outcome=reported) == reported


def test_the_last_word_of_a_job_counts_more_than_that_of_who_started_it(run: RunDirectory, kernel: Kernel) -> None:
    assert ended(run, kernel, 1, written="diverged", error="why", outcome=TIMEOUT) == ("diverged", "why")


@pytest.mark.parametrize("code", [0, 3, -signal.SIGKILL])
def test_the_outcome_is_left_in_the_result(code: int, run: RunDirectory, kernel: Kernel) -> None:
    outcome = ended(run, kernel, code, written="running")
    result = run.written_result()
    assert (result["status"], result["error"]) == outcome


def test_a_result_that_cannot_be_read_says_nothing(run: RunDirectory, kernel: Kernel) -> None:
    run.result_file.write_text('{"status": "o')
    assert classify_end(run, Ended(1, 3), since=0, signalled=None, kills=kernel.kills) == ("exited", "exit code 3")


# what the kernel says


@pytest.mark.parametrize(
    ("code", "written", "error"),
    [
        (-signal.SIGKILL, None, None),
        (-signal.SIGKILL, "running", None),
        (1, "killed", "rank 1: SIGKILL"),
        (1, "failed", OF_A_LOADER),
    ],
)
def test_a_job_that_lost_a_process_when_the_kernel_ended_one_is_out_of_memory(
    code: int, written: Status | None, error: str | None, run: RunDirectory, kernel: Kernel
) -> None:
    kernel.end_processes()
    assert ended(run, kernel, code, written=written, error=error) == OUT_OF_MEMORY
    assert run.written_result()["status"] == "oom"


@pytest.mark.parametrize(
    ("code", "written", "error", "status"),
    [
        (-signal.SIGSEGV, None, None, "killed"),
        (-signal.SIGTERM, None, None, "killed"),
        (1, "failed", "KeyError: 'the cause'", "failed"),
        (1, "diverged", "the loss is nan", "diverged"),
        (3, None, None, "exited"),
        (0, "ok", None, "ok"),
    ],
)
def test_a_job_that_ended_by_itself_is_not_out_of_memory(
    code: int, written: Status | None, error: str | None, status: Status, run: RunDirectory, kernel: Kernel
) -> None:
    kernel.end_processes()
    assert ended(run, kernel, code, written=written, error=error).status == status


@pytest.mark.parametrize("outcome", [TIMEOUT, INTERRUPTED])
def test_a_job_that_we_killed_is_not_out_of_memory(outcome: Outcome, run: RunDirectory, kernel: Kernel) -> None:
    kernel.end_processes()
    assert ended(run, kernel, -signal.SIGKILL, signalled=outcome.status) == outcome


def test_a_process_that_the_kernel_ended_explains_one_job_which_did_not_end_by_itself(
    run: RunDirectory, kernel: Kernel
) -> None:
    kernel.end_processes()
    codes = (3, -signal.SIGKILL, -signal.SIGKILL)
    assert [ended(run, kernel, code).status for code in codes] == ["exited", "oom", "killed"]


# attempts


@pytest.mark.parametrize("written", [*sorted(FINISHED), "killed", "running"])
def test_what_an_earlier_attempt_said_does_not_count(written: Status, run: RunDirectory, kernel: Kernel) -> None:
    say(run, written, "why")
    assert ended(run, kernel, 3) == ("exited", "exit code 3")
    assert run.written_result()["status"] == "exited"


def test_what_an_earlier_attempt_said_of_a_kill_does_not_make_it_one(run: RunDirectory, kernel: Kernel) -> None:
    say(run, "failed", OF_A_LOADER)
    kernel.end_processes()
    assert ended(run, kernel, 3) == ("exited", "exit code 3")


def test_the_stamp_changes_when_something_is_written_and_not_before(run: RunDirectory) -> None:
    stamps = []
    assert stamp(run) == 0
    for _ in range(3):
        say(run, "running")
        stamps += [stamp(run), stamp(run)]
        time.sleep(0.05)  # the clock of a file system ticks
    assert len(set(stamps)) == 3


def test_a_job_that_ended_well_is_not_gone_on_with() -> None:
    assert SUCCEEDED.isdisjoint(RESUMABLE)
