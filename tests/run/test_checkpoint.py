"""Checkpoints: when they are saved, what is in them, and what is refused."""

import json
import os
import random
import signal
import weakref
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from convarium.config.identity import config_hash
from convarium.errors import RunError
from convarium.learn import checkpoint_file
from convarium.learn.checkpoint_file import net_state, read_checkpoint, write_checkpoint
from convarium.learn.learner import Learner
from convarium.run import checkpoint as checkpoint_module
from convarium.run.directory import RunDirectory
from convarium.run.launch import launch
from convarium.run.prepare import prepare
from convarium.run.resume import resume_config
from experiments import experiment, rows
from processes import run as run_process
from processes import train

OURS: dict[str, Any] = {"config_hash": "0", "state_dict": {"net.weight": torch.ones(2)}, "averaged": None}


# files ----------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_comes_back_to_the_bit(tmp_path: Path) -> None:
    state = {"a": torch.tensor([0.1, float("nan")]), "b": torch.arange(3)}
    write_checkpoint(tmp_path / "new" / "x.ckpt", {**OURS, "averaged": state, "epoch": 3})
    found = read_checkpoint(tmp_path / "new" / "x.ckpt")
    assert found["epoch"] == 3
    assert all(torch.equal(found["averaged"][name].view(torch.uint8), state[name].view(torch.uint8)) for name in state)


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"x\.ckpt: no such checkpoint"):
        read_checkpoint(tmp_path / "x.ckpt")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused_in_one_line(share: float, tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    write_checkpoint(path, OURS)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(RunError, match=r"x\.ckpt: (not a checkpoint that can be read \(.*\)|damaged: .*)$"):
        read_checkpoint(path)


def test_a_compressed_checkpoint_is_refused_unread(tmp_path: Path) -> None:
    torch.save({**OURS, "format": 1}, tmp_path / "stored")
    with zipfile.ZipFile(tmp_path / "stored") as stored, zipfile.ZipFile(tmp_path / "x.ckpt", "w") as packed:
        for entry in stored.infolist():
            packed.writestr(entry.filename, stored.read(entry), zipfile.ZIP_DEFLATED)
    with pytest.raises(RunError, match=r"x\.ckpt: not a checkpoint that can be read \(a compressed"):
        read_checkpoint(tmp_path / "x.ckpt")


class Trap:
    """Unpickling it would leave a file behind."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("sprung",)


def test_no_flipped_bit_of_a_checkpoint_is_accepted(tmp_path: Path) -> None:
    path, numbers = tmp_path / "x.ckpt", random.Random(0)
    write_checkpoint(path, {**OURS, "format": checkpoint_file.FORMAT})
    whole = path.read_bytes()
    for bit in (*range(8 * (len(whole) - 80), 8 * len(whole)), *numbers.sample(range(8 * len(whole)), 500)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        with pytest.raises(RunError, match=r"x\.ckpt: (not a checkpoint|damaged)"):
            read_checkpoint(path)


def test_a_pickle_in_a_checkpoint_is_refused_and_not_run(own_directory: Path) -> None:
    torch.save({**OURS, "extra": Trap()}, own_directory / "x.ckpt")
    with pytest.raises(RunError, match="not a checkpoint that can be read"):
        read_checkpoint(own_directory / "x.ckpt")
    assert not (own_directory / "sprung").exists()


@pytest.mark.parametrize(
    "foreign",
    [
        {"state_dict": {}},
        {**OURS, "state_dict": 3},
        {**OURS, "averaged": 3},
        [OURS],
        torch.ones(3),
    ],
)
def test_a_checkpoint_of_another_program_is_refused(foreign: Any, tmp_path: Path) -> None:
    torch.save(foreign, tmp_path / "x.ckpt")
    with pytest.raises(RunError, match=r"x\.ckpt: not a checkpoint of Convarium"):
        read_checkpoint(tmp_path / "x.ckpt")


def test_a_write_that_fails_leaves_the_previous_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.ckpt"
    write_checkpoint(path, {**OURS, "epoch": 1})

    def fails(*_: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(checkpoint_file.os, "fsync", fails)
    with pytest.raises(OSError, match="full"):
        write_checkpoint(path, {**OURS, "epoch": 2})
    assert read_checkpoint(path)["epoch"] == 1


def test_a_kill_between_write_and_rename_leaves_the_previous_checkpoint_whole(own_directory: Path) -> None:
    log, words = own_directory / "log", ("data=synthetic", "arch=mlp", "callbacks=[checkpoint]", "run_dir=run")
    # each file of the record is renamed into place too: from the third epoch on, whatever comes third
    code = run_process(_killed_at_third_save, *words, "trainer.max_epochs=4", log=log)
    assert code == -signal.SIGKILL, log.read_text()
    run = RunDirectory.open("run")
    assert [*run.last.parent.glob(".last.ckpt.*.tmp")] != []
    assert read_checkpoint(run.last)["epoch"] == 1  # the second epoch's
    assert run_process(train, "resume=run", log=log) == 0, log.read_text()
    assert run.result()["epochs"] == 4
    assert sorted(path.name for path in run.last.parent.iterdir()) == ["best.ckpt", "last.ckpt"]


def _killed_at_third_save(*overrides: str) -> int:
    own, saves = os.replace, 0

    def replace(source: Any, target: Any) -> None:
        nonlocal saves
        saves += str(target).endswith("last.ckpt")
        if saves == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        own(source, target)

    os.replace = replace
    return train(*overrides)


def test_the_weights_of_a_network_are_the_averaged_ones_where_there_are_any() -> None:
    raw, averaged = {"net.w": torch.zeros(1), "loss.w": torch.ones(1)}, {"w": torch.ones(1)}
    assert net_state({"state_dict": raw, "averaged": averaged})["w"] == 1
    assert net_state({"state_dict": raw, "averaged": averaged}, averaged=False) == {"w": torch.zeros(1)}
    assert net_state({"state_dict": raw, "averaged": None}) == {"w": torch.zeros(1)}


# what is in them ------------------------------------------------------------------------------------------------------


def test_a_checkpoint_says_which_experiment_it_is_of_and_unpickles_nothing() -> None:
    run = experiment("average=ema", "dropout=0.1", "schedule=plateau", "trainer.max_epochs=2")
    for path in (run.last, run.best):
        found = torch.load(path, weights_only=True)
        assert yaml.safe_load(found["config"]) == run.config()
        assert found["config_hash"] == config_hash(run.config()) == run.result()["config_hash"]
        assert found["averaged"].keys() == {name[4:] for name in found["state_dict"] if name.startswith("net.")}
    assert torch.load(run.last, weights_only=True)["global_step"] == 32


# when they are saved --------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, float | None]]:
    """Every checkpoint written: its name, its step, and the score in it."""
    found: list[tuple[str, int, float | None]] = []

    def noted(path: Path, checkpoint: Any) -> None:
        found.append((path.stem, checkpoint["global_step"], checkpoint.get("val/acc1")))
        write_checkpoint(path, checkpoint)

    monkeypatch.setattr(checkpoint_module, "write_checkpoint", noted)
    return found


def last(saved: list[tuple[str, int, float | None]]) -> list[int]:
    return [step for name, step, _ in saved if name == "last"]


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        ([], [16, 32]),
        (["callbacks.checkpoint.every_n_steps=5"], [5, 10, 15, 16, 20, 25, 30, 32]),
        (["callbacks.checkpoint.every_n_steps=16"], [16, 32]),  # once, at the end of the epoch
        (
            ["callbacks.checkpoint.every_n_steps=5", "trainer.accumulate_grad_batches=2"],
            [5, 10, 15, 16, 20, 25, 30, 32],
        ),
        # at 8 and 24 a validation is due, which a checkpoint must not come before
        (["callbacks.checkpoint.every_n_steps=8", "trainer.val_check_interval=0.5"], [16, 32]),
        (["trainer.max_steps=20"], [16, 20]),
        (["data.val_fraction=0", "data.train_size=512"], [16, 32]),
    ],
)
def test_the_last_checkpoint_is_saved_at_every_epochs_end_and_every_so_many_steps(
    words: list[str], steps: list[int], saved: list[tuple[str, int, float | None]]
) -> None:
    experiment("trainer.max_epochs=2", *words)
    assert last(saved) == steps


def test_the_last_checkpoint_is_saved_every_so_many_minutes(
    saved: list[tuple[str, int, float | None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def length() -> float:  # a minute from step to step
        nonlocal now
        now += 60
        return now

    monkeypatch.setattr(checkpoint_module.time, "monotonic", length)
    experiment("callbacks.checkpoint.every_n_minutes=4.5")
    steps = last(saved)
    gaps = [later - earlier for earlier, later in pairwise(steps)]
    assert steps[0] == gaps[0] <= 5
    assert set(gaps[:-1]) == {steps[0]}
    assert steps[-1] == 16


def test_a_clock_at_rest_saves_nothing_between_the_ends_of_epochs(saved: list[tuple[str, int, float | None]]) -> None:
    experiment("callbacks.checkpoint.every_n_minutes=null")
    assert last(saved) == [16]


def test_the_best_checkpoint_has_the_best_score_and_is_the_last_of_equals(
    saved: list[tuple[str, int, float | None]],
) -> None:
    run = experiment("trainer.max_epochs=8", "optimizer.lr=0.02", "data.val_fraction=0.05", "seed=7")
    scores = rows(run, "val/acc1")
    assert scores.count(max(scores)) > 1, "the experiment is to have a tie"
    assert scores[0] < max(scores), "and a best that is not the first"
    climbing = [
        (19 * (epoch + 1), score) for epoch, score in enumerate(scores) if score >= max(scores[:epoch], default=0.0)
    ]
    assert [(step, score) for name, step, score in saved if name == "best"] == climbing
    best = read_checkpoint(run.best)
    assert best["val/acc1"] == max(scores) == run.result()["metrics"]["best/val/acc1"]
    assert best["epoch"] == max(epoch for epoch, score in enumerate(scores) if score == max(scores))


def test_what_is_tested_is_the_best(saved: list[tuple[str, int, float | None]]) -> None:
    run = experiment("trainer.max_epochs=4", "optimizer.lr=0.02")
    from convarium.trained.load import load_run

    final, best = load_run(run.path).state_dict(), net_state(read_checkpoint(run.best))
    assert all(torch.equal(final[name], best[name]) for name in best)


# what a run goes on from --------------------------------------------------------------------------------------------


def refused(run: RunDirectory, *words: str) -> str:
    """Why a run does not go on; not a byte of it has changed."""
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    config, given, _ = resume_config(run.path, words)
    with pytest.raises(RunError) as caught:
        launch(prepare(config), given, resume=run.path)
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before
    return str(caught.value).removeprefix(f"{run.path}/checkpoints/")


def test_a_run_does_not_go_on_without_the_checkpoint_that_it_has_saved() -> None:
    longer = "trainer.max_epochs=2"
    run, empty = experiment(), experiment("callbacks=[progress]", folder="keeps none")
    run.last.rename(run.path / "elsewhere")
    lost = "last.ckpt: no such checkpoint; without it the run of 16 steps cannot be gone on with"
    assert refused(run, longer) == lost
    run.last.symlink_to("nowhere")
    assert refused(run, longer) == lost
    run.last.parent.rename(run.path / "gone")
    assert refused(run, longer) == lost
    assert refused(empty, longer) == lost
    result = json.loads(run.result_file.read_text())
    run.result_file.write_text(json.dumps({**result, "steps": 1}))
    assert refused(run, longer) == lost.replace("16 steps", "1 step")
    run.result_file.write_text(json.dumps({**result, "status": "running", "pid": 0}))  # it was killed
    assert refused(run, longer) == lost
    run.result_file.write_text(json.dumps({**result, "status": "running", "pid": 0, "saved_steps": 0}))
    config, given, _ = resume_config(run.path, [longer])
    assert launch(prepare(config), given, resume=run.path) == 0  # killed before it had saved anything
    assert rows(run, "train/loss_step") == rows(experiment(longer, folder="whole"), "train/loss_step")


def test_a_run_does_not_go_on_from_a_checkpoint_of_another_run_or_a_damaged_one() -> None:
    run = experiment()
    for other, key in (("arch=perceptron", "arch._target_"), ("seed=2", "seed"), ("optimizer.lr=0.1", "optimizer.lr")):
        foreign = experiment(other, folder=other)
        own = run.last.read_bytes()
        run.last.write_bytes(foreign.last.read_bytes())
        assert refused(run, "trainer.max_epochs=2") == f"last.ckpt: the checkpoint of another run; {key} differs"
        run.last.write_bytes(own)
    run.best.write_bytes(run.best.read_bytes()[:-900])
    line = refused(run, "trainer.max_epochs=2")
    assert line.startswith("best.ckpt: ")
    assert line.endswith("; test.weights=last goes on without it")
    config, given, _ = resume_config(run.path, ["trainer.max_epochs=2", "test.weights=last"])
    assert launch(prepare(config), given, resume=run.path) == 0


def test_a_run_goes_on_with_its_checkpoint_read_twice_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once to be checked, and by Lightning."""
    run = experiment()
    reads: list[str] = []
    ours: list[weakref.ref[torch.Tensor]] = []
    at_start: list[tuple[int, list[bool]]] = []
    load, check, start = torch.load, checkpoint_module.read_checkpoint, Learner.on_fit_start

    def counting(path: Any, *arguments: Any, **keywords: Any) -> Any:
        reads.append(Path(getattr(path, "name", path)).name)
        return load(path, *arguments, **keywords)

    def watched(path: Path) -> dict[str, Any]:
        whole = check(path)
        ours.extend(weakref.ref(tensor) for tensor in whole["state_dict"].values())
        return whole

    def starts(learner: Learner) -> None:
        at_start.append((len(reads), [reference() is None for reference in ours]))
        start(learner)

    monkeypatch.setattr(torch, "load", counting)
    monkeypatch.setattr(checkpoint_module, "read_checkpoint", watched)
    monkeypatch.setattr(Learner, "on_fit_start", starts)
    config, given, _ = resume_config(run.path, ["trainer.max_epochs=2"])
    assert launch(prepare(config), given, resume=run.path) == 0
    assert reads == ["last.ckpt", "best.ckpt", "last.ckpt", "best.ckpt"]  # which is tested
    [(read, gone)] = at_start
    assert (read, len(gone) > 0, all(gone)) == (3, True, True)


# divergence -----------------------------------------------------------------------------------------------------------

# an epoch of training, then a rate that no weights survive
DIVERGES = (
    "trainer.max_epochs=4",
    "optimizer=sgd",
    "optimizer.lr=1e30",
    "clip=none",
    "schedule=onecycle",
    "schedule.start=1e-32",
    "schedule.warmup=50%",
)


@pytest.mark.parametrize("every", [1, 4])
def test_a_loss_that_is_no_number_ends_the_run_with_the_last_good_checkpoint(
    every: int, capsys: pytest.CaptureFixture[str]
) -> None:
    run = experiment(*DIVERGES, f"trainer.log_every_n_steps={every}", "callbacks.checkpoint.every_n_steps=1", code=1)
    result = run.result()
    assert result["status"] == "diverged"
    assert result["error"].startswith("train/loss became ") or "the norm of the weights became" in result["error"]
    found = read_checkpoint(run.last)
    assert all(value.isfinite().all() for value in net_state(found).values())
    assert 0 < found["global_step"] <= result["steps"] <= found["global_step"] + every
    assert not run.weights.exists()
    error = capsys.readouterr().err
    assert error.splitlines() == [f"diverged: {result['error']}"]


def test_a_loss_that_is_no_number_ends_the_run_within_the_logging_interval() -> None:
    run = experiment(*DIVERGES, "trainer.log_every_n_steps=5", "trainer.limit_val_batches=0", code=1)
    steps = run.result()["steps"]
    exact = experiment(*DIVERGES, "trainer.log_every_n_steps=1", "trainer.limit_val_batches=0", folder="1", code=1)
    assert exact.result()["steps"] <= steps <= exact.result()["steps"] + 5


def test_nothing_is_saved_of_a_run_that_diverges_at_once() -> None:
    run = experiment("optimizer=sgd", "optimizer.lr=1e30", "clip=none", "schedule=constant", code=1)
    assert run.result()["status"] == "diverged"
    assert not run.last.exists()
    assert not run.best.exists()
