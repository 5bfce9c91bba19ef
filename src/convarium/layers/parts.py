"""The replaceable parts of a network, as one value that travels from the configuration into any architecture."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from convarium.layers.norm import OfUnits

NormFactory = Callable[[int], nn.Module]  # channels -> layer for (N, C, H, W)
ActivationFactory = Callable[[], nn.Module]
InitFunction = Callable[[nn.Module], None]  # fills the parameters of a whole network, in place


class PoolFactory(Protocol):
    """Window, stride, channels -> layer for (N, channels, H, W); the channels are for a pooling that learns."""

    def __call__(
        self, kernel_size: int, stride: int, *, channels: int, padding: int = 0, ceil_mode: bool = False
    ) -> nn.Module: ...


class Layers(NamedTuple):
    """What a network is built of. Each architecture names its paper's own as one constant.

    A convolution or linear layer has a bias if and only if the norm behind it brings no learnable one. A norm with a
    true attribute `after_activation` comes last, any other before the activation.
    """

    norm: NormFactory
    activation: ActivationFactory
    pool: PoolFactory
    init: InitFunction
    dropout: float = 0.0

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        linear: bool = False,
    ) -> nn.Sequential:
        """Convolution, norm and, unless linear, activation; (N, in, H, W) -> (N, out, H', W').

        Padded by half a window unless told otherwise: an odd window with stride s then gives ceil(H/s), ceil(W/s).
        """
        norm = self.norm(out_channels)
        height, width = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
        pad = (height // 2, width // 2) if padding is None else padding
        bias = not _brings_bias(norm)
        conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, pad, groups=groups, bias=bias)
        return _in_order("conv", conv, norm, None if linear else self.activation)

    def linear(self, in_features: int, out_features: int) -> nn.Sequential:
        """Linear layer, norm, activation; (N, in) -> (N, out)."""
        norm = OfUnits(self.norm(out_features))
        linear = nn.Linear(in_features, out_features, bias=not _brings_bias(norm))
        return _in_order("linear", linear, norm, self.activation)


class SideBySide(nn.ModuleDict):
    """Branches side by side, their maps joined in order; (N, C, H, W) -> (N, sum of the branches', H', W')."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.values()], dim=1)


def _brings_bias(norm: nn.Module) -> bool:
    return any(name.rpartition(".")[2] == "bias" for name, _ in norm.named_parameters())


def _in_order(name: str, weighted: nn.Module, norm: nn.Module, activation: ActivationFactory | None) -> nn.Sequential:
    layers = [(name, weighted), ("norm", norm)]
    if activation is not None:
        layers.insert(1 if getattr(norm, "after_activation", False) else 2, ("activation", activation()))
    return nn.Sequential(OrderedDict(layers))


@dataclass(frozen=True)
class Parts:
    """The parts chosen for an experiment; None means "as in the paper, where the paper has it".

    Any other choice drops the paper's and is applied uniformly:

    - norm: after every convolution and every hidden linear layer of an mlp, before the activation
      (local response normalization: after it)
    - activation: every hidden one; pool: every pooling layer but a global average
    - init: a function of the whole network, called once at the end of its construction
    - dropout: the rate, at the paper's dropout places; a network with none has its place before the final classifier
    """

    norm: NormFactory | None = None
    activation: ActivationFactory | None = None
    pool: PoolFactory | None = None
    init: InitFunction | None = None
    dropout: float | None = None

    def over(self, paper: Layers) -> Layers:
        """The layers to build with: those chosen here, the paper's for the rest."""
        chosen = vars(self).values()  # in the order of the fields
        return Layers._make(own if part is None else part for part, own in zip(chosen, paper, strict=True))

    def refuse(self, *names: str, why: str) -> None:
        """Raise ValueError for the first of these parts that was chosen although the network has no place for it."""
        for name in names:
            if getattr(self, name) is not None:
                raise ValueError(f"{name}: {why}; accepted: {name}=paper")


AS_IN_PAPER = Parts()
