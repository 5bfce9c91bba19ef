"""How layers come into an architecture: as functions that make them."""

from collections.abc import Callable
from typing import Protocol

from torch import nn

NormFactory = Callable[[int], nn.Module]  # channels -> layer for (N, C, H, W)
ActivationFactory = Callable[[], nn.Module]
InitFunction = Callable[[nn.Module], None]  # fills the parameters of a whole network, in place


class PoolFactory(Protocol):
    """Window, stride, channels -> layer for (N, channels, H, W); the channels are for a pooling that learns."""

    def __call__(
        self, kernel_size: int, stride: int, *, channels: int, padding: int = 0, ceil_mode: bool = False
    ) -> nn.Module: ...
