"""Where the run is: a bar on a terminal, a plain line now and then anywhere else."""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import lightning.pytorch as L

from convarium.observe.watched import watched_metric
from convarium.progress_bar import Bar, open_bar

ETA_AFTER = 20  # steps; the time to go is counted from the end of the first, which is not like the others
NEVER = math.inf


class Progress(L.Callback):
    """Show epoch, step, the latest loss, the monitored metric, images per second and the time to go; on rank 0 only.

    Nothing is computed for it: it reads what the learner logged last from `pl_module.latest`, and a step on which
    nothing is due costs one look at the clock. A plain line comes after the first 20 steps, when the time to go is
    known, and then every `seconds`; a bar is drawn again every `refresh_seconds`.
    """

    def __init__(self, *, seconds: float = 10.0, refresh_seconds: float = 0.25) -> None:
        self.seconds, self.refresh_seconds = seconds, refresh_seconds
        self._due = NEVER
        self._bar: Bar | None = None
        self._total = NEVER
        self._epoch = 0
        self._batches = 0  # of this process: a resumed run starts at 0 again
        self._started = 0.0
        self._first = (0, 0.0)  # the step that the first batch led to, and when

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._batches = 0
        self._started = time.monotonic()
        self._epoch = trainer.current_epoch + 1
        self._open(trainer, _total_steps(trainer))
        if self._bar is not None:
            self._show_fit(trainer, pl_module, self._started)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._epoch = trainer.current_epoch + 1

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *batch: Any) -> None:
        now = time.monotonic()
        self._batches += 1
        if self._batches == 1:
            self._first = (trainer.global_step, now)
        if now >= self._due or self._batches == 1 + ETA_AFTER * trainer.accumulate_grad_batches:
            self._show_fit(trainer, pl_module, now)

    def on_validation_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *batch: Any) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._show_fit(trainer, pl_module, now, f"validation {_of(batch[2], trainer.num_val_batches)}")

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._show_fit(trainer, pl_module, time.monotonic())
        self._close()

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._open(trainer, sum(trainer.num_test_batches))
        if self._bar is not None:
            self._show(time.monotonic(), f"test {_of(-1, trainer.num_test_batches)}", [], 0)

    def on_test_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *batch: Any) -> None:
        now = time.monotonic()
        if now >= self._due:
            self._show(now, f"test {_of(batch[2], trainer.num_test_batches)}", [], batch[2] + 1)

    def _open(self, trainer: L.Trainer, total: float) -> None:
        """Start the bar or the waiting for the first line; other ranks stay silent."""
        self._close()
        if not trainer.is_global_zero:
            return
        self._bar, self._total = open_bar(sys.stdout, transient=False), total
        self._due = time.monotonic() + self._period

    def _close(self, *_: Any, **__: Any) -> None:
        """Give the terminal back; may be called twice."""
        self._due = NEVER
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._bar is not None:
            total = sum(trainer.num_test_batches)
            self._show(time.monotonic(), f"test {_of(int(total) - 1, trainer.num_test_batches)}", [], total)
        self._close()

    on_exception = teardown = _close

    @property
    def _period(self) -> float:
        return self.seconds if self._bar is None else self.refresh_seconds

    def _show_fit(self, trainer: L.Trainer, pl_module: L.LightningModule, now: float, doing: str = "") -> None:
        step, total = trainer.global_step, _total_steps(trainer)
        epochs = trainer.max_epochs or -1
        where = f"epoch {self._epoch}" + (f"/{epochs}" if epochs > 0 else "")
        where += "  " + (doing or f"step {step:,}" + (f"/{total:,}" if total < NEVER else ""))
        latest = getattr(pl_module, "latest", {})
        facts = _facts(latest, watched_metric(trainer.callbacks, latest))  # type: ignore[attr-defined]
        first_step, first_time = self._first
        if step >= total:
            facts.append(f"{timedelta(seconds=round(now - self._started))}")
        elif total < NEVER and step - first_step >= ETA_AFTER:
            left = (now - first_time) / (step - first_step) * (total - step)
            facts.append(f"{timedelta(seconds=round(left))} to go")
        if "images_per_second" in latest:  # last: the first to go where a line is short
            facts.append(f"{latest['images_per_second']:,.0f} images/s")
        self._show(now, where, facts, step)

    def _show(self, now: float, where: str, facts: list[str], done: float) -> None:
        if self._due == NEVER:
            return
        self._due = now + self._period
        if self._bar is None:
            with suppress(OSError):  # a full disk or a closed pipe behind stdout is no reason to stop training
                print("  ".join([where, *facts]), flush=True)
        else:
            self._bar.show(done, self._total if self._total < NEVER else None, "  ".join(facts), before=where)


def _facts(latest: Mapping[str, float], watched: str | None) -> list[str]:
    """What the learner and the other callbacks logged last, in words."""
    facts = []
    loss = latest.get("train/loss_step", latest.get("train/loss"))
    if loss is not None:
        facts.append(f"loss {loss:.4f}")
    if watched is not None:
        facts.append(f"{watched} {latest[watched]:.4f}")
    return facts


def _total_steps(trainer: L.Trainer) -> float:
    """Optimizer steps of the whole run; infinite if nothing but time or a callback ends it."""
    total = trainer.estimated_stepping_batches
    return total if total >= 0 else NEVER


def _of(batch_idx: int, batches: Sequence[float]) -> str:
    total = sum(batches)
    return f"{batch_idx + 1:,}" + (f"/{total:,}" if total < NEVER else "")
