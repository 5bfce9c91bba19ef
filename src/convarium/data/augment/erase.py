"""Hide a part of each image."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from convarium.data.augment.change import AugmentKey
from convarium.data.augment.draws import noise, uniforms

TRIES = 10


def inside(rectangles: Tensor, height: int, width: int) -> Tensor:
    """Which pixels lie in rectangles (N, 4) of top, left, height, width, which may reach beyond: bool (N, 1, H, W)."""
    top, left, tall, wide = rectangles.unsqueeze(2).unbind(1)  # (N, 1)
    row, column = (torch.arange(side, device=rectangles.device) for side in (height, width))
    rows = (row >= top) & (row < top + tall)
    columns = (column >= left) & (column < left + wide)
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)


@dataclass(frozen=True)
class RandomErasing:
    """One image in 1/p has a rectangle erased (Zhong et al. 2017, arXiv:1708.04896).

    scale: its share of the image's area, drawn evenly; ratio: height to width, drawn log-evenly (Differs: the paper
    draws it evenly, torchvision as we do); the first of ten draws that fits is taken, or none.
    value: random: each pixel of each channel its own level, what the paper recommends; zero: black; mean: the mean
    of the image's own channel (Differs: ImageNet's in the paper).
    """

    order = 60
    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.4)
    ratio: tuple[float, float] = (0.3, 1 / 0.3)
    value: str = "random"

    def __call__(self, images: Tensor, key: AugmentKey) -> Tensor:
        _, channels, height, width = images.shape
        erased = inside(self.rectangles(height, width, key), height, width)
        if self.value == "random":
            return torch.where(
                erased, noise(key, "random_erasing noise", (channels, height, width), torch.uint8), images
            )
        if self.value == "mean":
            rows = images.sum(3, keepdim=True, dtype=torch.float32)  # whole numbers below 2**24: exact, and quick
            means = rows.sum(2, keepdim=True, dtype=torch.float64) / (height * width)
            return torch.where(erased, means.round().to(torch.uint8), images)
        return images.masked_fill(erased, 0)

    def rectangles(self, height: int, width: int, key: AugmentKey) -> Tensor:
        """What is erased: int64 (N, 4) of top, left, height, width; height and width are 0 if nothing is."""
        drawn = uniforms(key, "random_erasing", 3 + 2 * TRIES)
        area = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * drawn[:, 3 : 3 + TRIES])
        low, high = (math.log(ratio) for ratio in self.ratio)
        ratio = torch.exp(low + (high - low) * drawn[:, 3 + TRIES :])
        tall, wide = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()  # (N, TRIES)
        fits = (tall < height) & (wide < width)
        first = fits.int().argmax(1, keepdim=True)
        wanted = (drawn[:, 0] < self.p) & fits.any(1)
        tall, wide = (side.gather(1, first)[:, 0] * wanted for side in (tall, wide))
        top, left = drawn[:, 1] * (height - tall + 1), drawn[:, 2] * (width - wide + 1)
        return torch.stack((top, left, tall, wide), 1).long()


@dataclass(frozen=True)
class Cutout:
    """One square of `size` pixels hidden, its centre at any pixel; what lies beyond the border hides nothing.

    DeVries and Taylor 2017 (arXiv:1708.04552), whose squares are 0 in the normalized image: `value` is the data's
    mean, a number in [0, 1] for each channel (or one for all).
    """

    order = 60
    size: int
    value: tuple[float, ...] = (0.5,)

    def __call__(self, images: Tensor, key: AugmentKey) -> Tensor:
        _, channels, height, width = images.shape
        if len(self.value) not in (1, channels):
            raise ValueError(f"value={list(self.value)}: accepted is one number, or {channels}, as many as channels")
        hidden = inside(self.rectangles(height, width, key), height, width)
        if len(self.value) == 1:
            return images.masked_fill(hidden, round(255 * self.value[0]))
        planes = [images[:, k : k + 1].masked_fill(hidden, round(255 * level)) for k, level in enumerate(self.value)]
        return torch.cat(planes, dim=1)

    def rectangles(self, height: int, width: int, key: AugmentKey) -> Tensor:
        """The squares, int64 (N, 4) of top, left, height, width; they may reach beyond the image."""
        drawn = uniforms(key, "cutout", 2)
        top, left = (drawn[:, 0] * height).long(), (drawn[:, 1] * width).long()
        side = torch.full_like(top, self.size)
        return torch.stack((top - self.size // 2, left - self.size // 2, side, side), 1)
