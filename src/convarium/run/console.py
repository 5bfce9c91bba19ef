"""What a person sees: the header before the first step, the table at the end, and a copy of both in train.log."""

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from convarium.data.module import ImageData
from convarium.learn.lengths import Clock
from convarium.learn.protocol import views_of
from convarium.run.devices import Preflight
from convarium.run.directory import RunDirectory, as_seen_from_here
from convarium.run.pretrained import Loaded


class Tee(io.TextIOBase):
    """A stream that also writes to a log file; to its user it is the terminal (or not) that the first one is."""

    def __init__(self, stream: TextIO, log: TextIO) -> None:
        self._stream = stream
        self._log = log

    def write(self, text: str) -> int:
        if not (text.startswith("\x1b[") or "\r" in text):  # a progress bar redraws itself; a log has no use for that
            with suppress(ValueError):
                self._log.write(text)
        return self._stream.write(text)

    def flush(self) -> None:
        with suppress(ValueError):
            self._log.flush()
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding


@contextmanager
def copied_to(path: Path) -> Iterator[None]:
    """Copy what is printed meanwhile to a log file, at its end; nothing where stdout is that file already."""
    out, err = sys.stdout, sys.stderr
    if _is_open_as(out, path):
        yield
        return
    with path.open("a", encoding="utf-8", buffering=1) as log:
        sys.stdout, sys.stderr = Tee(out, log), Tee(err, log)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdout, sys.stderr = out, err


def _is_open_as(stream: TextIO, path: Path) -> bool:
    with suppress(OSError, ValueError, AttributeError):
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    return False


class OnScreen(logging.Handler):
    """Prints a line as it is to the stderr of the moment, which may be a Tee."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            print(self.format(record), file=sys.stderr, flush=True)


@contextmanager
def our_lines_shown() -> Iterator[None]:
    """Show what our own loggers say, also where nobody has configured logging, or somebody has for a purpose of his."""
    logger, handler = logging.getLogger("convarium"), OnScreen()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def header(
    run: RunDirectory,
    config: dict[str, Any],
    found: Preflight,
    data: ImageData,
    clock: Clock,
    weights: Loaded | None = None,
) -> str:
    """The lines before the first step."""
    trainer, ranks = config["trainer"], found.placement.ranks
    accumulate, batch = trainer["accumulate_grad_batches"], config["batch_size"]
    size, views = data.image_size, views_of(config, ranks=ranks)
    left_out = f" ({data.remainder:,} left out of each epoch)" if data.remainder else ""
    val = "val and test (the same images)" if data.test_is_val else f"val, {data.num_test:,} test"
    optimizer, schedule = (config[group]["_target_"].rpartition(".")[2] for group in ("optimizer", "schedule"))
    rows = {
        "run": str(run.path),
        "network": f"{config['name']}: {found.params:,} parameters, {found.macs:,} multiply-adds per image",
        **({"weights": str(weights)} if weights else {}),
        "images": f"{data.channels}x{size}x{size}, {data.num_classes} classes: {data.num_train:,} train{left_out}, "
        f"{data.num_val:,} {val}",
        "from": f"{config['data']['_target_'].rpartition('.')[2]}, {data.training_source}",
        **({"augment": str(data.pipeline)} if data.pipeline else {}),
        "device": f"{found.placement.description}, {config['threads']} threads each, {config['precision']['mode']}",
        "batch": f"{batch} = {ranks} devices x {accumulate} accumulated x {batch // (ranks * accumulate)} images",
        "length": f"{clock.total_steps:,} steps, {clock.steps_per_epoch:,} per epoch",
        **({"test": str(views)} if views else {}),
        "rate": f"{config['optimizer']['lr']:g} ({optimizer}, {schedule})",
    }
    return "\n".join(f"{name:>8}  {value}" for name, value in rows.items()) + "\n"


def summary(run: RunDirectory, result: dict[str, Any]) -> str:
    """The lines after the last step: metrics, speed, folder, and what to do next."""
    metrics = result["metrics"]
    rows = []
    for name in ("loss", "acc1", "acc5"):
        cells = [metrics.get(f"{split}/{name}") for split in ("train", "val", "best/val", "test")]
        if any(cell is not None for cell in cells):
            rows.append(f"{name:>8}  " + "  ".join(f"{'':>9}" if cell is None else f"{cell:9.4f}" for cell in cells))
    lines = ["", f"{'':>8}  {'train':>9}  {'val':>9}  {'best val':>9}  {'test':>9}", *rows, ""]
    speed = result["images_per_second"]
    lines.append(
        f"  {result['status']}: {result['epochs']} epochs, {result['steps']:,} steps in {result['wall_seconds']:.0f} s"
        + (f", {speed:,.0f} images/s" if speed else "")
    )
    place = as_seen_from_here(run.path)
    lines += ["", f"  {place}"]
    if result["status"] == "ok":
        lines += [
            f"    convarium evaluate {place}",
            f"    convarium predict {place} IMAGE...",
            f"    ls {place}/figures",
        ]
    elif result["status"] == "interrupted":
        lines += [f"    python train.py resume={place}"]
    else:
        lines += [f"    less {place}/train.log"]
    return "\n".join(lines) + "\n"
