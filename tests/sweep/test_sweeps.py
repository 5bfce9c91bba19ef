"""Whole sweeps: what becomes of jobs that end in every way, and of sweeps that are stopped, continued and extended."""

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from convarium.commands.sweep.status import VERB as status
from convarium.config.compose import Conf, compose
from convarium.errors import ConfigError, RunError
from convarium.machine import available_cores
from convarium.results.directory import SweepDirectory
from convarium.run.directory import RunDirectory
from convarium.run.launch import launch
from convarium.run.prepare import prepare
from convarium.sweep import run as run_module
from convarium.sweep import sites
from convarium.sweep.grid import points_of
from convarium.sweep.local.processes import Processes, supervised
from convarium.sweep.plan import plan
from convarium.sweep.resume import resume
from convarium.sweep.run import plan_tasks
from convarium.sweep.sites import ThisMachine
from convarium.trained.evaluate import evaluate
from convarium.trained.evaluate import prepare as prepare_evaluation
from experiments import SMALL, rows
from misbehaving import small_group
from sweeps import BASE, board, results, statuses, sweep, sweep_directory, weights

TRUSTING = ("norm=none", "trainer.max_epochs=2")


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVARIUM_TRUST", "misbehaving")


def ends(*names: str) -> str:
    return f"norm._target_={','.join(f'misbehaving.{name}' for name in names)}"


def test_each_way_to_end_has_its_status_and_the_others_go_on(
    processes: Processes, trusting: None, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("Fine", "Raises", "Exits", "Leaves", "Segfaults", "IsKilled", "Diverges", "AsksTooMuch", "Hangs")
    assert sweep(processes, *TRUSTING, ends(*names), "sweep.timeout=3") == 1
    assert statuses("norm._target_") == {
        "misbehaving.Fine": "ok",
        "misbehaving.Raises": "failed",
        "misbehaving.Exits": "exited",
        "misbehaving.Leaves": "exited",
        "misbehaving.Segfaults": "killed",
        "misbehaving.IsKilled": "killed",
        "misbehaving.Diverges": "diverged",
        "misbehaving.AsksTooMuch": "oom",
        "misbehaving.Hangs": "timeout",
    }
    said = {row["norm._target_"].rpartition(".")[2]: row for row in board()}
    logs = {name: (Path(row["path"]) / "train.log").read_text() for name, row in said.items()}
    assert said["Raises"]["error"] == "KeyError: 'the cause'"
    assert "Traceback" in logs["Raises"]
    assert "exit code 3" in said["Exits"]["error"]
    assert "exit code 3" in said["Leaves"]["error"]
    assert said["Segfaults"]["error"] == "SIGSEGV"
    assert "Segmentation fault" in logs["Segfaults"]
    assert "misbehaving.py" in logs["Hangs"]  # where it hung
    pages = {name: (Path(row["path"]) / "report.html").read_text() for name, row in said.items()}
    assert all(f"<strong>{row['status']}</strong>" in pages[name] for name, row in said.items() if name != "Fine")
    assert "of 128 test images are right" in " ".join(pages["Fine"].replace("</strong>", "").split())
    out, err = capsys.readouterr()
    assert "1 of 9 jobs ended well" in out
    assert "KeyError: 'the cause'" in err


def test_a_job_that_the_kernel_ends_for_its_memory_is_oom(processes: Processes, trusting: None) -> None:
    try:
        group = small_group()
    except OSError as error:
        pytest.skip(str(error))
    try:
        assert sweep(processes, *TRUSTING, ends("Eats", "IsKilled", "Fine")) == 1
        assert statuses("norm._target_") == {
            "misbehaving.Eats": "oom",
            "misbehaving.IsKilled": "killed",
            "misbehaving.Fine": "ok",
        }
    finally:
        group.rmdir()


def test_leaderboard_results_and_metrics_agree(processes: Processes) -> None:
    assert sweep(processes, "optimizer.lr=0.01,0.003", "seed=1,2", "trainer.max_epochs=2") == 0
    by_path = {str(sweep_directory().run(job).path): result for job, result in results().items()}
    assert len(board()) == len(by_path) == 4
    scores = []
    for row in board():
        result, run = by_path[row["path"]], RunDirectory.open(row["path"])
        assert row["status"] == result["status"] == "ok"
        for name in ("best/val/acc1", "val/acc1", "test/acc1"):
            assert float(row[name]) == result["metrics"][name]
        for name in ("wall_seconds", "params"):
            assert float(row[name]) == result[name]
        assert rows(run, "val/acc1")[-1] == float(row["val/acc1"])
        assert max(rows(run, "val/acc1")) == float(row["best/val/acc1"])
        assert rows(run, "test/acc1") == [float(row["test/acc1"])]
        config = run.config()
        assert (str(config["optimizer"]["lr"]), str(config["seed"])) == (row["optimizer.lr"], row["seed"])
        scores.append(float(row["best/val/acc1"]))
    assert scores == sorted(scores, reverse=True)


def test_the_same_point_twice_is_one_job(processes: Processes, capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(processes, "optimizer.lr=0.01,1e-2", "seed=1,1") == 0
    assert len(board()) == 1
    assert "3 more of the points asked for are the same jobs" in capsys.readouterr().out


def test_a_dry_run_lists_the_jobs_and_makes_nothing(
    processes: Processes, own_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(processes, "seed=1,2", "norm=none,batch", "sweep.dry_run=true") == 0
    assert list(own_directory.iterdir()) == []
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if "queued" in line]
    assert lines == [
        [str(number), "queued", f"seed={seed}", f"norm={norm}"]
        for number, (seed, norm) in enumerate([(1, "none"), (1, "batch"), (2, "none"), (2, "batch")], 1)
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ("seed=1,2", "batch_size=32,0"),
            "batch_size=0: out of range; accepted: at least 1 (job 3 of 4: batch_size=0 seed=1)",
        ),
        (("norm=none,instance", "arch=lenet5", "data.image_size=32"), "norm=instance: at c5"),
        (("seed=1,2", "data.train_size=20"), "batch_size=32"),
        (("seed=1,2", "run_dir=here"), "run_dir="),
        (("sweep.jobs=1,2",), "sweep.jobs: cannot be swept, it is about the sweep"),
        (("seed=1,2", "sweep.devices_per_job=0.5"), "sweep.devices_per_job=0.5: shares out GPUs"),
        (("seed=1,2", "trainer.num_nodes=1,2"), "trainer.num_nodes=2: these jobs run on one machine"),
        (
            ("seed=1,2", "sweep.on_error=stopp"),
            "sweep.on_error=stopp: out of range; accepted: continue or stop or retry",
        ),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_made(
    words: tuple[str, ...], message: str, processes: Processes, own_directory: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        sweep(processes, *words)
    assert message in str(caught.value)
    assert list(own_directory.iterdir()) == []


def test_two_controllers_exclude_each_other(processes: Processes) -> None:
    SweepDirectory.named("s").make()
    with SweepDirectory.named("s").locked(), pytest.raises(RunError, match=rf"being run by process {os.getpid()}"):
        sweep(processes, "seed=1,2,3")


def test_the_same_command_again_runs_nothing_and_more_values_extend(processes: Processes) -> None:
    assert sweep(processes, "seed=1,2") == 0
    before = {path: path.stat().st_mtime_ns for path in Path("sweeps/s/jobs").rglob("*") if path.is_file()}
    assert sweep(processes, "seed=1,2") == 0
    assert sweep(processes, "seed=2,1,3", "sweep.jobs=1", "threads=1", "trainer.log_every_n_steps=2") == 0
    assert sorted(row["seed"] for row in board()) == ["1", "2", "3"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    manifest = sweep_directory().manifest_file.read_text()
    with pytest.raises(ConfigError, match=r"its base has changed: optimizer\.lr 0\.001 -> 0\.02 .*another sweep\.name"):
        sweep(processes, "seed=1,2,3,4", "optimizer.lr=0.02")
    assert sweep_directory().manifest_file.read_text() == manifest


def test_failed_jobs_are_run_again_only_if_asked_and_by_one_command(processes: Processes, trusting: None) -> None:
    def history() -> list[str]:
        return [entry["status"] for entry in sweep_directory().entries() if "raises" in entry["job"]]

    words = (*TRUSTING, ends("Raises", "Fine"), "trainer.max_epochs=9")  # each attempt gets an epoch further
    assert [sweep(processes, *words) for _ in range(2)] == [1, 1]
    assert history() == ["queued", "running", "failed"]
    assert sweep(processes, *words, "sweep.retry_failed=true") == 1
    assert resume(sweep_directory().path, []) == 1
    assert history() == ["queued", "running", "failed"] * 2


@pytest.mark.parametrize("isolation", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_a_job_has_the_weights_of_the_same_run_alone(isolation: str, processes: Processes) -> None:
    words = ("dropout=0.2", "augment=crop_flip", "trainer.max_epochs=2")
    with nullcontext(processes) if isolation == "fork" else supervised("spawn") as starter:
        assert sweep(starter, *words, "seed=5,6", f"sweep.isolation={isolation}") == 0
    [job] = [job for job in weights() if "seed-6" in job]
    alone = [*SMALL, "arch.hidden=[16]", *words, "seed=6", "run_dir=alone"]
    assert launch(prepare(compose(alone).config), alone) == 0
    expected = load_file("alone/weights.safetensors")
    assert weights()[job] == {name: value.numpy().tobytes() for name, value in expected.items()}
    assert results()[job]["config_hash"] == json.loads(Path("alone/result.json").read_text())["config_hash"]


LONG = ("trainer.max_epochs=8", "callbacks.checkpoint.every_n_steps=5", "seed=1,2,3")


def test_a_stopped_sweep_is_resumed_from_anywhere_to_the_same_weights(
    processes: Processes, own_directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("sweeps/stopped/jobs").mkdir(parents=True)
    stopping = threading.Thread(target=_stop_after_first_checkpoint, args=(Path("sweeps/stopped/jobs"),), daemon=True)
    stopping.start()
    assert sweep(processes, *LONG, name="stopped") == 130
    stopping.join()
    states = {row["status"] for row in board("stopped")}
    assert "interrupted" in states <= {"interrupted", "queued", "ok"}
    assert "the same command, or: convarium sweep resume sweeps/stopped" in capsys.readouterr().err
    assert sweep(processes, *LONG, name="whole") == 0
    place = sweep_directory("stopped").path
    assert status([str(place)]) == 1
    elsewhere = own_directory / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert resume(place, ["sweep.retries=2"]) == 0
    assert list(elsewhere.iterdir()) == []
    capsys.readouterr()
    assert status([str(place), "--json"]) == 0
    assert [job["status"] for job in json.loads(capsys.readouterr().out)["jobs"]] == ["ok"] * 3
    with pytest.raises(ConfigError, match="a sweep goes on as it was"):
        resume(place, ["seed=7"])
    monkeypatch.chdir(own_directory)
    assert weights("stopped") == weights("whole")


def _stop_after_first_checkpoint(jobs: Path) -> None:
    while not list(jobs.glob("*/checkpoints/last.ckpt")):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


def test_a_job_that_has_begun_keeps_its_threads_and_the_others_share_the_cores_anew(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "64")  # more than there are
    conf = Conf()
    jobs = plan(conf, *points_of(conf.loader, [*BASE, "seed=1,2", "sweep.jobs=4"])).jobs
    directory = SweepDirectory.named("s")
    begun = directory.run(jobs[0].name)
    begun.make({**jobs[0].config, "threads": 7}, [])
    begun.close("interrupted", "stopped with its sweep")
    tasks, *_ = plan_tasks(directory, jobs, jobs[0].config["sweep"], ThisMachine(processes), {})
    assert [task.job.config["threads"] for task in tasks] == [7, max(1, available_cores() // 2)]


@pytest.mark.slow
def test_one_and_two_devices_train_on_all_the_data_and_measure_alike(processes: Processes) -> None:
    words = ("trainer.devices=1,2", "data.train_size=651", "data.val_fraction=0.2", "data.test_size=127")
    assert sweep(processes, *words) == 0
    one, two = (RunDirectory.open(row["path"]) for row in sorted(board(), key=lambda row: row["trainer.devices"]))
    assert (one.result()["device"], two.result()["device"]) == ("cpu", "2 x cpu")
    for run in (one, two):
        assert rows(run, "train/images") == [512.0]  # of 521, without the last part of a batch
    measured = evaluate(prepare_evaluation(two, ("trainer.devices=1", "threads=1"), weights="best", split="val"))
    assert measured["val/acc1"] == two.result()["metrics"]["best/val/acc1"]
    assert rows(one, "val/loss") == pytest.approx(rows(two, "val/loss"), rel=1e-5)


def test_a_job_whose_folder_is_gone_is_the_only_one_that_fails(processes: Processes) -> None:
    Path("sweeps/s/jobs").mkdir(parents=True)
    waiting = threading.Thread(target=_remove_what_waits, args=(Path("sweeps/s"),), daemon=True)
    waiting.start()
    words = ("seed=1,2,3", "sweep.jobs=1", "trainer.max_epochs=6")
    assert sweep(processes, *words) == 1
    waiting.join()
    assert sorted(row["status"] for row in board()) == ["exited", "ok", "ok"]
    assert sweep(processes, *words) == 0  # made anew


def _remove_what_waits(place: Path) -> None:
    while not list(place.glob("jobs/*/metrics.csv")):
        time.sleep(0.01)
    waiting = next(path for path in sorted(place.glob("jobs/*")) if not (path / "result.json").exists())
    shutil.rmtree(waiting)


def test_a_controller_that_comes_second_to_a_new_sweep_is_refused(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    preflight_jobs = run_module.preflight_jobs

    def meanwhile(*arguments: Any, **keywords: Any) -> Any:
        monkeypatch.setattr(run_module, "preflight_jobs", preflight_jobs)
        assert sweep(processes, "seed=1,2") == 0
        return preflight_jobs(*arguments, **keywords)

    monkeypatch.setattr(run_module, "preflight_jobs", meanwhile)
    with pytest.raises(RunError, match="another controller has begun it meanwhile"):
        sweep(processes, "seed=1,2,3")
    assert [row["status"] for row in board()] == ["ok", "ok"]


@pytest.fixture
def shared(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps of the command line have the processes that the tests share."""
    monkeypatch.setattr(sites, "supervised", lambda isolation: nullcontext(processes))


def test_a_sweeper_of_hydras_hands_its_points_to_our_launcher(convarium: Callable[..., Any], shared: None) -> None:
    done = convarium("train", "-m", "hydra/sweeper=basic", "seed=1,2", *BASE, "arch.hidden=[16]", "sweep.name=s")
    assert done.code == 0, done.err
    assert statuses("seed") == {"1": "ok", "2": "ok"}


def test_a_study_sweeps_without_m_and_an_axis_can_be_replaced(convarium: Callable[..., Any], shared: None) -> None:
    Path("mine/study").mkdir(parents=True)
    Path("mine/study/small.yaml").write_text(
        "# @package _global_\nhydra:\n  mode: MULTIRUN\n  sweeper: {params: {norm: 'paper,batch', seed: '1,2,3'}}\n"
    )
    done = convarium("train", "--config-dir", "mine", "study=small", "seed=7", "name=-", "batch_size=0,64")
    point = "(job 1 of 4: norm=paper batch_size=0)"
    assert (done.code, done.err) == (2, f"error: batch_size=0: out of range; accepted: at least 1 {point}\n")
