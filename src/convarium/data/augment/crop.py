"""Where an image is cut out of what is stored."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from convarium.data.augment.change import AugmentKey
from convarium.data.augment.draws import uniforms
from convarium.data.augment.flip import mirror_some, mirrored
from convarium.randomness import bits


@dataclass(frozen=True)
class CropFlip:
    """Pad by `pad` black pixels (0), cut out the original size at a random place, mirror as `mirror` says.

    He et al. 2015 (arXiv:1512.03385), section 4.2, on the stored pixels: black there, the mean in the paper, which
    subtracts it before. For `mirror` see `Flip`.
    """

    order = 0
    pad: int = 4
    mirror: str = "random"

    def __call__(self, images: Tensor, key: AugmentKey) -> Tensor:
        # one hash per image; its separate bits choose the mirror, the row and the column
        drawn = bits(key.seed, "crop_flip", epoch=key.epoch, index=key.index)
        places = 2 * self.pad + 1
        top = (((drawn >> 1) & 0xFFFFFF) * places) >> 24
        left = (((drawn >> 25) & 0xFFFFFF) * places) >> 24
        mirror = (drawn & 1).bool() if self.mirror == "random" else mirrored(self.mirror, key)
        crop = _crop_on_host if images.device.type == "cpu" else _crop_on_device
        return crop(images, self.pad, top, left, mirror)


def _crop_on_host(images: Tensor, pad: int, top: Tensor, left: Tensor, mirror: Tensor) -> Tensor:
    """A copy of one window of each image: a quarter of the time that `gather` takes on a CPU."""
    n, channels, height, width = images.shape
    padded = np.zeros((n, channels, height + 2 * pad, width + 2 * pad), np.uint8)
    padded[:, :, pad : pad + height, pad : pad + width] = images.numpy()
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (2, 3))
    cropped = windows[np.arange(n), :, top.numpy(), left.numpy()]
    return mirror_some(torch.from_numpy(cropped), mirror)


def _crop_on_device(images: Tensor, pad: int, top: Tensor, left: Tensor, mirror: Tensor) -> Tensor:
    """One gather, which nothing has to be waited for."""
    padded, shape = F.pad(images, [pad] * 4), images.shape
    _, _, height, width = shape
    columns = torch.arange(width, device=padded.device)
    columns = torch.where(mirror.unsqueeze(1), columns.flip(0), columns) + left.unsqueeze(1)  # (N, W)
    rows = torch.arange(height, device=padded.device) + top.unsqueeze(1)  # (N, H)
    at = (rows * padded.shape[-1]).unsqueeze(2) + columns.unsqueeze(1)  # (N, H, W) in the flat padded image
    at = at.flatten(1).unsqueeze(1).expand(-1, shape[1], -1)
    return padded.flatten(2).gather(2, at).view(shape)


@dataclass(frozen=True)
class RandomResizedCrop:
    """A part of random area and aspect ratio, resized to the image (Szegedy et al. 2014, arXiv:1409.4842, section 6).

    The area is uniform within `scale` (shares of the picture), the ratio of width to height log-uniform within
    `ratio`. As torchvision has it: the first of ten draws that fits in; else the largest central part of an accepted
    ratio.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def boxes(self, sizes: Tensor, key: AugmentKey, image_size: int) -> Tensor:
        drawn = uniforms(key, "random_resized_crop", 20).view(-1, 10, 2)  # ten draws of (area, ratio)
        height, width = (side.unsqueeze(1).double() for side in sizes.unbind(1))  # (N, 1)
        area = height * width * (self.scale[0] + (self.scale[1] - self.scale[0]) * drawn[..., 0])
        low, high = (math.log(ratio) for ratio in self.ratio)
        ratio = torch.exp(low + (high - low) * drawn[..., 1])
        tall, wide = torch.sqrt(area / ratio).round(), torch.sqrt(area * ratio).round()  # (N, 10)
        fits = (tall > 0) & (tall <= height) & (wide > 0) & (wide <= width)
        first = fits.int().argmax(1, keepdim=True)
        found, whole = fits.any(1), (width / height)[:, 0]
        height, width = height[:, 0], width[:, 0]
        # none fits: all of the picture, but for what makes it too wide or too tall
        tall = torch.where(found, tall.gather(1, first)[:, 0], (width / self.ratio[0]).round().minimum(height))
        wide = torch.where(found, wide.gather(1, first)[:, 0], (height * self.ratio[1]).round().minimum(width))
        wide = torch.where(~found & (whole < self.ratio[0]), width, wide)
        tall = torch.where(~found & (whole > self.ratio[1]), height, tall)
        place = uniforms(key, "random_resized_crop place", 2)
        place = torch.where(found.unsqueeze(1), place, 0.5)
        top = (place[:, 0] * (height - tall + found)).floor()
        left = (place[:, 1] * (width - wide + found)).floor()
        return torch.stack((top, left, tall, wide), 1).long()


@dataclass(frozen=True)
class ScaleCrop:
    """A square at a random place of the picture resized to a random scale (Simonyan & Zisserman 2014, section 3.1).

    shorter: the shorter side of the resized picture, drawn evenly from the first number to the second, for crops of
    224 pixels; other image sizes scale along.
    central: only out of the picture's central square (Krizhevsky et al. 2012, section 4.1).
    """

    shorter: tuple[int, int] = (256, 256)
    central: bool = False

    def boxes(self, sizes: Tensor, key: AugmentKey, image_size: int) -> Tensor:
        drawn = uniforms(key, "scale_crop", 3)
        low, high = self.shorter
        resized = low + (drawn[:, 0] * (high - low + 1)).floor()
        short = sizes.amin(1)
        side = (short * 224 / resized).round().clamp(min=1)
        rooms = (short.unsqueeze(1) if self.central else sizes) - side.unsqueeze(1)
        corner = (drawn[:, 1:] * (rooms + 1)).floor()
        if self.central:
            corner = corner + (sizes - short.unsqueeze(1)).div(2, rounding_mode="floor")
        return torch.cat((corner, side.unsqueeze(1).expand(-1, 2)), 1).long()


def cut(images: Tensor, boxes: Tensor) -> Tensor:
    """The parts `boxes` (N, 4) of uint8 images (N, C, H, W), resized bilinearly to (H, W); rounded to uint8.
    A part is never larger than the image, so that there is nothing to average."""
    n, _, height, width = images.shape
    top, left, tall, wide = (side.float().unsqueeze(1) for side in boxes.unbind(1))
    # where the centre of each pixel of the result lies in the image, and there not beyond the part's own pixels
    rows = (torch.arange(height, device=images.device) + 0.5) * (tall / height) - 0.5
    columns = (torch.arange(width, device=images.device) + 0.5) * (wide / width) - 0.5
    rows = rows.clamp(min=0).minimum(tall - 1) + top
    columns = columns.clamp(min=0).minimum(wide - 1) + left
    grid = torch.stack(
        (
            ((2 * columns + 1) / width - 1).unsqueeze(1).expand(n, height, width),
            ((2 * rows + 1) / height - 1).unsqueeze(2).expand(n, height, width),
        ),
        -1,
    )
    parts = F.grid_sample(images.float(), grid, mode="bilinear", align_corners=False, padding_mode="border")
    return parts.round_().clamp_(0, 255).to(torch.uint8)
