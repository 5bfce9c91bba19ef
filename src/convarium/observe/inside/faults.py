"""What is wrong with the gradients of a network, in one plain sentence with what to try; a healthy run gives none.

It goes by the rows of gradient_flow.csv alone, so that a resumed run comes to the same sentences.
"""

import inspect
import math
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import nn

from convarium.layers.activation import ScaledTanh, Step
from convarium.observe.layer_table import Row

PATIENCE = 3  # observations in a row; the first steps of a healthy run may look like anything
GROWN = 10.0  # times the first observed norm of all gradients; a healthy one grows as much, but by small updates
CAN_DIE = (nn.ReLU, nn.ReLU6, nn.Threshold, Step)
"""Activations with units that may give 0 for every image; no gradient passes there."""
SQUASHING = (nn.Sigmoid, nn.Tanh, nn.Hardsigmoid, nn.Hardtanh, nn.Softsign, ScaledTanh, Step)
"""Activations that are flat on both sides."""
NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm)
SMALL, LARGE = 0.85, 1.2
"""Times the norm that init=he gives a weight: init=xavier and what is below are small, as to a ReLU behind it."""
FIRST_UPDATE = 0.01
"""Of the weights: what a rate is named by that a training may begin with."""
ADAPTIVE = {"betas", "alpha", "lr_decay", "trust", "use_muon"}
"""Hyper-parameters of optimizers that divide by the size of the gradients, to which clipping all of them is nothing."""


CHOOSE = {"recipe", "arch", "norm", "activation", "pool", "init", "data", "augment", "optimizer", "batch_size"}
"""The keys that what a rate does depends on most."""


class Thresholds(NamedTuple):
    """From where on something is a fault; the yaml explains each."""

    vanishing: float
    exploding: float
    dead: float


class Setup(NamedTuple):
    """What a run has already, and what it could have instead."""

    squashes: bool
    """Whether most of the activations are flat on both sides."""
    normed: bool
    clipped: bool
    adaptive: bool
    replaceable: bool
    """Whether norm and activation can be chosen."""
    rate: float
    momentum: float = 0.0
    """Share of an update that the next one repeats."""
    asks: str = "convarium lr-find"
    """The command that measures a rate for this network and data."""

    @classmethod
    def of(cls, learner: Any, optimizer: torch.optim.Optimizer, words: Sequence[str] = ()) -> "Setup":
        """That of a learner: its `net` and whether there is a `clip`. words: those that were typed, key=value."""
        chosen = {word.partition("=")[0]: word for word in words if _chooses(word)}  # the last of each key
        kinds = Counter(type(module) for module in learner.net.modules() if is_activation(module))
        usual = kinds.most_common(1)[0][0] if kinds else nn.Identity
        group = optimizer.param_groups[0]
        return cls(
            squashes=issubclass(usual, SQUASHING),
            normed=any(isinstance(module, NORMS) for module in learner.net.modules()),
            clipped=learner.clip is not None,
            adaptive=bool(ADAPTIVE & set(group)),
            replaceable="parts" in inspect.signature(type(learner.net)).parameters,
            rate=group.get("initial_lr", group["lr"]),
            momentum=group.get("momentum", 0.0),
            asks=shlex.join(["convarium", "lr-find", *chosen.values()]),
        )

    def for_depth(self, *, missized: bool) -> list[str]:
        """What keeps the size of gradients from layer to layer; a ReLU does where the weights begin with the size that
        it wants, or a norm sees to that. missized: whether they do not."""
        if not self.replaceable or (self.normed and not self.squashes):
            return ["a network with shortcuts, as arch=resnet20 is"]
        sized = [] if self.normed else ["norm=batch", "init=he"] if missized else ["norm=batch"]
        if not self.squashes:
            return sized
        return [f"activation=relu with {part}" for part in sized] if missized and sized else ["activation=relu"]

    def for_steps(self, update: float, weights: float) -> list[str]:
        """What keeps updates small, where the first was this share of the weights, whose norm together is `weights`."""
        is_enough = self.rate <= 0.1 * weights  # an update of gradients that are clipped to a norm of 1
        clip = ["clip=norm"] if is_enough and not (self.clipped or self.adaptive) else []
        return [*clip, *self._lower(update)]

    def for_units(self, update: float) -> list[str]:
        """What keeps units alive, where the first update was this share of the weights."""
        return [*(["activation=leaky_relu"] if self.replaceable else []), *self._lower(update)]

    def _lower(self, update: float) -> list[str]:
        rate = self.rate * min(0.1, FIRST_UPDATE * (1 - self.momentum) / update if update else 0.1)
        return [f"optimizer.lr={float(f'{rate:.0e}'):g}", f"what `{self.asks}` suggests"]


def _chooses(word: str) -> bool:
    """Whether a word chooses the network, its parts, the data, or the optimizer whose rate is looked for."""
    key = word.partition("=")[0]
    return key.partition(".")[0] in CHOOSE and key != "optimizer.lr"


def is_activation(module: nn.Module) -> bool:
    """Whether a module is one of torch's activations or ours, not a layer built of some."""
    home = type(module).__mro__
    kinds = {nn.ReLU.__module__, Step.__module__}
    return any(kind.__module__ in kinds for kind in home) and not any(True for _ in module.children())


def is_compiled(net: nn.Module) -> bool:
    """Whether some of a network runs compiled: hooks of its modules would be compiled into it, or not be called.

    It goes by a private name of torch; a test notices when that changes.
    """
    return any(module._compiled_call_impl is not None for module in net.modules())


class Faults:
    """Looks at one observed step after the other; each kind of fault is said once.

    layers: of each, the norm that init=he gives its weight.
    """

    def __init__(self, layers: Mapping[str, float], thresholds: Thresholds, setup: Setup) -> None:
        self._layers, self._limits, self._setup = layers, thresholds, setup
        self._first: float | None = None  # norm of all gradients
        self._first_kept = 0.0  # after clipping
        self._weights = math.inf  # norm of all of them then
        self._size = 1.0  # of the weights at the first observed step, times that of init=he
        self._update = 0.0  # the largest, as a share of the weights, made by gradients as they were at first
        self._seen: Counter[str] = Counter()  # observations in a row
        self._said_kinds: set[str] = set()

    def look(self, rows: Iterable[Row]) -> list[str]:
        """New sentences by further rows, whole steps in their order."""
        return [
            sentence
            for step, of_step in groupby(rows, lambda row: row.step)
            for sentence in self._look_at(step, {row.layer: row.values for row in of_step})
        ]

    def _look_at(self, step: int, layers: Mapping[str, Mapping[str, float]]) -> list[str]:
        gradients = {name: values["gradient"] for name, values in layers.items()}
        total = math.hypot(*gradients.values())
        if not math.isfinite(total):
            return self.overflow(step)
        ratios = [values["update_to_weight"] for values in layers.values()]
        kept = math.hypot(*(values["gradient"] * (1 - values["clipped"]) for values in layers.values()))
        share = median([ratio for ratio in ratios if math.isfinite(ratio)] or [0.0])
        grown = 1.0 if self._first is None else _ratio(total, self._first)
        if self._first is None:
            self._first, self._first_kept = total, kept
            self._weights = math.hypot(*(values["weight"] for values in layers.values()))
            self._size = median(values["weight"] / self._layers[name] for name, values in layers.items())
        larger = 1.0 if self._setup.adaptive else max(1.0, _ratio(kept, self._first_kept))
        self._update = max(self._update, share / larger)
        dead = {name: values["dead"] for name, values in layers.items() if math.isfinite(values["dead"])}
        dies = max(dead.values(), default=0.0) >= self._limits.dead  # which is why no gradient passes
        sentences = [
            self._dead(dead, dies),
            *self._over_depth(gradients, not dies),
            self._over_time(step, grown, share),
        ]
        return [sentence for sentence in sentences if sentence]

    def overflow(self, step: int) -> list[str]:
        """What is said of gradients that are no numbers any more, unless it was said that they explode."""
        said = f"gradients are not finite any more by step {step:,}: exploding"
        remedies = self._setup.for_steps(self._update, self._weights)
        return [said for said in [self._tell("exploding", True, said, remedies, patience=1)] if said]

    def _over_depth(self, gradients: Mapping[str, float], passes: bool) -> list[str]:
        first = next(iter(gradients))
        largest, smallest = max(gradients, key=gradients.__getitem__), min(gradients, key=gradients.__getitem__)
        falls = _ratio(gradients[largest], gradients[first])
        grows = _ratio(gradients[first], gradients[smallest])
        way = f"from {self._called(largest)} to {self._called(first)}"
        what = f"gradients fall {_fold(falls)}" if falls < math.inf else "no gradient comes"
        return [
            self._tell(
                "vanishing",
                passes and falls >= self._limits.vanishing,
                f"{what} {way}: vanishing",
                self._setup.for_depth(missized=self._size < SMALL),
            ),
            self._tell(
                "growing",
                self._limits.vanishing <= grows < math.inf,
                f"gradients grow {_fold(grows)} from {self._called(smallest)} to {self._called(first)}: exploding",
                self._setup.for_depth(missized=self._size > LARGE),
            ),
        ]

    def _over_time(self, step: int, grown: float, share: float) -> str:
        update = f"{_share(share)} of" if share <= 1 else f"{_times(share)} times"
        said = f"gradients have grown {_fold(grown)} by step {step:,}, and an update is {update} the weights"
        exploding = share >= self._limits.exploding and grown >= GROWN
        return self._tell(
            "exploding", exploding, f"{said}: exploding", self._setup.for_steps(self._update, self._weights), patience=1
        )

    def _dead(self, shares: Mapping[str, float], dies: bool) -> str:
        worst = max(shares, key=shares.__getitem__, default="")
        said = f"{_share(shares[worst])} of the units of {self._called(worst)} are dead" if dies else ""
        return self._tell("dead", dies, said, self._setup.for_units(self._update))

    def _tell(self, kind: str, is_so: bool, said: str, remedies: list[str], patience: int = PATIENCE) -> str:
        self._seen[kind] = self._seen[kind] + 1 if is_so else 0
        if self._seen[kind] < patience or kind in self._said_kinds:
            return ""
        self._said_kinds.add(kind)
        return f"{said}; try {' or '.join(remedies)}"

    def _called(self, name: str) -> str:
        return f"layer {[*self._layers].index(name) + 1} ({name})"


def _ratio(one: float, other: float) -> float:
    if other:
        return one / other
    return math.inf if one else 1.0


def _fold(ratio: float) -> str:
    return f"10^{math.log10(ratio):.0f}-fold" if 1e4 <= ratio < math.inf else f"{ratio:.0f}-fold"


def _times(ratio: float) -> str:
    return f"{ratio:.1f}" if ratio < 10 else f"{ratio:,.0f}" if ratio < 1e6 else f"{ratio:.0e}"


def _share(share: float) -> str:
    return f"{100 * share:.0f} %"
