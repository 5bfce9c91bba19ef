"""Normalization layers as factories, channels -> layer, one per member of the group `norm`."""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad


def none(channels: int) -> nn.Identity:
    """No normalization."""
    return nn.Identity()


class OfUnits(nn.Module):
    """A norm made for maps, applied to units as maps of 1x1; (N, C) -> (N, C)."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.after_activation = getattr(norm, "after_activation", False)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.norm(x[:, :, None, None])
        return maps.flatten(1)


class LocalResponse(nn.Module):
    """Divide each map by its neighbours' energy: b_i = a_i / (k + alpha * sum_j a_j^2)^beta, j from i-n/2 to i+n/2.

    The formula of Krizhevsky et al. 2012, section 3.3. PyTorch's divides alpha by n, for an even n leaves out one
    neighbour, and takes five times as long. Sits after the activation. Half precision is widened to float32 on the way.
    """

    after_activation = True

    def __init__(self, channels: int, *, n: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75) -> None:
        super().__init__()
        self.n, self.k, self.alpha, self.beta = n, k, alpha, beta

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        each_side = self.n // 2
        squares = pad(wide.square(), (0, 0, 0, 0, each_side, each_side))
        energy = squares[:, : x.shape[1]]
        for neighbour in range(1, 2 * each_side + 1):
            energy = energy + squares[:, neighbour : neighbour + x.shape[1]]
        return (wide / (self.k + self.alpha * energy) ** self.beta).to(x.dtype)

    def extra_repr(self) -> str:
        return f"n={self.n}, k={self.k}, alpha={self.alpha}, beta={self.beta}"


def batch(channels: int, *, momentum: float = 0.1, eps: float = 1e-5) -> nn.BatchNorm2d:
    """Over the batch and space, per channel (Ioffe & Szegedy 2015)."""
    return nn.BatchNorm2d(channels, momentum=momentum, eps=eps)


def sync_batch(channels: int, *, momentum: float = 0.1, eps: float = 1e-5) -> nn.SyncBatchNorm:
    """Batch normalization with the statistics of all ranks; needs GPUs where there is more than one rank."""
    return nn.SyncBatchNorm(channels, momentum=momentum, eps=eps)


class Group(nn.GroupNorm):
    """Over groups of channels and space, per image (Wu & He 2018).

    The groups are C's largest divisor up to `groups` that leaves each at least `channels_per_group`; C, if C is less.
    Raises ValueError if a group is a single value, of which nothing but the bias would be left.
    """

    def __init__(self, channels: int, *, groups: int = 32, channels_per_group: int = 1, eps: float = 1e-5) -> None:
        most = max(1, min(groups, channels // channels_per_group))
        super().__init__(max(g for g in range(1, most + 1) if channels % g == 0), channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:].numel() == self.num_groups:
            raise ValueError(f"norm: {self.num_groups} groups of one value each, from maps of {tuple(x.shape[1:])}")
        return super().forward(x)


def layer(channels: int, *, eps: float = 1e-5) -> nn.GroupNorm:
    """Over all channels and space, per image: one group (Ba et al. 2016, for convolutions as in Wu & He 2018)."""
    return nn.GroupNorm(1, channels, eps=eps)


def instance(channels: int, *, eps: float = 1e-5) -> nn.InstanceNorm2d:
    """Over space, per image and channel, with a learnable scale and bias (Ulyanov et al. 2016); refuses 1x1 maps."""
    return nn.InstanceNorm2d(channels, eps=eps, affine=True)
