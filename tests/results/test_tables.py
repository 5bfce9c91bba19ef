"""Tables for papers and for other programs: what they hold, that they agree, and that any text is text in them."""

import csv
import io
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import convarium
from convarium.results.leaderboard import Leaderboard
from convarium.results.rows import open_table
from convarium.results.tables import columns, in_latex, in_markdown
from results.test_leaderboard import add, begin, seeded


@pytest.fixture
def sweep() -> Any:
    """Two norms, three seeds; one job failed, one measured no number."""
    found = seeded({"none": [0.5, 0.52, 0.54], "batch": [0.7, 0.73, None]})
    add(found, "extra", {"norm": "batch", "seed": 4}, "diverged", metrics={"best/val/acc1": None}, params=61706)
    return found


def test_every_table_has_the_numbers_of_the_results(sweep: Any) -> None:
    board = Leaderboard(sweep)
    results = {row.job: json.loads(sweep.run(row.job).result_file.read_text()) for row in board.rows}
    loaded = convarium.load_sweep(sweep.path)
    lines = list(csv.DictReader(io.StringIO(board.as_csv(), newline="")))
    for place, row in enumerate(board.rows):
        expected = results[row.job]["metrics"].get("best/val/acc1")
        assert loaded["best/val/acc1"][place] == expected
        assert lines[place]["best/val/acc1"] == ("" if expected is None else repr(expected))
        assert loaded["status"][place] == results[row.job]["status"] == lines[place]["status"]


def test_pandas_and_polars_take_the_columns(sweep: Any) -> None:
    import pandas
    import polars

    loaded = convarium.load_sweep(sweep.path)
    assert len({len(column) for column in loaded.values()}) == 1
    frame, table = pandas.DataFrame(loaded), polars.DataFrame(loaded)
    assert list(frame.columns) == table.columns == list(loaded)
    assert frame["best/val/acc1"].max() == table["best/val/acc1"].max() == 0.73
    assert table.group_by("norm").len().height == 2


def test_a_column_has_one_type_whatever_was_swept() -> None:
    found = begin("a", "b", "c")
    for number, (a, b, c) in enumerate([(1, [8, 16], 0.5), (2, None, "x"), (0.5, True, None)]):
        add(found, str(number), {"a": a, "b": b, "c": c})
    loaded = columns(open_table(["sweeps/s"]))
    assert loaded["a"] == [1.0, 2.0, 0.5]
    assert (loaded["b"], loaded["c"]) == (["[8,16]", "null", "true"], ["0.5", "x", "null"])


def test_the_best_mean_is_bold_and_has_its_interval(sweep: Any) -> None:
    lines = in_markdown(open_table([sweep.path])).splitlines()
    assert lines[0] == "| norm | seeds | best/val/acc1 | parameters |"
    assert lines[2].startswith("| batch | 2 | **0.7150 (")
    assert lines[3].startswith("| none | 3 | 0.5200 (0.4703 to 0.5693) |")


def test_of_a_loss_the_least_is_bold() -> None:
    found = begin("name", monitor="val/loss", mode="min")
    for name, loss in (("a", 0.5), ("b", 0.25)):
        add(found, name, {"name": name}, metrics={"best/val/loss": loss, "test/acc1": loss})
    text = in_markdown(open_table(["sweeps/s"]))
    assert "| b | **0.2500** | 0.2500 |" in text
    assert "| a | 0.5000 | **0.5000** |" in text


def test_latex_sets_a_value_whatever_it_is_called(tmp_path: Path) -> None:
    found = begin("data.root", "seed")
    for number, name in enumerate(["a_b&c%d$e#f{g}~h^i\\j", "\\input{/etc/passwd}"]):
        add(found, str(number), {"data.root": name, "seed": 1}, metrics={"best/val/acc1": 0.5})
    text = in_latex(open_table(["sweeps/s"]))
    assert r"a\_b\&c\%d\$e\#f\{g\}\textasciitilde{}h\textasciicircum{}i\textbackslash{}j" in text
    assert r"\input" not in text
    if not shutil.which("pdflatex"):
        pytest.skip("pdflatex is needed to set it")
    document = rf"\documentclass{{article}}\usepackage{{booktabs}}\begin{{document}}{text}\end{{document}}"
    tmp_path.joinpath("t.tex").write_text(document)
    subprocess.run(["pdflatex", "-interaction=batchmode", "t.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_the_verb_prints_a_table_or_writes_it(sweep: Any, convarium: Callable[..., Any]) -> None:
    answer = json.loads(convarium("report", str(sweep.path), "format=json").out)
    assert {job["job"]: job["status"] for job in answer["jobs"]}["extra"] == "diverged"
    means = {group["swept"]["norm"]: group["over_seeds"]["best/val/acc1"] for group in answer["groups"]}
    assert (means["none"]["mean"], means["none"]["n"]) == (pytest.approx(0.52), 3)
    assert convarium("report", str(sweep.path), "format=csv", "out=t.csv").out == "t.csv: 7 jobs\n"
    assert Path("t.csv").read_text().splitlines()[0].startswith("norm,seed,status,best/val/acc1")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((), "no sweep or run given; usage: convarium report DIR... [key=value ...]"),
        (("nowhere", "format=csv"), "nowhere: no such folder"),
        ((".", "format=csv"), ".: neither a sweep nor a run, and none below"),
        (("s", "format=pdf"), "format=pdf: unknown"),
        (("s", "out=no/t.html"), "out=no/t.html: expected the name of a file in a folder that exists"),
    ],
)
def test_what_cannot_be_reported_is_one_line(convarium: Callable[..., Any], words: tuple[str, ...], line: str) -> None:
    answer = convarium("report", *words)
    assert answer.code == 2
    assert answer.err.startswith(f"error: {line}")


def test_single_runs_are_told_apart_by_what_differs() -> None:
    for number, lr in enumerate([0.1, 0.2]):
        run = Path("runs", str(number))
        run.mkdir(parents=True)
        config = {
            "seed": 1,
            "optimizer": {"lr": lr},
            "arch": {"x": 1},
            "data": {},
            "choices": {"arch": "mlp"},
            "metrics": {},
        }
        run.joinpath("config.yaml").write_text(json.dumps(config))
        run.joinpath("result.json").write_text(json.dumps({"status": "ok", "metrics": {"best/val/acc1": lr}}))
    table = open_table(["runs"])
    assert table.axes == ["optimizer.lr"]
    assert [row.swept for row in table.rows] == [{"optimizer.lr": 0.2}, {"optimizer.lr": 0.1}]
