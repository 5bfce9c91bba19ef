"""How a network learns: the LightningModule, losses, optimizers, schedules, gradient clipping, averaging."""
