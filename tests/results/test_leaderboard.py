"""The table at the end of a sweep: its order, its numbers to the last digit, and the spread over seeds."""

import csv
import io
import json
import math
import os
import socket
import statistics
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from convarium.results import rows as results_rows
from convarium.results.directory import SweepDirectory
from convarium.results.intervals import spread
from convarium.results.leaderboard import Leaderboard
from convarium.run.directory import Result

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def begin(*axes: str, **fields: Any) -> SweepDirectory:
    """A sweep without jobs."""
    sweep = SweepDirectory.named("s")
    sweep.make()
    sweep.describe(axes=list(axes), **fields)
    return sweep


def add(sweep: SweepDirectory, name: str, swept: dict[str, Any], status: str = "ok", **result: Any) -> None:
    """A job of which the manifest says `status`, and what it has written into result.json, if anything."""
    sweep.append([{"job": name, "status": status, "key": name, "swept": swept, "words": []}])
    sweep.run(name).path.mkdir()
    if result:
        sweep.run(name).result_file.write_text(json.dumps({"status": status, **result}))


def scored(monitor: str = "val/acc1", mode: str = "max", **scores: float | None) -> SweepDirectory:
    """Jobs that ended well, with the best value of what chose their weights."""
    sweep = begin("name", monitor=monitor, mode=mode)
    for name, score in scores.items():
        add(sweep, name, {"name": name}, metrics={f"best/{monitor}": score})
    return sweep


def seeded(scores: dict[str, Sequence[float | None]]) -> SweepDirectory:
    """Norm -> the scores of seeds 1, 2, ...; None for one that failed."""
    sweep = begin("norm", "seed")
    for norm, found in scores.items():
        for seed, score in enumerate(found, 1):
            status = "failed" if score is None else "ok"
            metrics = {} if score is None else {"best/val/acc1": score}
            add(sweep, f"{norm}-{seed}", {"norm": norm, "seed": seed}, status, metrics=metrics)
    return sweep


def jobs(sweep: SweepDirectory) -> list[str]:
    return [row.job for row in Leaderboard(sweep).rows]


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


# order


@pytest.mark.parametrize("mode", ["max", "min"])
def test_a_job_without_a_score_is_the_last_that_ended_well(mode: str) -> None:
    sweep = scored(mode=mode, a=None, b=0.5)
    add(sweep, "c", {"name": "c"}, "failed", metrics={"best/val/acc1": 0.75})
    assert jobs(sweep) == ["b", "a", "c"]


def test_those_that_did_not_end_well_are_in_their_own_order() -> None:
    sweep = begin("name")
    for name, status in (("d", "queued"), ("b", "failed"), ("c", "diverged"), ("a", "ok")):
        add(sweep, name, {"name": name}, status, metrics={"best/val/acc1": ord(name)})
    assert jobs(sweep) == ["a", "d", "b", "c"]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_equal_scores_keep_their_order(mode: str) -> None:
    assert jobs(scored(mode=mode, c=0.5, a=0.5, b=0.5)) == ["c", "a", "b"]


def test_without_a_best_score_the_last_one_counts() -> None:
    sweep = begin("name")
    for name, score in (("a", 0.25), ("b", 0.5)):
        add(sweep, name, {"name": name}, metrics={"val/acc1": score})
    assert jobs(sweep) == ["b", "a"]


@given(st.lists(NUMBERS, max_size=6), st.sampled_from(["max", "min"]))
@settings(deadline=None, max_examples=20)
def test_scores_are_sorted(tmp_path_factory: pytest.TempPathFactory, scores: list[float], mode: str) -> None:
    sweep = SweepDirectory(tmp_path_factory.mktemp("sweep"))
    sweep.make()
    sweep.describe(axes=["name"], mode=mode)
    for number, score in enumerate(scores):
        add(sweep, str(number), {"name": str(number)}, metrics={"best/val/acc1": score})
    found = [row.figures["best/val/acc1"] for row in Leaderboard(sweep).rows]
    assert found == sorted(scores, reverse=mode == "max")


# what became of a job


@pytest.fixture(params=[True, False], ids=["with a controller", "without a controller"])
def alive(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Whether somebody works on the sweep `s`."""
    with ExitStack() as stack:
        if request.param:
            sweep = SweepDirectory.named("s")
            sweep.make()
            stack.enter_context(sweep.locked())
        yield request.param


def status_of(sweep: SweepDirectory) -> str:
    [row] = Leaderboard(sweep).rows
    return row.status


@pytest.mark.parametrize("noted", ["queued", "running"])
def test_a_job_that_has_written_nothing_is_what_was_noted_if_there_is_a_controller(noted: str, alive: bool) -> None:
    sweep = begin("seed")
    add(sweep, "a", {"seed": 1}, noted)
    assert status_of(sweep) == ("killed" if noted == "running" and not alive else noted)


def test_a_job_whose_process_lives_runs_and_else_it_was_killed(alive: bool) -> None:
    sweep = begin("seed")
    add(sweep, "a", {"seed": 1}, "running", host=socket.gethostname(), pid=os.getpid())
    with sweep.run("a").locked():
        assert status_of(sweep) == "running"
    assert status_of(sweep) == ("running" if alive else "killed")  # its controller is the one to say so


def test_a_job_that_waits_for_another_attempt_is_queued(alive: bool) -> None:
    sweep = begin("seed")
    add(sweep, "a", {"seed": 1}, "failed", error="why")
    sweep.append([{"job": "a", "status": "queued"}])
    assert status_of(sweep) == "queued"


@pytest.mark.parametrize("noted", ["queued", "running", "ok"])
def test_a_job_that_has_ended_well_is_well_whatever_was_noted_of_it(noted: str, alive: bool) -> None:
    sweep = begin("seed")
    add(sweep, "a", {"seed": 1}, "ok", metrics={})
    sweep.append([{"job": "a", "status": noted}])
    assert status_of(sweep) == "ok"


@pytest.mark.parametrize("written", ["failed", "oom", "diverged", "interrupted"])
def test_a_job_says_itself_how_it_ended_if_nobody_noted_it(written: str) -> None:
    sweep = begin("seed")
    add(sweep, "a", {"seed": 1}, written, error="why")
    sweep.append([{"job": "a", "status": "running"}])
    assert status_of(sweep) == written


def test_a_job_whose_folder_is_gone_is_what_was_noted_of_it(alive: bool) -> None:
    sweep = begin("seed")
    add(sweep, "a", {"seed": 1}, "failed")
    add(sweep, "b", {"seed": 2}, "ok")
    for name in ("a", "b"):
        sweep.run(name).path.rmdir()
    found = {row.job: row.status for row in Leaderboard(sweep).rows}
    assert found == {"a": "failed", "b": "queued"}  # of what is ok there are numbers


def test_failures_are_the_jobs_that_have_ended_and_not_well() -> None:
    sweep = begin("name")
    for status in ("ok", "queued", "failed", "exited", "oom", "diverged", "timeout", "interrupted"):
        add(sweep, status, {"name": status}, status, metrics={})
    with sweep.locked():
        add(sweep, "running", {"name": "running"}, "running")
        board = Leaderboard(sweep)
    assert [row.job for row in board.failures] == ["failed", "exited", "oom", "diverged", "timeout", "interrupted"]


# leaderboard.csv


def test_the_table_has_the_axes_the_status_the_metrics_and_the_facts() -> None:
    head = Leaderboard(begin("norm", "seed")).as_csv().splitlines()
    metrics = "best/val/acc1,val/acc1,test/acc1"
    assert head == [f"norm,seed,status,{metrics},images_per_second,wall_seconds,params,path,error,same_as"]


@pytest.mark.parametrize("name", ["loss", "acc5"])
def test_what_is_monitored_comes_before_the_accuracies_whatever_it_is(name: str) -> None:
    sweep = begin("seed", monitor=f"val/{name}", mode="min")
    add(sweep, "a", {"seed": 1}, metrics={f"val/{name}": 0.5})
    first = [f"best/val/{name}", f"val/{name}", f"test/{name}"]
    assert Leaderboard(sweep).table.metrics == [*first, "val/acc1", "test/acc1"]


def test_every_metric_of_val_and_test_that_a_job_has_is_a_column_after_the_accuracies() -> None:
    sweep = begin("seed")
    add(sweep, "a", {"seed": 1}, metrics={"val/acc1": 0.5, "test/macro_f1": 0.4, "val/loss": 1.0, "test/acc5": 0.9})
    further = {"val/macro_f1": 0.3, "test/balanced_accuracy": 0.6, "train/macro_f1": 0.9, "lr": 0.1}
    add(sweep, "b", {"seed": 2}, metrics=further)
    accuracies = ["best/val/acc1", "val/acc1", "test/acc1"]
    assert Leaderboard(sweep).table.metrics == [*accuracies, "val/macro_f1", "test/macro_f1"]


def test_a_row_is_what_its_result_says() -> None:
    sweep = begin("seed")
    metrics = {"best/val/acc1": 0.1 + 0.2, "val/acc1": 1 / 3, "test/acc1": 1.0, "train/loss": 5.0}
    add(sweep, "a", {"seed": 1}, metrics=metrics, images_per_second=1234.5678, wall_seconds=0.001, params=10**12)
    assert read(Leaderboard(sweep).as_csv()) == [
        {
            "seed": "1",
            "status": "ok",
            "best/val/acc1": "0.30000000000000004",
            "val/acc1": "0.3333333333333333",
            "test/acc1": "1.0",
            "images_per_second": "1234.5678",
            "wall_seconds": "0.001",
            "params": "1000000000000",
            "path": str(sweep.run("a").path),
            "error": "",
            "same_as": "",
        }
    ]


def test_what_a_result_does_not_say_is_empty() -> None:
    sweep = begin("seed")
    add(sweep, "a", {"seed": 1}, "queued")
    [row] = read(Leaderboard(sweep).as_csv())
    assert {name for name, cell in row.items() if cell} == {"seed", "status", "path"}


def test_a_metric_that_was_no_number_is_empty(own_directory: Path) -> None:
    sweep = begin("seed")
    add(sweep, "a", {"seed": 1}, "diverged")
    sweep.run("a").save_config(config := {"arch": {}, "data": {}, "seed": 1}, [])
    Result(sweep.run("a"), config).write(status="diverged", metrics={"val/acc1": math.nan})
    assert read(Leaderboard(sweep).as_csv())[0]["val/acc1"] == ""


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        (0.1, "0.1"),
        (1, "1"),
        (True, "true"),
        (None, "null"),
        ([16, 8], "[16,8]"),
        ("a, b", "a, b"),
        ('say "Größe"', 'say "Größe"'),
        ("two\nlines", "two\nlines"),
    ],
)
def test_a_swept_value_is_written_as_on_the_command_line(value: object, cell: str) -> None:
    sweep = begin("name")
    add(sweep, "a", {"name": value})
    assert read(Leaderboard(sweep).as_csv())[0]["name"] == cell


@given(st.lists(NUMBERS, min_size=3, max_size=3), st.integers(0, 10**15))
@settings(deadline=None, max_examples=50)
def test_every_digit_of_a_result_is_in_the_table(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[float], params: int
) -> None:
    sweep = SweepDirectory(tmp_path_factory.mktemp("sweep"))
    sweep.make()
    sweep.describe(axes=["seed"])
    names = ("best/val/acc1", "val/acc1", "test/acc1")
    add(sweep, "a", {"seed": 1}, metrics=dict(zip(names, numbers, strict=True)), params=params)
    result = json.loads(sweep.run("a").result_file.read_text())
    [row] = read(Leaderboard(sweep).as_csv())
    assert [json.loads(row[name]) for name in names] == [result["metrics"][name] for name in names]
    assert json.loads(row["params"]) == result["params"]


# for a person


def test_the_screen_rounds_and_leaves_out_what_no_job_has() -> None:
    sweep = begin("optimizer.lr")
    metrics = {"best/val/acc1": 2 / 3, "test/acc1": 0.5}
    add(sweep, "a", {"optimizer.lr": 0.1}, metrics=metrics, images_per_second=12345.6, wall_seconds=2.25, params=61706)
    add(sweep, "b", {"optimizer.lr": 0.01}, "queued")
    assert Leaderboard(sweep).cells() == (
        ["lr", "status", "best/val/acc1", "test/acc1", "images/s", "seconds", "parameters"],
        [["0.1", "ok", "0.6667", "0.5000", "12,346", "2.2", "61,706"], ["0.01", "queued", "", "", "", "", ""]],
    )


def test_the_columns_of_the_screen_are_as_wide_as_their_cells() -> None:
    lines = Leaderboard(scored(a=0.5, bcd=0.25)).as_text().splitlines()
    assert lines == [
        "",
        "name  status  best/val/acc1  images/s  seconds  parameters",
        "a     ok      0.5000",
        "bcd   ok      0.2500",
    ]


def test_columns_that_a_narrow_screen_has_no_room_for_are_named() -> None:
    board = Leaderboard(scored(a=0.5, bcd=0.25))
    assert board.as_text(width=53).splitlines() == [
        "",
        "name  status  best/val/acc1  images/s  seconds",
        "a     ok      0.5000",
        "bcd   ok      0.2500",
        "leaderboard.csv has more: parameters",
    ]
    assert board.as_text(width=5).splitlines()[1] == "name  status  best/val/acc1"  # without it there is no answer
    seeds = Leaderboard(seeded({"none": [0.25, 0.75], "batch": [0.25]}))
    assert max(map(len, seeds.as_text(width=60).splitlines())) <= 60


def test_the_screen_says_how_many_rows_it_leaves_out() -> None:
    lines = Leaderboard(scored(a=0.5, b=0.25, c=0.75)).as_text(most=2).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["c", "a", "..."]
    assert lines[-1] == "... and 1 more"


def test_a_sweep_without_jobs_has_an_empty_table() -> None:
    assert Leaderboard(begin("seed")).as_text() == "\nseed  status  images/s  seconds  parameters"


def test_markdown_links_every_row_to_its_folder_and_lists_what_failed() -> None:
    sweep = scored(a=0.5)
    add(sweep, "b", {"name": "x|y"}, "failed", error="KeyError: 'the cause'")
    assert Leaderboard(sweep).as_markdown().splitlines() == [
        "# s",
        "",
        "| name | status | best/val/acc1 | images/s | seconds | parameters | run |",
        "|---|---|---|---|---|---|---|",
        "| a | ok | 0.5000 |  |  |  | [a](jobs/a) |",
        "| x\\|y | failed |  |  |  |  | [b](jobs/b) |",
        "",
        "Not ended well",
        "",
        "- b: failed: KeyError: 'the cause'",
    ]


def test_all_files_are_written_below_the_sweep() -> None:
    board = Leaderboard(seeded({"none": [0.25, 0.75]}))
    board.write()
    assert board.sweep.leaderboard_csv.read_text() == board.as_csv()
    assert board.sweep.leaderboard_md.read_text() == board.as_markdown()
    assert board.sweep.seeds_csv.read_text() == board.means_as_csv("seed")
    assert board.as_markdown().splitlines()[2:7] == [
        "Mean over seeds, and its 95 % confidence interval",
        "",
        "| norm | seeds | best/val/acc1 |",
        "|---|---|---|",
        "| none | 2 | 0.5000 ± 0.5000 |",
    ]


def test_without_seeds_there_is_no_table_of_them() -> None:
    board = Leaderboard(scored(a=0.5))
    board.write()
    assert "mean over" not in board.as_text()
    assert not board.sweep.seeds_csv.exists()


# over seeds


def test_the_screen_has_no_means_before_there_are_any() -> None:
    assert "mean over seeds" not in Leaderboard(seeded({"none": [None, None]})).as_text()
    assert "mean over seeds" in Leaderboard(seeded({"batch": [0.5, None]})).as_text()


def test_jobs_that_differ_in_their_seeds_are_a_group_and_the_best_is_first() -> None:
    groups = Leaderboard(seeded({"none": [0.25, 0.5], "batch": [0.75, 0.25]})).table.groups
    assert [(group.swept, group.spreads["best/val/acc1"].mean) for group in groups] == [
        ({"norm": "batch"}, 0.5),
        ({"norm": "none"}, 0.375),
    ]


def test_where_less_is_better_the_group_with_the_least_is_first() -> None:
    sweep = begin("norm", "seed", monitor="val/loss", mode="min")
    for norm, score in (("none", 0.5), ("batch", 0.25)):
        add(sweep, norm, {"norm": norm, "seed": 1}, metrics={"best/val/loss": score})
    assert [group.swept["norm"] for group in Leaderboard(sweep).table.groups] == ["batch", "none"]


def test_a_seed_that_failed_counts_as_a_job_and_not_in_the_mean() -> None:
    [group] = Leaderboard(seeded({"none": [0.25, None, 0.5]})).table.groups
    assert (len(group.good), len(group.rows), group.spreads["best/val/acc1"].mean) == (2, 3, 0.375)


def test_a_group_of_failures_is_the_last_and_has_no_mean() -> None:
    groups = Leaderboard(seeded({"none": [None, None], "batch": [0.25, 0.5]})).table.groups
    assert [(group.swept["norm"], len(group.good), list(group.spreads)) for group in groups] == [
        ("batch", 2, ["best/val/acc1"]),
        ("none", 0, []),
    ]


def test_a_sweep_over_seeds_alone_is_one_group() -> None:
    sweep = begin("seed")
    for seed in (1, 2, 3):
        add(sweep, str(seed), {"seed": seed}, metrics={"best/val/acc1": seed / 4})
    [group] = Leaderboard(sweep).table.groups
    assert (group.swept, len(group.rows)) == ({}, 3)


def test_seeds_csv_has_the_mean_the_deviation_and_the_ends_of_the_interval() -> None:
    board = Leaderboard(seeded({"none": [0.4, 0.5, 0.6, None]}))
    [row] = read(board.means_as_csv("seed"))
    found = spread([0.4, 0.5, 0.6], share=True)
    assert row == {
        "norm": "none",
        "ok": "3",
        "jobs": "4",
        "best/val/acc1 mean": "0.5",
        "best/val/acc1 std": repr(statistics.stdev([0.4, 0.5, 0.6])),
        "best/val/acc1 low": repr(found.low),
        "best/val/acc1 high": repr(found.high),
        "same_as": "",
    }


@pytest.mark.parametrize(
    ("scores", "ends"), [([0.25, 0.5, 0.75], [0.077, 0.923]), ([1.0, 2.0, 3.0], [-0.4841, 4.4841])]
)
def test_the_interval_of_a_share_stays_between_0_and_1_and_that_of_another_metric_where_it_does(
    scores: list[float], ends: list[float]
) -> None:
    board = Leaderboard(seeded({"none": scores}))
    [row] = read(board.means_as_csv("seed"))
    assert [float(row[f"best/val/acc1 {end}"]) for end in ("low", "high")] == pytest.approx(ends, abs=1e-4)


def test_what_a_metric_can_be_is_asked_once_however_many_jobs_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(results_rows, "is_share", lambda metric, values: bool(values) and not asked.append(metric))
    board = Leaderboard(seeded({f"{number}": [0.25, 0.5] for number in range(5)}))
    assert len(read(board.means_as_csv("seed"))) == 5
    assert asked == ["best/val/acc1"]


def test_one_seed_has_a_mean_and_nothing_else() -> None:
    board = Leaderboard(seeded({"none": [0.25], "batch": [None]}))
    rows = read(board.means_as_csv("seed"))
    assert [list(row.values()) for row in rows] == [
        ["none", "1", "1", "0.25", "", "", "", ""],
        ["batch", "0", "1", "", "", "", "", ""],
    ]


def test_the_screen_says_how_many_of_the_seeds_count() -> None:
    lines = Leaderboard(seeded({"none": [0.25, None, 0.75], "batch": [0.25]})).as_text().splitlines()
    assert lines[1:6] == [
        "mean over seeds, and its 95 % confidence interval",
        "",
        "norm   seeds   best/val/acc1",
        "none   2 of 3  0.5000 ± 0.5000",
        "batch  1       0.2500",
    ]
