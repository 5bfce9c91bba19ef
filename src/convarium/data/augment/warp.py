"""Move the pixels of a batch of images, each its own way.

Places are computed from the images' centres outwards with separate multiplications and additions, never a matrix
product: what a sample becomes does not depend on how many others are in its batch.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from convarium.data.augment.chunks import in_chunks


def centred(size: int, device: torch.device) -> Tensor:
    """The places of `size` pixels in a row, measured from their middle: float32 (size,)."""
    return torch.arange(size, device=device, dtype=torch.float32) - (size - 1) / 2


def affine(images: Tensor, matrix: Tensor, *, interpolation: str = "nearest", fill: int | None = 0) -> Tensor:
    """uint8 (N, C, H, W) as seen through `matrix` (N, 2, 3), which takes the place (x, y, 1) of a pixel of the result
    to the place in the image where it comes from; both in pixels from the centre. For the rest see `moved`."""
    x = centred(images.shape[-1], images.device)
    y = centred(images.shape[-2], images.device).unsqueeze(1)

    def seen(images: Tensor, matrix: Tensor) -> Tensor:
        from_x, from_y = ((row[:, 0] * x + row[:, 2]) + row[:, 1] * y for row in matrix.unbind(1))  # (N, H, W)
        return moved(images, from_x, from_y, interpolation=interpolation, fill=fill)

    return in_chunks(seen, images, matrix.float()[..., None, None])


def moved(images: Tensor, from_x: Tensor, from_y: Tensor, *, interpolation: str, fill: int | None) -> Tensor:
    """uint8 (N, C, H, W) whose pixels are taken from the places (N, H, W), in pixels from the centre.
    fill: the level of what comes from outside; None: the nearest pixel of the border. Bilinear results are rounded."""
    height, width = images.shape[-2:]
    if interpolation == "bilinear":
        grid = torch.stack((from_x * (2 / width), from_y * (2 / height)), dim=1).permute(0, 2, 3, 1)
        padding = "border" if fill is None else "zeros"
        pixels = F.grid_sample(
            images.float().sub_(fill or 0), grid, mode="bilinear", padding_mode=padding, align_corners=False
        )
        return pixels.add_(fill or 0).round_().clamp_(0, 255).to(torch.uint8)
    shape = images.shape
    if fill is not None:  # what is outside comes from a frame of one pixel
        images = F.pad(images, [1] * 4, value=fill)
    tall, wide = images.shape[-2:]
    column = (from_x + (wide - 1) / 2).round_().clamp_(0, wide - 1)
    row = (from_y + (tall - 1) / 2).round_().clamp_(0, tall - 1)
    at = row.long().mul_(wide).add_(column.long())
    at = at.flatten(1).unsqueeze(1).expand(-1, shape[1], -1)
    return images.flatten(2).gather(2, at).view(shape)
