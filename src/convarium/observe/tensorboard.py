"""TensorBoard event files in the run directory, through Lightning's own logger."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from PIL import Image

from convarium.observe.tracker import Start, Tracker, numbers_of, swept_of

if TYPE_CHECKING:
    from lightning.pytorch.loggers import TensorBoardLogger


class TensorBoard(Tracker):
    """Event files in RUN/tensorboard; a resumed run appends to them and hides what lies behind its checkpoint."""

    package = "tensorboard"

    def __init__(self, *, flush_seconds: float = 30.0) -> None:
        super().__init__()
        self.flush_seconds = flush_seconds
        self._logger: TensorBoardLogger | None = None  # opened by the first row: a resumed run goes on at its step
        self._last_step = 0

    def _import(self) -> None:
        import lightning.pytorch.loggers  # noqa: F401
        import torch.utils.tensorboard  # noqa: F401

    def open(self, start: Start) -> None:
        self._start, self._config = start, start.config

    def _opened(self, step: int) -> "TensorBoardLogger":
        from lightning.pytorch.loggers import TensorBoardLogger

        if self._logger is None:
            folder = self._start.run_dir / "tensorboard"
            first = step if folder.is_dir() and any(folder.iterdir()) else None
            writer: Any = {"flush_secs": self.flush_seconds, "purge_step": first, "default_hp_metric": False}
            self._logger = TensorBoardLogger(self._start.run_dir, folder.name, version="", **writer)
            text = yaml.safe_dump(self._config, sort_keys=False, allow_unicode=True)
            self._logger.experiment.add_text("config", f"```yaml\n{text}\n```", step)
        return self._logger

    def write_config(self, config: dict[str, Any]) -> None:
        self._config = config

    def write_metrics(self, metrics: dict[str, float], step: int | None) -> None:
        self._last_step = self._last_step if step is None else step
        self._opened(self._last_step).log_metrics(metrics, self._last_step)

    def write_summary(self, summary: dict[str, Any]) -> None:
        """The row of the run in the HParams tab: of a job of a sweep by what is swept, else by the whole config."""
        params = swept_of(self._config) or self._config
        self._opened(self._last_step).log_hyperparams(params, numbers_of(summary), self._last_step)

    def write_histogram(self, name: str, low: float, high: float, shares: Sequence[float], step: int) -> None:
        width = (high - low) / len(shares)
        middles = low + width * (np.arange(len(shares)) + 0.5)
        sums = {"sum": float(middles @ shares), "sum_squares": float(middles**2 @ shares)}
        limits = (low + width * np.arange(1, len(shares) + 1)).tolist()
        counts = {"num": 1, "bucket_limits": limits, "bucket_counts": list(shares)}
        self._opened(step).experiment.add_histogram_raw(name, min=low, max=high, **sums, **counts, global_step=step)

    def write_figures(self, files: Sequence[Path]) -> None:
        for file in files:
            pixels = np.asarray(Image.open(file).convert("RGB"))
            writer = self._opened(self._last_step).experiment
            writer.add_image(f"figures/{file.stem}", pixels, self._last_step, dataformats="HWC")

    def close(self, status: str) -> None:
        self._opened(self._last_step).finalize("success" if status == "ok" else "failed")
