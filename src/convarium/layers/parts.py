"""The replaceable parts of a network, as one value that travels from the configuration into any architecture."""

from dataclasses import dataclass
from typing import NamedTuple

from torch import nn

from convarium.layers.blocks import conv_norm
from convarium.layers.factories import ActivationFactory, InitFunction, NormFactory, PoolFactory


class Layers(NamedTuple):
    """What a network is built of. Each architecture names its paper's own as one constant."""

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
        height, width = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
        return conv_norm(
            in_channels,
            out_channels,
            kernel_size,
            norm=self.norm,
            activation=None if linear else self.activation,
            stride=stride,
            padding=(height // 2, width // 2) if padding is None else padding,
            groups=groups,
        )


@dataclass(frozen=True)
class Parts:
    """The parts chosen for an experiment; None means "as in the paper, where the paper has it".

    Any other choice drops the paper's and is applied uniformly:

    - norm: after every convolution and every hidden linear layer of an mlp, before the activation
      (local response normalization: after it)
    - activation: every hidden one; pool: every pooling layer but a global average
    - init: a function of the whole network, called once at the end of its construction
    - dropout: the rate, at the paper's dropout places; a network with none has its place before the final classifier

    Raises ValueError if dropout is not in [0, 1).
    """

    norm: NormFactory | None = None
    activation: ActivationFactory | None = None
    pool: PoolFactory | None = None
    init: InitFunction | None = None
    dropout: float | None = None

    def __post_init__(self) -> None:
        if self.dropout is not None and not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}: accepted is a rate in [0, 1), or null for the paper's")

    def over(self, paper: Layers) -> Layers:
        """The layers to build with: those chosen here, the paper's for the rest."""
        return Layers(
            norm=self.norm or paper.norm,
            activation=self.activation or paper.activation,
            pool=self.pool or paper.pool,
            init=self.init or paper.init,
            dropout=paper.dropout if self.dropout is None else self.dropout,
        )

    def refuse(self, *names: str, why: str) -> None:
        """Raise ValueError for the first of these parts that was chosen although the network has no place for it."""
        for name in names:
            if getattr(self, name) is not None:
                raise ValueError(f"{name}: {why}; accepted: {name}=paper")


AS_IN_PAPER = Parts()
