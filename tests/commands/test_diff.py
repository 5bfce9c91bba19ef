"""`convarium diff`: only what differs, of two runs and of several."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from convarium.results.comparisons import mcnemar
from convarium.results.predictions import read_answers
from made_runs import made_run, with_config


def pair(tmp_path: Path) -> None:
    made_run(tmp_path / "one", images=200)
    other = made_run(tmp_path / "other", images=200, versions={"torch": "2.14.0"}, device="cuda")
    config = other.config()
    with_config(other, optimizer={**config["optimizer"], "lr": 0.5}, run_dir="elsewhere", stop={"patience": 3})


def test_only_what_differs_is_said(tmp_path: Path, convarium: Callable[..., Any]) -> None:
    pair(tmp_path)
    done = convarium("diff", "one", "other")
    assert done.code == 0
    lines = {line.split()[0]: line.split()[1:] for line in done.out.splitlines() if line.strip()}
    assert lines["optimizer.lr"] == ["0.001", "0.5"]
    assert lines["stop.patience"] == ["-", "3"]
    assert lines["torch"] == ["2.15.0", "2.14.0"]
    assert lines["device"] == ["cpu", "cuda"]
    assert not {"seed", "run_dir", "host", "val/loss"} & lines.keys()
    assert all(len(line) <= 80 for line in done.out.splitlines())
    assert "Of 200 test images A alone has 0 right, B alone 0: p = 1 (McNemar)." in done.out


def test_equal_runs_are_said_to_be_equal(tmp_path: Path, convarium: Callable[..., Any]) -> None:
    for name in ("one", "other"):
        made_run(tmp_path / name)
    done = convarium("diff", "one", "other")
    assert done.code == 0
    for same in ("The configs are the same.", "Versions, commit and device are the same.", "The results are the same."):
        assert same in done.out


def test_results_stand_beside_their_difference_and_for_programs(tmp_path: Path, convarium: Callable[..., Any]) -> None:
    made_run(tmp_path / "one", images=200)
    other = made_run(tmp_path / "other", images=200, metrics={"test/acc1": 0.25, "val/new": 1.0}, wall_seconds=60.0)
    answers = read_answers(other.predictions)
    assert answers is not None
    right = answers.prediction == answers.target
    with np.load(other.predictions) as file:
        columns = dict(file)
    columns["prediction"][np.flatnonzero(right)[:9]] = (columns["target"][np.flatnonzero(right)[:9]] + 1) % 3
    np.savez(other.predictions, **columns)
    told = json.loads(convarium("diff", "one", "other", "--json").out)
    assert told["runs"] == ["one", "other"]
    assert told["config"] == told["origin"] == {}
    assert told["results"]["wall_seconds"] == {"one": 61.5, "other": 60.0}
    assert told["results"]["val/new"] == {"other": 1.0}
    [comparison] = told["comparisons"]
    assert (comparison["only_first"], comparison["only_second"], comparison["p"]) == (9, 0, mcnemar(9, 0))
    assert "-1.5" in next(line for line in convarium("diff", "one", "other").out.splitlines() if "wall_seconds" in line)


def test_six_runs_have_a_range_and_corrected_comparisons(tmp_path: Path, convarium: Callable[..., Any]) -> None:
    for seed in range(6):
        with_config(made_run(tmp_path / str(seed), images=50, wall_seconds=10.0 * seed, seed=seed), seed=seed)
    out = convarium("diff", *range(6)).out
    assert "config  A  B  C  D  E  F\nseed    0  1  2  3  4  5\n" in out
    assert next(line for line in out.splitlines() if line.startswith("wall_seconds")).split()[-1] == "50"
    assert "The p are corrected for 5 comparisons (Holm)." in out


def test_what_a_row_has_no_room_for_stands_below_its_key(tmp_path: Path, convarium: Callable[..., Any]) -> None:
    made_run(tmp_path / "one")
    with_config(made_run(tmp_path / "other"), weights="/a/long/path" * 8)
    out = convarium("diff", "one", "other").out
    assert f"weights\n    A  null\n    B  {'/a/long/path' * 8}\n" in out


def test_one_run_is_not_enough_and_no_run_is_none(tmp_path: Path, convarium: Callable[..., Any]) -> None:
    made_run(tmp_path / "one")
    done = convarium("diff", "one")
    assert (done.code, done.err.startswith("error: 1 run given, expected two or more; usage: convarium diff")) == (
        2,
        True,
    )
    done = convarium("diff", "one", "nope")
    assert (done.code, done.err) == (2, "error: nope: no such run directory\n")
