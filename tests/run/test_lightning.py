"""The private names of Lightning mean what we take them to mean, on the Lightning that is installed."""

import signal
from collections.abc import Callable
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from convarium.run.lightning import (
    drop_signals,
    ends_within_epoch,
    mid_accumulation,
    more_to_come_at_this_batch,
)


class Net(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(1, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss: torch.Tensor = self.net(batch[0]).sum()
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None: ...

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Asks(L.Callback):
    """Asks a question after every micro-batch."""

    def __init__(self, question: Callable[[L.Trainer], Any]) -> None:
        self.question = question
        self.answers: list[Any] = []

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self.answers.append(self.question(trainer))


def fit(question: Callable[[L.Trainer], Any], prepare: Callable[[L.Trainer], None] | None = None, **keys: Any) -> list:
    """The answers over two epochs of six micro-batches."""
    asks = Asks(question)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[asks],
        **keys,
    )
    if prepare:
        prepare(trainer)
    data = DataLoader(TensorDataset(torch.ones(6, 1)))
    trainer.fit(Net(), data, data)
    return asks.answers


pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*number of training batches"),
]


@pytest.mark.parametrize(
    ("accumulate", "left"), [(1, [0, 0, 0, 0, 0, 0]), (2, [1, 0, 1, 0, 1, 0]), (4, [1, 1, 1, 0, 1, 0])]
)
def test_gradients_are_left_over_until_their_optimizer_step(accumulate: int, left: list[int]) -> None:
    answers = fit(mid_accumulation, accumulate_grad_batches=accumulate)
    assert [int(answer) for answer in answers] == 2 * left


@pytest.mark.parametrize(
    ("keys", "more"),
    [
        ({}, [0, 0, 0, 0, 0, 1]),
        ({"val_check_interval": 0.5}, [0, 0, 1, 0, 0, 1]),
        ({"val_check_interval": 2}, [0, 1, 0, 1, 0, 1]),
        ({"limit_val_batches": 0}, [0, 0, 0, 0, 0, 1]),
        ({"limit_train_batches": 4}, [0, 0, 0, 1]),
    ],
)
def test_a_validation_or_the_end_of_the_epoch_is_still_to_come(keys: dict[str, Any], more: list[int]) -> None:
    answers = fit(more_to_come_at_this_batch, **keys)
    assert [int(answer) for answer in answers] == 2 * more


@pytest.mark.parametrize(
    ("keys", "ends"),
    [
        ({}, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ({"max_steps": 8}, [0, 0, 0, 0, 0, 0, 0, 1]),
        ({"max_steps": 6}, [0, 0, 0, 0, 0, 0]),  # with its epoch
        ({"max_steps": 2, "accumulate_grad_batches": 2}, [0, 0, 0, 1]),
    ],
)
def test_a_limit_ends_the_run_within_an_epoch(keys: dict[str, Any], ends: list[int]) -> None:
    assert [int(answer) for answer in fit(ends_within_epoch, **keys)] == ends


def test_signals_stay_ours_through_a_fit() -> None:
    def mine(*_: Any) -> None: ...

    before = signal.signal(signal.SIGTERM, mine)
    try:
        ours = fit(lambda _: signal.getsignal(signal.SIGTERM), drop_signals)
        theirs = fit(lambda _: signal.getsignal(signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert ours == 12 * [mine]
    assert mine not in theirs  # else there is nothing to drop any more


def test_the_broadcast_before_each_batch_of_several_ranks_is_the_one_that_is_dropped() -> None:
    from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop

    assert "_broadcast_sigterm_tensor" in _TrainingEpochLoop.advance.__code__.co_names
    assert fit(lambda trainer: trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor(), drop_signals) == 12 * [None]
