"""Every private name of Lightning that we use; tests/run/test_lightning.py says whether they hold.

First of all its loop over the batches of an epoch, by the shortest way through a training step.
Lightning's own calls every hook of every callback inside a profiler's context, wraps the step in closures and asks the
same questions several times: about 0.6 ms per step, what a small network needs for its whole forward pass.
"""

import os
from collections.abc import Callable
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.loops.utilities import _block_parallel_sync_behavior
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from convarium.batch import Batch
from convarium.errors import ConfigError

HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)


class EndingLoop(_TrainingEpochLoop):
    """Lightning's loop, but a run ends where no gradients are left over, and with a validation: nothing is tested that
    has not been validated."""

    @property
    def done(self) -> bool:
        return super().done and not self._should_accumulate()

    def _should_check_val_fx(self, data_fetcher: Any) -> bool:
        if self._is_the_end():
            return bool(self.trainer.enable_validation)
        stops_later = self.trainer.should_stop and self._should_accumulate()
        return not stops_later and super()._should_check_val_fx(data_fetcher)

    def _is_the_end(self) -> bool:
        """Whether no batch comes after the micro-batch just done."""
        trainer, last = self.trainer, self.batch_progress.is_last_batch
        limited = trainer.should_stop or trainer.global_step == trainer.max_steps
        ends = limited or (last and trainer.current_epoch + 1 == trainer.max_epochs)
        return ends and not self._should_accumulate()


class EpochLoop(EndingLoop):
    """Same steps, hooks and counters, in the same order, as the loop it takes the place of; a test holds them together.

    Raises ConfigError for what this way does not know: a profiler (which takes Lightning's own loop), a strategy or
    precision other than those of conf/.
    """

    def on_run_start(self, data_fetcher: Any) -> None:
        super().on_run_start(data_fetcher)
        trainer = self.trainer
        for name, known in (
            ("profiler", isinstance(trainer.profiler, PassThroughProfiler)),  # type: ignore[attr-defined]
            ("strategy", type(trainer.strategy) in (SingleDeviceStrategy, DDPStrategy)),
            ("precision", type(trainer.precision_plugin) in (Precision, MixedPrecision)),
        ):
            if not known:
                raise ConfigError(f"trainer.{name}: not one that this training loop knows; accepted: those of conf/")
        every = trainer.val_check_batch
        self._validates_every = every if isinstance(every, int) else 1  # 1: ask Lightning after every batch
        self._hooks = {name: _taking_part(trainer, name) for name in HOOKS}

    def advance(self, data_fetcher: Any) -> None:
        """One micro-batch: fetch, move, augment; forward, backward and, unless gradients gather, the step."""
        if self.restarting and self._should_check_val_fx(data_fetcher) and self._validation_is_next():
            return
        trainer, progress = self.trainer, self.batch_progress
        self.val_loop.restarting = False
        batch = next(data_fetcher)[0]
        batch_idx = self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        data = trainer.datamodule  # type: ignore[attr-defined]
        batch = data.transfer_batch_to_device(batch, trainer.strategy.root_device, 0)
        batch = data.on_after_batch_transfer(batch, 0)
        progress.increment_ready()
        self._note_for_log(batch)
        self._call("on_train_batch_start", batch, batch_idx)
        progress.increment_started()
        outputs = {"loss": self._train(batch, batch_idx)}
        progress.increment_processed()
        self._call("on_train_batch_end", outputs, batch, batch_idx)
        progress.increment_completed()
        if self._results:
            trainer._logger_connector.on_batch_end()
            trainer._logger_connector.update_train_step_metrics()
        self._results.batch = None  # let go of the pixels

    def _validation_is_next(self) -> bool:
        """Whether a run that goes on where a validation was due has that to do before it trains."""
        if self.val_loop.restarted_mid_evaluation:
            return True
        if self.restarted_on_last:
            self._skip_next_val = True  # it was done before the checkpoint was written
            return True
        self.val_loop.increment_progress_to_evaluation_end()
        return False

    def on_advance_end(self, data_fetcher: Any) -> None:
        """What is left to do where no validation can be due."""
        trainer, ready = self.trainer, self.batch_progress.current.ready
        if (
            self._skip_next_val
            or self.batch_progress.is_last_batch
            or ready % self._validates_every == 0
            or self._is_the_end()
        ):
            super().on_advance_end(data_fetcher)
        elif ready % trainer.accumulate_grad_batches == 0:
            self._batches_that_stepped += 1

    def _note_for_log(self, batch: Batch) -> None:
        """What `self.log` in a callback goes by: whether this is the epoch's first batch, and how large it is."""
        connector = self.trainer._logger_connector
        if connector._first_loop_iter is False:
            self._results.batch, self._results.batch_size, self._results.dataloader_idx = batch, None, None
        else:
            connector.on_batch_start(batch)

    def _train(self, batch: Batch, batch_idx: int) -> Tensor:
        """Forward, backward and, at the end of an accumulation, the optimizer's step; the detached loss."""
        trainer, done = self.trainer, self.automatic_optimization.optim_progress.optimizer
        optimizer = trainer.optimizers[0]
        if self._should_accumulate():
            with _block_parallel_sync_behavior(trainer.strategy):
                return self._gradients(batch, batch_idx, optimizer)
        done.step.increment_ready()
        loss = self._gradients(batch, batch_idx, optimizer)
        learner: Any = trainer.lightning_module
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        if scaler is not None and not getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)
        self._call("on_before_optimizer_step", optimizer)
        learner.configure_gradient_clipping(optimizer)
        if scaler is None:
            optimizer.step()
        else:
            scaler.step(optimizer)
            scaler.update()
        learner.on_after_optimizer_step()
        done.step.increment_completed()
        return loss

    def _gradients(self, batch: Batch, batch_idx: int, optimizer: torch.optim.Optimizer) -> Tensor:
        trainer, done = self.trainer, self.automatic_optimization.optim_progress.optimizer
        accumulate = trainer.accumulate_grad_batches
        loss: Tensor = trainer.strategy.training_step(batch, batch_idx)  # type: ignore[assignment]
        if accumulate > 1:
            loss = loss / accumulate
        if batch_idx % accumulate == 0:
            done.zero_grad.increment_ready()
            self._call("on_before_zero_grad", optimizer)
            done.zero_grad.increment_started()
            optimizer.zero_grad()
            done.zero_grad.increment_completed()
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        scaled = loss if scaler is None else scaler.scale(loss)
        self._call("on_before_backward", scaled)
        scaled.backward()
        self._call("on_after_backward")
        return loss.detach()

    def _call(self, hook: str, *args: Any) -> None:
        """Call those who take part in `hook`: the callbacks in their order, then the learner."""
        methods = self._hooks[hook]
        if not methods:
            return
        learner = self.trainer.lightning_module
        before = learner._current_fx_name
        learner._current_fx_name = hook  # what `self.log` goes by
        for method in methods:
            method(*args)
        learner._current_fx_name = before


def _taking_part(trainer: L.Trainer, hook: str) -> list[Callable[..., None]]:
    """What is to be called for `hook`, of those that have put something in the place of the empty method."""
    learner = trainer.lightning_module

    def bound(callback: L.Callback) -> Callable[..., None]:
        return lambda *args: getattr(callback, hook)(trainer, learner, *args)

    methods = [
        bound(callback)
        for callback in trainer.callbacks  # type: ignore[attr-defined]
        if hook in vars(callback) or getattr(type(callback), hook) is not getattr(L.Callback, hook)
    ]
    if getattr(type(learner), hook) is not getattr(L.LightningModule, hook):
        methods.append(getattr(learner, hook))
    return methods


def mid_accumulation(trainer: L.Trainer) -> bool:
    """Whether the micro-batch just done left gradients that are not stepped with yet."""
    return trainer.fit_loop.epoch_loop._should_accumulate()


def more_to_come_at_this_batch(trainer: L.Trainer) -> bool:
    """Whether a validation or the end of the epoch follows the micro-batch just done.

    A checkpoint saved between the two is resumed after them, and their figures are lost.
    """
    loop = trainer.fit_loop.epoch_loop
    fetcher = trainer.fit_loop._data_fetcher
    assert fetcher is not None
    return loop._num_ready_batches_reached() or loop._should_check_val_fx(fetcher)


def ends_within_epoch(trainer: L.Trainer) -> bool:
    """Whether the micro-batch just done is the run's last and not its epoch's: `max_steps` or `max_time` is reached."""
    loop = trainer.fit_loop.epoch_loop
    within = not loop._num_ready_batches_reached() and not loop._should_accumulate()
    return within and (trainer.should_stop or trainer.global_step == trainer.max_steps)


def forget_that_steps_are_limited(trainer: L.Trainer) -> None:
    """Resume a run with `max_steps` as one without: Lightning takes a whole epoch of it for one to be gone on with, and
    ends it anew, without a batch."""
    loop = trainer.fit_loop
    assert callable(loop._iteration_based_training)
    loop._iteration_based_training = lambda: False  # type: ignore[method-assign]


def drop_signals(trainer: L.Trainer) -> None:
    """Leave SIGTERM to run/stop_request.py.

    No handler then talks to the other ranks from wherever the signal comes, and no broadcast synchronizes with the
    device before every batch.
    """
    connector, loop = trainer._signal_connector, trainer.fit_loop.epoch_loop
    assert callable(connector.register_signal_handlers)
    assert callable(loop._broadcast_sigterm_tensor)
    connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def ask_no_driver_per_step() -> None:
    """Undo a switch that Lightning sets when it is imported: with it torch's optimizers, which ask at every step
    whether there is CUDA, open the driver's library each time (40 us instead of 1)."""
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
