"""Images per second and data wait, against a run whose times are known."""

import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from convarium.observe import throughput
from convarium.observe.throughput import Throughput


class Fit(NamedTuple):
    """A fit by a clock of its own."""

    rows: list[dict[str, float]]
    """Those that the callback logged."""
    module: Any
    asked: list[int]
    """The epochs, from 0, at whose end advice was asked for."""


@pytest.fixture
def fit(
    learner: type, squares: type, make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Fit]:
    """Train 10 batches of 8 images an epoch: `wait` seconds before each, `step` in it, `validation` an epoch."""

    def train(step: float, wait: float, *, validation: float = 0.0, **options: Any) -> Fit:
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

            def on_validation_epoch_end(self) -> None:
                clock.now += validation
                super().on_validation_epoch_end()

        module = Steps()
        trainer, rows = make_trainer(Throughput(), **options)
        trainer.fit(module, datamodule=Timed())
        return Fit([row for row in rows.rows if "images_per_second" in row], module, asked)

    return train


def test_the_clock_counts_steps_and_waits_and_stands_still_elsewhere(fit: Callable[..., Fit]) -> None:
    rows, module, _ = fit(step=0.5, wait=0.5, validation=100.0)
    assert [row["step"] for row in rows] == [5, 10, 15, 20, 25, 30]
    for first, second in zip(rows[::2], rows[1::2], strict=True):  # the first batch of an epoch has no wait
        assert (first["data_wait"], second["data_wait"]) == (4 / 9, 5 / 10)
        assert (first["images_per_second"], second["images_per_second"]) == (40 / 4.5, 40 / 5.0)
    assert module.images_per_second == 160 / 19.0  # without the first ten batches
    assert module.latest["data_wait"] == rows[-1]["data_wait"]


def test_a_loader_at_hand_is_hardly_waited_for(
    learner: type, squares: type, make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = learner()
    step = module.training_step
    monkeypatch.setattr(module, "training_step", lambda batch, batch_idx: (time.sleep(0.02), step(batch, batch_idx))[1])
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


# advice


def test_advice_is_shown_once_at_the_end_of_the_first_epoch_that_waited(
    fit: Callable[..., Fit], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(step=0.5, wait=0.5, max_epochs=4).asked == [1]  # the first ten batches are warm-up
    lines = [line for line in capsys.readouterr().out.splitlines() if "data_wait" in line]
    assert lines == ["data_wait 47%: take your time"]  # 9 waits and 10 steps: an epoch's first batch is not counted


def test_advice_is_given_anew_in_another_fit(fit: Callable[..., Fit]) -> None:
    assert fit(step=0.5, wait=0.5).asked == fit(step=0.5, wait=0.5).asked == [1]


def test_a_loader_that_takes_a_tenth_of_the_time_is_not_spoken_of(
    fit: Callable[..., Fit], capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(step=50.0, wait=6.0, max_epochs=5).asked == []  # 54 of 554 seconds
    assert fit(step=50.0, wait=6.5, max_epochs=5).asked == [1]  # 58.5 of 558.5
    assert capsys.readouterr().out.count("data_wait") == 1


def test_a_wait_of_less_than_a_second_is_not_spoken_of_until_it_is_more(fit: Callable[..., Fit]) -> None:
    assert fit(step=0.05, wait=0.05, max_epochs=3).asked == []  # 18 waits in all
    assert fit(step=0.05, wait=0.05, max_epochs=5).asked == [3]  # 27 of them are 1.35 s


def test_a_run_of_warm_up_alone_gets_no_advice(fit: Callable[..., Fit]) -> None:
    assert fit(step=0.5, wait=5.0, max_epochs=1).asked == []
