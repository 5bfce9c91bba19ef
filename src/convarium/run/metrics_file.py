"""What a run in progress writes: metrics.csv as a Lightning logger, and signs of life in result.json."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from convarium.files import write_atomically
from convarium.run.directory import Result

PLACE = ("step", "epoch")


class MetricsFile(Logger):
    """metrics.csv, whatever other loggers there are: one row per step at which something was logged, a column for each
    name, blank where absent. Rank 0 writes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._columns: list[str] = [*PLACE]
        self._row: dict[str, float] = {}
        self._waiting: list[dict[str, float]] = []
        self._last: float | None = None  # the step of the last row on disk
        if path.exists():
            self._columns = self._read()[0]

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
        """Add values to the row of `step`."""
        assert step is not None
        if self._row.get("step") != step:
            self._close_row()
            self._row = {"step": step}
        self._row.update(metrics)

    @rank_zero_only
    def save(self) -> None:
        """Put all that was added on disk. Values of a step that has a row there already are merged into it."""
        self._close_row()
        rows = self._waiting
        if not rows:
            return
        fresh = [name for row in rows for name in row if name not in self._columns]
        if fresh or rows[0]["step"] == self._last or not self.path.exists():
            columns, before = self._read() if self.path.exists() else ([], [])
            self._columns = list(dict.fromkeys([*self._columns, *columns, *fresh]))
            self._rewrite([*before, *(_text(row) for row in rows)])
        else:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerows(_text(row) for row in rows)
        self._last = rows[-1]["step"]
        self._waiting = []

    def cut_back(self, step: int) -> dict[str, float]:
        """Forget every row later than `step`: a resumed run takes those steps again.

        The last value under each name in what is left; those of a test will come anew.
        """
        self._waiting, self._row = [], {}
        if not self.path.exists():
            return {}
        self._columns, rows = self._read()
        rows = [row for row in rows if int(row["step"]) <= step]
        self._rewrite(rows)
        self._last = int(rows[-1]["step"]) if rows else None
        cells = ((name, value) for row in rows for name, value in row.items() if value)
        return {name: _number(value) for name, value in cells if name not in PLACE and not name.startswith("test/")}

    def _close_row(self) -> None:
        if self._row:
            self._waiting.append(self._row)
            self._row = {}

    def _read(self) -> tuple[list[str], list[dict[str, str]]]:
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            whole = (row for row in reader if None not in row and None not in row.values())  # a kill may cut one short
            rows = [row for row in whole if row["step"].isdigit()]
            return list(reader.fieldnames or PLACE), rows

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        merged: dict[str, dict[str, str]] = {}
        for row in rows:
            merged.setdefault(row["step"], {}).update({key: value for key, value in row.items() if value != ""})
        lines = [",".join(self._columns)]
        lines += [",".join(row.get(name, "") for name in self._columns) for row in merged.values()]
        write_atomically(self.path, "\n".join(lines) + "\n")


def _number(text: str) -> float:
    return int(text) if text.isdigit() else float(text)


def _text(row: Mapping[str, float]) -> dict[str, str]:
    return {name: repr(value) if isinstance(value, float) else str(value) for name, value in row.items()}


class Heartbeat(L.Callback):
    """Keeps result.json alive from inside the loops; rank 0 only."""

    def __init__(self, result: Result) -> None:
        self.result = result

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        if self.result.due():
            for logger in trainer.loggers:
                logger.save()
            self.beat(trainer, pl_module)

    def beat(self, trainer: L.Trainer, pl_module: L.LightningModule, **fields: Any) -> None:
        """Write how far the run is, and what else there is to say."""
        latest = dict(getattr(pl_module, "latest", {}))
        fields["notes"] = list(getattr(pl_module, "notes", []))
        self.result.write(epochs=trainer.current_epoch, steps=trainer.global_step, metrics=latest, **fields)

    on_validation_batch_end = on_test_batch_end = on_train_batch_end  # type: ignore[assignment]
