"""Every private name of Lightning that we use; tests/run/test_lightning_internals.py says whether they hold."""

import os

import lightning.pytorch as L


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
    return not loop._num_ready_batches_reached() and (trainer.should_stop or trainer.global_step == trainer.max_steps)


def drop_signals(trainer: L.Trainer) -> None:
    """Leave SIGTERM to run/interrupt.py: no handler that talks to the other ranks from wherever the signal comes, and
    no broadcast with a device synchronization before every batch."""
    connector, loop = trainer._signal_connector, trainer.fit_loop.epoch_loop
    assert callable(connector.register_signal_handlers)
    assert callable(loop._broadcast_sigterm_tensor)
    connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def ask_no_driver_per_step() -> None:
    """Undo a switch that Lightning sets when it is imported: with it torch's optimizers, which ask at every step
    whether there is CUDA, open the driver's library each time (40 us instead of 1)."""
    os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)
