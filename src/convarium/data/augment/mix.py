"""Pairs of training images in one: MixUp and CutMix. Each image's partner is the one before it in the batch."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from convarium.data.augment.change import AugmentKey
from convarium.data.augment.draws import normals, uniforms
from convarium.data.augment.erase import inside
from convarium.randomness import uniform


class Mixed(NamedTuple):
    """What became of a batch: the images, and what the partners' classes have a share in."""

    images: Tensor  # (N, C, H, W) float32
    partners: Tensor  # (N,) int64: the partners' class numbers
    share: Tensor  # (N,) float32: the share of the sample's own class in its target, the rest is the partner's


@runtime_checkable
class Mix(Protocol):
    """Normalized float images (N, C, H, W) and class numbers (N,) to mixed ones."""

    def mix(self, images: Tensor, targets: Tensor, key: AugmentKey) -> Mixed: ...


@dataclass(frozen=True)
class MixUp:
    """s x + (1 - s) x', s drawn from Beta(alpha, alpha) for each sample (Zhang et al. 2017, arXiv:1710.09412)."""

    alpha: float = 0.2

    def mix(self, images: Tensor, targets: Tensor, key: AugmentKey) -> Mixed:
        share = beta(self.alpha, key, "mixup")
        weight = share.view(-1, 1, 1, 1).to(images.dtype)
        return Mixed(torch.lerp(images.roll(1, 0), images, weight), targets.roll(1), share)


@dataclass(frozen=True)
class CutMix:
    """A rectangle of the partner pasted in (Yun et al. 2019, arXiv:1905.04899).

    Its sides are sqrt(1 - s) of the image's, s drawn from Beta(alpha, alpha), its centre anywhere; the share of a class
    is that of its pixels, with what lies beyond the border left out.
    """

    alpha: float = 1.0

    def mix(self, images: Tensor, targets: Tensor, key: AugmentKey) -> Mixed:
        _, _, height, width = images.shape
        part = (1 - beta(self.alpha, key, "cutmix")).sqrt()
        corners, sides = [], []
        for side, name in ((height, "row"), (width, "column")):
            centre = (uniform(key.seed, f"cutmix {name}", epoch=key.epoch, index=key.index) * side).floor()
            half = (part * side).floor().div(2, rounding_mode="floor")
            corners.append(centre - half)
            sides.append(2 * half)
        pasted = inside(torch.stack(corners + sides, 1), height, width)
        share = 1 - pasted.sum((1, 2, 3)) / (height * width)
        return Mixed(torch.where(pasted, images.roll(1, 0), images), targets.roll(1), share)


def beta(alpha: float, key: AugmentKey, purpose: str) -> Tensor:
    """A draw from Beta(alpha, alpha) for each sample, float32 (N,): one of two gamma draws as a share of their sum."""
    one, other = (_log_gamma_draw(alpha, key, f"{purpose} {side}") for side in ("one", "other"))
    return torch.sigmoid(one - other).float()


def _log_gamma_draw(alpha: float, key: AugmentKey, purpose: str) -> Tensor:
    """The logarithm of a draw from Gamma(alpha), float64 (N,).
    Marsaglia & Tsang 2000, "A simple method for generating gamma variables": of eight proposals the first that is
    accepted (one sample in a million takes the last as it is)."""
    d = alpha + 1 - 1 / 3  # of Gamma(alpha + 1), which is brought down to alpha at the end
    normal = normals(key, f"{purpose} proposal", 8)
    v = (1 + normal / math.sqrt(9 * d)).clamp(min=1e-12) ** 3
    accepted = _above_zero(uniforms(key, f"{purpose} accept", 8)).log() < 0.5 * normal**2 + d - d * v + d * v.log()
    first = accepted.int().argmax(1, keepdim=True)
    v = torch.where(accepted.any(1, keepdim=True), v.gather(1, first), v[:, -1:])[:, 0]
    return (d * v).log() + _above_zero(uniforms(key, f"{purpose} power", 1))[:, 0].log() / alpha


def _above_zero(drawn: Tensor) -> Tensor:
    """Never 0, whose logarithm is none."""
    return drawn + 2.0**-33
