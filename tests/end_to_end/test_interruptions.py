"""Endings that are not kills, and what a resume makes of them."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from convarium.learn.checkpoint_file import read_checkpoint
from end_to_end.test_resume import assert_as_undisturbed, assert_same, learned
from processes import run, train, train_killed

QUICK = ("arch=mlp", "data=synthetic", "callbacks=[checkpoint]", "threads=1", "trainer.accelerator=cpu")


def killed_in_the_test(*overrides: str) -> int:
    from convarium.learn.learner import Learner

    def kills(self: Learner) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    Learner.on_test_start = kills
    return train(*overrides)


@pytest.mark.parametrize(
    "words",
    [
        ("trainer.max_epochs=2",),
        ("trainer.max_epochs=9", "stop=early", "stop.patience=2", "optimizer.lr=1e-9"),
        ("trainer.max_epochs=2", "trainer.val_check_interval=0.5", "schedule=plateau"),
        ("trainer.max_epochs=3", "trainer.max_steps=40", "metrics=[accuracy,macro_f1]"),  # ends within an epoch
    ],
)
def test_a_kill_after_the_training_leaves_only_the_test_to_do(words: tuple[str, ...], own_directory: Path) -> None:
    log = own_directory / "log"
    assert run(train, *QUICK, *words, "run_dir=whole", log=log) == 0, log.read_text()
    assert run(killed_in_the_test, *QUICK, *words, "run_dir=killed", log=log) == -9, log.read_text()
    assert run(train, "resume=killed", log=log) == 0, log.read_text()
    assert_as_undisturbed(Path("killed"), Path("whole"))


@pytest.mark.parametrize("picture", [1, 4])
def test_a_kill_while_a_picture_is_drawn_costs_none(picture: int, own_directory: Path) -> None:
    log, words = own_directory / "log", (*QUICK, "callbacks=[checkpoint,figures]", "trainer.max_epochs=1")
    assert run(train, *words, "run_dir=whole", log=log) == 0, log.read_text()
    assert run(train_killed, "drawing", picture, *words, "run_dir=killed", log=log) == -9, log.read_text()
    assert run(train, "resume=killed", log=log) == 0, log.read_text()
    assert_as_undisturbed(Path("killed"), Path("whole"))
    drawn = [sorted(path.name for path in Path(each, "figures").iterdir()) for each in ("killed", "whole")]
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) == 4


def closed_pipe() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


def closed_terminal() -> int:
    master, terminal = os.openpty()
    os.close(master)
    return terminal


def full_device() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def train_before(screen: Callable[[], int], *overrides: str) -> int:
    """`train`, with a screen that takes nothing."""
    for stream in (1, 2):
        os.dup2(screen(), stream)
    return train(*overrides)


@pytest.mark.parametrize("screen", [closed_pipe, closed_terminal, full_device])
def test_a_run_does_not_die_of_its_screen(screen: Callable[[], int], own_directory: Path) -> None:
    words = (*QUICK, "callbacks=[checkpoint,progress]", "trainer.max_epochs=2", "run_dir=run")
    assert run(train_before, screen, *words, log=own_directory / "log") == 0
    assert json.loads(Path("run/result.json").read_text())["status"] == "ok"
    assert "\n  ok: 2 epochs" in Path("run/train.log").read_text()


def test_a_longer_run_goes_on_from_the_end_of_the_shorter_one(own_directory: Path) -> None:
    log = own_directory / "log"
    words = (*QUICK, "schedule=constant", "augment=crop_flip", "dropout=0.2")
    assert run(train, *words, "trainer.max_epochs=4", "run_dir=whole", log=log) == 0, log.read_text()
    assert run(train, *words, "trainer.max_epochs=2", "run_dir=short", log=log) == 0, log.read_text()
    assert run(train, "resume=short", "trainer.max_epochs=4", log=log) == 0, log.read_text()
    whole, longer = (read_checkpoint(Path(folder) / "checkpoints/last.ckpt") for folder in ("whole", "short"))
    assert_same(learned(longer), learned(whole))
    results = [json.loads(Path(folder, "result.json").read_text())["metrics"] for folder in ("whole", "short")]
    assert results[0] == results[1]
