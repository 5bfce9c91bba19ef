"""Run directories as a run leaves them, without one: for pages and tables."""

import json
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from convarium.run.directory import RunDirectory
from experiments import config_of


@cache
def _config() -> str:
    return json.dumps(config_of())


def made_run(
    folder: Path,
    *,
    words: list[str] | None = None,
    status: str = "ok",
    classes: list[str] | None = None,
    images: int = 0,
    epochs: int = 3,
    config: dict[str, Any] | None = None,
    **fields: Any,
) -> RunDirectory:
    """A run of so many epochs, and of so many test images, of which nine in ten are right."""
    folder.mkdir(parents=True)
    run = RunDirectory(folder)
    run.save_config({**json.loads(_config()), **(config or {})}, words or ["arch=mlp", "data=synthetic"])
    lines = ["step,epoch,lr,train/loss_step,val/loss,val/acc1,train/loss,train/acc1,train/images"]
    for epoch in range(epochs):
        step, loss = 16 * (epoch + 1), 1 / (epoch + 1)
        lines += [f"{step - 8},{epoch},0.001,{loss},,,,,", f"{step},{epoch},0.001,{loss},{loss},0.5,{loss},0.5,512"]
    run.metrics_file.write_text("\n".join(lines) + "\n")
    metrics = {"val/loss": 1 / max(epochs, 1), "val/acc1": 0.5, "best/val/acc1": 0.5}
    if images:
        metrics |= make_predictions(run, classes or ["a", "b", "c"], images)
    result = {
        "status": status,
        "error": None,
        "notes": [],
        "metrics": metrics,
        "params": 1234,
        "macs": 56789,
        "images_per_second": 99.5,
        "wall_seconds": 61.5,
        "epochs": epochs,
        "steps": 16 * epochs,
        "total_steps": 48,
        "seed": 1,
        "config_hash": "0123456789ab",
        "git": 40 * "a" + "+",
        "versions": {"torch": "2.15.0"},
        "device": "cpu",
        "host": "here",
        "pid": 0,
        "heartbeat": datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    run.result_file.write_text(json.dumps(result | fields))
    (folder / "train.log").write_text("epoch 1/3\nTraceback: <script>alert(1)</script>\n\x1b[31mboom\n")
    return run


def make_predictions(run: RunDirectory, classes: list[str], images: int) -> dict[str, float]:
    """Write predictions.npz; the metrics of the test."""
    generator = np.random.default_rng(0)
    target = generator.integers(len(classes), size=images)
    wrong = generator.random(images) < 0.1
    prediction = np.where(wrong, (target + generator.integers(1, 4, size=images)) % len(classes), target)
    confidence = generator.uniform(0.4, 1.0, images).astype(np.float32)
    truth = np.where(prediction == target, confidence, (1 - confidence) / 2).astype(np.float32)
    np.savez(
        run.predictions,
        index=np.arange(images),
        target=target.astype(np.int16),
        prediction=prediction.astype(np.int16),
        confidence=confidence,
        truth=truth,
        loss=-np.log(truth),
        brier=(1 - truth) ** 2,
        classes=np.array(classes),
    )
    return {
        "test/loss": float(-np.log(truth).mean(dtype=np.float64)),
        "test/acc1": float((prediction == target).mean()),
    }


def with_config(run: RunDirectory, **changes: Any) -> RunDirectory:
    """The run with other values in its config.yaml."""
    run.config_file.write_text(yaml.safe_dump({**run.config(), **changes}, allow_unicode=True))
    return run
