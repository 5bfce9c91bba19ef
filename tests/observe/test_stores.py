"""TensorBoard and MLflow write what was logged, without a network, and are read back by their own libraries."""

import sqlite3
import warnings
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from convarium.errors import ConfigError
from convarium.observe.mlflow import MLflow
from convarium.observe.tensorboard import TensorBoard
from convarium.observe.tracker import Tracker

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


def test_tensorboard_rows_read_back_and_a_resume_goes_back(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    track(TensorBoard(), run_dir, range(5), status="interrupted")
    track(TensorBoard(flush_seconds=1), run_dir, range(3, 6))  # the checkpoint was at step 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(run_dir / "tensorboard"))
        events.Reload()
    losses = [(event.step, round(event.value, 6)) for event in events.Scalars("train/loss")]
    assert losses == [(step, step / 10) for step in range(6)]
    assert [(event.step, event.value) for event in events.Scalars("summary/best/val/acc1")] == [(6, 0.75)]
    [text] = {event.tensor_proto.string_val[0].decode() for event in events.Tensors("config/text_summary")}
    assert "depth: 20" in text
    assert [record.getMessage() for record in caplog.records if record.name.startswith("convarium")] == []


def test_mlflow_rows_read_back_and_a_known_run_is_continued(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = MLflow(group="sweep", tags={"who": "me"})
    track(first, run_dir, range(3), status="interrupted")
    assert first.run_id is not None
    second = MLflow()
    track(second, run_dir, range(3, 5), run_id=first.run_id)
    assert second.run_id == first.run_id
    assert [record.getMessage() for record in caplog.records if record.name.startswith("convarium")] == []
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


@pytest.mark.parametrize(("kind", "package"), [(TensorBoard, "tensorboard"), (MLflow, "mlflow")])
def test_a_missing_extra_is_named(kind: type[Tracker], package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=rf"logger={package} needs {package}: pip install 'convarium\[{package}\]'"):
        kind()
