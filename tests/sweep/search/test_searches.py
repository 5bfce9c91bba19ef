"""Whole searches, most with played jobs: how many there are, what they learn of one another, kills, ends, and pages."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

import processes as forks
from convarium.errors import ConfigError
from convarium.results.search import importance
from convarium.sweep.local.processes import Processes
from convarium.sweep.resume import resume
from convarium.sweep.sites import ThisMachine
from searches import SPACE, Played, directory, hill, killed, points, search, statuses
from sweeps import assert_gone, board, processes_below, results

TRAIN = Path(__file__).resolve().parents[3] / "train.py"
LR = "optimizer.lr=interval(1e-4,1)"


def no_norm(config: dict[str, Any]) -> float | None:
    """Diverges with clip=norm."""
    return None if config["choices"]["clip"] == "norm" else hill(config)


def test_a_search_has_as_many_trials_as_asked_for_and_finds_what_is_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert search(*SPACE, trials=20) == 0
    assert (len(points()), statuses()) == (20, {"ok": 20})
    out = capsys.readouterr().out
    assert "    search  20 trials by tpe for the highest val/acc1" in out
    assert "      over  optimizer.lr  0.0001 to 1, logarithmic" in out
    assert "[20/20]" in out
    assert re.search(r"best of 20 trials: val/acc1 0.(89|90)\d\d with optimizer.lr=0.\d+ clip=adaptive", out)


def test_the_same_search_is_the_same_again_and_another_seed_is_another() -> None:
    found = []
    for seed in (1, 1, 2):
        search(*SPACE, trials=5, seed=seed, sampler="random")
        found.append(points())
        shutil.rmtree("sweeps")
    assert found[0] == found[1]
    assert found[2] != found[0]


def test_the_same_command_runs_nothing_more_and_a_larger_number_extends() -> None:
    for trials, started in ((4, 4), (4, 0), (6, 2)):
        played = Played()
        assert search(*SPACE, trials=trials, site=played) == 0
        assert len(played.started) == started
    extended = points()
    shutil.rmtree("sweeps")
    search(*SPACE, trials=6)
    assert points() == extended


@pytest.mark.parametrize("slots", [1, 3])
def test_no_more_jobs_at_a_time_than_there_are_places(slots: int) -> None:
    played = Played(slots=slots)
    most = []
    played.start = lambda *a, start=played.start, **k: (start(*a, **k), most.append(len(played._jobs)))  # type: ignore[method-assign]
    assert search(*SPACE, trials=6, site=played) == 0
    assert (len(points()), max(most)) == (6, slots)


def test_thirty_trials_killed_twice_end_as_thirty(tmp_path: Path) -> None:
    for looks in (45, 40):
        assert forks.run(killed, looks, 30, log=tmp_path / "log") == -9
    known = directory().known()
    assert 5 < len(known) < 30
    assert "running" in {each.status for each in known.values()}
    assert search(*SPACE, trials=30, site=Played(slots=2)) == 0
    assert (len(points()), statuses()) == (30, {"ok": 30})
    assert len({json.dumps(point) for point in points()}) == len(results()) == 30
    assert list(points())[: len(known)] == [each.swept for each in known.values()]


def test_a_point_that_cannot_be_composed_is_a_trial_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert search("batch_size=choice(32,63,64)", "trainer.accumulate_grad_batches=2", LR, trials=6) == 0
    refused = [known for known in directory().known().values() if known.status == "failed"]
    assert {known.swept["batch_size"] for known in refused} == {"63"}
    assert statuses()["ok"] + len(refused) == len(points()) == 6
    assert results()[refused[0].name]["error"].startswith("batch_size=63: does not divide")
    assert "batch_size=63: does not divide" in capsys.readouterr().out
    assert search("batch_size=choice(32,63,64)", "trainer.accumulate_grad_batches=2", LR, trials=6) == 0
    assert len(points()) == 6


def test_a_search_of_which_no_point_can_run_says_why_and_makes_nothing() -> None:
    with pytest.raises(ConfigError, match=r"batch_size=.*does not divide.* more points that were drawn"):
        search("batch_size=choice(31,33)", "trainer.accumulate_grad_batches=2", LR)
    with pytest.raises(ConfigError, match=r"optimizer.lrr: no such key"):
        search("optimizer.lrr=interval(0.1,1)")
    assert not Path("sweeps").exists()


def test_jobs_that_diverge_are_trials_and_the_search_is_well_if_others_are() -> None:
    assert search(*SPACE, trials=6, site=Played(no_norm)) == 0
    known = directory().known().values()
    assert {each.swept["clip"] == "norm" for each in known if each.status == "diverged"} == {True}


def test_the_points_of_a_small_space_are_run_once_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert search("clip=choice(none,norm,adaptive)", "batch_size=choice(16,32)", trials=20) == 0
    assert len({json.dumps(point) for point in points()}) == len(points()) == 6
    assert "all points of the space are known, 6 of them" in capsys.readouterr().out


def by_seed(config: dict[str, Any]) -> float:
    return hill(config) + config["seed"] / 100


def test_seeds_are_the_jobs_of_a_trial_which_is_worth_their_mean(capsys: pytest.CaptureFixture[str]) -> None:
    assert search(LR, "seed=1,2,3", trials=4, site=Played(by_seed)) == 0
    assert [point["seed"] for point in points()] == [1, 2, 3] * 4
    assert len({point["optimizer.lr"] for point in points()}) == 4
    assert "4 trials of 3 jobs each" in (out := capsys.readouterr().out)
    rows = board()
    best = max({row["optimizer.lr"] for row in rows}, key=lambda lr: mean_of(rows, lr))
    assert f"best of 4 trials: val/acc1 {mean_of(rows, best):.4f} with optimizer.lr={best}" in out


def mean_of(rows: list[dict[str, str]], lr: str) -> float:
    values = [float(row["best/val/acc1"]) for row in rows if row["optimizer.lr"] == lr]
    return sum(values) / len(values)


@pytest.mark.parametrize("pruner", ["asha", "median", "hyperband"])
def test_bad_jobs_are_pruned_past_the_floor_and_counted_as_well(pruner: str) -> None:
    played = Played()
    assert search(*SPACE, trials=12, pruner=pruner, floor=2, site=played) == 0
    assert statuses()["pruned"] == len(played.signals) > 1
    assert statuses()["pruned"] + statuses()["ok"] == 12
    assert min(epochs for _, epochs in played.signals) >= 2
    for name, epochs in played.signals:
        assert (results()[name]["status"], results()[name]["epochs"]) == ("pruned", epochs)
    assert search(*SPACE, trials=12, pruner="none", site=(again := Played())) == 0  # they are not resumed
    assert again.started == []


def test_two_objectives_are_searched_by_nsga2() -> None:
    assert search(*SPACE, trials=3, sampler="auto", objective=["val/acc1", "params"]) == 0
    said = yaml.safe_load(directory().description_file.read_text())["search"]
    assert (said["objective"], said["mode"]) == (["val/acc1", "params"], ["max", "min"])
    assert said["settings"]["sampler"] == "nsga2"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"objective": "val/acc2"}, "no run measures it; did you mean 'val/acc"),
        ({"objective": "test/acc1"}, "the test split chooses nothing"),
        ({"objective": ["val/acc1", "val/loss", "params"]}, "a metric, or a list of two"),
        ({"objective": ["val/acc1", "params"], "pruner": "asha"}, "needs one objective"),
        ({"objective": "params", "pruner": "asha"}, "is not measured in each epoch"),
        ({"sampler": "cmaes"}, "needs two axes of numbers"),
        ({"sampler": "grid"}, "optimizer.lr has no end of values"),
        ({"sampler": "tpee"}, "did you mean 'tpe'"),
        ({"trials": 0}, "search.trials=0: out of range"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_made(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        search(*SPACE, **settings)
    assert not Path("sweeps").exists()


def test_another_base_or_other_axes_are_refused() -> None:
    search(*SPACE, trials=2)
    with pytest.raises(ConfigError, match="its base has changed: batch_size 32 -> 64"):
        search(*SPACE, "batch_size=64", trials=4)
    with pytest.raises(ConfigError, match=r"sweeps optimizer.lr, clip, now optimizer.lr; choose another"):
        search(LR, trials=4)


def test_what_mattered_is_what_the_formula_has() -> None:
    search(*SPACE, "dropout=interval(0,0.5)", trials=30, sampler="random")
    shares = importance(directory())
    assert shares is not None
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares.values()) == sorted(shares.values(), reverse=True)
    assert list(shares)[-1] == "dropout"
    assert shares["dropout"] < 0.5 * shares["optimizer.lr"]


def test_a_dry_run_says_what_would_be_searched_and_makes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert search(*SPACE, "sweep.dry_run=true") == 0
    assert "nothing was run" in capsys.readouterr().out
    assert not Path("sweeps").exists()


# with real trainings


def test_a_search_trains_and_is_extended_by_resume(processes: Processes) -> None:
    small = ("data=synthetic", "data.channels=1", "data.image_size=8", "callbacks=[checkpoint]", "threads=1")
    assert search(LR, *small, "trainer.max_epochs=1", trials=2, site=ThisMachine(processes)) == 0
    assert statuses() == {"ok": 2}
    assert all(0 < result["metrics"]["best/val/acc1"] <= 1 for result in results().values())
    with pytest.raises(ConfigError, match=r"only sweep.KEY=VALUE or search.KEY=VALUE may be given"):
        resume(directory().path, ["optimizer.lr=1"])
    assert resume(directory().path, ["search.trials=3"]) == 0
    assert statuses() == {"ok": 3}


def command(log: Path, trials: int, *words: str) -> "subprocess.Popen[bytes]":
    """The whole command, as typed."""
    small = ("arch=mlp", "arch.hidden=[16]", "callbacks=[checkpoint]", "trainer.accelerator=cpu", "sweep.name=s")
    asked = ("-m", "hydra/sweeper=optuna", *small, *SPACE, f"search.trials={trials}", *words)
    with log.open("ab") as file:
        return subprocess.Popen([sys.executable, str(TRAIN), *asked], stdout=file, stderr=file)


@pytest.mark.slow
def test_thirty_real_trials_of_which_all_processes_were_killed_are_thirty(own_directory: Path, tmp_path: Path) -> None:
    there: set[int] = set()
    for everything in (False, True):
        process = command(tmp_path / "log", 30, "trainer.max_epochs=4", "search.sampler=tpe")
        before = len(points()) if Path("sweeps/s/manifest.jsonl").exists() else 0
        while process.poll() is None and not (Path("sweeps/s").exists() and len(points()) > before + 5):
            time.sleep(0.05)
        there |= processes_below(process.pid)
        for pid in [*(processes_below(process.pid) if everything else ()), process.pid]:
            os.kill(pid, signal.SIGKILL)
        process.wait()
    assert_gone(there)
    known = points()
    assert 10 < len(known) < 30
    assert command(tmp_path / "log", 30, "trainer.max_epochs=4", "search.sampler=tpe").wait(600) == 0
    assert (len(points()), statuses(), points()[: len(known)]) == (30, {"ok": 30}, known)
    assert len({json.dumps(point) for point in points()}) == len(results()) == 30


@pytest.mark.slow
def test_a_real_search_prunes_bad_jobs_past_the_floor_and_they_have_saved(own_directory: Path, tmp_path: Path) -> None:
    pruned = ("search.pruner=asha", "search.floor=2", "search.sampler=random", "trainer.max_epochs=20")
    assert command(tmp_path / "log", 10, *pruned).wait(600) == 0
    found = results().values()
    assert 3 <= sum(result["status"] == "pruned" for result in found) <= 8
    for name, result in results().items():
        if result["status"] == "pruned":
            # one epoch of warm-up, 5 % of 20, and two of the floor
            assert 3 <= 20 * result["steps"] / result["total_steps"] < 20
            assert directory().run(name).last.is_file()
            assert result["metrics"]["best/val/acc1"] <= max(each["metrics"]["best/val/acc1"] for each in found)
