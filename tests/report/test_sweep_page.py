"""The page of a sweep: its numbers are those of the table, its answer says no more than they do."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from convarium.page import page
from convarium.report.curves import CODE, LEVELS, ROOM, curves_data, read_curves
from convarium.report.findings import answer
from convarium.report.sweep_page import PAGE, leave_sweep_page, sweep_data, write_sweep_page
from convarium.results.directory import SweepDirectory
from convarium.results.rows import open_table
from made_sweeps import add_job, add_twin, made_sweep


def data_of(*paths: Path) -> dict[str, Any]:
    """What the page of these folders draws, as it comes back from its file."""
    text = write_sweep_page(paths).read_text(encoding="utf-8")
    held = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL)
    data: dict[str, Any] = json.loads(held[0])
    return data


def seeded(folder: Path, scores: dict[str, list[float]]) -> Path:
    """Norm -> the best accuracies of seeds 1, 2, ..."""
    sweep = made_sweep(folder, ["norm", "seed"])
    for norm, found in scores.items():
        for seed, score in enumerate(found, 1):
            add_job(sweep, {"norm": norm, "seed": seed}, [score / 2, score])
    return folder


def decoded(curves: dict[str, Any], name: str, run: int) -> list[float]:
    """A curve as the script of the page reads it."""
    metric, level, values, at = curves["metrics"][name], 0, [], 0
    text = metric["texts"][metric["runs"][run]]
    while at < len(text):
        if text[at] == "!":
            level = CODE.index(text[at + 1]) * len(CODE) + CODE.index(text[at + 2])
            at += 2
        elif text[at] != "~":
            level += CODE.index(text[at]) - (len(CODE) - 1) // 2
        value = metric["low"] + level / LEVELS * (metric["high"] - metric["low"])
        values.append(math.nan if text[at] == "~" else 10**value if metric["log"] else value)
        at += 1
    return values


# its numbers


def test_runs_and_means_are_those_of_the_table(tmp_path: Path) -> None:
    folder = seeded(tmp_path / "s", {"none": [0.5, 0.75], "batch": [0.8, 1 / 3]})
    data, table = data_of(folder), open_table([folder])
    keys = [column["key"] for column in data["columns"]]
    assert keys[:3] == ["best/val/acc1", "val/acc1", "test/acc1"]
    for place, row in enumerate(table.rows):
        assert data["runs"]["names"][place] == row.job
        for key, figures in zip(keys, data["runs"]["figures"], strict=True):
            assert figures[place] == row.figures[key]
    for group, drawn in zip(table.groups, data["groups"], strict=True):
        assert [table.rows[place].job for place in drawn["runs"]] == [row.job for row in group.rows]
        spread = group.spreads["best/val/acc1"]
        assert drawn["figures"][0] == [spread.mean, spread.low, spread.high]


def test_a_job_that_is_the_same_network_is_a_run_of_the_table_with_the_place_of_the_other(tmp_path: Path) -> None:
    folder = seeded(tmp_path / "s", {"paper": [0.5, 0.75], "batch": [0.25, 0.5]})
    sweep = SweepDirectory(folder)
    sweep.run("paper-2").page.write_text("")
    add_twin(sweep, {"norm": "none", "seed": 2}, "paper-2")
    data = data_of(folder)
    runs = data["runs"]
    assert runs["names"] == ["paper-2", "none-2", "paper-1", "batch-2", "batch-1"]
    assert runs["same"] == {"1": [0, "norm=paper"]}
    assert runs["links"][:2] == ["jobs/paper-2/report.html"] * 2
    assert data["axes"][0]["values"] == ["paper", "batch", "none"]
    assert [group["runs"] for group in data["groups"]] == [[1], [0, 2], [3, 4]]
    assert next(fact for fact in data["origin"] if fact["name"] == "torch")["values"] == [["2.15.0", 4]]


def test_a_page_of_a_study_has_its_question_and_its_answer_and_a_column_for_what_it_claims(tmp_path: Path) -> None:
    claim = {"says": "batch trains better", "metric": "train/acc1", "more": {"norm": "batch"}, "less": {"norm": "none"}}
    asked = {"name": "s", "question": "Is it?", "source": "Me", "expected": "Yes.", "claims": [claim]}
    sweep = made_sweep(tmp_path / "s", ["norm", "seed"], study={**asked, "size": "a", "sizes": {"a": {"sweep": {}}}})
    for norm, scores in {"batch": [0.8, 0.9, 1.0], "none": [0.4, 0.5, 0.7]}.items():
        for seed, score in enumerate(scores):
            metrics = {"best/val/acc1": 0.5, "train/acc1": score, "noise": 3.0}
            add_job(sweep, {"norm": norm, "seed": seed}, [0.5], metrics=metrics)
    data = data_of(sweep.path)
    said = data["study"].pop("answer")
    assert data["study"] == {"question": "Is it?", "source": "Me", "expected": "Yes."}
    assert said.startswith("It holds that batch trains better (train/acc1 +0.3667, ")
    assert [column["key"] for column in data["columns"]][:2] == ["best/val/acc1", "train/acc1"]
    assert data_of(seeded(tmp_path / "other", {"none": [0.5]}))["study"] is None


def test_runs_that_chose_their_weights_by_another_figure_are_said(tmp_path: Path) -> None:
    for name, monitor, mode in (("a", "val/acc1", "max"), ("b", "val/loss", "min")):
        sweep = made_sweep(tmp_path / name, ["norm"], monitor=monitor, mode=mode)
        add_job(sweep, {"norm": "batch"}, [0.5], metrics={"best/val/acc1": 0.5, "val/loss": 1.0, "val/acc1": 0.5})
    table = open_table([tmp_path])
    said = "Some runs chose their best weights by val/loss; all are in order by val/acc1."
    assert said in answer(table)
    assert said not in answer(open_table([tmp_path / "a"]))
    assert [table.sign_of(name) for name in ("val/acc1", "test/acc1", "test/loss")] == [1, 1, -1]
    assert [open_table([tmp_path / "b"]).sign_of(name) for name in ("best/val/loss", "val/acc1")] == [-1, 1]


def test_an_axis_of_numbers_ascends_and_others_stay_as_they_were_asked_for(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path / "s", ["norm", "lr", "sizes"])
    for norm, lr, sizes in (("none", 0.1, [1, 2]), ("batch", 0.01, None), ("none", 10, "x" * 300)):
        add_job(sweep, {"norm": norm, "lr": lr, "sizes": sizes}, [lr / 20], name=f"{norm}-{lr}")
    axes = {axis["name"]: axis for axis in data_of(sweep.path)["axes"]}
    assert axes["norm"]["values"] == ["none", "batch"]
    assert axes["lr"]["values"] == ["0.01", "0.1", "10"]
    assert axes["lr"]["numbers"] == [0.01, 0.1, 10]
    assert axes["sizes"]["values"] == ["[1,2]", "null", "x" * 300]
    assert axes["sizes"]["numbers"] is None


def test_links_lead_to_pages_that_are_there(tmp_path: Path) -> None:
    folder = seeded(tmp_path / "s", {"none": [0.5, 0.75]})
    (folder / "jobs" / "none-1" / PAGE).write_text("")
    assert data_of(folder)["runs"]["links"] == [None, "jobs/none-1/report.html"]
    data = sweep_data(open_table([folder]), tmp_path / "elsewhere")
    assert data["runs"]["links"][1] == "../s/jobs/none-1/report.html"


def test_versions_that_differ_come_first_with_their_numbers(tmp_path: Path) -> None:
    folder = seeded(tmp_path / "s", {"none": [0.5, 0.75]})
    file = folder / "jobs" / "none-1" / "result.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "device": "NVIDIA H200"}))
    origin = data_of(folder)["origin"]
    assert origin[0] == {"name": "device", "values": [["cpu", 1], ["NVIDIA H200", 1]]}
    assert {"name": "torch", "values": [["2.15.0", 2]]} in origin


# its curves


def test_curves_come_back_within_half_a_level(tmp_path: Path) -> None:
    lines = [[0.1, 0.9, math.nan, 0.15, 0.151], [1.0, 0.4, 0.5], [0.1, 0.9, math.nan, 0.15, 0.151]]
    sweep = made_sweep(tmp_path / "s", ["k"])
    for k, line in enumerate(lines):
        add_job(sweep, {"k": k}, line)
    runs = [read_curves(sweep.run(str(k)).metrics_file) for k in range(3)]
    curves = curves_data(runs, ["val/acc1"])
    assert [*curves["metrics"]] == ["val/acc1", "val/loss"]
    assert curves["epochs"] == [1, 2, 3, 4, 5]
    assert curves["metrics"]["val/acc1"]["runs"] == [0, 1, 0]
    for k, line in enumerate(lines):
        assert decoded(curves, "val/acc1", k) == pytest.approx(line, abs=0.9 / LEVELS / 2 + 1e-9, nan_ok=True)


def test_curves_over_decades_are_logarithmic() -> None:
    line = {epoch: 10.0**-epoch for epoch in range(5)}
    curves = curves_data([{"lr": line}], [])
    assert curves["metrics"]["lr"]["log"]
    assert decoded(curves, "lr", 0) == pytest.approx([*line.values()], rel=0.01)


def test_curves_that_do_not_fit_lose_epochs_evenly_but_not_the_last() -> None:
    runs = [{"x": {epoch: math.sin(epoch * k) for epoch in range(1000)}} for k in range(1, 2001)]
    curves = curves_data(runs, [])
    assert curves["every"] == 4
    assert curves["epochs"][-2:] == [996, 1000]
    assert 2000 * len(curves["epochs"]) < ROOM


def test_a_line_that_was_cut_short_or_is_no_number_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("step,epoch,a,test/a\n1,0,0.5,9\n2,1,what,\n3,2,nan,\n4,x,1,\n5,3,0.25")
    assert read_curves(tmp_path / "m.csv") == {"a": {0: 0.5}}
    assert read_curves(tmp_path / "none.csv") == {}


# its answer


def test_what_is_better_than_all_is_said_to_be_so(tmp_path: Path) -> None:
    folder = seeded(tmp_path / "s", {"none": [0.5, 0.51, 0.49], "batch": [0.8, 0.812, 0.79]})
    first, test, compared = answer(open_table([folder]))
    assert first.startswith("The highest mean best/val/acc1 has norm=batch: 0.8007 (")
    assert "the mean of 3 seeds with its 95 % interval" in first
    assert test.startswith("Its test/acc1 is 0.8007")
    assert compared.startswith("It is better than the other setting (p < 0.05, paired by seed")
    assert "Holm's correction for 1 comparison)" in compared
    assert "n = 3" in compared


def test_what_cannot_be_said_is_not(tmp_path: Path) -> None:
    folder = seeded(tmp_path / "s", {"none": [0.5, 0.7, 0.6], "batch": [0.7, 0.5, 0.61], "group": [0.1, 0.11, 0.1]})
    assert "cannot be said" in answer(open_table([folder]))[2]
    assert "2 comparisons" in answer(open_table([folder]))[2]


def test_one_seed_says_nothing(tmp_path: Path) -> None:
    folder = seeded(tmp_path / "s", {"none": [0.5], "batch": [0.8]})
    sentences = answer(open_table([folder]))
    assert sentences[0] == "The highest best/val/acc1 has norm=batch: 0.8000 (one seed)."
    assert sentences[2].startswith("With one seed nothing can be said")


def test_a_small_test_set_is_named_where_it_knows_less_than_the_seeds(tmp_path: Path) -> None:
    folder = seeded(tmp_path / "s", {"none": [0.5, 0.5001, 0.5]})
    for seed in (1, 2, 3):
        file = folder / "jobs" / f"none-{seed}" / "result.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "images": {"val": 100}}))
    doubts = [sentence for sentence in answer(open_table([folder])) if "Wilson" in sentence]
    assert doubts[0].startswith("The images that measure best/val/acc1 leave 0.4039 to 0.5962 open (Wilson), more than")


def test_a_sweep_in_progress_says_so(tmp_path: Path) -> None:
    folder = seeded(tmp_path / "s", {"none": [0.5]})
    add_job(made_sweep(folder, ["norm", "seed"]), {"norm": "batch", "seed": 1}, status="queued")
    data = data_of(folder)
    assert data["counts"] == {"ok": 1, "queued": 1}
    assert data["answer"][-1] == "1 of 2 runs have not ended: this may change."


# what may go wrong


def test_only_failures_are_told_with_the_last_lines_of_their_logs(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path / "s", ["lr"])
    for lr in range(25):
        log = "\n".join(f"line {k}" for k in range(40))
        add_job(sweep, {"lr": lr}, status="failed", error=f"RuntimeError: {lr}\x1b[31m", log=log)
    data = data_of(sweep.path)
    assert data["answer"] == [
        "No run has a best/val/acc1 of one that ended well (25 failed). The reasons stand at the end."
    ]
    assert len(data["failures"]) == 20
    assert data["more_failures"] == 5
    assert data["failures"][0]["log"].splitlines()[-1] == "line 39"
    assert data["failures"][0]["error"] == "RuntimeError: 0\\x1b[31m"


def test_a_sweep_without_jobs_has_a_page(tmp_path: Path) -> None:
    assert data_of(made_sweep(tmp_path / "s", ["lr"]).path)["answer"] == ["There is no run yet."]


def test_figures_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path / "s", ["k"])
    add_job(sweep, {"k": 1}, [math.nan, math.nan], metrics={"val/acc1": math.nan, "test/acc1": "high"})
    data = data_of(sweep.path)
    assert data["columns"][0]["key"] == "images_per_second"
    assert data["curves"]["metrics"] == {}


def test_texts_stay_texts(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)></script>"
    sweep = made_sweep(tmp_path / f"{evil[:27]}", ["k"], command=["-m", evil])
    add_job(sweep, {"k": evil}, [0.5], name="a", status="failed", error=evil, log=evil)
    text = write_sweep_page([sweep.path]).read_text()
    assert "<img" not in text
    assert json.loads(re.findall(r'id="data">(.*?)</script>', text)[0])["failures"][0]["error"] == evil


def test_several_sweeps_are_one_page_with_an_axis_of_their_names(tmp_path: Path) -> None:
    one, two = seeded(tmp_path / "one", {"none": [0.5]}), seeded(tmp_path / "two", {"none": [0.75]})
    data = data_of(one, two)
    assert data["title"] == "2 sweeps"
    assert data["axes"][0]["values"] == ["one", "two"]
    assert len(data["commands"]) == 2
    assert Path(PAGE).is_file()  # neither has the page of both


def test_a_page_that_cannot_be_written_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = made_sweep(tmp_path / "s", ["k"])
    (sweep.path / PAGE).mkdir()
    assert leave_sweep_page(sweep) is None
    assert capsys.readouterr().err.startswith(f"{sweep.path / PAGE}: not written (IsADirectoryError")


def test_a_page_fetches_nothing(tmp_path: Path) -> None:
    text = write_sweep_page([seeded(tmp_path / "s", {"none": [0.5]})]).read_text()
    assert "default-src 'none'" in text
    assert "connect-src" not in text
    assert not re.findall(r'(?:src|href)="http', text)
    assert text.count("<script>") == page("", "", scripts=["1"] * 7).count("<script>")
