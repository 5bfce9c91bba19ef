"""How fast the run trains, and how much of that time it waits for data."""

import time
from typing import Any

import lightning.pytorch as L

WORTH_SAYING = 0.1  # share of the time that was waited for data
SHORT = 1.0  # seconds; a run that waited no longer than this needs no advice


class Throughput(L.Callback):
    """Log `images_per_second` (all ranks together) and `data_wait` (0..1) with every row of the training log.

    The clock is the host's and stands still during validation, at the turn of an epoch and while a checkpoint is
    written; nothing synchronizes with the device, whose queue is short against the steps between two rows. `data_wait`
    is the share of the clock from the end of one batch to the start of the next, moving the batch to the device
    included. The average over the run without its first `warmup_batches` is left in `pl_module.images_per_second`.
    At the end of an epoch by which over a tenth of the time was waited, the data module's `advice()` is shown, once.
    """

    def __init__(self, *, warmup_batches: int = 10) -> None:
        self.warmup_batches = warmup_batches
        self._reset()

    def _reset(self) -> None:
        self._batches = self._images = self._all_images = 0
        self._seconds = self._waited = self._all_seconds = self._all_waited = 0.0
        self._began = 0.0
        self._ended: float | None = None  # when the last batch ended, if what follows it is a wait for data
        self._row_step = 0
        self._logged = self._advised = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._reset()
        self._row_step = trainer.global_step

    def _stop_the_clock(self, *_: Any, **__: Any) -> None:
        self._ended = None

    on_train_epoch_start = on_save_checkpoint = _stop_the_clock

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop_the_clock()
        self._log_short(trainer, pl_module)

    def _log_short(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log what came before the first row of the training log, that a checkpoint may have it."""
        if not self._logged and self._batches:
            self._log(trainer, pl_module)

    def on_train_batch_start(self, *_: Any) -> None:
        self._began = now = time.perf_counter()
        if self._ended is not None:
            self._waited += now - self._ended
            self._seconds += now - self._ended

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._ended = now = time.perf_counter()
        self._seconds += now - self._began
        self._images += len(batch.targets)
        self._batches += 1
        if self._batches == self.warmup_batches:
            self._all_images, self._all_seconds = -self._images, -self._seconds
            self._all_waited = -self._waited
        step = trainer.global_step
        if step % trainer.log_every_n_steps == 0 and step != self._row_step:
            self._row_step = step
            self._log(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Any, pl_module: L.LightningModule) -> None:
        self._log_short(trainer, pl_module)
        seconds, waited = self._all_seconds + self._seconds, self._all_waited + self._waited
        shown = not self._advised and trainer.is_global_zero and self._batches > self.warmup_batches
        if shown and waited > max(WORTH_SAYING * seconds, SHORT):
            self._advised = True
            print(f"data_wait {waited / seconds:.0%}: {trainer.datamodule.advice()}", flush=True)

    def _log(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        row = {
            "images_per_second": self._images * trainer.world_size / self._seconds,
            "data_wait": self._waited / self._seconds,
        }
        self._all_images += self._images
        self._all_seconds += self._seconds
        self._all_waited += self._waited
        warm = self._batches > self.warmup_batches
        average = self._all_images * trainer.world_size / self._all_seconds if warm else row["images_per_second"]
        pl_module.images_per_second = average  # type: ignore[assignment]
        self._images, self._seconds, self._waited = 0, 0.0, 0.0
        self._logged = True
        getattr(pl_module, "latest", {}).update(row)
        if trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.log_metrics(row, step=trainer.global_step)
