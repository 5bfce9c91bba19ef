"""What a person sees: the header before the first step, the table at the end, and a copy of both in train.log."""

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from textwrap import wrap
from typing import Any, TextIO

from convarium.run.directory import RunDirectory, as_seen_from_here
from convarium.run.prepare import Prepared
from convarium.run.pretrained import Loaded
from convarium.wording import counted

NO_ROW = ("train/loss_step", "train/images")
"""What is logged of training beside its metrics."""


class Tee(io.TextIOBase):
    """A stream that also writes to a log file; to its user it is the terminal (or not) that the first one is.

    A stream that takes no more (a closed pipe, a terminal that is gone, a full device) leads nowhere from then on.
    """

    def __init__(self, stream: TextIO, log: TextIO) -> None:
        self._stream = stream
        self._log = log

    def write(self, text: str) -> int:
        if not (text.startswith("\x1b[") or "\r" in text):  # a progress bar redraws itself; a log has no use for that
            with suppress(OSError, ValueError):  # a full disk
                self._log.write(text)
        with self._or_nowhere():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._log.flush()
        with self._or_nowhere():
            self._stream.flush()

    @contextmanager
    def _or_nowhere(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            with open(os.devnull, "w") as nowhere:  # also for what the stream still holds
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding


@contextmanager
def tee(path: Path) -> Iterator[None]:
    """Copy what is printed meanwhile to a log file, at its end; nothing where stdout is that file already."""
    out, err = sys.stdout, sys.stderr
    if _is_open_as(out, path):
        yield
        return
    log = path.open("a", encoding="utf-8", buffering=1)
    sys.stdout, sys.stderr = Tee(out, log), Tee(err, log)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        sys.stdout, sys.stderr = out, err
        with suppress(OSError):
            log.close()


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
def own_log_lines() -> Iterator[None]:
    """Print what our own loggers say, also where nobody has configured logging, or somebody has otherwise."""
    logger, handler = logging.getLogger("convarium"), OnScreen()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Without Lightning's lines on devices and limits, which the header says better, and warnings that are not true."""
    for package in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{package}").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in (
            ".*number of training batches .* smaller than the logging interval.*",
            ".*does not have many workers.*",
            ".*`isinstance.treespec, LeafSpec.` is deprecated.*",  # Lightning's own use of torch
            ".*callbacks used to create the checkpoint need to be provided.*",  # stop=none may go on with a run
            ".*PyTorch Profiler default schedule will be overridden.*",  # a short run is profiled all the same
            ".*Profiler clears events at the end of each cycle.*",
            ".*`srun` command is available.*",  # on a machine that has Slurm; we know who starts the ranks
        ):
            warnings.filterwarnings("ignore", message)
        yield


def header(run: RunDirectory, prepared: Prepared, loaded: Loaded | None) -> str:
    """The lines before the first step; `loaded`: the published weights that the network begins with."""
    config, data, length, at = prepared.config, prepared.data, prepared.length, prepared.placement
    accumulate, batch, size = config["trainer"]["accumulate_grad_batches"], config["batch_size"], data.image_size
    left_out = f" ({prepared.left_out:,} left out of each epoch)" if prepared.left_out else ""
    val = "val and test (the same images)" if data.test_is_val else f"val, {data.num_test:,} test"
    if data.fold is not None:
        val = f"{val} (fold {data.fold} of 0 to {data.folds - 1})"
    optimizer, schedule = (config[group]["_target_"].rpartition(".")[2] for group in ("optimizer", "schedule"))
    each = batch // (at.ranks * accumulate)
    params, macs = prepared.preflight.params, prepared.preflight.macs
    rows = {
        "run": str(run.path),
        "network": f"{config['name']}: {params:,} parameters, {macs:,} multiply-adds per image",
        **({"note": _in_lines(*prepared.preflight.notes)} if prepared.preflight.notes else {}),
        **({"weights": _in_lines(str(loaded), *wrap(loaded.assumption, 70))} if loaded else {}),
        **({"classes": classes} if (classes := _classes(prepared)) else {}),
        "images": f"{data.channels}x{size}x{size}, {data.num_classes} classes: {data.num_train:,} train{left_out}, "
        f"{data.num_val:,} {val}",
        "from": f"{config['data']['_target_'].rpartition('.')[2]}, {data.training_source}",
        **({"augment": str(data.pipeline)} if data.pipeline else {}),
        "device": f"{at.description}, {counted(config['threads'], 'thread')} each, {config['precision']['mode']}",
        "batch": f"{batch} = {counted(at.ranks, 'device')} x {accumulate} accumulated x {counted(each, 'image')}",
        "length": f"{counted(length.total_steps, 'step')}, {length.steps_per_epoch:,} per epoch",
        **({"test": str(prepared.views)} if prepared.views else {}),
        "rate": f"{config['optimizer']['lr']:g} ({optimizer}, {schedule})",
    }
    return "\n".join(f"{name:>8}  {value}" for name, value in rows.items()) + "\n"


def _classes(prepared: Prepared) -> str:
    """How unequal classes are treated, if they are in any way."""
    data, loss, said = prepared.data, prepared.loss, []
    if data.sampler == "balanced":
        said.append("each is drawn equally often")
    if loss.weights is not None:
        weights = loss.weights.tolist()
        said.append(f"their losses count {min(weights):.3g} to {max(weights):.3g}")
    counts = data.class_counts.tolist() if said else []
    return ", ".join([*said, f"of {min(counts):,} to {max(counts):,} training images"]) if said else ""


def _in_lines(*lines: str) -> str:
    """One below the other, behind the name of their row."""
    return f"\n{'':10}".join(lines)


def summary(run: RunDirectory, result: dict[str, Any]) -> str:
    """The lines after the last step: metrics, speed, folder, and what to do next."""
    metrics = result["metrics"]
    named = (name.partition("/") for name in metrics if name not in NO_ROW)
    names = dict.fromkeys(name for split, _, name in named if split in ("train", "val", "test"))
    width = max(8, *map(len, names), 0)
    rows = []
    for name in names:
        cells = [metrics.get(f"{split}/{name}") for split in ("train", "val", "best/val", "test")]
        rows.append(f"{name:>{width}}  " + "  ".join(f"{'':>9}" if cell is None else f"{cell:9.4f}" for cell in cells))
    heading = f"{'':>{width}}  {'train':>9}  {'val':>9}  {'best val':>9}  {'test':>9}"
    lines = ["", heading, *rows, ""] if rows else [""]
    speed = result["images_per_second"]
    lines.append(
        f"  {result['status']}: {counted(result['epochs'], 'epoch')}, {counted(result['steps'], 'step')}"
        + f" in {result['wall_seconds']:.0f} s"
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
