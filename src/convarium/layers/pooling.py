"""Pooling layers as factories, (kernel_size, stride, channels, ...) -> layer, one per member of the group `pool`."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from convarium.sizes import output_size


def max_pool(
    kernel_size: int, stride: int, *, channels: int, padding: int = 0, ceil_mode: bool = False
) -> nn.MaxPool2d:
    """The largest value of each window."""
    return nn.MaxPool2d(kernel_size, stride, padding, ceil_mode=ceil_mode)


def average_pool(
    kernel_size: int,
    stride: int,
    *,
    channels: int,
    padding: int = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> nn.AvgPool2d:
    """The mean of each window."""
    return nn.AvgPool2d(kernel_size, stride, padding, ceil_mode=ceil_mode, count_include_pad=count_include_pad)


class Subsampling(nn.Module):
    """The sum of each window times a trainable coefficient, plus a trainable bias, one of each per map.

    LeCun et al. 1998, section II.B. Starts as the mean. A window that hangs over the edge counts as a full one of the
    same mean.
    """

    def __init__(
        self, kernel_size: int, stride: int, *, channels: int, padding: int = 0, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.mean = nn.AvgPool2d(kernel_size, stride, padding, ceil_mode=ceil_mode)
        self.area = kernel_size**2
        self.weight = nn.Parameter(torch.full((channels,), 1 / self.area))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = self.mean(x) * (self.area * self.weight)[:, None, None]
        return scaled + self.bias[:, None, None]


class StridedConv(nn.Conv2d):
    """A learnt window in the place of a pooling (Springenberg et al. 2014); (N, C, H, W) -> (N, C, H', W') as it gives.

    A convolution of all channels with a bias, which the network's init fills; no norm and no activation follows.
    Zeros are counted in the padding, and where ceil_mode has a last window hang over the edge.
    """

    def __init__(
        self, kernel_size: int, stride: int, *, channels: int, padding: int = 0, ceil_mode: bool = False
    ) -> None:
        super().__init__(channels, channels, kernel_size, stride, padding)
        self.ceil_mode = ceil_mode

    def forward(self, x: Tensor) -> Tensor:
        if self.ceil_mode:
            x = pad(x, (0, self._missing(x.shape[3]), 0, self._missing(x.shape[2])))
        return super().forward(x)

    def _missing(self, size: int) -> int:
        """What a side lacks for its last window."""
        kernel_size, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        positions = output_size(size, kernel_size, stride, padding, ceil_mode=True)
        return max(0, (positions - 1) * stride + kernel_size - size - 2 * padding)
