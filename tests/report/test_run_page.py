"""The page of a run: its numbers are those of its files, its texts are texts, and each end of a run has a clear one."""

import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from convarium.report import run_page
from convarium.report.measured import Measured
from convarium.report.run_page import is_outdated, leave_run_page, run_facts, write_run_page
from convarium.report.svg import Scale, Series, heat_map, line_chart
from convarium.results.predictions import read_answers
from convarium.run.directory import RunDirectory
from experiments import experiment
from made_runs import made_run, with_config

HOSTILE = ["<img src=x onerror=alert(1)>", "明るい", "بطة", "</script><script>alert(2)</script>", "a, b", "Ωμέγα"]


class Read(HTMLParser):
    """The elements of a page, its texts, and the cells of its tables by their captions."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.texts: list[str] = []
        self.in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.in_cell &= tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.in_cell:
            self.tables[-1][-1][-1] += data.strip()

    def table(self, *heads: str) -> list[list[str]]:
        [found] = [table[1:] for table in self.tables if table and table[0][: len(heads)] == [*heads]]
        return found

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def measured(run: RunDirectory) -> Measured:
    answers = read_answers(run.predictions)
    assert answers is not None
    return Measured(answers)


def page_of(run: RunDirectory) -> Read:
    return Read(write_run_page(run).read_text())


def test_the_numbers_of_the_page_are_those_of_result_and_predictions() -> None:
    run = experiment("metrics=[accuracy,macro_f1]")
    result, page = run.result(), page_of(run)
    metrics = result["metrics"]
    with np.load(run.predictions) as file:
        right = file["prediction"] == file["target"]
        targets, guesses = file["target"], file["prediction"]
    assert right.mean() == metrics["test/acc1"]
    assert f"{100 * metrics['test/acc1']:.2f} % of 128 test images are right" in page.text
    for row in page.table("metric", "train", "val", "best val", "test"):
        for split, cell in zip(("train", "val", "best/val", "test"), row[1:], strict=True):
            value = metrics.get(f"{split}/{row[0]}")
            assert cell == ("" if value is None else f"{value:.4f}")
    for row in page.table("class", "number", "images"):
        number = int(row[1])
        hits = int((right & (targets == number)).sum())
        assert row[2] == str((targets == number).sum())
        assert row[3] == f"{100 * hits / (targets == number).sum():.2f} %"
        assert row[4] == (f"{100 * hits / n:.2f} %" if (n := (guesses == number).sum()) else "–")
    matrix = [[int(cell or 0) for cell in row[1:]] for row in page.table("truth \\ prediction")]
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (targets, guesses), 1)
    assert matrix == counts.tolist()
    assert sum(int(row[1]) for row in page.table("confidence")) == 128
    assert page.table("epoch")[0][1:] == [
        f"{metrics[name]:.4f}" for name in page.tables[[t[0][0] for t in page.tables if t].index("epoch")][0][1:]
    ]


def test_macro_f1_is_the_mean_of_those_of_the_classes() -> None:
    run = experiment("metrics=[accuracy,macro_f1]")
    tested = measured(run)
    shares = [row.f1 for row in tested.per_class() if not math.isnan(row.f1)]
    assert np.mean(shares) == pytest.approx(run.result()["metrics"]["test/macro_f1"], rel=1e-12)


def test_calibration_is_that_of_torchmetrics(tmp_path: Path) -> None:
    import torch
    from torchmetrics.classification import BinaryCalibrationError

    tested = measured(made_run(tmp_path / "run", images=500))
    reference = BinaryCalibrationError(n_bins=15, norm="l1")  # of "the prediction is right", by its confidence
    confidence = torch.from_numpy(tested.answers.confidence)
    right = torch.from_numpy(tested.target == tested.prediction)
    assert tested.ece() == pytest.approx(float(reference(confidence, right)), abs=1e-6)
    assert tested.nll == pytest.approx(float(tested.answers.loss.mean()), rel=1e-6)


@pytest.mark.parametrize("number", [2, 30, 31, 300])
def test_what_somebody_else_wrote_is_text(number: int, tmp_path: Path) -> None:
    classes = [f"{HOSTILE[k % 6]}{k}" for k in range(number)]
    words = ["arch=mlp", "name=<b>mine</b>", "run_dir=x"]
    run = made_run(
        tmp_path / "run",
        classes=classes,
        images=4000,
        words=words,
        notes=["<i>note</i>"],
        error="<u>error</u>",
        status="failed",
    )
    page = page_of(with_config(run, name="<b>mine</b>"))
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"img", "b", "i", "u"}
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert not [
        name for _, attributes in page.elements for name in attributes if name.startswith("on") or name == "style"
    ]
    for said in ("<b>mine</b>", "<i>note</i>", "<u>error</u>", "<script>alert(1)</script>", "\\x1b[31mboom"):
        assert said in page.text
    assert [row[0] for row in page.table("class", "number")] == classes
    assert "python train.py arch=mlp 'name=<b>mine</b>'" in page.text
    assert ("truth \\ prediction" in page.text) == (number <= 30)


@pytest.mark.parametrize("status", ["failed", "diverged", "interrupted", "killed", "oom", "timeout", "queued"])
@pytest.mark.parametrize("epochs", [0, 2])
def test_each_end_of_a_run_has_a_clear_page(status: str, epochs: int, tmp_path: Path) -> None:
    page = page_of(made_run(tmp_path / "run", status=status, error="why it <ended>", epochs=epochs))
    assert f"It was not tested to its end: its status is {status} ." in page.text
    assert "why it <ended>" in page.text
    assert ("The last lines of train.log" in page.text) == (status != "queued")
    assert ("Learning curves" in page.text) == bool(epochs)


def test_a_run_at_work_has_a_page_of_what_it_has_come_to(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", status="running", epochs=2, host="elsewhere")
    assert "It is running; this page shows what it has come to so far." in page_of(run).text


def test_a_run_of_which_nothing_is_left_but_its_config_has_a_page(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    for file in (run.result_file, run.metrics_file, run.overrides_file, run.log_file):
        file.unlink()
    assert "its status is not started" in page_of(run).text


def test_a_metric_that_is_nan_is_no_point_and_no_failure(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", images=30, metrics={"val/loss": None, "train/loss": None, "test/loss": None})
    run.metrics_file.write_text("step,epoch,train/loss,val/loss\n16,0,nan,nan\n32,1,0.5,inf\n48,2,0.25,1\nhalf,a li")
    page = page_of(run)
    assert page.table("epoch")[0] == ["1", "nan", "nan"]
    [chart] = run_facts(run)["charts"]
    assert [line.points for line in chart["series"]] == [[(2.0, 0.5), (3.0, 0.25)], [(3.0, 1.0)]]


def test_predictions_of_another_test_are_left_out(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", images=100)
    result = json.loads(run.result_file.read_text())
    result["metrics"]["test/loss"] *= 1.1
    run.result_file.write_text(json.dumps(result))
    page = page_of(run)
    assert "predictions.npz is of an earlier test of this run, and is left out" in page.text
    assert "Class by class" not in page.text


@pytest.mark.parametrize("odd", [b"no zip", b"", "lengths", "classes", "pickle"])
def test_predictions_that_are_none_cost_one_line(odd: Any, tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", images=10)
    with np.load(run.predictions) as file:
        columns = dict(file)
    if isinstance(odd, bytes):
        run.predictions.write_bytes(odd)
    else:
        broken = {"lengths": {"loss": np.zeros(3)}, "classes": {"target": np.full(10, 7)}}
        np.savez(run.predictions, **(columns | broken.get(odd, {"classes": np.array([print], dtype=object)})))
    assert f"{run.predictions}: " in page_of(run).text


def test_the_pictures_of_a_run_are_in_the_page(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    (run.path / "figures").mkdir()
    Image.new("RGB", (320, 160), "red").save(run.path / "figures" / "worst_mistakes.png")
    (run.path / "figures" / "gradcam.png").write_text("no picture")
    page = page_of(run)
    [picture] = [attributes for tag, attributes in page.elements if tag == "img"]
    assert str(picture["src"]).startswith("data:image/png;base64,iVBOR")
    assert (picture["width"], picture["height"]) == ("200", "100")
    assert "misclassified test images" in str(picture["alt"])


def test_a_page_asks_nothing_of_anybody(tmp_path: Path) -> None:
    page = page_of(made_run(tmp_path / "run", images=50))
    [policy] = [attributes["content"] for tag, attributes in page.elements if attributes.get("http-equiv")]
    assert str(policy).startswith("default-src 'none'")
    links = [str(attributes[name]) for _, attributes in page.elements for name in ("src", "href") if name in attributes]
    assert links == ["config.yaml", "overrides.yaml", "result.json", "metrics.csv", "predictions.npz", "train.log"]


def test_a_page_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_run(tmp_path / "run")
    assert not leave_run_page(with_config(run, report=False))
    assert capsys.readouterr().err == ""
    with_config(run, report=True)
    monkeypatch.setattr(
        run_page, "write_atomically", lambda *words: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    assert not leave_run_page(run)
    assert capsys.readouterr().err == f"{run.page}: not written (OSError: [Errno 28] No space left)\n"
    assert is_outdated(run)
    monkeypatch.undo()
    assert leave_run_page(run)
    assert not is_outdated(run)


def test_a_page_of_text_that_is_none_is_written(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", classes=["\udcff", "b", "c"], images=20)
    assert "?" in [row[0] for row in page_of(run).table("class", "number")]


def test_the_ticks_of_an_axis_are_round() -> None:
    assert Scale([0, 9.3], 0, 1).ticks() == [0, 2, 4, 6, 8]
    assert [round(v, 6) for v in Scale([0.9, 0.91], 0, 1).ticks()] == [0.9, 0.902, 0.904, 0.906, 0.908, 0.91]
    assert Scale([0.002, 3], 0, 1, is_log=True).ticks() == [0.002, 0.01, 0.05, 0.2, 1.0]
    assert Scale([7, 7], 0, 1).low < 7 < Scale([7, 7], 0, 1).high


def test_a_line_of_many_points_has_as_many_as_are_seen() -> None:
    drawn = line_chart("loss", [Series("training", 0, [(k / 10, 1.0 + k % 3) for k in range(100_000)])], across="epoch")
    assert len(drawn) < 10_000
    assert heat_map(3, [(0, 0, 1.0), (0, 2, 0.01)]).count("h1v1h-1z") == 2
