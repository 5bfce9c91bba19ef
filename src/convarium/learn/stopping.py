"""When to stop before the last epoch."""

import lightning.pytorch as L
from lightning.pytorch.callbacks import EarlyStopping


class Early(EarlyStopping):
    """Lightning's early stopping, except that a run which had stopped and is resumed, to be tested, trains no more."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.wait_count >= self.patience:
            trainer.should_stop = True
