"""Where an image is cut out of what is stored."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from convarium.data.augment.change import AugmentKey
from convarium.randomness import bits


@dataclass(frozen=True)
class CropFlip:
    """Pad by `pad` black pixels (0), cut out the original size at a random place, mirror one image in two at random.

    He et al. 2015 (arXiv:1512.03385), section 4.2, on the stored pixels: black there, the mean in the paper, which
    subtracts it before.
    """

    pad: int = 4

    def __post_init__(self) -> None:
        if not 0 <= self.pad <= 1 << 14:
            raise ValueError(f"pad={self.pad}: accepted are whole numbers from 0 to {1 << 14}")

    def __call__(self, images: Tensor, key: AugmentKey) -> Tensor:
        # one hash per image; its separate bits choose the mirror, the row and the column
        drawn = bits(key.seed, "crop_flip", epoch=key.epoch, index=key.index)
        places = 2 * self.pad + 1
        mirror = (drawn & 1).bool()
        top = (((drawn >> 1) & 0xFFFFFF) * places) >> 24
        left = (((drawn >> 25) & 0xFFFFFF) * places) >> 24
        return _crop(F.pad(images, [self.pad] * 4), top, left, mirror, images.shape)


def _crop(padded: Tensor, top: Tensor, left: Tensor, mirror: Tensor, shape: torch.Size) -> Tensor:
    _, _, height, width = shape
    columns = torch.arange(width, device=padded.device)
    columns = torch.where(mirror.unsqueeze(1), columns.flip(0), columns) + left.unsqueeze(1)  # (N, W)
    rows = torch.arange(height, device=padded.device) + top.unsqueeze(1)  # (N, H)
    at = (rows * padded.shape[-1]).unsqueeze(2) + columns.unsqueeze(1)  # (N, H, W) in the flat padded image
    at = at.flatten(1).unsqueeze(1).expand(-1, shape[1], -1)
    return padded.flatten(2).gather(2, at).view(shape)
