"""Change colours at random."""

from dataclasses import dataclass

import torch
from torch import Tensor

from convarium.data.augment import tones
from convarium.data.augment.change import AugmentKey
from convarium.data.augment.chunks import in_chunks
from convarium.data.augment.draws import normals, uniforms
from convarium.data.augment.operations import Operation, each


@dataclass(frozen=True)
class ColorJitter:
    """Brightness, contrast and saturation multiplied, and hue turned, each by its own draw, in an order of its own.

    brightness, contrast, saturation: the factor is drawn evenly from 1 - x (0 at least) to 1 + x. hue: the turn from
    -x to x, in circles, x up to 0.5. Those that are 0 are left out. As torchvision's ColorJitter; the order is drawn
    for each sample. A grey image has no saturation and no hue.
    """

    order = 40
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __call__(self, images: Tensor, key: AugmentKey) -> Tensor:
        parts: list[tuple[Operation, float, float]] = [
            (tones.brightness, max(0.0, 1 - self.brightness), 1 + self.brightness),
            (tones.contrast, max(0.0, 1 - self.contrast), 1 + self.contrast),
            (tones.saturation, max(0.0, 1 - self.saturation), 1 + self.saturation),
            (tones.hue, -self.hue, self.hue),
        ]
        parts = [part for part in (parts if images.shape[1] > 1 else parts[:2]) if part[1] < part[2]]
        drawn = uniforms(key, "color_jitter", 8)
        amounts = [low + (high - low) * drawn[:, k] for k, (_, low, high) in enumerate(parts)]
        order = drawn[:, 4 : 4 + len(parts)].argsort(dim=1)
        for which in order.unbind(1):
            its_amounts = torch.stack(amounts, 1).gather(1, which.unsqueeze(1))[:, 0]
            images = each(images, which, its_amounts, [operation for operation, _, _ in parts])
        return images


# The principal components of ImageNet's RGB pixels in [0, 1], as the field has them from fb.resnet.torch (Gross and
# Wilber 2016, datasets/imagenet.lua): one column of the matrix each. What is called an eigenvalue there scales the
# shift directly, as in the paper.
EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = (
    (-0.5675, 0.7192, 0.4009),  # of red
    (-0.5808, -0.0045, -0.8140),  # of green
    (-0.5836, -0.6948, 0.4203),  # of blue
)


@dataclass(frozen=True)
class FancyPCA:
    """Every pixel of an image shifted by one colour, drawn along the principal components of ImageNet's colours.

    Krizhevsky et al. 2012, section 4.1: the sum of the components, each times its eigenvalue and a normal draw of
    deviation `std`. 0.1 moves a photograph by about 3 of 255 levels, mostly in brightness. A grey image is shifted
    by the mean of the three.
    """

    order = 50
    std: float = 0.1

    def __call__(self, images: Tensor, key: AugmentKey) -> Tensor:
        drawn = normals(key, "fancy_pca", 3) * (255 * self.std)
        one, two, three = (drawn[:, k] * value for k, value in enumerate(EIGENVALUES))
        shift = torch.stack([a * one + b * two + c * three for a, b, c in EIGENVECTORS], dim=1)  # (N, 3) levels
        if images.shape[1] == 1:
            shift = shift.mean(1, keepdim=True)

        def shifted(images: Tensor, shift: Tensor) -> Tensor:
            return (images + shift).round_().clamp_(0, 255).to(torch.uint8)

        return in_chunks(shifted, images, shift.float()[..., None, None])
