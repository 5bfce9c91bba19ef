"""Operations picked at random for each sample, by rules that were searched for, tuned or neither."""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from convarium.data.augment.change import AugmentKey
from convarium.data.augment.chunks import in_chunks
from convarium.data.augment.draws import uniforms
from convarium.data.augment.operations import each, named


class Choice(NamedTuple):
    """An operation and the range of its magnitudes, `first` being the weakest; a signed one's sign is drawn."""

    operation: str
    first: float = 0.0
    last: float = 0.0
    signed: bool = False
    times_width: bool = False
    times_height: bool = False
    whole: bool = False


Space = tuple[Choice, ...]


def _space(*, shear: float, shift: float, degrees: float, tone: float, bits: tuple[int, int]) -> Space:
    """The operations all have in common; `shift` in shares of the image's side up to 1, above in pixels."""
    share = shift <= 1
    return (
        *(Choice(name, 0.0, shear, signed=True) for name in ("shear_x", "shear_y")),
        Choice("translate_x", 0.0, shift, signed=True, times_width=share),
        Choice("translate_y", 0.0, shift, signed=True, times_height=share),
        Choice("rotate", 0.0, degrees, signed=True),
        *(Choice(name, 0.0, tone, signed=True) for name in ("brightness", "color", "contrast", "sharpness")),
        Choice("posterize", *bits, whole=True),
        *(Choice("solarize", 1.0, 0.0), Choice("autocontrast"), Choice("equalize")),
    )


IDENTITY = Choice("identity")
USUAL = _space(shear=0.3, shift=150 / 331, degrees=30, tone=0.9, bits=(8, 4))
"""Cubuk et al. 2018 and 2019; shifts by 150 pixels of 331, in shares of the image."""
WIDE = _space(shear=0.99, shift=32, degrees=135, tone=0.99, bits=(8, 2))  # Mueller and Hutter 2021, the wide space
MIXED = _space(shear=0.3, shift=1 / 3, degrees=30, tone=0.9, bits=(4, 0))
"""Hendrycks et al. 2019, as torchvision has it."""


TEST_SET_TONES = ("brightness", "color", "contrast", "sharpness")
"""Close to what the robustness benchmark ImageNet-C does to its pictures."""


@lru_cache(maxsize=64)  # on a device, a table made anew would be waited for
def _magnitudes(space: Space, levels: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Of each operation the magnitudes, float64 (K, levels), and whether it is signed, (K,)."""
    rows = []
    for choice in space:
        scale = (width if choice.times_width else 1) * (height if choice.times_height else 1)
        row = torch.linspace(choice.first * scale, choice.last * scale, levels)
        rows.append(row.round() if choice.whole else row)
    signed = torch.tensor([choice.signed for choice in space])
    return torch.stack(rows).double().to(device), signed.to(device)


def _pick(drawn: Tensor, count: int) -> Tensor:
    """Numbers in [0, 1) to one of `count`, int64."""
    return (drawn * count).long()


@dataclass(frozen=True, kw_only=True)
class _Policy:
    """interpolation: nearest or bilinear; fill: the level of what is moved in from outside."""

    order = 30
    interpolation: str = "nearest"
    fill: int = 0

    def _change(
        self, images: Tensor, space: Space, levels: int, which: Tensor, level: Tensor | int, sign: Tensor
    ) -> Tensor:
        """Image i by operation which[i] of the space, at a level below `levels`, backwards if signed and sign < 0.5."""
        table, signed = _magnitudes(space, levels, *images.shape[-2:], images.device)
        magnitudes = torch.where(signed[which] & (sign < 0.5), -table[which, level], table[which, level])
        names = [choice.operation for choice in space]
        return each(images, which, magnitudes, named(names, interpolation=self.interpolation, fill=self.fill))


@dataclass(frozen=True)
class RandAugment(_Policy):
    """`num_ops` operations in a row, each any of fourteen, all of one magnitude (Cubuk et al. 2019, arXiv:1909.13719).
    magnitude: from 0 to 30 (in the paper's runs 5 to 28)."""

    num_ops: int = 2
    magnitude: int = 9

    def __call__(self, images: Tensor, key: AugmentKey) -> Tensor:
        space = (IDENTITY, *USUAL)
        for number in range(self.num_ops):
            choice, sign = uniforms(key, f"randaugment {number}", 2).unbind(1)
            images = self._change(images, space, 31, _pick(choice, len(space)), self.magnitude, sign)
        return images


@dataclass(frozen=True)
class TrivialAugment(_Policy):
    """One operation, any of fourteen, of any magnitude (Mueller and Hutter 2021, arXiv:2103.10158, the wide space)."""

    def __call__(self, images: Tensor, key: AugmentKey) -> Tensor:
        space = (IDENTITY, *WIDE)
        choice, level, sign = uniforms(key, "trivialaugment", 3).unbind(1)
        return self._change(images, space, 31, _pick(choice, len(space)), _pick(level, 31), sign)


@lru_cache(maxsize=16)
def _steps(policy: str, names: tuple[str, ...], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """A policy of P pairs of steps: their operations, probabilities and levels, each (P, 2)."""
    from torchvision import transforms  # seconds to import, and needed for its tables only

    pairs = transforms.AutoAugment(transforms.AutoAugmentPolicy(policy)).policies  # of steps ("ShearX", 0.9, 4)
    which = torch.tensor([[names.index(re.sub("([XY])$", r"_\1", name).lower()) for name, _, _ in p] for p in pairs])
    probability = torch.tensor([[share for _, share, _ in pair] for pair in pairs], dtype=torch.float64)
    level = torch.tensor([[level or 0 for _, _, level in pair] for pair in pairs])  # None: has no magnitude
    return which.to(device), probability.to(device), level.to(device)


@dataclass(frozen=True)
class AutoAugment(_Policy):
    """One of 25 pairs of steps, each taken with its own probability (Cubuk et al. 2018, arXiv:1805.09501, appendix)."""

    policy: str = "imagenet"

    def __call__(self, images: Tensor, key: AugmentKey) -> Tensor:
        space = (IDENTITY, *USUAL, Choice("invert"))
        steps, probabilities, levels = _steps(self.policy, tuple(choice.operation for choice in space), images.device)
        drawn = uniforms(key, "autoaugment", 5)
        pair = _pick(drawn[:, 0], len(steps))
        for number in range(2):
            taken, sign = drawn[:, 1 + 2 * number], drawn[:, 2 + 2 * number]
            which = torch.where(taken < probabilities[pair, number], steps[pair, number], 0)  # identity
            images = self._change(images, space, 10, which, levels[pair, number], sign)
        return images


@dataclass(frozen=True)
class AugMix(_Policy):
    """The image mixed with chains of operations on it (Hendrycks et al. 2019, arXiv:1912.02781), without its loss.

    severity: magnitudes are drawn from the weakest so many of ten; width: how many chains; depth: how many operations
    in a chain, 0: one to three at random; all_ops: also brightness, colour, contrast and sharpness, which the paper
    leaves out because its test set has them. The shares of the chains are drawn from Dirichlet(1, ...), the share of
    the image from Beta(1, 1), as in the paper. Differs: magnitudes as torchvision has them; the mixture is rounded to
    whole levels.
    """

    severity: int = 3
    width: int = 3
    depth: int = 0
    all_ops: bool = False
    interpolation: str = field(default="bilinear", kw_only=True)

    def __call__(self, images: Tensor, key: AugmentKey) -> Tensor:
        space = (IDENTITY, *(choice for choice in MIXED if self.all_ops or choice.operation not in TEST_SET_TONES))
        chains = images.repeat(self.width, 1, 1, 1)
        length = 1 + _pick(self._drawn(key, "length", 1)[:, 0], 3)
        for number in range(self.depth or 3):
            choice, level, sign = self._drawn(key, f"step {number}", 3).unbind(1)
            which = 1 + _pick(choice, len(space) - 1)
            if not self.depth:
                which = torch.where(number < length, which, 0)
            chains = self._change(chains, space, 10, which, _pick(level, self.severity), sign)
        return self._mixed(images, chains, key)

    def _drawn(self, key: AugmentKey, purpose: str, count: int) -> Tensor:
        """(width x N, count), the samples of the first chain first."""
        drawn = uniforms(key, f"augmix {purpose}", count * self.width)
        return drawn.view(-1, self.width, count).transpose(0, 1).reshape(-1, count)

    def _mixed(self, images: Tensor, chains: Tensor, key: AugmentKey) -> Tensor:
        drawn = uniforms(key, "augmix shares", self.width + 1)
        whole = 1 - drawn[:, :1]
        parts = -(drawn[:, 1:] + 2.0**-33).log()
        shares = torch.cat((1 - whole, whole * parts / parts.sum(1, keepdim=True)), 1).float()
        return in_chunks(_blend, images, shares, *chains.chunk(self.width))


def _blend(images: Tensor, shares: Tensor, *chains: Tensor) -> Tensor:
    first, *others = shares.view(*shares.shape, 1, 1, 1).unbind(1)
    mixture = images * first
    for chain, share in zip(chains, others, strict=True):
        mixture += chain * share
    return mixture.round_().clamp_(0, 255).to(torch.uint8)
