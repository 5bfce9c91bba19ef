"""How a run in progress reaches its directory: signs of life in result.json, and metrics.csv as a Lightning logger."""

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from convarium.run.directory import MetricsTable, Result, RunDirectory


class MetricsFile(Logger):
    """metrics.csv, whatever other loggers there are; rank 0 writes."""

    def __init__(self, run: RunDirectory) -> None:
        super().__init__()
        self.table = MetricsTable(run.metrics_file)

    @property
    def name(self) -> str:
        return "metrics.csv"

    @property
    def version(self) -> None:
        return None

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml has them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        assert step is not None
        self.table.add(metrics, step)

    @rank_zero_only
    def save(self) -> None:
        self.table.flush()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        self.table.flush()


class Recorder(L.Callback):
    """Keeps result.json alive from inside the loops; rank 0 only."""

    def __init__(self, result: Result) -> None:
        self.result = result

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self._beat(trainer, pl_module)

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self._beat(trainer, pl_module)

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self._beat(trainer, pl_module)

    def _beat(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.result.due():
            for logger in trainer.loggers:
                logger.save()
            self.result.write(
                epochs=trainer.current_epoch, steps=trainer.global_step, metrics=dict(getattr(pl_module, "latest", {}))
            )
