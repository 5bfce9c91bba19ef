"""Sweep directories as a sweep leaves them, without one: for tables and pages."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convarium.results.directory import SweepDirectory

VERSIONS = {"torch": "2.15.0", "python": "3.11.7"}


def made_sweep(folder: Path, axes: Sequence[str], command: Sequence[str] = ("-m",), **fields: Any) -> SweepDirectory:
    """A sweep without jobs."""
    sweep = SweepDirectory(folder)
    sweep.make()
    described = {"monitor": "val/acc1", "mode": "max", "command": [*command], **fields}
    sweep.describe(axes=[*axes], **described)
    return sweep


def add_job(
    sweep: SweepDirectory,
    swept: Mapping[str, Any],
    curve: Sequence[float] = (),
    *,
    status: str = "ok",
    name: str | None = None,
    log: str = "",
    **result: Any,
) -> None:
    """A job with its val/acc1 by epoch, of which the best and the last stand in its result.json."""
    name = name or "-".join(str(value) for value in swept.values())
    sweep.append([{"job": name, "status": status, "key": name, "swept": dict(swept), "words": []}])
    run = sweep.run(name)
    run.path.mkdir()
    if log:
        run.log_file.write_text(log)
    if status == "queued":
        return
    lines = [f"{8 * epoch},{epoch},{value},,{value / 2}" for epoch, value in enumerate(curve)]
    run.metrics_file.write_text("\n".join(["step,epoch,val/acc1,lr,val/loss", *lines]) + "\n")
    finite = [value for value in curve if value == value]
    metrics = {"val/acc1": curve[-1], "best/val/acc1": max(finite), "test/acc1": max(finite)} if finite else {}
    facts = {"params": 1000, "macs": 2000, "wall_seconds": 1.5, "images_per_second": 99.0, "epochs": len(curve)}
    whole = {"status": status, "metrics": metrics, "versions": VERSIONS, "device": "cpu", "host": "here", **facts}
    run.result_file.write_text(json.dumps({**whole, **result}))


def add_twin(sweep: SweepDirectory, swept: Mapping[str, Any], of: str) -> None:
    """A job that is the same network as another one, whose run is its own."""
    name = "-".join(str(value) for value in swept.values())
    told = {"key": name, "swept": dict(swept), "words": [], "same_as": of}
    sweep.append([{"job": name, "status": "queued", **told}])
