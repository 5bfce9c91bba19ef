"""Images per second and data wait, against a run whose times are known."""

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from convarium.observe import throughput
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


# advice


@pytest.fixture
def advised(
    learner: type, squares: type, make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[int]]:
    """Train 10 batches an epoch by a clock of our own; the epochs, from 0, at whose end advice was asked for."""

    def train(step: float, wait: float, **options: Any) -> list[int]:
        clock, asked = SimpleNamespace(now=0.0), []
        monkeypatch.setattr(throughput, "time", SimpleNamespace(perf_counter=lambda: clock.now))

        class Slow:
            def __init__(self, batches: Any) -> None:
                self.batches = batches

            def __len__(self) -> int:
                return len(self.batches)

            def __iter__(self) -> Iterator[Any]:
                for batch in self.batches:
                    clock.now += wait
                    yield batch

        class Timed(squares):
            def train_dataloader(self) -> Any:
                return Slow(super().train_dataloader())

            def advice(self) -> str:
                asked.append(self.trainer.current_epoch)
                return "take your time"

        class Steps(learner):
            def training_step(self, batch: Any, batch_idx: int) -> Any:
                clock.now += step
                return super().training_step(batch, batch_idx)

        trainer, _ = make_trainer(Throughput(), **options)
        trainer.fit(Steps(), datamodule=Timed())
        return asked

    return train


def test_advice_is_shown_once_at_the_end_of_the_first_epoch_that_waited(
    advised: Callable[..., list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert advised(step=0.5, wait=0.5, max_epochs=4) == [1]  # the first ten batches are warm-up
    lines = [line for line in capsys.readouterr().out.splitlines() if "data_wait" in line]
    assert lines == ["data_wait 47%: take your time"]  # 9 waits and 10 steps: an epoch's first batch is not counted


def test_advice_is_given_anew_in_another_fit(advised: Callable[..., list[int]]) -> None:
    assert advised(step=0.5, wait=0.5) == advised(step=0.5, wait=0.5) == [1]


def test_a_loader_that_takes_a_tenth_of_the_time_is_not_spoken_of(
    advised: Callable[..., list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert advised(step=50.0, wait=6.0, max_epochs=5) == []  # 54 of 554 seconds
    assert advised(step=50.0, wait=6.5, max_epochs=5) == [1]  # 58.5 of 558.5
    assert capsys.readouterr().out.count("data_wait") == 1


def test_a_wait_of_less_than_a_second_is_not_spoken_of_until_it_is_more(advised: Callable[..., list[int]]) -> None:
    assert advised(step=0.05, wait=0.05, max_epochs=3) == []  # 18 waits in all
    assert advised(step=0.05, wait=0.05, max_epochs=5) == [3]  # 27 of them are 1.35 s


def test_a_run_of_warm_up_alone_gets_no_advice(advised: Callable[..., list[int]]) -> None:
    assert advised(step=0.5, wait=5.0, max_epochs=1) == []


def test_data_without_advice_are_left_alone(
    timed: tuple[Any, Any], make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(throughput, "SHORT", 0.01)
    module, data = timed
    trainer, _ = make_trainer(Throughput(warmup_batches=0), max_epochs=1)
    trainer.fit(module, datamodule=data)
    assert "data_wait" not in capsys.readouterr().out
