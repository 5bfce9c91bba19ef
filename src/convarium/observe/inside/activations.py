"""What the layers hand on while a network trains: mean, spread, shift and saturation of what activations and norms get.

Measured in hooks, which are there on observed steps alone, on the device.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from convarium.observe.inside.faults import NORMS, is_activation, is_compiled
from convarium.observe.inside.heat_maps import REACH, WORTH_DRAWING, draw_table
from convarium.observe.layer_table import BINS, Row, append_rows, is_observed, read_rows, rounded
from convarium.observe.tracker import Tracker

NAME = "activations"
FLAT = 0.1  # of the steepest slope of an activation; below it a unit hardly learns
MOST_BINNED = 65536  # inputs of a layer; of more every second, third, ... is in its histogram

log = logging.getLogger(__name__)


class Observation(NamedTuple):
    """The inputs of each call at a step, on the device: (calls, 3 + BINS) mean, spread, saturated share, histogram."""

    step: int
    names: list[str]
    values: Tensor


class Activations(L.Callback):
    """Measure every `every_n_steps` optimizer steps (and steps 1, 2, 4, ... before the first of them) what each
    activation and each norm gets, and write RUN/activations.csv, a row for each of them, and `activations/LAYER/...`
    into the trackers; a module that is called several times has rows `NAME`, `NAME#2`, ...

    mean, spread: over the last micro-batch of this rank, the standard deviation without correction. saturated: the
    share where the activation's slope is at most a tenth of its steepest; blank for a norm. shift: how far the mean has
    moved since the observed step before, in spreads of then. bin1 to bin16: shares in bins of half a spread, from 4
    below the mean to 4 above it, with what lies beyond in the outer ones. RUN/figures/activations.png shows a run of at
    least 10 observed steps. Of a compiled network, in which there are no hooks, nothing is observed; one line says so.
    """

    def __init__(self, *, every_n_steps: int = 50) -> None:
        self.every_n_steps = every_n_steps
        self._watched: dict[str, tuple[nn.Module, float | None]] = {}  # with the steepest slope, of an activation
        self._hooks: list[RemovableHandle] = []
        self._calls: dict[str, Tensor] = {}
        self._waiting: list[Observation] = []
        self._before: dict[str, tuple[float, float]] = {}  # mean and spread at the last observed step
        self._folder: Path

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        self._folder = Path(trainer.default_root_dir)
        for name, module in pl_module.net.named_modules():
            if is_activation(module):
                grid = torch.linspace(-8, 8, 1601, device=pl_module.device)
                self._watched[name] = module, float(slope(module, grid).max())
            elif isinstance(module, NORMS):
                self._watched[name] = module, None
        self._before = {row.layer: (row.values["mean"], row.values["spread"]) for row in read_rows(self._table)}

    @property
    def _table(self) -> Path:
        return self._folder / f"{NAME}.csv"

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self._watched and is_observed(trainer.global_step + 1, self.every_n_steps):
            self._calls = {}  # of a micro-batch before
            if is_compiled(pl_module.net):
                self._watched = {}
                log.warning("activations: nothing is observed of a compiled network, which does not call hooks")
            elif not self._hooks:
                self._hooks = [
                    module.register_forward_pre_hook(self._measuring(name, steepest))
                    for name, (module, steepest) in self._watched.items()
                ]

    def _measuring(self, name: str, steepest: float | None) -> Callable[[nn.Module, Any], None]:
        def measure(module: nn.Module, inputs: Any) -> None:
            if module.training:
                call = sum(known.partition("#")[0] == name for known in self._calls) + 1
                self._calls[name if call == 1 else f"{name}#{call}"] = measured(module, inputs[0].detach(), steepest)

        return measure

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        if not self._hooks:
            return
        for hook in self._hooks:
            hook.remove()
        self._hooks, calls, self._calls = [], self._calls, {}
        if not calls:  # the network has a way around all of them
            return
        step = trainer.global_step + 1
        self._waiting.append(Observation(step, [*calls], torch.stack([*calls.values()])))
        if step < self.every_n_steps:
            self._bring(trainer)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if trainer.global_step % trainer.log_every_n_steps == 0:  # the host waits for the device there anyway
            self._bring(trainer)

    def _bring(self, trainer: Any) -> None:
        """Bring what was measured to the host, all of it at once, and write it down."""
        if not self._waiting:
            return
        numbers = iter(torch.cat([observation.values for observation in self._waiting]).tolist())
        rows = [self._row(step, name, next(numbers)) for step, names, _ in self._waiting for name in names]
        self._waiting = []
        append_rows(self._table, rows)
        trackers = [logger for logger in trainer.loggers if isinstance(logger, Tracker)]
        for row in rows:
            bins = [row.values[name] for name in BINS]
            low, high = (row.values["mean"] + side * row.values["spread"] for side in (-REACH, REACH))
            for tracker in trackers:
                tracker.log_metrics(row.named(NAME), row.step)
                tracker.log_histogram(f"{NAME}/{row.layer}/inputs", low, high, bins, row.step)

    def _row(self, step: int, name: str, numbers: list[float]) -> Row:
        mean, spread, saturated, *bins = map(rounded, numbers)
        then = self._before.get(name)
        shift = rounded(abs(mean - then[0]) / then[1]) if then and then[1] else nan
        self._before[name] = mean, spread
        values = {"mean": mean, "spread": spread, "saturated": saturated, "shift": shift}
        return Row(step, name, values | dict(zip(BINS, bins, strict=True)))

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._bring(trainer)  # a resumed run only adds to the file

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self._bring(trainer)
        if trainer.is_global_zero:
            draw_table(self._folder, NAME, least=WORTH_DRAWING)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """What led there is written and drawn, unless somebody is in a hurry."""
        if trainer.training and isinstance(exception, Exception):
            with suppress(RuntimeError):  # a device that has failed gives nothing more
                self.on_fit_end(trainer, pl_module)


@torch.no_grad()
def measured(module: nn.Module, inputs: Tensor, steepest: float | None) -> Tensor:
    """(3 + bins,) numbers of the inputs of a module: mean, spread, saturated share (nan for a norm, whose `steepest` is
    None), histogram."""
    inputs = inputs.float()
    spread, mean = torch.std_mean(inputs, correction=0)
    saturated = torch.full_like(mean, nan)
    if steepest is not None:
        saturated = (slope(module, inputs) <= FLAT * steepest).float().mean()
    some = inputs.flatten()[:: -(-inputs.numel() // MOST_BINNED)]
    edges = torch.linspace(-REACH, REACH, len(BINS) + 1, device=inputs.device)[1:-1]
    below = ((some - mean)[:, None] < edges * spread).float().mean(0)
    bounds = torch.cat([torch.zeros_like(below[:1]), below, torch.ones_like(below[:1])])
    return torch.cat([torch.stack([mean, spread, saturated]), bounds.diff()])


@torch.enable_grad()
def slope(activation: nn.Module, inputs: Tensor) -> Tensor:
    """The size of an activation's derivative at each input, as it evaluates: a random one draws no numbers."""
    inputs, was_training = inputs.detach().requires_grad_(), activation.training
    try:
        outputs = activation.eval().forward(inputs.clone())  # a clone for one in place; forward calls no hooks
    finally:
        activation.train(was_training)
    return torch.autograd.grad(outputs.sum(), inputs)[0].abs()
