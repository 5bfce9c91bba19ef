"""Progress: plain lines without a terminal, a bar on one, silence from the other ranks."""

import os
import pty
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from threading import Thread
from typing import Any

import lightning.pytorch as L
import pytest

from convarium.observe.progress import Progress


def lines(captured: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in captured.readouterr().out.splitlines() if line.startswith(("epoch", "test"))]


def test_the_time_to_go_comes_after_twenty_steps_and_the_last_line_at_the_end(
    learner: type, squares: type, make_trainer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer, _ = make_trainer(Progress(seconds=1000.0))
    trainer.fit(learner(), datamodule=squares())
    first, last = lines(capsys)
    assert re.fullmatch(r"epoch 3/3  step 21/30  loss \d\.\d{4}  val/acc1 0\.7000  0:00:0\d to go", first)
    assert re.fullmatch(r"epoch 3/3  step 30/30  loss \d\.\d{4}  val/acc1 0\.7000  0:00:\d\d", last)


class Monitor(L.Callback):
    """A callback that monitors a metric, as the checkpoint's does."""

    sign = 1.0

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor


@pytest.mark.parametrize(
    ("monitor", "logged", "shown"),
    [
        ("val/macro_f1", ["val/loss", "val/acc1", "val/macro_f1"], "val/macro_f1 0.7000"),
        ("val/acc1", ["val/loss", "val/macro_f1"], "val/macro_f1 0.7000"),
        ("val/acc1", ["val/loss"], None),
    ],
)
def test_the_monitored_metric_is_shown_or_else_the_first_that_is_logged(
    monitor: str,
    logged: list[str],
    shown: str | None,
    learner: type,
    squares: type,
    make_trainer: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = learner()
    monkeypatch.setattr(module, "on_validation_epoch_end", lambda: module.row(dict.fromkeys(logged, 0.7)))
    trainer, _ = make_trainer(Monitor(monitor), Progress(seconds=1000.0), max_epochs=1)
    trainer.fit(module, datamodule=squares())
    last = lines(capsys)[-1].split("  ")
    assert [fact for fact in last if fact.startswith("val/")] == ([shown] if shown else [])


def test_a_line_comes_every_so_many_seconds_in_training_validation_and_test(
    learner: type,
    squares: type,
    make_trainer: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = learner()
    monkeypatch.setattr(module, "validation_step", lambda batch, batch_idx: time.sleep(0.02))
    trainer, _ = make_trainer(Progress(seconds=0.01), max_epochs=1)
    trainer.fit(module, datamodule=squares())
    monkeypatch.setattr(module, "test_step", lambda batch, batch_idx: time.sleep(0.02))
    trainer.test(module, datamodule=squares(), verbose=False)
    found = lines(capsys)
    assert [line for line in found if line.startswith("epoch 1/1  validation 3/10")]
    assert [line for line in found if line == "test 10/10"]
    assert len(found) < 10 + 10 + 10 + 2


def test_a_run_without_an_end_has_no_total(
    learner: type, squares: type, make_trainer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    trainer, _ = make_trainer(Progress(seconds=0.001), max_epochs=-1, max_time=timedelta(seconds=0.2))
    trainer.fit(learner(), datamodule=squares())
    found = lines(capsys)
    assert re.match(r"epoch \d+  step [\d,]+  loss", found[-1])
    assert not any("to go" in line for line in found)


def test_other_ranks_are_silent(
    learner: type,
    squares: type,
    make_trainer: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer, _ = make_trainer(Progress(seconds=0.001), logger=False)
    monkeypatch.setattr(type(trainer), "is_global_zero", property(lambda self: False))
    trainer.fit(learner(), datamodule=squares())
    assert lines(capsys) == []


def test_a_step_on_which_nothing_is_due_costs_a_microsecond() -> None:
    progress = Progress()
    progress._batches, progress._due = 1000, float("inf")

    class Trainer:
        accumulate_grad_batches = 1

    trainer: Any = Trainer()
    times = []
    for index in range(5000):
        began = time.perf_counter()
        progress.on_train_batch_end(trainer, trainer, None, None, index)
        times.append(time.perf_counter() - began)
    assert sorted(times)[2500] < 10e-6


def test_a_closed_stdout_does_not_stop_the_training(
    learner: type, squares: type, make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed:
        def isatty(self) -> bool:
            return False

        def write(self, text: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            pass

    trainer, _ = make_trainer(Progress(seconds=0.001))
    monkeypatch.setattr(sys, "stdout", Closed())
    trainer.fit(learner(), datamodule=squares())
    assert trainer.global_step == 30


def test_a_terminal_gets_a_bar_and_its_cursor_back_when_the_run_fails(
    learner: type, squares: type, make_trainer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(learner):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            time.sleep(0.01)
            self.latest |= {"train/loss_step": 0.125, "val/acc1": 0.5}
            if self.global_step == 26:
                raise RuntimeError("boom")

    def read() -> None:
        with suppress(OSError):  # Linux says so of a terminal that is closed
            while part := os.read(ours, 65536):
                seen.append(part)

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    ours, theirs = pty.openpty()
    seen: list[bytes] = []
    reader = Thread(target=read)
    reader.start()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        trainer, _ = make_trainer(Progress(refresh_seconds=0.02))
        with pytest.raises(RuntimeError, match="boom"):
            trainer.fit(Failing(), datamodule=squares())
        monkeypatch.undo()
    reader.join()
    os.close(ours)
    sent = b"".join(seen)
    text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", sent.decode())
    assert re.search(r"epoch 3/3  step \d+/30 .*loss 0\.1250  val/acc1 0\.5000  0:00:0\d to go", text)
    assert sent.count(b"\x1b[?25l") == sent.count(b"\x1b[?25h") == 1
