"""Checkpoints that resume exactly: when they may be saved, and what is in them."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as L
import yaml
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Checkpoint as LightningCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from convarium.config.identity import config_hash, difference
from convarium.errors import RunError
from convarium.learn.averaging import Averaging
from convarium.learn.checkpoint_file import FORMAT, read_checkpoint, write_checkpoint
from convarium.learn.learner import Learner
from convarium.observe.tracker import Tracker
from convarium.run.directory import RunDirectory, parse_config
from convarium.run.lightning import ends_within_epoch, mid_accumulation, more_to_come_at_this_batch
from convarium.run.stop_request import Interrupted, StopRequest
from convarium.wording import counted


class Checkpoint(LightningCheckpoint):
    """Keeps `checkpoints/last.ckpt`, to resume from, and `checkpoints/best.ckpt`, the weights with the best `monitor`
    (of equal ones the last: where few images judge, equals are many, and the longer trained are the better).

    `last` is saved at the end of every epoch, and inside it every `every_n_steps` optimizer steps or `every_n_minutes`
    (null: never), never in the middle of an accumulation, and not where a validation is due: that comes first, then the
    end of the epoch saves. Nothing is saved before its losses and weights are known to be finite. A SIGTERM or Ctrl-C
    saves in the same places and raises Interrupted.
    """

    def __init__(
        self,
        *,
        every_n_steps: int | None = None,
        every_n_minutes: float | None = 10.0,
        monitor: str = "val/acc1",
        mode: str = "max",
    ) -> None:
        self.every_n_steps = every_n_steps
        self.every_n_minutes = every_n_minutes
        self.monitor = monitor
        self.sign = 1.0 if mode == "max" else -1.0
        self.best_score: float | None = None
        self.best_epoch: int | None = None
        self.on_saved: Callable[[int], None] = lambda step: None
        """Hears of the step that last.ckpt has come to."""
        self._saved_at = time.monotonic()
        self._saved_at_step = -1  # where the run ended within an epoch

    def begin(self, run: RunDirectory, config: Mapping[str, Any], stop: StopRequest) -> None:
        """Say where to save, which config made the run, and who hears that it is to stop."""
        self._run = run
        self._stop = stop
        self._header = {
            "format": FORMAT,
            "config": yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True),
            "config_hash": config_hash(dict(config)),
        }

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop.begin(trainer)
        self._saved_at = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if mid_accumulation(trainer):
            return
        signum = self._stop.agreed()
        ends = ends_within_epoch(trainer)
        if not (ends or signum or self._due(trainer)) or more_to_come_at_this_batch(trainer):
            return
        if ends:
            self._save_end(trainer, pl_module)
            return
        self._save_last(trainer, pl_module)
        if signum:
            raise Interrupted(signum)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._saved_at_step != trainer.global_step:  # a whole epoch
            if self.monitor.startswith("train/"):
                self._save_best(trainer, pl_module)
            self._save_last(trainer, pl_module)
        if signum := self._stop.agreed():
            raise Interrupted(signum)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn != TrainerFn.FITTING:
            return
        if not self.monitor.startswith("train/"):
            self._save_best(trainer, pl_module)
        if ends_within_epoch(trainer):
            self._save_end(trainer, pl_module)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._stop.finish()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint |= self._header
        checkpoint["averaged"] = _averaged(trainer)
        checkpoint["trackers"] = {
            type(logger).__name__: logger.run_id
            for logger in trainer.loggers
            if isinstance(logger, Tracker) and logger.run_id
        }

    def state_dict(self) -> dict[str, Any]:
        return {"best_score": self.best_score, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_score, self.best_epoch = state_dict["best_score"], state_dict["best_epoch"]

    def _due(self, trainer: L.Trainer) -> bool:
        if self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0:
            return True
        if self.every_n_minutes is None:
            return False
        late = time.monotonic() - self._saved_at > 60 * self.every_n_minutes
        if trainer.world_size == 1:
            return late
        # several ranks go by rank 0's clock, and ask it only where they wait for each other anyway
        if trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return False
        return bool(trainer.strategy.broadcast(late))

    def _save_best(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the weights if the monitored figure, which has just been measured, is no worse than before."""
        assert isinstance(pl_module, Learner)
        score = pl_module.latest.get(self.monitor)
        if score is None or not math.isfinite(score) or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        if self.best_score is not None and self.sign * score < self.sign * self.best_score:
            return
        pl_module.check_finite()
        self.best_score, self.best_epoch = score, trainer.current_epoch
        if trainer.is_global_zero:
            write_checkpoint(
                self._run.best,
                {
                    "state_dict": {f"net.{name}": value for name, value in pl_module.net.state_dict().items()},
                    "averaged": _averaged(trainer),
                    "epoch": trainer.current_epoch,
                    "global_step": trainer.global_step,
                    self.monitor: self.best_score,
                    **self._header,
                },
            )

    def _save_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Where the run ends within an epoch: Lightning takes it for a whole one, unless the state is from before."""
        self._save_last(trainer, pl_module)
        self._saved_at_step = trainer.global_step

    def _save_last(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        assert isinstance(pl_module, Learner)
        pl_module.check_finite()
        for logger in trainer.loggers:
            logger.save()  # metrics.csv must not lag behind: a resumed run only adds to it
        trainer.save_checkpoint(self._run.last)
        self.on_saved(trainer.global_step)
        self._saved_at = time.monotonic()


class Saved(NamedTuple):
    """What is to be known of the checkpoint that a run goes on from before Lightning loads it."""

    global_step: int
    trackers: dict[str, str]
    """The id that a tracker has given the run, by the tracker's class."""


def saved_of(run: RunDirectory, config: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint that a run goes on from, with this config; None where it has saved none and begins anew.

    Raises RunError where one that it has saved is not there, is damaged, or is another run's.
    """
    result = run.result()
    if not run.last.is_file():
        steps = result.get("steps") if result.get("status") == "ok" else result.get("saved_steps")
        if steps and not config["trainer"]["fast_dev_run"]:
            lost = f"without it the run of {counted(steps, 'step')} cannot be gone on with"
            raise RunError(f"{run.last}: no such checkpoint; {lost}")
        return None
    last = _own(run.last, config)
    states = [state for state in last.get("callbacks", {}).values() if "best_score" in state and "best_epoch" in state]
    if config["test"]["weights"] == "best" and any(state["best_score"] is not None for state in states):
        try:
            _own(run.best, config)
        except RunError as error:
            raise RunError(f"{error}; test.weights=last goes on without it") from error
    return last


def _own(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint, which is to be of the run that has this config."""
    checkpoint = read_checkpoint(path)
    if checkpoint["config_hash"] == config_hash(config):
        return checkpoint
    key = difference(parse_config(str(checkpoint.get("config")), path), config)
    if key is not None:
        raise RunError(f"{path}: the checkpoint of another run; {key} differs")
    return checkpoint


def _averaged(trainer: L.Trainer) -> dict[str, Tensor] | None:
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return next((callback.averaged_state() for callback in callbacks if isinstance(callback, Averaging)), None)


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint files, written so that a kill at any moment leaves the previous one whole."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        write_checkpoint(Path(path), checkpoint)
