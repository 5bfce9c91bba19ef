"""What only a CUDA GPU can show: whole runs on one, bit for bit where they are deterministic; `make test-gpu`."""

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

from convarium.data.sources import InMemory
from convarium.learn.checkpoint_file import read_checkpoint
from convarium.run.directory import RunDirectory
from convarium.run.fit import Experiment, assemble
from convarium.run.prepare import Prepared, prepare
from convarium.trained.load import load_run
from experiments import config_of, experiment, rows, weights

pytestmark = pytest.mark.gpu
GPU = ("trainer.accelerator=gpu", "trainer.deterministic=true", "trainer.max_epochs=2")


class Watch(L.Callback):
    """On which devices the batches of a fit lie."""

    def __init__(self) -> None:
        self.devices: set[str] = set()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.devices.add(batch.images.device.type)


def fitted(prepared: Prepared) -> tuple[Experiment, Watch]:
    """The experiment after its fit in the folder `run`, and what was seen of it."""
    run = RunDirectory(Path("run"))
    run.make(prepared.config, [])
    parts, watch = assemble(run, prepared), Watch()
    parts.trainer.callbacks.insert(0, watch)  # type: ignore[attr-defined]
    parts.trainer.fit(parts.learner, datamodule=prepared.data)
    return parts, watch


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_learns_is_recorded_and_loads_on_a_cpu(precision: str) -> None:
    run = experiment(*GPU, f"precision={precision}", "trainer.max_epochs=4", "optimizer.lr=0.01")
    result = run.result()
    assert result["device"] == torch.cuda.get_device_name()
    assert result["metrics"]["test/acc1"] > 0.5
    losses = rows(run, "train/loss")
    assert losses[-1] < losses[0]
    assert next(load_run(run.path).parameters()).device.type == "cpu"


def test_two_runs_are_the_same_bit_for_bit() -> None:
    first, second = experiment(*GPU, folder="first"), experiment(*GPU, folder="second")
    assert all(torch.equal(weights(first)[name], value) for name, value in weights(second).items())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_resumed_run_is_the_uninterrupted_one(precision: str) -> None:
    """Its sums of losses, average, scaler and optimizer included."""
    from convarium.run.launch import launch
    from convarium.run.resume import resume_config

    words = (f"precision={precision}", "average=ema", "clip=norm", "clip.max_norm=0.5", "schedule=constant")
    whole = experiment(*GPU, *words, folder="whole")
    experiment(*GPU, *words, "trainer.max_epochs=1", folder="part")
    config, overrides, _ = resume_config(Path("part"), ["trainer.max_epochs=2"])
    assert launch(prepare(config), overrides, resume=Path("part")) == 0
    part = RunDirectory.open("part")
    assert all(torch.equal(weights(whole)[name], value) for name, value in weights(part).items())
    assert rows(part, "val/acc1") == rows(whole, "val/acc1")
    assert part.result()["metrics"]["test/loss"] == whole.result()["metrics"]["test/loss"]


def test_checkpoints_hold_tensors_that_any_machine_can_read() -> None:
    run = experiment(*GPU, "average=ema", "precision=fp16")
    for file in (run.last, run.best):
        saved = read_checkpoint(file)
        assert {value.device.type for value in saved["state_dict"].values()} == {"cpu"}
        assert saved["averaged"] is not None
    assert "scale" in read_checkpoint(run.last)["MixedPrecision"]


def test_distributed_training_on_one_gpu_trains_as_without() -> None:
    """NCCL, its reductions and broadcasts, in a world of one."""
    experiment(*GPU, folder="alone")
    parts, _ = fitted(prepare(config_of(*GPU, "trainer.strategy=ddp")))
    assert isinstance(parts.trainer.strategy, DDPStrategy)
    run = RunDirectory(Path("run"))
    alone = weights(RunDirectory.open("alone"))
    assert all(torch.equal(alone[name], value) for name, value in weights(run).items())


def test_a_small_split_lives_on_the_gpu_and_no_batch_is_copied() -> None:
    prepared = prepare(config_of(*GPU))
    prepared.data._train = InMemory(  # what is made by formula has no pixels to move
        prepared.data._train.fetch(torch.arange(len(prepared.data._train)))[0], prepared.data._train.targets
    )
    _, watch = fitted(prepared)
    assert watch.devices == {"cuda"}
    assert prepared.data.train_dataloader().source.pixels.is_cuda  # type: ignore[union-attr]


@pytest.mark.parametrize("fused", ["true", "false"])
def test_gradients_are_clipped_unscaled_by_a_real_scaler(fused: str) -> None:
    words = ("precision=fp16", "clip=norm", "clip.max_norm=0.25", f"optimizer.fused={fused}", "optimizer.lr=0.001")
    run = experiment(*GPU, *words)
    assert read_checkpoint(run.last)["MixedPrecision"]["scale"] >= 1.0
    norms = rows(run, "grad_norm")
    assert norms
    assert all(0 < norm < 100 for norm in norms)  # those of the loss, not of the loss times 65,536
    single = experiment(*GPU, *words[1:], folder="single")
    assert rows(single, "grad_norm")[0] == pytest.approx(norms[0], rel=0.05)


def test_too_large_a_batch_ends_as_oom_and_says_so() -> None:
    free = torch.cuda.mem_get_info()[0]
    width = int((free / 4) ** 0.5) + 4096  # a square matrix that takes more than there is
    run = experiment(*GPU, f"arch.hidden=[{width},{width}]", "callbacks=[]", code=1)
    assert json.loads(run.result_file.read_text())["status"] == "oom"


def test_the_peak_of_memory_is_that_of_weights_states_and_activations() -> None:
    """Four times the weights (themselves, gradients, two states of AdamW) and little more for so small a batch."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    parts, _ = fitted(prepare(config_of(*GPU, "arch.hidden=[4096,4096]", "trainer.max_epochs=1")))
    size = sum(parameter.nbytes for parameter in parts.learner.net.parameters())
    peak = torch.cuda.max_memory_allocated() - before
    assert 3.5 * size < peak < 5.5 * size
