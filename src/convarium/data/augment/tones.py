"""Change the colours and tones of a batch of images, each by its own amount: uint8 (N, C, H, W) to the same.

C is 1 or 3, an amount a tensor (N,). The definitions are those of torchvision.transforms.v2.functional. Products and
sums are separate operations and sums over an image are exact, so that the result is the same in any batch and on any
device; torchvision fuses them, and differs by one level where the unrounded value is a whole number.
"""

import torch
from torch import Tensor


def _per_image(amount: Tensor) -> Tensor:
    """(N,) in float64 to (N, 1, 1, 1) in float32."""
    return amount.float().view(-1, 1, 1, 1)


def _levels(values: Tensor) -> Tensor:
    """Floating-point levels, which are written to, to uint8; fractions are dropped."""
    return values.clamp_(0, 255).to(torch.int16).to(torch.uint8)  # several times faster than in one step


def grey(images: Tensor) -> Tensor:
    """The luma 0.2989 R + 0.587 G + 0.114 B in whole levels, float32 (N, 1, H, W); a grey image as it is."""
    if images.shape[1] == 1:
        return images.float()
    red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:]
    return (red * 0.2989 + green * 0.587 + blue * 0.114).floor_()


def _blended(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """factor x images + (1 - factor) x other: beyond both for factors above 1."""
    return _levels(images.mul(_per_image(factor)).add_(other * _per_image(1 - factor.double())))


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Every level times `factor` (0: black, 1: as it is)."""
    return _levels(images * _per_image(factor))


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the mean luma of the image by `factor` (0: all of that grey, 1: as it is)."""
    total = grey(images).sum((1, 2, 3), keepdim=True, dtype=torch.float64)  # of whole numbers: exact in any order
    return _blended(images, (total / (images.shape[2] * images.shape[3])).float(), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the pixel's luma by `factor` (0: grey, 1: as it is). A grey image stays as it is."""
    return images if images.shape[1] == 1 else _blended(images, grey(images), factor)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Hues moved on by `turn` of a circle, from -0.5 to 0.5; saturation and value (of HSV) stay. Grey stays as it is.
    Differs: rounds to the nearest level, where torchvision's way through fractions of 1 and back mostly drops them."""
    if images.shape[1] == 1:
        return images
    pixels = images.float()
    red, green, blue = pixels[:, :1], pixels[:, 1:2], pixels[:, 2:]
    high, low = pixels.amax(1, keepdim=True), pixels.amin(1, keepdim=True)
    span = high - low
    # sixths of the circle: from red where red is highest, else from green (2), else from blue (4)
    red_leads = (red == high).float()
    green_leads = (green == high).float() * (1 - red_leads)
    blue_leads = 1 - red_leads - green_leads
    sixth = red_leads * (green - blue) + green_leads * (blue - red) + blue_leads * (red - green)
    sixth.div_(span.clamp(min=1)).add_(2 * green_leads).add_(4 * blue_leads).add_(_per_image(6 * turn.double()))
    # how far each channel is from where it is lowest, and how far it then is below the highest, in spans
    ahead = sixth + (5 - 2 * torch.arange(3, device=images.device)).view(3, 1, 1)  # 5, 3, 1
    ahead -= (ahead * (1 / 6)).floor_().mul_(6)
    below = torch.minimum(ahead, 4 - ahead).clamp_(0, 1)
    return _levels(below.mul_(span).neg_().add_(high).round_())


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Away from the image smoothed by (1 1 1, 1 5 1, 1 1 1) / 13, by `factor` (0: smooth, 1: as it is).
    The border of one pixel stays as it is, and so does an image of two pixels or less."""
    height, width = images.shape[-2:]
    if height <= 2 or width <= 2:
        return images
    pixels = images.to(torch.int16)
    rows = pixels[..., :-2, :] + pixels[..., 1:-1, :] + pixels[..., 2:, :]
    inner = pixels[..., 1:-1, 1:-1]
    total = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:] + 4 * inner
    away = (total / 13).round_().sub_(inner)
    sharp = images.clone()
    sharp[..., 1:-1, 1:-1] = _levels(away.mul_(_per_image(1 - factor.double())).add_(inner))
    return sharp


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """The highest `bits` of the 8 bits of each level are kept (0: black, 8: as it is)."""
    kept = bits.long().clamp(0, 8)
    return images & ((255 << (8 - kept)) & 255).to(torch.uint8).view(-1, 1, 1, 1)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Levels from `threshold` on, 0 to 255, are inverted."""
    at_least = images >= threshold.float().ceil().clamp(0, 255).to(torch.uint8).view(-1, 1, 1, 1)
    return images ^ at_least.to(torch.uint8).mul_(255)


def autocontrast(images: Tensor) -> Tensor:
    """Each channel stretched to reach from 0 to 255; one of a single level stays as it is."""
    low, high = (images.amin((2, 3), keepdim=True).float(), images.amax((2, 3), keepdim=True).float())
    flat = low == high
    low, step = low.masked_fill(flat, 0), ((high - low) * (1 / 255)).masked_fill(flat, 1)
    return _levels((images - low).div_(step))


def equalize(images: Tensor) -> Tensor:
    """Each channel's levels replaced so that they are about equally frequent, as Pillow does it."""
    n, channels, height, width = images.shape
    planes = images.reshape(n * channels, height * width).long()
    counts = torch.zeros(n * channels, 256, dtype=torch.int32, device=images.device)
    counts.scatter_add_(1, planes, torch.ones_like(counts[:1, :1]).expand_as(planes))
    upto = counts.cumsum(1, dtype=torch.int32)
    highest = upto.argmax(1, keepdim=True)  # the first to reach the sum
    step = (height * width - counts.gather(1, highest)).div_(255, rounding_mode="floor")
    below = upto - counts
    levels = (below + step // 2).div_(step.clamp(min=1), rounding_mode="floor").clamp_(0, 255)
    # too few pixels beside the highest level: as it is
    levels = torch.where(step == 0, torch.arange(256, dtype=torch.int32, device=images.device), levels)
    return levels.to(torch.uint8).gather(1, planes).view_as(images)


def invert(images: Tensor) -> Tensor:
    """255 minus each level."""
    return ~images
