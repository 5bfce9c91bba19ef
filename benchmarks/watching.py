"""What it costs to watch gradients and activations: the same training with a callback on and off.

    python benchmarks/watching.py [arch] [batch_size] [rounds] [threads] [callback]

Blocks of as many steps as lie between two observed ones alternate within one run: with the callback, without it, and
once more without it as a control, in turns. The time is that of the processor, which other programs disturb less than
the clock's. Images are synthetic, one channel for the LeNets and three for others, 32x32.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import lightning.pytorch as L

from convarium.config.compose import compose
from convarium.run.directory import RunDirectory
from convarium.run.fit import assemble, fit
from convarium.run.prepare import prepare

SIDES = ("on", "off", "off again")


class Alternation(L.Callback):
    """Times blocks; a callback is among the trainer's, and hears of training, in those where it is on alone."""

    def __init__(self, watcher: Any) -> None:
        self.watcher = watcher
        self.seconds: dict[str, list[float]] = {side: [] for side in SIDES}
        self.block = 0

    def side(self) -> str:
        turn, place = divmod(self.block, len(SIDES))
        return SIDES[(place + turn) % len(SIDES)]

    def on_train_batch_start(self, trainer: L.Trainer, *batch: Any) -> None:
        if trainer.global_step % self.watcher.every_n_steps == 0:
            self.mark = time.process_time()
        if self.side() == "on":
            self.watcher.on_train_batch_start(trainer, *batch)

    def on_before_optimizer_step(self, *step: Any) -> None:
        if self.side() == "on":
            self.watcher.on_before_optimizer_step(*step)

    def on_train_batch_end(self, trainer: L.Trainer, *batch: Any) -> None:
        if trainer.global_step % self.watcher.every_n_steps == 0:
            self.seconds[self.side()].append(time.process_time() - self.mark)
            self.block += 1

    def on_fit_start(self, *who: Any) -> None:
        self.watcher.on_fit_start(*who)

    def on_fit_end(self, *who: Any) -> None:
        self.watcher.on_fit_end(*who)


def main(
    arch: str = "lenet5", batch: int = 128, rounds: int = 30, threads: int = 2, name: str = "gradient_flow"
) -> None:
    size = ("data.channels=1", "data.image_size=32") if arch.startswith("lenet") else ("data.image_size=32",)
    words = [f"arch={arch}", f"batch_size={batch}", f"threads={threads}", "trainer.accelerator=cpu", *size]
    words += ["data=synthetic", "data.train_size=20000", f"callbacks=[{name}]", "trainer.limit_val_batches=1"]
    words += [f"trainer.max_steps={50 * len(SIDES) * (rounds + 1)}", "trainer.max_epochs=1000"]
    prepared = prepare(compose([*words, "trainer.limit_test_batches=1"]).config)
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory(Path(folder) / "run")
        run.make(prepared.config, words)
        experiment = assemble(run, prepared)
        callbacks: Any = experiment.trainer.callbacks
        place = next(place for place, callback in enumerate(callbacks) if hasattr(callback, "every_n_steps"))
        callbacks[place] = alternation = Alternation(callbacks[place])
        fit(run, prepared, experiment, None)
    seconds = {side: values[1:] for side, values in alternation.seconds.items()}  # the first round warms up
    step = 1e3 * statistics.median(seconds["off"]) / 50
    print(f"\n{name}, {arch}, batch {batch}, {threads} threads: {len(seconds['on'])} rounds, a step of {step:.2f} ms")
    for one, other in (("on", "off"), ("on", "off again"), ("off again", "off")):
        ratios = sorted(a / b for a, b in zip(seconds[one], seconds[other], strict=True))
        print(f"{one:>10} / {other:<10} median {statistics.median(ratios):.3f}   {ratios[0]:.3f} to {ratios[-1]:.3f}")
    both = [(a + b) / 2 for a, b in zip(seconds["off"], seconds["off again"], strict=True)]
    ratio = statistics.median(a / b for a, b in zip(seconds["on"], both, strict=True))
    print(f"watching ratio {ratio:.3f} (at most 1.03)")


if __name__ == "__main__":
    main(*(int(word) if word.isdigit() else word for word in sys.argv[1:]))  # type: ignore[arg-type]
