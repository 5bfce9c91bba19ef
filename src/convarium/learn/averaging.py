"""Averaged weights: rules, and the callback that keeps the average beside the weights that train."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import lightning.pytorch as L
import torch
from torch import Tensor, nn

from convarium.learn.lengths import LengthLike, TrainingLength, parse_length


class Rule(Protocol):
    """How much the weights after a step count in the average; a pure function, so that a resumed run is exact."""

    def weight(self, step: int, length: TrainingLength) -> float | None:
        """What the weights after `step` steps count beside the average so far, 0 to 1; None: no average yet."""

    def check(self, length: TrainingLength) -> None:
        """Raise ValueError where the rule's lengths do not fit into the run."""


@dataclass(frozen=True, kw_only=True)
class EMA:
    """Exponential moving average: after step t the old average counts min(decay, (1 + t) / (warmup + t)).

    So it forgets the first weights sooner than 1 / (1 - decay) steps (the rule of TensorFlow's
    ExponentialMovingAverage, warmup 10); `warmup` 1 uses `decay` from the start.
    """

    decay: float = 0.999
    warmup: float = 10.0

    def weight(self, step: int, length: TrainingLength) -> float | None:
        return 1 - min(self.decay, (1 + step) / (self.warmup + step))

    def check(self, length: TrainingLength) -> None:
        """Fits any run."""


@dataclass(frozen=True, kw_only=True)
class Polyak:
    """The plain mean of the weights after each step from `start` on (Polyak & Juditsky 1992); before it, none."""

    start: LengthLike = "50%"

    def weight(self, step: int, length: TrainingLength) -> float | None:
        averaged = step - self._first(length) + 1
        return 1 / averaged if averaged > 0 else None

    def check(self, length: TrainingLength) -> None:
        if self._first(length) > length.total_steps:
            raise ValueError(f"average.start={self.start}: is not inside the run of {length.total_steps} steps")

    def _first(self, length: TrainingLength) -> int:
        return parse_length(self.start).steps(length) + 1


class Averaging(L.Callback):
    """Average the parameters and buffers of `pl_module.net`; validate and test with the average.

    After every optimizer step the floating-point tensors move towards the new weights by the rule's share, integer
    buffers are copied. While a validation or a test runs, the averaged values stand in the network's own tensors, so
    that references to them stay valid; afterwards the trained ones are back. `pl_module.length` is read when training
    starts. With several ranks each averages its own batch statistics; the learner scores with those of rank 0.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._step = 0  # optimizer steps taken into account
        self._active = False  # whether there is an average yet
        self._shadow: dict[str, Tensor] = {}
        self._trained: dict[str, Tensor] = {}  # the network's own values while the average stands in for them
        self._length: TrainingLength
        self._averaged: tuple[list[Tensor], list[Tensor]]  # shadow and network
        self._copied: list[tuple[Tensor, Tensor]]

    def averaged_state(self) -> dict[str, Tensor] | None:
        """A copy of the averaged weights by the names of the network's state_dict; None as long as there are none."""
        return {name: tensor.clone() for name, tensor in self._shadow.items()} if self._active else None

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step, "active": self._active, "shadow": dict(self._shadow) if self._active else {}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._step, self._active = state_dict["step"], state_dict["active"]
        self._shadow = dict(state_dict["shadow"])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._length = getattr(pl_module, "length")  # noqa: B009 - a plain attribute, not one of nn.Module's
        self._step = trainer.global_step
        live = _live(pl_module)
        if self._active:
            self._require_fit(live)
            self._shadow = {name: self._shadow[name].to(tensor.device) for name, tensor in live.items()}
        else:
            self._shadow = {name: tensor.clone() for name, tensor in live.items()}
        averaged = [name for name, tensor in live.items() if tensor.is_floating_point()]
        # The tensors are looked up once: while a fit runs they are changed in place, never replaced.
        self._averaged = [self._shadow[name] for name in averaged], [live[name] for name in averaged]
        self._copied = [(self._shadow[name], live[name]) for name in live if name not in averaged]

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step = trainer.global_step
        if step == self._step:  # gradients were only accumulated
            return
        self._step = step
        weight = self.rule.weight(step, self._length)
        self._active = weight is not None
        if weight is not None:
            torch._foreach_lerp_(*self._averaged, weight)
            for shadow, value in self._copied:
                shadow.copy_(value)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._active:
            live = _live(pl_module)
            self._require_fit(live)
            self._trained = {name: tensor.clone() for name, tensor in live.items()}
            for name, tensor in live.items():
                tensor.copy_(self._shadow[name])

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        live = _live(pl_module) if self._trained else {}
        for name, tensor in live.items():
            tensor.copy_(self._trained[name])
        self._trained = {}

    on_test_start = on_validation_start
    on_test_end = on_validation_end

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.on_validation_end(trainer, pl_module)

    def _require_fit(self, live: Mapping[str, Tensor]) -> None:
        ours = {name: tensor.shape for name, tensor in self._shadow.items()}
        if ours != {name: tensor.shape for name, tensor in live.items()}:
            raise ValueError("average: the averaged weights of the checkpoint are those of another network")


def _live(pl_module: L.LightningModule) -> dict[str, Tensor]:
    """The network's parameters and buffers by name, detached: what is written to them is written to the network."""
    net = pl_module.net
    assert isinstance(net, nn.Module)
    return dict(net.state_dict())
