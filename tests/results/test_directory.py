"""A sweep on disk: what its manifest says after any kill, and who may work on it."""

import json
import os
import subprocess
import sys
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convarium.errors import ConfigError, RunError
from convarium.results.directory import Known, SweepDirectory

FIRST = {"job": "a", "status": "queued", "key": "0" * 12, "swept": {"seed": 1}, "words": ["seed=1"]}
SECOND = {"job": "b", "status": "queued", "key": "1" * 12, "swept": {"seed": 2}, "words": ["seed=2"]}


@pytest.fixture
def sweep() -> SweepDirectory:
    """Of two jobs that have not begun."""
    found = SweepDirectory.named("s")
    found.make()
    found.describe(axes=["seed"])
    found.append([FIRST, SECOND])
    return found


def states(sweep: SweepDirectory) -> dict[str, str]:
    return {name: job.status for name, job in sweep.known().items()}


def tear(sweep: SweepDirectory, kept: int) -> None:
    """Cut the last line of the manifest short, as a kill does."""
    *lines, last = sweep.manifest_file.read_bytes().splitlines(keepends=True)
    sweep.manifest_file.write_bytes(b"".join(lines) + last[:kept])


# the manifest


def test_a_job_is_known_as_it_was_added(sweep: SweepDirectory) -> None:
    assert [known._replace(time="") for known in sweep.known().values()] == [
        Known("a", "0" * 12, {"seed": 1}, ["seed=1"], "queued", ""),
        Known("b", "1" * 12, {"seed": 2}, ["seed=2"], "queued", ""),
    ]


@pytest.mark.parametrize(
    "entry",
    [
        {"job": "../../victim"},
        {"job": "/etc"},
        {"job": ".."},
        {"job": ""},
        {"job": "a", "swept": ["seed"]},
        {"job": "a", "words": "seed=1"},
        {"job": "a", "words": [1]},
        {"job": "a", "key": 7},
        {"job": "a", "status": None},
    ],
)
def test_a_line_that_is_none_of_ours_counts_for_nothing(entry: dict[str, Any], tmp_path: Path) -> None:
    sweep = SweepDirectory(tmp_path)
    sweep.append([{"status": "queued", "key": "0" * 12, "swept": {}, "words": [], **entry}])
    assert sweep.known() == {}


def test_the_last_line_of_a_job_says_its_status(sweep: SweepDirectory) -> None:
    sweep.make()  # again, which keeps what is in it
    for status in ("running", "failed", "queued", "running"):
        sweep.append([{"job": "b", "status": status}])
    assert states(sweep) == {"a": "queued", "b": "running"}


def test_jobs_stay_in_the_order_in_which_they_came(sweep: SweepDirectory) -> None:
    sweep.append([{"job": "b", "status": "ok"}, {**FIRST, "job": "0"}, {"job": "a", "status": "ok"}])
    assert list(sweep.known()) == ["a", "b", "0"]


def test_lines_are_added_and_none_is_changed(sweep: SweepDirectory) -> None:
    before = sweep.manifest_file.read_bytes()
    sweep.append([])
    assert sweep.manifest_file.read_bytes() == before
    sweep.append([{"job": "a", "status": "running"}])
    assert sweep.manifest_file.read_bytes().startswith(before)


def test_every_line_bears_the_time_and_what_was_recorded_with_it(sweep: SweepDirectory) -> None:
    began = datetime.now().astimezone()
    sweep.append([{"job": "a", "status": "running", "pid": 7, "attempt": 2}])
    *_, last = sweep.entries()
    assert abs(datetime.fromisoformat(last.pop("time")) - began).total_seconds() < 60
    assert last == {"job": "a", "status": "running", "pid": 7, "attempt": 2}


def test_a_line_is_one_line_of_plain_text(sweep: SweepDirectory) -> None:
    sweep.append([{"job": "a", "status": "failed", "error": "Größe:\nzwei\tZeilen"}])
    line = sweep.manifest_file.read_text(encoding="utf-8").split("\n")[-2]
    assert json.loads(line)["error"] == "Größe:\nzwei\tZeilen"
    assert "Größe" in line


# after a kill


def test_a_line_that_was_cut_inside_a_letter_counts_for_nothing(sweep: SweepDirectory) -> None:
    sweep.append([{"job": "a", "status": "failed", "error": "ö"}])
    line = sweep.manifest_file.read_bytes().splitlines()[-1]
    tear(sweep, line.index("ö".encode()) + 1)
    assert states(sweep) == {"a": "queued", "b": "queued"}


def test_a_job_whose_first_line_was_torn_is_not_known_until_it_is_added_again(sweep: SweepDirectory) -> None:
    tear(sweep, 60)
    sweep.append([{"job": "b", "status": "running"}])
    assert states(sweep) == {"a": "queued"}
    sweep.append([SECOND])
    assert states(sweep) == {"a": "queued", "b": "queued"}


@pytest.mark.parametrize("line", ["", "null", "7", '"a"', "[]", "{}", '{"job": "a"}', '{"status": "ok"}', "\0\0\0"])
def test_a_line_of_something_else_counts_for_nothing(sweep: SweepDirectory, line: str) -> None:
    with sweep.manifest_file.open("a") as file:
        file.write(f"{line}\n")
    sweep.append([{"job": "b", "status": "ok"}])
    assert states(sweep) == {"a": "queued", "b": "ok"}


CHANGES = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["queued", "running", "ok", "failed"])))


@given(CHANGES, st.data())
@settings(deadline=None)
def test_wherever_a_kill_cuts_the_manifest_its_whole_lines_count(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, str]], data: st.DataObject
) -> None:
    sweep = SweepDirectory(tmp_path_factory.mktemp("sweep"))
    sweep.append([FIRST, SECOND])
    first = sweep.manifest_file.stat().st_size
    sweep.append([{"job": job, "status": status} for job, status in changes])
    whole = sweep.manifest_file.read_bytes()
    size = data.draw(st.integers(first, len(whole)))
    sweep.manifest_file.write_bytes(whole[:size])
    _, *ends = accumulate(map(len, whole[first:].splitlines(keepends=True)), initial=first)
    number = sum(end - len("\n") <= size for end in ends)
    assert states(sweep) == {"a": "queued", "b": "queued", **dict(changes[:number])}
    sweep.append([{"job": "a", "status": "pruned"}])
    assert states(sweep) == {"a": "pruned", "b": dict([("b", "queued"), *changes[:number]])["b"]}


# sweep.yaml


def test_a_description_is_read_as_it_was_written(sweep: SweepDirectory) -> None:
    fields: dict[str, Any] = {"axes": ["seed"], "monitor": "val/acc1", "settings": {"jobs": "auto"}, "command": ["ä=1"]}
    sweep.describe(**fields)
    assert sweep.description() == fields


def test_a_sweep_without_files_has_no_description_and_no_jobs_yet() -> None:
    assert (SweepDirectory.named("new").description(), SweepDirectory.named("new").known()) == ({}, {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"axes: [", "cannot be read: while parsing a flow node"),
        (b"\xff\xfe\xff", "cannot be read: 'utf-8' codec can't decode byte 0xff"),
        (b"axes: !!python/object:os.system {}", "cannot be read: could not determine a constructor for the tag"),
        (b"", "not the description of a sweep"),
        (b"- axes", "not the description of a sweep"),
        (b"monitor: val/acc1", "not the description of a sweep"),
        (b"axes: seed", "not the description of a sweep"),
    ],
)
def test_a_description_that_is_none_is_refused(sweep: SweepDirectory, content: bytes, message: str) -> None:
    sweep.description_file.write_bytes(content)
    with pytest.raises(RunError) as caught:
        sweep.description()
    assert str(caught.value).startswith(f"{sweep.description_file}: {message}")
    assert "\n" not in str(caught.value)


def test_a_description_that_is_a_folder_is_refused(sweep: SweepDirectory) -> None:
    sweep.description_file.unlink()
    sweep.description_file.mkdir()
    with pytest.raises(RunError, match=r"sweep\.yaml: cannot be read: not a file but a folder"):
        sweep.description()


# the folder


def test_a_sweep_is_where_it_is_however_its_path_is_written(
    sweep: SweepDirectory, own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("other").mkdir()
    found = SweepDirectory.open("other/../sweeps/./s/")
    monkeypatch.chdir("/")
    assert found.description() == {"axes": ["seed"]}
    assert (found.path, found.run("a").path) == (sweep.path, own_directory / "sweeps/s/jobs/a")


@pytest.mark.parametrize(
    ("name", "message"),
    [("new", "no such sweep directory"), ("other", "not a sweep directory (it has no sweep.yaml)")],
)
def test_what_is_no_sweep_cannot_be_opened(name: str, message: str) -> None:
    Path("other").mkdir()
    with pytest.raises(RunError) as caught:
        SweepDirectory.open(name)
    assert str(caught.value) == f"{name}: {message}"


def test_a_sweep_that_cannot_be_made_is_the_fault_of_its_name() -> None:
    Path("sweeps").write_text("a file")
    assert (SweepDirectory.named("s").description(), SweepDirectory.named("s").known()) == ({}, {})
    with pytest.raises(ConfigError, match=r"^sweep\.name=s: .*/sweeps/s: cannot be written \(Not a directory\)$"):
        SweepDirectory.named("s").make()


# who may work on it


def test_a_sweep_is_locked_while_somebody_works_on_it(sweep: SweepDirectory) -> None:
    (sweep.path / ".lock").write_text("process 1 on another machine")  # an earlier one
    seen = [sweep.is_locked()]
    with sweep.locked():
        seen.append(sweep.is_locked())
        assert (sweep.path / ".lock").read_text() == f"process {os.getpid()} on {os.uname().nodename}"
    assert [*seen, sweep.is_locked()] == [False, True, False]


def test_the_second_controller_gets_the_name_of_the_first(sweep: SweepDirectory) -> None:
    with sweep.locked(), pytest.raises(RunError) as caught, SweepDirectory.open("sweeps/s").locked():
        pass
    assert (
        str(caught.value) == f"{sweep.path}: this sweep is being run by process {os.getpid()} on {os.uname().nodename}"
    )


def test_the_lock_ends_with_the_process_that_holds_it(sweep: SweepDirectory) -> None:
    code = (
        "import sys; from convarium.results.directory import SweepDirectory\n"
        "with SweepDirectory.open('sweeps/s').locked(): print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        seen = [sweep.is_locked()]
        other.kill()
        other.wait()
    assert [*seen, sweep.is_locked()] == [True, False]
