"""The guard: whatever a tracker does, the run goes on and one line is printed."""

import ast
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from convarium.observe import tracker as tracker_module
from convarium.observe.tracker import Start, Tracker, redacted, rows_of


class Recording(Tracker):
    """A tracker to a list."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, ...]] = []

    def open(self, start: Start) -> None:
        self.start = start

    def write_metrics(self, metrics: dict[str, float], step: int | None) -> None:
        self.calls.append(("metrics", metrics, step))

    def write_summary(self, summary: dict[str, Any]) -> None:
        self.calls.append(("summary", summary))

    def close(self, status: str) -> None:
        self.calls.append(("close", status))


class HangingOpen(Recording):
    patience, farewell = 0.05, 0.1

    def open(self, start: Start) -> None:
        threading.Event().wait()


class HangingWrite(Recording):
    patience, farewell = 0.05, 0.1

    def write_metrics(self, metrics: dict[str, float], step: int | None) -> None:
        threading.Event().wait()


class RaisingOpen(Recording):
    def open(self, start: Start) -> None:
        raise ConnectionError("no such server\nsecond line")


class RaisingImport(Recording):
    def _import(self) -> None:
        raise ImportError("libtracker.so")


class RaisingWrite(Recording):
    def write_metrics(self, metrics: dict[str, float], step: int | None) -> None:
        {}[step]


class ExitingWrite(Recording):
    def write_metrics(self, metrics: dict[str, float], step: int | None) -> None:
        exit(3)


class Line(LightningModule):
    """y = ax + b, logging a row every step the way the learner does."""

    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(1, 1)

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        time.sleep(0.01)
        loss = torch.nn.functional.mse_loss(self.line(batch[0]), batch[1])
        for logger in self.trainer.loggers:
            logger.log_metrics({"train/loss_step": 1.0}, step=self.trainer.global_step)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(trackers: list[Tracker], run_dir: Path, steps: int = 20) -> dict[str, Tensor]:
    """Train `Line` as a run does and return its weights."""
    torch.manual_seed(1)
    module, x = Line(), torch.linspace(-1, 1, 80).unsqueeze(1)
    trainer = Trainer(
        max_steps=steps,
        logger=trackers or False,
        accelerator="cpu",
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=run_dir,
    )
    for tracker in trackers:
        tracker.begin(run_dir=run_dir, name="line", config={"lr": 0.1}, run_id=None)
    trainer.fit(module, DataLoader(TensorDataset(x, 2 * x + 1), batch_size=4))
    for tracker in trackers:
        tracker.end("ok", {"best/val/acc1": 1.0})
    return module.state_dict()


def test_calls_arrive_in_order_and_once(tmp_path: Path) -> None:
    tracker = Recording()
    tracker.log_metrics({"before": 1.0}, 0)
    tracker.begin(run_dir=tmp_path, name="run", config={"a": {"b": 1}}, run_id=None)
    for step in range(100):
        tracker.log_metrics({"train/loss": torch.tensor(step)}, step)  # type: ignore[dict-item]
    tracker.finalize("success")
    tracker.end("ok", {"params": 10})
    tracker.end("ok", {"params": 11})
    tracker.log_metrics({"after": 1.0}, 0)
    rows = [("metrics", {"train/loss": float(step)}, step) for step in range(100)]
    assert tracker.calls == [*rows, ("summary", {"params": 10, "status": "ok"}), ("close", "ok")]
    assert tracker.start == Start(run_dir=tmp_path, name="run", config={"a": {"b": 1}})


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of a run without trackers."""
    return fit([], tmp_path_factory.mktemp("untracked"))


@pytest.mark.parametrize("kind", [HangingOpen, HangingWrite, RaisingImport, RaisingOpen, RaisingWrite, ExitingWrite])
def test_a_broken_tracker_costs_one_line_and_no_weight(
    kind: type[Tracker],
    expected: dict[str, Tensor],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    recording, began = Recording(), time.monotonic()
    weights = fit([kind(), recording], tmp_path)
    assert time.monotonic() - began < 10.0
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert len(recording.calls) == 22  # the tracker beside it misses nothing
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("convarium")]
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"{kind.__name__.lower()}: given up (")
    assert "\n" not in lines[0]
    assert "Traceback" not in capfd.readouterr().err


def test_a_slow_tracker_drops_rows_and_says_how_many(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Recording):
        capacity = 10

        def open(self, start: Start) -> None:
            may_open.wait()
            super().open(start)

    may_open, tracker = threading.Event(), Slow()
    tracker.begin(run_dir=tmp_path, name="run", config={}, run_id=None)
    for step in range(25):
        tracker.log_metrics({"loss": 1.0}, step)
    may_open.set()
    while not tracker._calls.empty():
        time.sleep(0.01)
    tracker.end("ok", {})
    assert [call[2] for call in tracker.calls if call[0] == "metrics"] == list(range(10))
    assert [record.getMessage() for record in caplog.records] == [
        "slow: 15 rows were dropped, it was too slow; metrics.csv has every row"
    ]


def test_logging_a_row_costs_the_loop_microseconds(tmp_path: Path) -> None:
    class Stuck(HangingWrite):
        patience = 60.0

    tracker = Stuck()
    tracker.begin(run_dir=tmp_path, name="run", config={}, run_id=None)
    row, times = {"train/loss": 1.0, "lr": 0.1, "grad_norm": 1.0}, []
    for step in range(2000):
        began = time.perf_counter()
        tracker.log_metrics(row, step)
        times.append(time.perf_counter() - began)
    assert sorted(times)[1000] < 100e-6


def test_secrets_are_redacted_by_name_and_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    monkeypatch.setenv("SHORT_TOKEN", "adam")
    config = {
        "logger": {"wandb": {"api_key": "x", "project": "p"}},
        "note": ["0123456789abcdef", "fine"],
        "class_token": True,
        "optimizer": "adam",
        "password": None,
    }
    clean = redacted(config)
    assert clean == {
        "logger": {"wandb": {"api_key": "(secret)", "project": "p"}},
        "note": ["(secret)", "fine"],
        "class_token": True,
        "optimizer": "adam",
        "password": None,
    }
    assert "0123456789abcdef" not in json.dumps(clean)
    assert os.environ["WANDB_API_KEY"] in config["note"]


def test_a_continued_run_is_given_its_earlier_rows(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,epoch,train/loss,val/loss\n10,0,0.5,\n10,0,,nan\n")
    assert rows_of(tmp_path / "metrics.csv")[0] == {"step": 10.0, "epoch": 0.0, "train/loss": 0.5}
    tracker = Recording()
    tracker.begin(run_dir=tmp_path, name="run", config={}, run_id="abc")
    tracker.end("ok", {})
    assert tracker.version == "abc"
    assert tracker.start is not None
    assert len(tracker.start.rows) == 2


def test_what_a_run_may_not_use_is_imported_late() -> None:
    folder = Path(tracker_module.__file__).parent
    heavy = {"wandb", "mlflow", "tensorboard", "torch.utils.tensorboard", "matplotlib", "rich"}
    for file in folder.glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name in heavy or name.split(".")[0] in heavy], file.name


def test_the_end_says_that_it_waits(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Recording):
        silence, farewell = 0.05, 5.0

        def close(self, status: str) -> None:
            time.sleep(0.3)
            super().close(status)

    caplog.set_level("INFO", "convarium")
    tracker = Slow()
    tracker.begin(run_dir=tmp_path, name="run", config={}, run_id=None)
    tracker.end("ok", {})
    assert [record.getMessage() for record in caplog.records] == ["slow: still at work, waited for at most 5 s"]
    assert tracker.calls[-1] == ("close", "ok")
