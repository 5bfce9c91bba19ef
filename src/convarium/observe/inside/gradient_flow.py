"""What happens to the gradients, layer by layer: their norms, those of weights and updates, dead units, what clipping
took.

Everything is measured between the backward pass and the end of an optimizer's step, on the device and for all layers at
once. A step that is not observed costs two comparisons.
"""

from contextlib import suppress
from math import isfinite, nan
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from convarium.observe.inside.faults import CAN_DIE, Faults, Setup, Thresholds, is_compiled
from convarium.observe.inside.heat_maps import WORTH_DRAWING, draw_table
from convarium.observe.layer_table import Row, append_rows, is_observed, read_rows, rounded, words_of
from convarium.observe.tracker import Tracker

NAME = "gradient_flow"


class Layer(NamedTuple):
    """A module with a weight of two or more dimensions, and what can die of the activations behind it."""

    name: str
    module: nn.Module
    activations: list[nn.Module]

    @property
    def weight(self) -> nn.Parameter:
        weight = self.module.weight
        assert isinstance(weight, nn.Parameter)
        return weight


def layers_of(net: nn.Module) -> list[Layer]:
    """The layers of a network in the order in which it names them, which is that of its depth."""
    layers: list[Layer] = []
    for name, module in net.named_modules():
        weight = module._parameters.get("weight")
        if weight is not None and weight.ndim >= 2:
            layers.append(Layer(name, module, []))
        elif layers and isinstance(module, CAN_DIE):
            layers[-1].activations.append(module)
    return layers


class Observation(NamedTuple):
    """What was measured at a step, on the device: of each layer the norms of its gradient before clipping and after it,
    of its weight before the step, and of the update; then the share of dead units of those that have such."""

    step: int
    names: list[str]
    with_units: list[str]
    values: Tensor


class GradientFlow(L.Callback):
    """Measure every `every_n_steps` optimizer steps (and steps 1, 2, 4, ... before the first of them) and write
    RUN/gradient_flow.csv, a row for each layer, and `gradient_flow/LAYER/QUANTITY` into the trackers.

    gradient: the norm of the gradient, all micro-batches together, unscaled and before clipping. clipped: the share of
    it that clipping took. weight: the norm of the weight before the step. update: the norm of what the step changed in
    it, weight decay included. dead: the share of a layer's units (maps) that were 0 for the whole last micro-batch of
    this rank; blank where the activation has none that can be, and of a compiled network, in which there are no hooks.
    A layer without a gradient (frozen) has no row. With several ranks, whose gradients are the same, rank 0 measures.
    Where something is wrong, one sentence with what to try is printed, once, and kept in `pl_module.notes`:
    `vanishing`, `exploding` and `dead` are where that begins, as faults.py has it. RUN/figures/gradient_flow.png shows
    a run of at least 10 observed steps, or one with a note. On observed steps a second copy of the weights is held from
    the end of the backward pass to the end of the optimizer's step.
    """

    def __init__(
        self, *, every_n_steps: int = 50, vanishing: float = 1e4, exploding: float = 0.5, dead: float = 0.95
    ) -> None:
        self.every_n_steps = every_n_steps
        self.thresholds = Thresholds(vanishing, exploding, dead)
        self._layers: list[Layer] = []
        self._waiting: list[Observation] = []
        self._alive: dict[nn.Module, list[Tensor]] = {}  # which units were not 0, of each call
        self._unit_hooks: list[RemovableHandle] = []
        self._step_hook: RemovableHandle | None = None
        self._folder: Path
        self._faults: Faults

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        if not trainer.is_global_zero:
            return
        self._folder = Path(trainer.default_root_dir)
        self._layers = layers_of(pl_module.net)
        by_he = {layer.name: (2 * layer.weight.shape[0]) ** 0.5 for layer in self._layers}
        setup = Setup.of(pl_module, trainer.optimizers[0], words_of(self._folder))
        self._faults = Faults(by_he, self.thresholds, setup)
        pl_module.notes.extend(self._faults.look(read_rows(self._table)))  # of the run that goes on, said then

    @property
    def _table(self) -> Path:
        return self._folder / f"{NAME}.csv"

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if self._layers and is_observed(trainer.global_step + 1, self.every_n_steps):
            self._alive = {}  # the units of a micro-batch before
            if not self._unit_hooks and not is_compiled(pl_module.net):
                activations = [activation for layer in self._layers for activation in layer.activations]
                self._unit_hooks = [activation.register_forward_hook(self._note_alive) for activation in activations]

    def _note_alive(self, activation: nn.Module, inputs: Any, outputs: Tensor) -> None:
        if activation.training:
            units = outputs.detach()
            most = units.amax([dim for dim in range(units.ndim) if dim != 1])
            self._alive.setdefault(activation, []).append(most > 0)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        for hook in self._unit_hooks:
            hook.remove()
        self._unit_hooks = []
        pl_module.after_clipping = None
        if self._step_hook is not None:  # of a step that the scaler has skipped
            self._step_hook.remove()
            self._step_hook = None
        step = trainer.global_step + 1
        if not (self._layers and is_observed(step, self.every_n_steps)):
            return
        layers = [layer for layer in self._layers if layer.weight.grad is not None]
        if not layers:
            return
        weights = [layer.weight.detach() for layer in layers]
        before = _norms(_gradients(layers))  # an optimizer may write to them, as SGD by foreach does
        scaler = _scaler(trainer)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            before = before / scaler.scale(torch.ones_like(before[:1]))  # not unscaled yet
        weight_norms, copies = _norms(weights), [weight.clone() for weight in weights]
        clipped: list[Tensor] = []
        pl_module.after_clipping = lambda: clipped.append(_norms(_gradients(layers)))

        @torch.no_grad()
        def measure(*_: Any) -> None:
            assert self._step_hook is not None
            self._step_hook.remove()
            self._step_hook = None
            torch._foreach_sub_(copies, weights)
            self._observe(step, layers, [before, clipped[0] if clipped else before, weight_norms, _norms(copies)])
            if step % trainer.log_every_n_steps == 0 or step < self.every_n_steps:
                self._bring(trainer, pl_module)

        self._step_hook = optimizer.register_step_post_hook(measure)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        if trainer.global_step % trainer.log_every_n_steps == 0:  # the host waits for the device there anyway
            self._bring(trainer, pl_module)

    def _observe(self, step: int, layers: list[Layer], norms: list[Tensor]) -> None:
        dead = {}
        for layer in layers:
            alive = [units for activation in layer.activations for units in self._alive.get(activation, ())]
            if alive:
                dead[layer.name] = 1 - torch.cat(alive).float().mean()
        self._alive = {}
        values = torch.cat([*norms, *([torch.stack([*dead.values()])] if dead else [])])
        self._waiting.append(Observation(step, [layer.name for layer in layers], [*dead], values))

    def _bring(self, trainer: Any, pl_module: Any) -> None:
        """Bring what was measured to the host, all of it at once, and write it down."""
        if not self._waiting:
            return
        values = iter(torch.cat([observation.values for observation in self._waiting]).tolist())
        rows = []
        for step, names, with_units, _ in self._waiting:
            gradient, after, weight, update = ([next(values) for _ in names] for _ in range(4))
            dead = {name: next(values) for name in with_units}
            for place, name in enumerate(names):
                quantities = {
                    "gradient": gradient[place],
                    "weight": weight[place],
                    "update": update[place],
                    "update_to_weight": update[place] / weight[place] if weight[place] else nan,
                    "clipped": 1 - after[place] / gradient[place] if gradient[place] else 0.0,
                    "dead": dead.get(name, nan),
                }
                rows.append(Row(step, name, {name: rounded(value) for name, value in quantities.items()}))
        self._waiting = []
        if _scaler(trainer) is not None:  # it has skipped steps that overflow
            overflown = {row.step for row in rows if not isfinite(row.values["gradient"])}
            rows = [row for row in rows if row.step not in overflown]
        if not rows:
            return
        append_rows(self._table, rows)
        for row in rows:
            for logger in trainer.loggers:
                if isinstance(logger, Tracker):
                    logger.log_metrics(row.named(NAME), row.step)
        self._say(pl_module, self._faults.look(rows))

    def _say(self, pl_module: Any, notes: list[str]) -> None:
        pl_module.notes.extend(notes)
        for note in notes:
            print(note, flush=True)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        self._bring(trainer, pl_module)  # a resumed run only adds to the file

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        self._bring(trainer, pl_module)
        if self._layers:
            draw_table(self._folder, NAME, pl_module.notes, least=1 if pl_module.notes else WORTH_DRAWING)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """What led there is said and shown, unless somebody is in a hurry."""
        if trainer.training and isinstance(exception, Exception):
            with suppress(RuntimeError):  # a device that has failed gives nothing more
                self._bring(trainer, pl_module)
                layers = [layer for layer in self._layers if layer.weight.grad is not None]
                if layers and not _norms(_gradients(layers)).isfinite().all():
                    self._say(pl_module, self._faults.overflow(trainer.global_step))
                self.on_fit_end(trainer, pl_module)


def _scaler(trainer: Any) -> Any:
    return getattr(trainer.precision_plugin, "scaler", None)


def _gradients(layers: list[Layer]) -> list[Tensor]:
    return [layer.weight.grad for layer in layers if layer.weight.grad is not None]


def _norms(tensors: list[Tensor]) -> Tensor:
    """(n,) norms on the device."""
    return torch.stack(torch._foreach_norm(tensors)).float()
