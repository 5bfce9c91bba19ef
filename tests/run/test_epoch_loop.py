"""Our way through a training step does what Lightning's does, for whoever watches and for the weights."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.profilers import SimpleProfiler
from torch import Tensor

from convarium.errors import ConfigError
from convarium.learn.checkpoint_file import read_checkpoint
from convarium.run.directory import RunDirectory
from convarium.run.fit import assemble
from convarium.run.lightning import HOOKS, EpochLoop
from convarium.run.prepare import prepare
from experiments import config_of

pytestmark = pytest.mark.filterwarnings("ignore:Trying to infer the .batch_size.")


class Watches(L.Callback):
    """Writes down every hook of a training and how things stand at that moment; logs, too."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []
        for hook in (name for name in dir(L.Callback) if name.startswith("on_") and "checkpoint" not in name):
            setattr(self, hook, self._noting(hook))

    def _noting(self, hook: str) -> Any:
        def note(trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
            loop = trainer.fit_loop.epoch_loop
            numbers = [arg.item() if isinstance(arg, Tensor) else arg for arg in args if isinstance(arg, int | Tensor)]
            losses = [arg["loss"].item() for arg in args if isinstance(arg, dict) and "loss" in arg]
            progress = (loop.state_dict(), trainer.global_step, trainer.fit_loop.epoch_loop._batches_that_stepped)
            gradients = [None if p.grad is None else p.grad.sum().item() for p in pl_module.parameters()]
            # as text, in which nan equals nan
            self.seen.append((hook, repr((pl_module._current_fx_name, numbers, losses, gradients, progress))))
            if hook == "on_train_batch_end":
                pl_module.log("mean", float(len(self.seen)), on_step=True, on_epoch=True)

        return note


def trained(name: str, loop: type[_TrainingEpochLoop], *words: str, scaled: bool = False, **keys: Any) -> Any:
    """What a watcher saw, the last checkpoint and what was logged, after two epochs with the loop."""
    config = config_of("trainer.max_epochs=2", "trainer.limit_train_batches=6", "dropout=0.2", *words)
    prepared = prepare(config)
    run = RunDirectory(Path(name))
    run.make(config, [])
    parts = assemble(run, prepared)
    trainer: Any = parts.trainer
    assert type(trainer.fit_loop.epoch_loop) is EpochLoop
    trainer.fit_loop.epoch_loop = loop(trainer, trainer.min_steps, trainer.max_steps)
    watches = Watches()
    trainer.callbacks.insert(0, watches)
    for key, value in keys.items():
        setattr(trainer, key, value)
    if scaled:  # as on a GPU, where products overflow now and then: the first scale is far too large
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
        trainer.strategy.precision_plugin = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    trainer.fit(parts.learner, datamodule=prepared.data)
    logged = {key: value.item() for key, value in trainer.callback_metrics.items()}
    return watches.seen, read_checkpoint(run.last), logged


def same(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, Tensor) else one == other


@pytest.mark.parametrize(
    "words",
    [
        ["clip=norm", "clip.max_norm=0.5"],
        ["clip=norm", "batch_size=36", "trainer.accumulate_grad_batches=3"],
        ["trainer.val_check_interval=2", "average=ema"],
        ["trainer.check_val_every_n_epoch=2"],
        ["trainer.max_steps=8", "trainer.val_check_interval=2", "callbacks.checkpoint.every_n_steps=3", "norm=batch"],
        ["precision=bf16"],
        ["optimizer=muon", "trainer.limit_val_batches=0"],
    ],
)
def test_hooks_counters_gradients_and_checkpoints_are_those_of_lightnings_loop(words: list[str]) -> None:
    ours, theirs = trained("ours", EpochLoop, *words), trained("theirs", _TrainingEpochLoop, *words)
    assert {hook for hook, _ in ours[0]} >= set(HOOKS)
    assert ours[0] == theirs[0]
    assert ours[2] == theirs[2]
    assert "mean_epoch" in ours[2]
    assert same(ours[1], theirs[1])


@pytest.mark.parametrize("fused", ["true", "false"])
def test_scaled_gradients_overflow_and_are_clipped_as_in_lightnings_loop(fused: str) -> None:
    words = ("clip=norm", "clip.max_norm=0.5", f"optimizer.fused={fused}")
    ours = trained("ours", EpochLoop, *words, scaled=True)
    theirs = trained("theirs", _TrainingEpochLoop, *words, scaled=True)
    assert ours[0] == theirs[0]
    assert same(ours[1], theirs[1])
    scale = ours[1]["MixedPrecision"]["scale"]
    assert 1 < scale < 2.0**40  # some steps were skipped


def test_a_loop_that_is_not_lightnings_refuses_a_profiler() -> None:
    with pytest.raises(ConfigError, match=r"trainer\.profiler: not one that this training loop knows"):
        trained("run", EpochLoop, profiler=SimpleProfiler())


@pytest.mark.gpu
@pytest.mark.parametrize("fused", ["true", "false"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_on_a_gpu_the_loop_does_what_lightnings_does(precision: str, fused: str) -> None:
    words = ("trainer.accelerator=gpu", "trainer.deterministic=true", f"precision={precision}")
    words += ("clip=norm", "clip.max_norm=0.5", f"optimizer.fused={fused}")
    ours, theirs = trained("ours", EpochLoop, *words), trained("theirs", _TrainingEpochLoop, *words)
    assert ours[0] == theirs[0]
    assert same(ours[1], theirs[1])
