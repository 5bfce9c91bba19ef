"""The range test: its rates, where it ends, that it goes on where it was stopped, and that it leaves nothing behind."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import processes
from convarium.errors import RunError
from convarium.find import range_test as module
from convarium.find.curve import smoothed
from convarium.find.range_test import Answer, Range, range_test
from convarium.learn.checkpoint_file import read_checkpoint
from convarium.learn.learner import Learner
from convarium.run.launch import launch
from convarium.run.prepare import prepare
from convarium.run.stop_request import Interrupted
from experiments import config_of, experiment, rows

SHORT = Range(low=1e-4, high=1.0, steps=20)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """No chart, which takes half a second."""
    monkeypatch.setattr(module, "save_chart", lambda path, *_: path.touch())


def answered(*overrides: str, over: Range = SHORT, folder: str = "test") -> Answer:
    """A range test of a small experiment."""
    return range_test(prepare(config_of(*overrides)), over, Path(folder))


def equal(one: Any, other: Any) -> bool:
    """Whether two checkpoints hold the same, tensors bit by bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def signalled(signum: int, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process get a signal in its training step number `at`."""
    step, calls = Learner.training_step, 0

    def counting(self: Learner, *arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            os.kill(os.getpid(), signum)
        return step(self, *arguments)

    counting.__signature__ = step.__signature__  # type: ignore[attr-defined]
    monkeypatch.setattr(Learner, "training_step", counting)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("rise", ["exponential", "linear"])
def test_the_rates_of_all_groups_rise_together(rise: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[tuple[bool, float]]] = []
    before = Learner.on_before_optimizer_step

    def noting(self: Learner, optimizer: torch.optim.Optimizer) -> None:
        before(self, optimizer)
        seen.append({(group["use_muon"], group["lr"]) for group in optimizer.param_groups})

    monkeypatch.setattr(Learner, "on_before_optimizer_step", noting)
    over = Range(low=1e-3, high=1e-2, steps=10, rise=rise)
    answered("optimizer=muon", "optimizer.lr=0.02", "optimizer.adamw_lr=0.001", "arch.hidden=[8,8]", over=over)
    halves = [1e-3 + 9e-3 * step / 9 if rise == "linear" else 1e-3 * 10 ** (step / 9) for step in range(10)]
    assert len(seen) == 10
    for groups, rate in zip(seen, halves, strict=True):
        assert {muon: pytest.approx(lr) for muon, lr in groups} == {True: rate, False: rate / 20}


@pytest.mark.usefixtures("undrawn")
def test_at_one_rate_it_is_the_experiments_own_training() -> None:
    words = ("schedule=constant", "optimizer.lr=0.01", "augment=flip", "trainer.accumulate_grad_batches=2")
    run = experiment(*words)
    answer = answered(*words, over=Range(low=0.01, high=0.01 * (1 + 1e-12), steps=16))
    assert answer.losses == pytest.approx(rows(run, "train/loss_step"), rel=1e-5)


@pytest.mark.usefixtures("undrawn")
def test_several_devices_become_micro_batches_of_one() -> None:
    two = answered("trainer.devices=2", folder="two")
    assert two.losses == answered("trainer.accumulate_grad_batches=2", folder="accumulated").losses


@pytest.mark.usefixtures("undrawn")
def test_a_fit_after_it_equals_a_fit_without_it() -> None:
    words = ("dropout=0.5", "average=ema", "stop=early", "augment=flip", "trainer.max_epochs=2", "schedule.warmup=1")
    plain = experiment(*words, folder="plain")
    prepared = prepare(config_of(*words, "run_dir=after"))
    generator, threads, epoch = torch.get_rng_state(), torch.get_num_threads(), prepared.data.trainer
    range_test(prepared, SHORT, Path("test"))
    assert torch.equal(torch.get_rng_state(), generator)
    assert (torch.get_num_threads(), prepared.data.trainer) == (threads, epoch)
    assert launch(prepared, []) == 0
    one, other = (read_checkpoint(folder / "checkpoints" / "last.ckpt") for folder in (plain.path, Path("after")))
    for checkpoint in (one, other):
        del checkpoint["config"]  # with the folder
    assert equal(one, other)
    assert rows(plain, "train/loss_step") == rows(type(plain)(Path("after")), "train/loss_step")


def test_it_ends_where_the_loss_diverges_and_leaves_rows_chart_and_answer() -> None:
    answer = answered("optimizer=sgd", "clip=none", over=Range(low=1e-4, high=1e4, steps=40))
    assert answer.has_diverged
    assert 10 < len(answer.losses) < 40
    assert all(value <= 4 * min(answer.smooth[: step + 1]) for step, value in enumerate(answer.smooth[:-1]))
    assert sorted(path.name for path in Path("test").iterdir()) == [
        ".lock",
        "lr_find.csv",
        "lr_find.json",
        "lr_find.png",
    ]
    header, *lines = Path("test/lr_find.csv").read_text().splitlines()
    assert header == "step,rate,loss,smoothed"
    values = [[float(cell) for cell in line.split(",")] for line in lines]
    assert [row[1:] for row in values] == [
        list(row) for row in zip(answer.rates, answer.losses, answer.smooth, strict=True)
    ]
    assert answer.smooth == smoothed(answer.losses, 0.9)
    written = json.loads(Path("test/lr_find.json").read_text())
    assert (written["status"], written["losses"], written["diverged"]) == ("ok", answer.losses, True)


@pytest.mark.usefixtures("undrawn")
def test_a_loss_that_is_not_finite_ends_it_too() -> None:
    answer = answered("optimizer=sgd", "clip=none", over=Range(low=1e-4, high=1e30, steps=10, diverged=1e300))
    assert answer.has_diverged
    assert len(answer.losses) < 10


def test_stopped_it_goes_on_and_ends_as_if_undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("dropout=0.5", "augment=flip", "trainer.accumulate_grad_batches=2")  # 16 steps an epoch
    over = Range(low=1e-4, high=0.1, steps=24)
    whole = answered(*words, over=over, folder="whole")
    for at in (7, 39):  # in a first and in a second epoch, within an accumulation
        with monkeypatch.context() as patch:
            signalled(signal.SIGINT, at, patch)
            with pytest.raises(Interrupted):
                answered(*words, over=over, folder="stopped")
        assert Path("stopped/checkpoints/last.ckpt").is_file()
    rest = answered(*words, over=over, folder="stopped")
    assert (rest.losses, rest.is_old) == (whole.losses, False)
    for name in ("lr_find.csv", "lr_find.json", "lr_find.png"):
        assert Path("stopped", name).read_bytes() == Path("whole", name).read_bytes()


def test_stopped_before_anything_is_saved_it_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any) -> None:
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr(module, "train", stopped)
    with pytest.raises(Interrupted):
        answered()
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.usefixtures("undrawn")
def test_the_same_test_is_read_and_not_trained_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = answered()
    monkeypatch.setattr(module, "train", None)
    again = answered("trainer.max_epochs=7", "logger=none", "schedule=constant")  # which have no part in it
    assert (again.losses, again.is_old) == (first.losses, True)


@pytest.mark.usefixtures("undrawn")
def test_a_folder_of_something_else_is_not_written_to() -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").touch()
    with pytest.raises(RunError, match=r"^mine: exists and is not the folder of a range test; choose another by to="):
        answered(folder="mine")
    answered()
    with pytest.raises(RunError, match=r"^test: holds the range test of another experiment; choose another by to="):
        answered("seed=2")


def killed(at: int, *words: str) -> int:
    """`convarium lr-find`, saved after each step and killed in one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SAVED_EVERY_MINUTES", 1e-9)
        signalled(signal.SIGKILL, at, patch)
        return processes.convarium("lr-find", *words)


@pytest.mark.slow
def test_killed_it_goes_on_and_ends_as_if_undisturbed(convarium: Callable[..., Any]) -> None:
    words = ("arch=mlp", "arch.hidden=[16]", "trainer.accelerator=cpu", "threads=1", "steps=30", "high=0.1")
    assert convarium("lr-find", *words, "to=whole").code == 0
    assert processes.run(killed, 17, *words, "to=killed", log=Path("log")) == -signal.SIGKILL
    assert Path("killed/checkpoints/last.ckpt").is_file()
    assert convarium("lr-find", *words, "to=killed").code == 0
    assert Path("killed/lr_find.json").read_bytes() == Path("whole/lr_find.json").read_bytes()
