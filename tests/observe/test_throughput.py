"""Images per second and data wait, against a run whose times are known."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from convarium.observe.throughput import Throughput

STEP, WAIT = 0.02, 0.02  # seconds in the step and before each batch


@pytest.fixture
def timed(learner: type, squares: type, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Any]:
    """A learner whose steps take `STEP`, data whose loader takes `WAIT` per batch, and a long validation."""

    class Slow:
        def __init__(self, batches: Any) -> None:
            self.batches = batches

        def __len__(self) -> int:
            return len(self.batches)

        def __iter__(self) -> Iterator[Any]:
            for batch in self.batches:
                time.sleep(WAIT)
                yield batch

    class SlowSquares(squares):
        def train_dataloader(self) -> Slow:
            return Slow(super().train_dataloader())

    class SlowLearner(learner):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            time.sleep(STEP)
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            time.sleep(0.05)

    return SlowLearner(), SlowSquares()


def test_half_the_time_waiting_is_a_data_wait_of_one_half(
    timed: tuple[Any, Any], make_trainer: Callable[..., Any]
) -> None:
    module, data = timed
    trainer, rows = make_trainer(Throughput())
    trainer.fit(module, datamodule=data)
    found = [row for row in rows.rows if "images_per_second" in row]
    assert [row["step"] for row in found] == [5, 10, 15, 20, 25, 30]
    ideal = data.batch_size / (STEP + WAIT)
    for row in found:
        assert 0.25 < row["data_wait"] < 0.6
        assert 0.3 * ideal < row["images_per_second"] <= 1.3 * ideal  # of 5 batches, the first of an epoch has no wait
    assert 0.3 * ideal < module.images_per_second <= 1.3 * ideal
    assert module.latest["data_wait"] == found[-1]["data_wait"]


def test_a_loader_at_hand_is_hardly_waited_for(
    learner: type, squares: type, make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = learner()
    step = module.training_step
    monkeypatch.setattr(module, "training_step", lambda batch, batch_idx: (time.sleep(STEP), step(batch, batch_idx))[1])
    trainer, rows = make_trainer(Throughput(warmup_batches=0))
    trainer.fit(module, datamodule=squares())
    waits = sorted(row["data_wait"] for row in rows.rows if "data_wait" in row)
    assert waits[len(waits) // 2] < 0.2


def test_a_run_shorter_than_the_log_interval_has_one_row(
    learner: type, squares: type, make_trainer: Callable[..., Any]
) -> None:
    module = learner()
    trainer, rows = make_trainer(Throughput(), max_epochs=1, log_every_n_steps=10, limit_train_batches=4)
    trainer.fit(module, datamodule=squares())
    [row] = [row for row in rows.rows if "images_per_second" in row]
    assert row["step"] == 4
    assert module.images_per_second == row["images_per_second"]


def test_rows_come_once_per_optimizer_step_when_accumulating(
    learner: type, squares: type, make_trainer: Callable[..., Any]
) -> None:
    trainer, rows = make_trainer(Throughput(), accumulate_grad_batches=2, max_epochs=2)
    trainer.fit(learner(), datamodule=squares())
    assert [row["step"] for row in rows.rows if "data_wait" in row] == [5, 10]


def test_a_negative_warm_up_is_refused() -> None:
    with pytest.raises(ValueError, match="warmup_batches=-1"):
        Throughput(warmup_batches=-1)
