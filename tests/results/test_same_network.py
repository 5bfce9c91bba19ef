"""A job whose network is that of another job: a row of its own in every table, and no evidence of its own."""

import csv
import io
import json
from pathlib import Path

import pytest

from convarium import load_sweep
from convarium.report.findings import answer
from convarium.results.comparisons import against_best
from convarium.results.directory import SweepDirectory
from convarium.results.leaderboard import Leaderboard
from convarium.results.rows import open_table
from convarium.results.tables import as_json, in_latex, in_markdown
from made_sweeps import add_job, add_twin, made_sweep


@pytest.fixture
def sweep(tmp_path: Path) -> SweepDirectory:
    """Three norms, two of which are one network; three seeds."""
    found = made_sweep(tmp_path / "s", ["norm", "seed"])
    for norm, scores in {"paper": [0.90, 0.92, 0.93], "batch": [0.50, 0.51, 0.53]}.items():
        for seed, score in enumerate(scores, 1):
            add_job(found, {"norm": norm, "seed": seed}, [score])
    for seed in (1, 2, 3):
        add_twin(found, {"norm": "none", "seed": seed}, f"paper-{seed}")
    return found


def test_every_table_has_its_row_with_the_numbers_of_the_run(sweep: SweepDirectory) -> None:
    lines = list(csv.DictReader(io.StringIO(Leaderboard(sweep).as_csv(), newline="")))
    assert [(line["norm"], line["same_as"]) for line in lines] == [
        ("paper", ""), ("none", "norm=paper"), ("paper", ""), ("none", "norm=paper"), ("paper", ""),
        ("none", "norm=paper"), ("batch", ""), ("batch", ""), ("batch", ""),
    ]  # fmt: skip
    for ours, theirs in zip(lines[:6:2], lines[1:6:2], strict=True):
        assert {**ours, "norm": "none", "same_as": "norm=paper"} == theirs
    assert load_sweep(sweep.path)["same_as"] == [line["same_as"] or None for line in lines]
    said = json.loads(as_json(open_table([sweep.path])))
    assert [job["same_as"] for job in said["jobs"]] == [line["same_as"] or None for line in lines]
    assert [group["same_as"] for group in said["groups"]] == [None, "norm=paper", None]


def test_tables_for_people_say_it_where_there_is_one(sweep: SweepDirectory, tmp_path: Path) -> None:
    board, table = Leaderboard(sweep), open_table([sweep.path])
    text, lines = board.as_text(), board.as_markdown().splitlines()
    assert text.splitlines()[3].split()[:6] == ["norm", "same", "as", "seeds", "best/val/acc1", "val/acc1"]
    assert "none   norm=paper  3      0.9167" in text
    assert "none   1     ok      norm=paper  0.9000" in text
    assert sum("| none | 2 | ok | norm=paper |" in line and "(jobs/paper-2)" in line for line in lines) == 1
    narrow = board.as_text(width=40)
    assert "norm   seed  status  same as     best/val/acc1\n" in narrow
    assert "none,3,3," in board.means_as_csv("seed")
    assert board.means_as_csv("seed").splitlines()[2].endswith(",norm=paper")
    paper, latex = in_markdown(table).splitlines(), in_latex(table).splitlines()
    assert paper[0] == "| norm | same as | seeds | best/val/acc1 | val/acc1 | test/acc1 | parameters |"
    assert paper[3].replace("none | norm=paper", "paper | ") == paper[2]
    assert latex[1] == r"\begin{tabular}{llrrrrr}"
    add_job(other := made_sweep(tmp_path / "other", ["norm"]), {"norm": "none"}, [0.5])
    assert "same as" not in Leaderboard(other).as_text() + in_markdown(open_table([other.path]))


def test_it_counts_once_where_answers_are_compared(sweep: SweepDirectory) -> None:
    table = open_table([sweep.path])
    (one,) = against_best(table)
    assert (one.other.swept["norm"], one.p) == ("batch", one.difference.p)
    said = " ".join(answer(table))
    assert "Holm's correction for 1 comparison)" in said
    assert said.endswith(
        "3 of 9 jobs train by construction the same network as another one, whose run counts once (column same as)."
    )


def test_a_failure_is_told_once(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path / "s", ["norm"])
    add_job(sweep, {"norm": "paper"}, status="failed", error="KeyError: 1")
    add_twin(sweep, {"norm": "none"}, "paper")
    board = Leaderboard(sweep)
    assert [(row.job, row.status, row.error) for row in board.rows] == [
        ("paper", "failed", "KeyError: 1"),
        ("none", "failed", "KeyError: 1"),
    ]
    assert [row.job for row in board.failures] == ["paper"]


@pytest.mark.parametrize("of", ["nowhere", "none", "../../secret", "twin"])
def test_a_manifest_that_names_no_run_leaves_the_job_its_own(tmp_path: Path, of: str) -> None:
    sweep = made_sweep(tmp_path / "s", ["norm"])
    add_job(sweep, {"norm": "paper"}, [0.5])
    add_twin(sweep, {"norm": "twin"}, "paper")
    add_twin(sweep, {"norm": "none"}, of)
    row = next(row for row in open_table([sweep.path]).rows if row.job == "none")
    assert (row.status, row.same_as, row.path) == ("queued", None, str(sweep.run("none").path))


def test_what_is_run_itself_after_all_is_no_longer_the_same(sweep: SweepDirectory) -> None:
    add_job(sweep, {"norm": "none", "seed": 2}, [0.25])
    table = open_table([sweep.path])
    assert [row.same_as for row in table.rows if row.swept["norm"] == "none"] == ["norm=paper"] * 2 + [None]
    assert {group.swept["norm"]: group.same_as for group in table.groups} == dict.fromkeys(("paper", "none", "batch"))
