"""Which of the logged metrics of validation is shown."""

from collections.abc import Iterable, Sequence
from typing import Any


def watched_metric(callbacks: Sequence[Any], logged: Iterable[str]) -> str | None:
    """The monitored metric, or the first logged one of validation other than the loss; None: none is logged."""
    names = [name for name in logged if name.startswith("val/")]
    monitored = [callback.monitor for callback in _monitoring(callbacks) if callback.monitor in names]
    return next(iter([*monitored, *(name for name in names if name != "val/loss")]), None)


def lower_is_better(callbacks: Sequence[Any], metric: str) -> bool:
    """Whether a callback monitors the metric and takes the lowest value for the best."""
    return any(callback.monitor == metric and callback.sign < 0 for callback in _monitoring(callbacks))


def _monitoring(callbacks: Sequence[Any]) -> list[Any]:
    return [callback for callback in callbacks if hasattr(callback, "monitor") and hasattr(callback, "sign")]
