"""A small network on small images, logging the way the learner does."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor, nn


class Batch(NamedTuple):
    images: Tensor
    targets: Tensor
    index: Tensor


class Batches:
    """Contiguous batches of a rank's share of the samples."""

    def __init__(self, images: Tensor, targets: Tensor, batch_size: int) -> None:
        self.batches = [
            Batch(*parts)
            for parts in zip(*(t.split(batch_size) for t in (images, targets, torch.arange(len(images)))), strict=True)
        ]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


class Squares(L.LightningDataModule):
    """Gray squares: class 1 is bright, class 0 dark, and every tenth is labelled wrong."""

    class_names = ("dark", "明るい")  # which the usual font lacks

    def __init__(self, samples: int = 80, batch_size: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.targets = torch.arange(samples) % 2
        pixels = torch.rand(samples, 1, 8, 8, generator=generator) * 0.4 + 0.5 * self.targets.view(-1, 1, 1, 1)
        self.images = (pixels - 0.5) / 0.25
        self.targets[::10] = 1 - self.targets[::10]
        self.batch_size = batch_size

    def _loader(self) -> Batches:
        return Batches(self.images, self.targets, self.batch_size)

    train_dataloader = val_dataloader = test_dataloader = _loader

    def denormalize(self, images: Tensor) -> Tensor:
        return (63.75 * images + 127.5).round().clamp(0, 255).to(torch.uint8)

    def samples(self, count: int, epochs: int) -> tuple[list[Tensor], list[Tensor], list[str]]:
        return [self.denormalize(self.images[0])], [], ["dark"]

    def advice(self) -> str:
        return ""


class Learner(L.LightningModule):
    """A linear classifier; `classes=1` is the binary form with one logit."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, classes))
        self.latest: dict[str, float] = {}
        self._losses: list[Tensor] = []

    def losses(self, logits: Tensor, targets: Tensor) -> Tensor:
        if logits.shape[1] == 1:
            return nn.functional.binary_cross_entropy_with_logits(logits[:, 0], targets.float(), reduction="none")
        return nn.functional.cross_entropy(logits, targets, reduction="none")

    def row(self, values: dict[str, float]) -> None:
        self.latest.update(values)
        for logger in self.trainer.loggers:
            logger.log_metrics({"epoch": self.current_epoch, **values}, step=self.trainer.global_step)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.losses(self.net(batch.images), batch.targets).mean()
        self._losses.append(loss.detach())
        if batch_idx % 5 == 4:
            self.row({"train/loss_step": float(loss.detach())})
        return loss

    def on_train_epoch_end(self) -> None:
        self.row({"train/loss": float(torch.stack(self._losses).mean()), "train/acc1": 0.8})
        self._losses.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        pass

    def on_validation_epoch_end(self) -> None:
        self.row({"val/loss": 0.5, "val/acc1": 0.7})

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        logits = self.net(batch.images)
        return {"logits": logits, "losses": self.losses(logits, batch.targets)}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


class Rows(Logger):
    """Keeps the rows and writes them as a metrics.csv."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        self.run_dir = run_dir
        self.rows: list[dict[str, float]] = []

    name, version = "rows", None

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append({"step": step or 0, **metrics})

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def save(self) -> None:
        self.run_dir.mkdir(parents=True, exist_ok=True)
        names = list(dict.fromkeys(["step", "epoch", *(name for row in self.rows for name in row)]))
        with (self.run_dir / "metrics.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, names, restval="")
            table.writeheader()
            table.writerows(self.rows)


@pytest.fixture
def learner() -> type[Learner]:
    return Learner


@pytest.fixture
def squares() -> type[Squares]:
    return Squares


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., tuple[L.Trainer, Rows]]:
    """`make_trainer(*callbacks, **options)` -> a trainer in its own run directory and the rows that it logs."""

    def make(*callbacks: L.Callback, **options: Any) -> tuple[L.Trainer, Rows]:
        rows = Rows(tmp_path)
        trainer = L.Trainer(
            callbacks=list(callbacks),
            accelerator="cpu",
            devices=1,
            enable_progress_bar=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=tmp_path,
            **{"max_epochs": 3, "log_every_n_steps": 5, "logger": [rows]} | options,
        )
        return trainer, rows

    return make
