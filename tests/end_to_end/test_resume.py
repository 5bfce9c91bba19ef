"""A run that was killed or stopped, and resumed, is the run that was not."""

import json
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from convarium.learn.checkpoint_file import read_checkpoint
from processes import run, train, train_killed, train_signalled

# dropout, shuffling, augmentation, averaging, warm-up and accumulation, 10 steps of 2 micro-batches, 3 epochs
EXPERIMENT = (
    "arch=lenet5",
    "dropout=0.3",
    "data=synthetic",
    "data.image_size=32",
    "data.channels=1",
    "data.train_size=212",
    "augment=crop_flip",
    "average=ema",
    "batch_size=16",
    "trainer.accumulate_grad_batches=2",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=4",
    "callbacks=[checkpoint]",
    "callbacks.checkpoint.every_n_steps=3",
    "threads=1",
)


OF_THE_MOMENT = ("wall_seconds", "cpu_seconds", "images_per_second", "heartbeat", "pid")
"""What result.json has that no two runs share."""


def assert_as_undisturbed(folder: Path, whole: Path) -> None:
    """What was learned, metrics.csv and result.json are those of the run that nobody disturbed."""
    checkpoints = (read_checkpoint(run / "checkpoints" / "last.ckpt") for run in (folder, whole))
    assert_same(*map(learned, checkpoints))
    assert (folder / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    ours, theirs = (json.loads((run / "result.json").read_text()) for run in (folder, whole))
    assert ours["status"] == "ok"
    assert ours | dict.fromkeys(OF_THE_MOMENT) == theirs | dict.fromkeys(OF_THE_MOMENT)
    assert_same(load_file(folder / "weights.safetensors"), load_file(whole / "weights.safetensors"))


def assert_same(left: object, right: object, where: str = "") -> None:
    """Equal to the bit, tensors included."""
    assert type(left) is type(right), where
    if isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_same(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, list | tuple):
        assert len(left) == len(right), where
        for place, (one, other) in enumerate(zip(left, right, strict=True)):
            assert_same(one, other, f"{where}[{place}]")
    elif isinstance(left, torch.Tensor):
        assert torch.equal(left, right), where
    else:
        assert left == right, where


def learned(checkpoint: dict) -> dict:
    """What training made: weights, averages, the optimizer's state and what the learner remembers."""
    names = ("state_dict", "averaged", "optimizer_states", "learner", "epoch", "global_step")
    return {name: checkpoint[name] for name in names}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    log = folder.parent / "log"
    assert run(train, *EXPERIMENT, f"run_dir={folder}", log=log) == 0, log.read_text()
    return folder


@pytest.mark.parametrize(
    ("moment", "count"),
    [
        ("step", 1),  # before anything was saved
        ("step", 9),
        ("optimizer", 8),
        ("step", 20),  # the last of the first epoch
        ("validation", 5),
        ("epoch end", 2),
        ("rename", 12),
        ("test", 2),
        ("loading", 47),
    ],
)
def test_resume_after_a_kill_equals_the_uninterrupted_run(
    moment: str, count: int, uninterrupted: Path, own_directory: Path
) -> None:
    folder, log = own_directory / "run", own_directory / "log"
    assert run(train_killed, moment, count, *EXPERIMENT, f"run_dir={folder}", log=log) == -9, log.read_text()
    assert run(train, f"resume={folder}", log=log) == 0, log.read_text()
    assert_as_undisturbed(folder, uninterrupted)


def test_resume_after_three_kills_equals_the_uninterrupted_run(uninterrupted: Path, own_directory: Path) -> None:
    folder, log = own_directory / "run", own_directory / "log"
    assert run(train_killed, "step", 17, *EXPERIMENT, f"run_dir={folder}", log=log) == -9, log.read_text()
    for _ in range(2):
        assert run(train_killed, "step", 17, f"resume={folder}", log=log) == -9, log.read_text()
    assert run(train, f"resume={folder}", log=log) == 0, log.read_text()
    assert_as_undisturbed(folder, uninterrupted)


@pytest.mark.parametrize(
    ("signum", "moment", "count"),
    [
        (signal.SIGTERM, "step", 9),  # in the middle of an accumulation
        (signal.SIGHUP, "step", 10),
        (signal.SIGTERM, "step", 20),  # the end of an epoch, where validation comes first
        (signal.SIGINT, "validation", 2),
    ],
)
def test_a_signal_saves_and_the_resumed_run_equals_the_uninterrupted_one(
    signum: int, moment: str, count: int, uninterrupted: Path, own_directory: Path
) -> None:
    folder, log = own_directory / "run", own_directory / "log"
    code = run(train_signalled, signum, moment, count, *EXPERIMENT, f"run_dir={folder}", log=log)
    assert code == 128 + signum, log.read_text()
    assert json.loads((folder / "result.json").read_text())["status"] == "interrupted"
    assert "Traceback" not in log.read_text()
    assert run(train, f"resume={folder}", log=log) == 0, log.read_text()
    assert_as_undisturbed(folder, uninterrupted)
