"""The learning curves of many runs, small enough for a page: a whole level for each epoch, written as its change."""

import csv
import math
import string
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from convarium.files import read_regular

LEVELS = 500
"""Steps between the lowest and the highest value of a metric: finer than a chart of 300 pixels shows."""
CODE = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_+*/=?@[]{}(),.:;|^%$#"  # 85
"""A character for each change from -HALF to HALF levels; "!" comes before a level in two of them, "~" is no value."""
HALF = (len(CODE) - 1) // 2
ROOM = 600_000  # characters of all curves of a page
PLACE = ("step", "epoch")

Curve = dict[int, float]
"""The last finite value of a metric in each epoch."""


def read_curves(path: Path) -> dict[str, Curve]:
    """The curves of the metrics in a metrics.csv but those of the test; none if it cannot be read. A line that is not
    whole, or says something else than numbers, counts for nothing."""
    curves: dict[str, Curve] = {}
    try:
        lines = csv.reader(read_regular(path).decode(errors="replace").splitlines())
        head = next(lines)
        where = head.index("epoch")
    except (OSError, StopIteration, ValueError, csv.Error):
        return curves
    names = [None if name in PLACE or name.startswith("test/") else name for name in head]
    for line in lines:
        if len(line) != len(head) or not line[where].isdecimal():
            continue
        epoch = int(line[where])
        for name, cell in zip(names, line, strict=True):
            if cell and name is not None:
                try:
                    value = float(cell)
                except ValueError:
                    continue
                if math.isfinite(value):
                    curves.setdefault(name, {})[epoch] = value
    return curves


def curves_data(runs: Sequence[dict[str, Curve]], first: Iterable[str]) -> dict[str, Any]:
    """What a page draws curves from, of runs in their order; metrics of `first` come first.

    Curves that are the same are there once. Epochs are left out evenly where they would not fit in ROOM.
    """
    names = {name for run in runs for name in run}
    order = [name for name in dict.fromkeys(first) if name in names]
    order += sorted(
        names - {*order}, key=lambda name: (not name.startswith("val/"), not name.startswith("train/"), name)
    )
    epochs = sorted({epoch for run in runs for curve in run.values() for epoch in curve})
    unique = {name: {tuple(run[name].items()) for run in runs if name in run} for name in order}
    points = sum(len(curve) for curves in unique.values() for curve in curves)
    every = max(1, math.ceil(1.2 * points / ROOM))
    kept = [epoch for place, epoch in enumerate(epochs) if (len(epochs) - 1 - place) % every == 0]
    metrics = {name: _encoded([run.get(name, {}) for run in runs], kept) for name in order}
    return {
        "code": CODE,
        "levels": LEVELS,
        "epochs": [epoch + 1 for epoch in kept],
        "every": every,
        "first": order[0] if order else None,
        "metrics": metrics,
    }


def _encoded(curves: Sequence[Curve], epochs: Sequence[int]) -> dict[str, Any]:
    """One metric of all runs: its range, its texts, and which text each run has, -1 for none."""
    import numpy as np

    values = np.array([[curve.get(epoch, math.nan) for epoch in epochs] for curve in curves], dtype=np.float64)
    is_there = np.isfinite(values)
    if not is_there.any():
        return {"low": 0, "high": 1, "log": False, "texts": [], "runs": [-1] * len(curves)}
    low, high = values[is_there].min(), values[is_there].max()
    log = bool(low > 0 and high / low >= 30)
    if log:
        values[is_there] = np.log10(values[is_there])
        low, high = np.log10(low), np.log10(high)
    levels = np.zeros(values.shape, dtype=np.int64)
    levels[is_there] = np.rint((values[is_there] - low) / ((high - low) or 1.0) * LEVELS)
    single = np.array([*CODE])
    double = np.array([f"!{CODE[level // len(CODE)]}{CODE[level % len(CODE)]}" for level in range(LEVELS + 1)])
    texts: dict[str, int] = {}
    which = []
    for line, has in zip(levels, is_there, strict=True):
        if not has.any():
            which.append(-1)
            continue
        found = line[has]
        change = np.diff(found, prepend=0)
        near = np.abs(change) <= HALF
        cells = np.full(len(line), "~", dtype="<U3")
        cells[has] = np.where(near, single[np.where(near, change, 0) + HALF], double[found])
        which.append(texts.setdefault("".join(cells).rstrip("~"), len(texts)))
    return {"low": float(low), "high": float(high), "log": log, "texts": list(texts), "runs": which}
