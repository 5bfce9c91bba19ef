"""When to stop before the last epoch."""

from typing import Any, Literal

import lightning.pytorch as L
from lightning.pytorch.callbacks import EarlyStopping


class Early(EarlyStopping):
    """Lightning's early stopping, of a figure of validation or, at the end of an epoch, of training.

    A run which had stopped and is resumed, to be tested, trains no more; one that goes on has the patience of its
    config, not what it was when the checkpoint was saved.
    """

    def __init__(
        self, *, monitor: str, mode: Literal["min", "max"], patience: int = 10, min_delta: float = 0.0
    ) -> None:
        in_training = True if monitor.startswith("train/") else None  # None: after each validation
        super().__init__(monitor, min_delta, patience, mode=mode, check_on_train_epoch_end=in_training)

    @property
    def has_stopped(self) -> bool:
        """Whether the figure has not become better for long enough."""
        return 0 < self.wait_count >= self.patience

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.has_stopped:
            trainer.should_stop = True

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict({**state_dict, "patience": self.patience})
