"""The run directory: who may write there, and what stays readable after a kill at any moment."""

import errno
import json
import math
import os
import re
import socket
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from convarium.errors import ConfigError, RunError
from convarium.files import write_atomically
from convarium.learn.checkpoint_file import read_checkpoint
from convarium.run import directory as record
from convarium.run.directory import Result, RunDirectory
from convarium.run.launch import launch
from convarium.run.metrics_file import MetricsFile
from convarium.run.prepare import prepare as prepare_run
from convarium.run.resume import resume_config
from convarium.trained.evaluate import evaluate, prepare
from convarium.trained.load import load_run
from experiments import SMALL, config_of, experiment
from processes import start, train

CONFIG = {"name": "a net-on data", "seed": 3, "arch": {}, "data": {}}


class Noon(datetime):
    """Always the same second."""

    @classmethod
    def now(cls, tz: Any = None) -> "Noon":
        return cls(2026, 1, 2, 12, tzinfo=tz)


def train_at_noon(*words: str) -> int:
    record.datetime = Noon  # type: ignore[misc]
    return train(*words)


def read(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.fixture
def table(tmp_path: Path) -> MetricsFile:
    return MetricsFile(tmp_path / "metrics.csv")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.make(CONFIG, ["seed=3"])
    return run


# metrics.csv ----------------------------------------------------------------------------------------------------------


def test_values_of_one_step_make_one_row_wherever_they_come_from(table: MetricsFile) -> None:
    table.log_metrics({"epoch": 0, "lr": 0.5}, 1)
    table.log_metrics({"speed": 2.0}, 1)
    table.save()
    table.log_metrics({"val/acc1": 0.25}, 1)  # after the row is on disk already
    table.save()
    table.log_metrics({"epoch": 1, "lr": 0.25}, 2)
    table.save()
    assert read(table.path) == ["step,epoch,lr,speed,val/acc1", "1,0,0.5,2.0,0.25", "2,1,0.25,,"]


def test_a_value_that_is_logged_again_in_its_step_replaces_the_first(table: MetricsFile) -> None:
    table.log_metrics({"epoch": 0, "loss": 1.0}, 1)
    table.save()
    table.log_metrics({"loss": 2.0}, 1)
    table.save()
    assert read(table.path) == ["step,epoch,loss", "1,0,2.0"]


def test_a_new_column_leaves_the_earlier_rows_blank(table: MetricsFile) -> None:
    table.log_metrics({"epoch": 0, "lr": 1.0}, 1)
    table.save()
    table.log_metrics({"epoch": 0, "test/acc1": 1.0}, 2)
    table.save()
    assert read(table.path) == ["step,epoch,lr,test/acc1", "1,0,1.0,", "2,0,,1.0"]


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-300, 5e-324, 1.7976931348623157e308, 123456789.12345678, -0.0])
def test_a_value_comes_back_to_the_bit(value: float, table: MetricsFile) -> None:
    table.log_metrics({"epoch": 0, "loss": value}, 1)
    table.save()
    table.log_metrics({"more": 1.0}, 1)  # the row is read and written again
    table.save()
    assert float(read(table.path)[1].split(",")[2]).hex() == value.hex()


def test_nothing_added_writes_nothing(table: MetricsFile) -> None:
    table.save()
    assert not table.path.exists()


def logged(path: Path, steps: range) -> MetricsFile:
    table = MetricsFile(path)
    for step in steps:
        table.log_metrics({"epoch": 0, "loss": step / 2}, step)
    table.save()
    return table


def test_cutting_back_forgets_later_rows_and_goes_on_from_there(table: MetricsFile) -> None:
    logged(table.path, range(1, 6))
    again = MetricsFile(table.path)
    again.cut_back(3)
    again.log_metrics({"epoch": 0, "loss": 9.0}, 4)
    again.save()
    assert read(table.path) == ["step,epoch,loss", "1,0,0.5", "2,0,1.0", "3,0,1.5", "4,0,9.0"]


def test_a_resumed_run_adds_to_the_last_row_it_kept(table: MetricsFile) -> None:
    logged(table.path, range(1, 4))
    again = MetricsFile(table.path)
    again.cut_back(3)
    again.log_metrics({"loss": 7.0}, 3)
    again.save()
    assert read(table.path) == ["step,epoch,loss", "1,0,0.5", "2,0,1.0", "3,0,7.0"]


def test_cutting_back_to_before_the_start_leaves_the_header(table: MetricsFile) -> None:
    logged(table.path, range(1, 3))
    MetricsFile(table.path).cut_back(-1)
    assert read(table.path) == ["step,epoch,loss"]


@pytest.mark.parametrize("piece", ["3", "30,0", "30,0,", "30,0,1.2"])
def test_a_row_that_a_kill_cut_short_is_dropped(piece: str, table: MetricsFile) -> None:
    logged(table.path, range(1, 3))
    with table.path.open("a") as file:
        file.write(piece)
    MetricsFile(table.path).cut_back(20)
    assert read(table.path) == ["step,epoch,loss", "1,0,0.5", "2,0,1.0"]


# result.json ----------------------------------------------------------------------------------------------------------


def test_a_reader_sees_the_old_text_or_the_new_never_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    write_atomically(path, "old")

    def fails(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(record.os, "fsync", fails)
    with pytest.raises(OSError, match="full"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]


def test_a_result_has_every_documented_key_from_the_start(run: RunDirectory) -> None:
    Result(run, CONFIG).write()
    found = json.loads(run.result_file.read_text())
    keys = "status error notes metrics params macs images images_per_second wall_seconds cpu_seconds epochs steps"
    last = "saved_steps total_steps seed config_hash git versions device trackers host pid heartbeat"
    assert list(found) == [*keys.split(), *last.split()]
    assert (found["status"], found["seed"], found["pid"], found["host"]) == (
        "running",
        3,
        os.getpid(),
        socket.gethostname(),
    )


def test_numbers_that_json_lacks_become_null(run: RunDirectory) -> None:
    Result(run, CONFIG).write(metrics={"train/loss": math.nan, "val/loss": math.inf, "val/acc1": 0.5})
    assert json.loads(run.result_file.read_text())["metrics"] == {
        "train/loss": None,
        "val/loss": None,
        "val/acc1": 0.5,
    }


def test_another_result_of_the_run_goes_on_from_what_was_found_out(run: RunDirectory) -> None:
    Result(run, CONFIG).write(params=7, macs=9, device="cpu", metrics={"val/acc1": 0.5}, steps=4, epochs=2)
    before = [run.result()[name] for name in ("wall_seconds", "cpu_seconds")]
    Result(run, CONFIG).write(status="interrupted")
    found = run.result()
    assert [found[key] for key in ("params", "macs", "device", "steps", "epochs")] == [7, 9, "cpu", 4, 2]
    assert found["metrics"] == {"val/acc1": 0.5}
    assert all(found[name] >= one for name, one in zip(("wall_seconds", "cpu_seconds"), before, strict=True))


def test_a_run_that_begins_anew_has_found_out_nothing(run: RunDirectory) -> None:
    run.result_file.write_text('{"status": "diverged", "wall_seconds": 900, "metrics": {"val/acc1": 0.5}, "steps": 4}')
    Result(run, CONFIG, anew=True).write()
    found = run.result()
    assert (found["metrics"], found["steps"]) == ({}, 0)
    assert found["wall_seconds"] < 900


def test_a_sign_of_life_is_due_after_its_interval_only(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(record.time, "monotonic", lambda: now)
    for config, seconds in ((CONFIG, 10.0), (CONFIG | {"sweep": {"timeout": 6.0}}, 2.0)):
        result = Result(run, config)
        assert result.due()
        result.write()
        now += seconds - 0.1
        assert not result.due()
        now += 0.1
        assert result.due()


def dead_process() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_a_run_whose_process_is_dead_was_killed(run: RunDirectory) -> None:
    Result(run, CONFIG).write(pid=dead_process())
    assert run.result()["status"] == "killed"


def test_a_run_whose_process_is_a_zombie_was_killed(run: RunDirectory) -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    Result(run, CONFIG).write(pid=process.pid)
    assert run.result()["status"] == "killed"
    process.wait()


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"pid": os.getppid()}, "running"),
        ({"pid": 1}, "running"),  # another user's
        ({"pid": 2**22 - 1, "host": "elsewhere"}, "running"),  # not ours to judge by its number
        ({"pid": 2**22 - 1, "status": "diverged"}, "diverged"),
    ],
)
def test_only_a_running_status_of_a_dead_process_here_is_doubted(
    fields: dict[str, Any], status: str, run: RunDirectory
) -> None:
    with run.locked():
        Result(run, CONFIG).write(**fields)
        assert run.result()["status"] == status


def test_a_process_that_holds_no_lock_is_not_the_one_that_wrote(run: RunDirectory) -> None:
    with run.locked():
        Result(run, CONFIG).write(pid=os.getppid())
    assert run.result()["status"] == "killed"
    assert run.written_result()["status"] == "running"


@pytest.mark.parametrize(("limit", "status"), [(60, "killed"), (3600, "running"), (None, "running")])
def test_a_run_on_another_machine_is_dead_after_its_timeout(
    limit: float | None, status: str, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.save_config(CONFIG | {"arch": {}, "data": {}, "sweep": {"timeout": limit}}, [])
    Result(run, CONFIG).write(host="elsewhere")
    found = json.loads(run.result_file.read_text())
    ago = datetime.fromisoformat(found["heartbeat"]) - timedelta(minutes=10)
    run.result_file.write_text(json.dumps(found | {"heartbeat": ago.isoformat()}))
    assert run.result()["status"] == status


def test_how_a_run_ended_can_be_said_for_it(run: RunDirectory) -> None:
    run.save_config(CONFIG | {"arch": {}, "data": {}}, [])
    Result(run, CONFIG).write(metrics={"val/acc1": 0.5}, steps=4)
    run.close("oom", "no memory")
    found = run.result()
    assert [found[key] for key in ("status", "error", "steps")] == ["oom", "no memory", 4]
    assert found["metrics"] == {"val/acc1": 0.5}


@pytest.mark.parametrize("text", [None, "", "{", "[1]", "null"])
def test_no_result_that_can_be_read_is_none(text: str | None, run: RunDirectory) -> None:
    run.result_file.unlink()
    if text is not None:
        run.result_file.write_text(text)
    assert run.result() == {}


def test_a_run_appears_whole_or_not_at_all(own_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, seen = RunDirectory(own_directory / "runs" / "day" / "run"), []
    own = RunDirectory.save_config

    def save(self: RunDirectory, *arguments: Any) -> None:
        seen.append(run.path.exists())
        own(self, *arguments)
        if len(seen) == 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(RunDirectory, "save_config", save)
    with pytest.raises(ConfigError, match=r"cannot be written \(No space left on device\)"):
        run.make(CONFIG, [])
    assert [*own_directory.iterdir()] == []
    assert run.make(CONFIG, [])
    assert seen == [False, False]
    assert sorted(path.name for path in run.path.iterdir()) == ["config.yaml", "overrides.yaml", "result.json"]
    assert run.result()["status"] == "queued"


def test_what_a_kill_left_half_written_goes_when_the_folder_is_locked(run: RunDirectory) -> None:
    run.last.parent.mkdir()
    for folder in (run.path, run.last.parent):
        (folder / ".result.json.0123abcd.tmp").write_text("{")
    (run.path / "notes.tmp").write_text("mine")
    with run.locked():
        assert [*run.path.rglob(".*.tmp")] == []
    assert (run.path / "notes.tmp").exists()


def test_the_last_word_is_written_where_there_is_no_room_for_another_file(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    result = Result(run, CONFIG)
    result.write(metrics={"val/loss": 0.5}, error="x" * 500)
    monkeypatch.setattr(record, "write_atomically", full)
    with pytest.raises(OSError, match="No space"):
        result.write()  # a sign of life
    result.write(status="failed", error="no space left on the disk")
    assert (run.result()["status"], run.result()["metrics"]) == ("failed", {"val/loss": 0.5})


# who may write --------------------------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_and_the_first_is_named(run: RunDirectory) -> None:
    with run.locked():
        code = (
            "import sys; from pathlib import Path; from convarium.run.directory import RunDirectory\n"
            "with RunDirectory(Path(sys.argv[1])).locked(): pass"
        )
        other = subprocess.run([sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=False)
    assert other.returncode == 1
    assert other.stderr.splitlines()[-1].endswith(f"{run.path}: is running (process {os.getpid()})")


def test_a_lock_ends_with_its_holder(run: RunDirectory) -> None:
    with run.locked():
        pass
    with run.locked():
        assert (run.path / ".lock").read_text() == str(os.getpid())


# where it lies --------------------------------------------------------------------------------------------------------


def test_an_unnamed_run_lies_under_its_day_time_name_and_hash(own_directory: Path) -> None:
    path = RunDirectory.planned(CONFIG).path
    place = path.relative_to(own_directory)
    assert re.fullmatch(r"runs/\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d-a-net-on-data-[0-9a-f]{8}", str(place))
    assert not path.parent.exists()


def test_equal_runs_of_one_second_have_names_of_their_own() -> None:
    runs = []
    for _ in range(5):
        run = RunDirectory.planned(CONFIG)
        run.make(CONFIG, [])
        runs.append(run.path)
    assert len(set(runs)) == 5


def test_a_name_that_another_run_takes_after_it_was_planned_gets_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "datetime", Noon)
    config = config_of()
    run, other = RunDirectory.planned(config), RunDirectory.planned(config)
    assert (run.path, run.make(config, []), other.make(config, [])) == (other.path, True, False)
    planned = [other, RunDirectory.planned(config)]  # as two see it that begin at the same moment
    monkeypatch.setattr(RunDirectory, "planned", lambda _: planned.pop(0))
    assert launch(prepare_run(config), []) == 0
    names = [path.name for path in sorted(run.path.parent.iterdir())]
    assert names == [run.path.name, f"{run.path.name}-2"]
    assert run.result()["status"] == "queued"
    assert RunDirectory.open(run.path.with_name(names[1])).result()["status"] == "ok"


def test_runs_of_one_second_in_several_processes_have_folders_of_their_own(own_directory: Path) -> None:
    words = (*SMALL, "callbacks=[]")
    logs = [own_directory / f"{number}.log" for number in range(3)]
    processes = [start(train_at_noon, *words, log=log) for log in logs]
    for process, log in zip(processes, logs, strict=True):
        process.join(240)
        assert process.exitcode == 0, log.read_text()
    runs = sorted((own_directory / "runs" / "2026-01-02").iterdir())
    assert [run.name for run in runs] == [runs[0].name, f"{runs[0].name}-2", f"{runs[0].name}-3"]
    assert [RunDirectory.open(run).result()["status"] for run in runs] == ["ok"] * 3


def test_a_typed_folder_that_another_run_takes_after_it_was_planned_is_refused(own_directory: Path) -> None:
    run = RunDirectory.planned({**CONFIG, "run_dir": "mine"})
    (own_directory / "mine").mkdir()
    with pytest.raises(ConfigError, match=r"mine: exists already; a run is never overwritten"):
        run.make(CONFIG, [])
    assert list((own_directory / "mine").iterdir()) == []


def test_a_folder_of_runs_that_leads_nowhere_is_refused(own_directory: Path) -> None:
    (own_directory / "runs").symlink_to("nowhere")
    with pytest.raises(ConfigError, match=r"cannot be written \(File exists\)"):
        RunDirectory.planned(CONFIG).make(CONFIG, [])


def test_a_folder_that_exists_is_refused_and_left_alone(own_directory: Path) -> None:
    (own_directory / "mine").mkdir()
    with pytest.raises(ConfigError, match=r"mine: exists already; a run is never overwritten$"):
        RunDirectory.planned({**CONFIG, "run_dir": "mine"})
    assert list((own_directory / "mine").iterdir()) == []


def test_of_a_folder_that_exists_only_a_run_is_said_to_go_on(own_directory: Path) -> None:
    assert RunDirectory(own_directory / "mine").make(CONFIG, [])
    with pytest.raises(ConfigError, match=r"a run is never overwritten \(resume=.*mine goes on with it\)$"):
        RunDirectory.planned({**CONFIG, "run_dir": "mine"})
    (own_directory / "dangling").symlink_to("nowhere")
    for name in ("mine/config.yaml", "dangling"):
        with pytest.raises(ConfigError, match=r"exists already; a run is never overwritten$"):
            RunDirectory.planned({**CONFIG, "run_dir": name})


@pytest.mark.parametrize("place", ["file/run", "/proc/run"])
def test_a_folder_that_cannot_be_written_is_refused_with_nothing_made(place: str, own_directory: Path) -> None:
    (own_directory / "file").touch()
    run = RunDirectory.planned({**CONFIG, "run_dir": place})
    with pytest.raises(ConfigError, match=r"run_dir=.*/run: cannot be written \(.+\)"):
        run.make(CONFIG, [])
    assert [path.name for path in own_directory.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["a b", "lr=0.1,x", "größe-数", "it's"])
def test_any_folder_name_works_from_start_to_reload(name: str, own_directory: Path) -> None:
    run = experiment("trainer.limit_train_batches=2", folder=str(own_directory / name))
    assert run.result()["status"] == "ok"
    assert read_checkpoint(run.last)["global_step"] == 2
    assert load_run(run.path)(torch.zeros(1, 1, 8, 8)).shape == (1, 10)


def test_the_config_comes_back_as_it_was_resolved(own_directory: Path) -> None:
    config = config_of()
    run = RunDirectory.planned({**config, "run_dir": "run"})
    run.make(config, ["arch=mlp", "name=数"])
    assert run.config() == config
    assert run.overrides_file.read_text() == "- arch=mlp\n- name=数\n"


def test_what_is_no_run_directory_is_refused(own_directory: Path) -> None:
    with pytest.raises(RunError, match="nowhere: no such run directory"):
        RunDirectory.open("nowhere")
    (own_directory / "empty").mkdir()
    with pytest.raises(RunError, match=r"empty: not a run directory \(it has no config.yaml\)"):
        RunDirectory.open("empty")


@pytest.mark.parametrize("text", ["[1", "3", "a: 1", "\x00"])
def test_a_config_that_is_none_is_refused(text: str, run: RunDirectory) -> None:
    run.config_file.write_text(text)
    with pytest.raises(RunError, match=r"config.yaml: (cannot be read|not the config of a run)"):
        run.config()


def as_before_the_metrics_were_a_group(run: RunDirectory) -> None:
    config = run.config_file.read_text()
    run.config_file.write_text(re.sub(r"(?ms)^metrics:\n(?: .*?\n)+", "", config))
    assert not re.search("(?m)^metrics:", run.config_file.read_text())


def test_a_rank_or_job_of_a_run_of_before_goes_on_too() -> None:
    run = experiment()
    metrics = run.config()["metrics"]
    as_before_the_metrics_were_a_group(run)
    assert run.config()["metrics"] == metrics
    prepare_run(run.config())


def test_a_checkpoint_of_before_that_counts_five_of_three_classes_goes_on() -> None:
    few = ("data.num_classes=3", "schedule=constant")  # a rate that does not depend on the length
    whole = experiment(*few, "trainer.max_epochs=2", folder="whole")
    run = experiment(*few)
    checkpoint = torch.load(run.last, weights_only=True)
    for name in ("train_sums", "logged"):
        loss, right, count = checkpoint["learner"][name]
        checkpoint["learner"][name] = [loss, right, count, count]  # loss, acc1, acc5, images
    torch.save({**checkpoint, "format": 1}, run.last)
    config, *_ = resume_config(run.path, ["trainer.max_epochs=2"])
    assert launch(prepare_run(config), [], resume=run.path) == 0
    assert run.result()["metrics"]["train/acc1"] == whole.result()["metrics"]["train/acc1"]


def test_a_run_of_before_its_classes_moved_is_read(tmp_path: Path) -> None:
    run = experiment("arch=lenet5", "data=digits", "data.image_size=32", "data.channels=1")
    config = run.config_file.read_text()
    older = re.sub(r"convarium\.data\.datasets\.", "convarium.data.", config)
    older = older.replace("convarium.run.devices.Precision", "convarium.run.precision.Precision")
    older = re.sub(r"(?m)^    (monitor|mode): .*\n", "", older)
    assert "data.digits.Digits" in older
    assert "run.precision.Precision" in older
    run.config_file.write_text(older)
    as_before_the_metrics_were_a_group(run)
    assert evaluate(prepare(run)) == {k: v for k, v in run.result()["metrics"].items() if k.startswith("test/")}
    config, *_ = resume_config(run.path, ["trainer.max_epochs=2"])
    assert launch(prepare_run(config), [], resume=run.path) == 0
    assert run.result()["epochs"] == 2
