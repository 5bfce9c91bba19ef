"""TensorBoard and MLflow write what was logged, without a network, and are read back by their own libraries."""

import importlib.util
import io
import socket
import sqlite3
import time
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from convarium.errors import ConfigError
from convarium.observe.mlflow import PARENT, MLflow
from convarium.observe.tensorboard import TensorBoard
from convarium.observe.tracker import Tracker
from experiments import experiment

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries' own making, in our thread

CONFIG: dict[str, Any] = {"arch": {"_target_": "a.b", "depth": 20}, "dropout": None, "tags": ["a", "b"]}


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "a run=é"
    folder.mkdir()
    return folder


def track(tracker: Tracker, run_dir: Path, steps: range, *, run_id: str | None = None, status: str = "ok") -> None:
    tracker.begin(run_dir=run_dir, name="lenet5-digits", config=CONFIG, run_id=run_id)
    for step in steps:
        tracker.log_metrics({"train/loss": step / 10}, step)
    tracker.finalize("success")
    tracker.log_metrics({"test/acc1": 0.5}, steps.stop)
    tracker.end(status, {"best/val/acc1": 0.75, "device": "cpu"})


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("convarium")]


def events_of(run_dir: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(run_dir / "tensorboard"))
        events.Reload()
    return events


def test_tensorboard_rows_read_back_and_a_resume_goes_back(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    track(TensorBoard(), run_dir, range(5), status="interrupted")
    track(TensorBoard(flush_seconds=1), run_dir, range(3, 6))  # the checkpoint was at step 3
    events = events_of(run_dir)
    losses = [(event.step, round(event.value, 6)) for event in events.Scalars("train/loss")]
    assert losses == [(step, step / 10) for step in range(6)]
    assert [(event.step, event.value) for event in events.Scalars("summary/best/val/acc1")] == [(6, 0.75)]
    [text] = {event.tensor_proto.string_val[0].decode() for event in events.Tensors("config/text_summary")}
    assert "depth: 20" in text
    assert said(caplog) == []


def test_the_hparams_of_a_job_are_what_its_sweep_varies(run_dir: Path) -> None:
    tracker = TensorBoard()
    config = {**CONFIG, "sweep": {"name": "s", "swept": {"optimizer.lr": 0.1, "norm": "batch"}}}
    tracker.begin(run_dir=run_dir, name="n", config=config, run_id=None)
    tracker.log_metrics({"train/loss": 1.0}, 3)
    tracker.end("ok", {"best/val/acc1": 0.75})
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    content = events_of(run_dir).SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    told = HParamsPluginData.FromString(content).session_start_info.hparams
    assert (told["optimizer.lr"].number_value, told["norm"].string_value, len(told)) == (0.1, "batch", 2)


def test_mlflow_rows_read_back_and_a_known_run_is_continued(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = MLflow(group="sweep", tags={"who": "me"})
    track(first, run_dir, range(3), status="interrupted")
    assert first.run_id is not None
    second = MLflow()
    track(second, run_dir, range(3, 5), run_id=first.run_id)
    assert second.run_id == first.run_id
    assert said(caplog) == []
    with closing(sqlite3.connect(run_dir / "mlflow.db")) as store:
        assert store.execute("select run_uuid, name, status from runs").fetchall() == [
            (first.run_id, "lenet5-digits", "FINISHED")
        ]
        losses = store.execute("select step, value from metrics where key = 'train/loss' order by step").fetchall()
        params = dict(store.execute("select key, value from params").fetchall())
        tags = dict(store.execute("select key, value from tags").fetchall())
    assert losses == [(step, step / 10) for step in range(5)]
    assert params["arch/depth"] == "20"
    assert (tags["group"], tags["who"], tags["status"], tags["device"]) == ("sweep", "me", "ok", "cpu")
    third = MLflow()
    track(third, run_dir, range(1), run_id="0" * 32)  # kept in another store
    assert third.run_id not in (None, first.run_id, "0" * 32)


def test_the_jobs_of_a_sweep_are_children_of_one_run_that_is_at_work_as_long_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sweep = tmp_path / "sweeps" / "s"
    jobs = [sweep / "jobs" / name for name in ("lr=0.1", "lr=0.2", "lr=0.4")]
    for job in jobs:
        job.mkdir(parents=True)
    (sweep / "sweep.yaml").touch()
    (jobs[0] / "report.html").write_text("<!doctype html>")

    def begin(job: Path, run_id: str | None = None) -> MLflow:
        tracker = MLflow()
        config = {**CONFIG, "sweep": {"name": "s", "swept": {"optimizer.lr": float(job.name[3:])}}}
        tracker.begin(run_dir=job, name=job.name, config=config, run_id=run_id)
        tracker.log_metrics({"train/loss": 1.0}, 1)
        return tracker

    def read(question: str) -> list[Any]:
        with closing(sqlite3.connect(sweep / "mlflow.db")) as store:
            return store.execute(question).fetchall()

    def status() -> str:
        children = f"select run_uuid from tags where key = {PARENT!r}"
        [(name,)] = read(f"select status from runs where run_uuid not in ({children})")
        return str(name)

    first, second = begin(jobs[0]), begin(jobs[1])
    first.end("ok", {"best/val/acc1": 0.75})
    assert status() == "RUNNING"
    second.end("interrupted", {})
    assert status() == "FINISHED"
    again, third = begin(jobs[1], second.run_id), begin(jobs[2])
    again.end("ok", {})
    assert status() == "RUNNING"
    third.end("failed", {})
    assert status() == "FINISHED"
    assert again.run_id == second.run_id
    [(parent,)] = read("select run_uuid from runs where name = 's'")
    children = f"select run_uuid from tags where key = {PARENT!r} and value = {parent!r}"
    assert {run for (run,) in read(children)} == {first.run_id, second.run_id, third.run_id}
    swept = read("select run_uuid, value from tags where key = 'optimizer.lr'")
    assert dict(swept) == {first.run_id: "0.1", second.run_id: "0.2", third.run_id: "0.4"}
    assert len([*(sweep / "mlflow").glob(f"{first.run_id}/artifacts/report.html")]) == 1
    assert said(caplog) == []


@pytest.mark.parametrize("package", ["tensorboard", "mlflow"])
def test_a_missing_extra_is_named_before_anything_is_made(
    package: str, own_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == package else found(name, *more))
    with pytest.raises(ConfigError, match=rf"logger={package} needs {package}: pip install 'convarium\[{package}\]'"):
        experiment(f"logger={package}")
    assert list(own_directory.iterdir()) == []


def test_figures_are_shown_at_the_end(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    Image.new("RGB", (6, 4), (200, 0, 0)).save(run_dir / "confusion_matrix.png")
    for tracker in (TensorBoard(), MLflow()):
        tracker.begin(run_dir=run_dir, name="n", config=CONFIG, run_id=None)
        tracker.log_metrics({"loss": 1.0}, 7)
        tracker.end("ok", {"best/val/acc1": 0.75}, [run_dir / "confusion_matrix.png"])
    [shown] = events_of(run_dir).Images("figures/confusion_matrix")
    assert (shown.step, shown.width, shown.height) == (7, 6, 4)
    with Image.open(io.BytesIO(shown.encoded_image_string)) as picture:
        assert picture.getpixel((0, 0)) == (200, 0, 0)
    [kept] = (run_dir / "mlflow").glob("*/artifacts/figures/*")
    assert kept.read_bytes() == (run_dir / "confusion_matrix.png").read_bytes()
    assert said(caplog) == []


def test_a_figure_that_cannot_be_shown_costs_a_line_and_neither_the_summary_nor_the_end(
    run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = TensorBoard()
    tracker.begin(run_dir=run_dir, name="n", config=CONFIG, run_id=None)
    tracker.end("ok", {"best/val/acc1": 0.75}, [run_dir / "nothing.png"])
    assert [event.value for event in events_of(run_dir).Scalars("summary/best/val/acc1")] == [0.75]
    [line] = said(caplog)
    assert line.startswith("tensorboard: shows no figures (FileNotFoundError: ")


@pytest.mark.parametrize("listens", [False, True])
def test_an_mlflow_server_that_does_not_answer_is_said_at_the_start_and_holds_up_no_end(
    listens: bool, run_dir: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convarium.observe.mlflow.SECONDS", 1.0)
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        if listens:  # and says nothing
            place.listen()
        address = f"127.0.0.1:{place.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@{address}")
        tracker = MLflow()
        tracker.begin(run_dir=run_dir, name="n", config=CONFIG, run_id=None)
        began = time.monotonic()
        tracker.end("ok", {})
        assert time.monotonic() - began < 8.0
    reason = f"ConnectionError: {address} does not answer"
    assert said(caplog) == [f"mlflow: given up ({reason}); the run goes on, metrics.csv has every row"]


def test_the_experiment_of_mlflow_is_the_environment_s_unless_it_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MLflow().experiment == "convarium"
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "theirs")
    assert (MLflow().experiment, MLflow(experiment="typed").experiment) == ("theirs", "typed")
