"""Draws of several numbers for each sample of a batch."""

import math

import torch
from torch import Tensor

from convarium.data.augment.change import AugmentKey
from convarium.randomness import bits


def uniforms(key: AugmentKey, purpose: str, count: int) -> Tensor:
    """`count` numbers in [0, 1) for each sample, float64 (N, count), multiples of 2**-32."""
    return ((_bits(key, purpose, count) >> 32) & 0xFFFFFFFF).double().mul_(2.0**-32)


def normals(key: AugmentKey, purpose: str, count: int) -> Tensor:
    """`count` standard normal numbers for each sample, float64 (N, count), by Box and Muller 1958."""
    radius, angle = uniforms(key, purpose, 2 * count).chunk(2, dim=1)
    # an odd multiple of 2**-33: never 0, whose logarithm is none
    length: Tensor = (-2 * (radius + 2.0**-33).log()).sqrt()
    return length * (2 * math.pi * angle).cos()


def noise(key: AugmentKey, purpose: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Every value of an integer type of 8 or 16 bits equally often, (N, *shape): one hash fills 64 bits of them."""
    count = math.prod(shape)
    each = 8 // dtype.itemsize
    filled = _bits(key, purpose, -(-count // each)).view(dtype)
    return filled[:, :count].reshape(-1, *shape)


def _bits(key: AugmentKey, purpose: str, count: int) -> Tensor:
    index = key.index.unsqueeze(1) * count + torch.arange(count, device=key.index.device)
    return bits(key.seed, purpose, epoch=key.epoch, index=index)
