"""What the platform costs beside a hand-written loop: LeNet-5 on MNIST, batch 128, everything on.

    CONVARIUM_DATA=... python benchmarks/overhead.py [epochs] [threads] [arch]

Ours has metrics, metrics.csv, result.json, checkpoint, progress and throughput on. The hand-written loop trains the
same network on the same uint8 pixels: it shuffles, slices, normalizes, validates, uses the fused optimizer and never
calls `.item()`. Both, and a second copy of the loop as a control, alternate in blocks of 10 steps within one process;
an epoch's figure is the sum of its blocks with its validation (and, for ours, checkpoint). Without MNIST at hand,
synthetic images of the same shape and number are used.
"""

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convarium.config.compose import compose
from convarium.config.instantiate import build
from convarium.errors import MissingData
from convarium.run.directory import RunDirectory
from convarium.run.fit import assemble, fit
from convarium.run.prepare import prepare

BLOCK = 10
BATCH = 128


class HandWritten:
    """The loop one writes without a platform."""

    def __init__(self, net: nn.Module, pixels: Tensor, labels: Tensor, train: Tensor, val: Tensor, steps: int) -> None:
        self.net, self.pixels, self.labels, self.train, self.val = net, pixels, labels, train, val
        self.optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, fused=True)
        self.schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)
        self.begin_epoch()

    def begin_epoch(self) -> None:
        self.order = self.train[torch.randperm(len(self.train))]
        self.at = 0
        self.net.train()

    def block(self, steps: int) -> None:
        for _ in range(steps):
            index = self.order[self.at : self.at + BATCH]
            self.at += BATCH
            images, labels = self.pixels.index_select(0, index), self.labels.index_select(0, index)
            loss = F.cross_entropy(self.net(normalized(images)), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()

    @torch.no_grad()
    def validate(self) -> Tensor:
        self.net.eval()
        correct = torch.zeros((), dtype=torch.int64)
        for index in self.val.split(BATCH):
            logits = self.net(normalized(self.pixels.index_select(0, index)))
            correct += (logits.argmax(1) == self.labels.index_select(0, index)).sum()
        return correct / len(self.val)


def normalized(pixels: Tensor) -> Tensor:
    return pixels.to(torch.float32).mul_(1 / (255 * 0.3081)).sub_(0.1307 / 0.3081)


class Alternation(L.Callback):
    """After every block of ours, a block of each hand-written loop; who comes first changes from block to block."""

    def __init__(self, loops: dict[str, HandWritten]) -> None:
        self.loops = loops
        self.seconds: list[dict[str, float]] = []
        self.turn = 0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.seconds:
            self.seconds[-1]["ours"] += time.perf_counter() - self.mark
        for loop in self.loops.values():
            loop.begin_epoch()
        self.seconds.append(defaultdict(float))
        self.mark = time.perf_counter()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *batch: Any) -> None:
        index = batch[-1] + 1
        if index % BLOCK and index != trainer.num_training_batches:
            return
        self.seconds[-1]["ours"] += time.perf_counter() - self.mark
        self.turn += 1
        names = list(self.loops) if self.turn % 2 else list(self.loops)[::-1]
        for name in names:
            began = time.perf_counter()
            self.loops[name].block(index % BLOCK or BLOCK)
            if index == trainer.num_training_batches:
                self.loops[name].validate()
            self.seconds[-1][name] += time.perf_counter() - began
        self.mark = time.perf_counter()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds[-1]["ours"] += time.perf_counter() - self.mark


def main(epochs: int = 7, threads: int = 2, arch: str = "lenet5") -> None:
    overrides = [f"arch={arch}", "clip=none", f"batch_size={BATCH}", "decay=all", "optimizer.weight_decay=0.01"]
    overrides += [f"trainer.max_epochs={epochs + 1}", "trainer.accelerator=cpu", f"threads={threads}"]
    overrides += ["callbacks=[checkpoint,progress,throughput]"]
    try:
        prepared = prepare(compose([*overrides, "data=mnist"]).config)
    except MissingData:
        synthetic = ["data=synthetic", "data.channels=1", "data.train_size=60000", "data.val_fraction=0.0833"]
        prepared = prepare(compose([*overrides, *synthetic]).config)
    config, data, length = prepared.config, prepared.data, prepared.length
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / "run")
        run.make(config, overrides)
        experiment = assemble(run, prepared)
        loader, source = data.train_dataloader(), data._train
        pixels, labels = source.fetch(torch.arange(len(source)))[0], source.targets
        steps = length.total_steps
        val = torch.tensor(sorted(set(range(len(source))) - set(loader.members.tolist())))
        loops = {
            name: HandWritten(build(config["arch"], "arch"), pixels, labels, loader.members, val, steps)
            for name in ("hand", "hand again")
        }
        alternation = Alternation(loops)
        experiment.trainer.callbacks.insert(0, alternation)
        fit(run, prepared, experiment, None)
    seconds = alternation.seconds[1:]  # the first epoch warms up
    step = 1e3 * statistics.median(epoch["hand"] for epoch in seconds) / length.steps_per_epoch
    print(
        f"\n{len(seconds)} epochs of {length.steps_per_epoch} steps, {threads} threads, hand-written step {step:.2f} ms"
    )
    for name, other in (("ours", "hand"), ("ours", "hand again"), ("hand again", "hand")):
        ratios = sorted(epoch[name] / epoch[other] for epoch in seconds)  # per epoch
        print(f"{name:>10} / {other:<10}  median {statistics.median(ratios):.3f}   {ratios[0]:.3f} to {ratios[-1]:.3f}")
    hand = [(epoch["hand"] + epoch["hand again"]) / 2 for epoch in seconds]
    ratio = statistics.median(epoch["ours"] / both for epoch, both in zip(seconds, hand, strict=True))
    extra = statistics.median(epoch["ours"] - both for epoch, both in zip(seconds, hand, strict=True))
    print(f"{1e6 * extra / length.steps_per_epoch:.0f} us per step above the loop")
    print(f"overhead ratio {ratio:.3f} (at most 1.10)")


if __name__ == "__main__":
    main(*(int(word) if word.isdigit() else word for word in sys.argv[1:]))  # type: ignore[arg-type]
