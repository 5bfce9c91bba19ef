"""Move, turn, shear and bend images at random."""

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from convarium.data.augment.change import AugmentKey
from convarium.data.augment.draws import noise, uniforms
from convarium.data.augment.warp import affine, centred, moved


def _between(drawn: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * drawn


@dataclass(frozen=True)
class Affine:
    """Rotation, shift, shear and zoom, each drawn evenly, as Keras' ImageDataGenerator defined them.

    Its matrices are on (row, column): the shear slides columns up and down. Keras has swapped the axes since
    (keras-preprocessing issue 315), so that its shear slides rows sideways, and its height_shift, too, is sideways.

    rotation, shear: degrees to either side; width_shift, height_shift: shares of the image's side, either way; zoom:
    each axis by its own factor from 1 - zoom to 1 + zoom (above 1 the image becomes smaller); horizontal_flip: one in
    two is mirrored. fill_mode: what comes from outside is the nearest pixel of the border, or constant: `cval`.
    Bilinear; all about the middle of the image.
    """

    order = 20
    rotation: float = 0.0
    width_shift: float = 0.0
    height_shift: float = 0.0
    shear: float = 0.0
    zoom: float = 0.0
    horizontal_flip: bool = False
    fill_mode: str = "nearest"
    cval: int = 0

    def __call__(self, images: Tensor, key: AugmentKey) -> Tensor:
        matrix = self.matrices(images.shape[-2], images.shape[-1], key)
        fill = None if self.fill_mode == "nearest" else self.cval
        return affine(images, matrix, interpolation="bilinear", fill=fill)

    def matrices(self, height: int, width: int, key: AugmentKey) -> Tensor:
        """Where the pixels of the results come from, as `warp.affine` takes it: float64 (N, 2, 3)."""
        drawn = uniforms(key, "affine", 7).unbind(1)
        turn, shear = (
            _between(one, -most, most).deg2rad()
            for one, most in zip(drawn[:2], (self.rotation, self.shear), strict=True)
        )
        down = _between(drawn[2], -self.height_shift, self.height_shift) * height
        right = _between(drawn[3], -self.width_shift, self.width_shift) * width
        tall, wide = (_between(one, 1 - self.zoom, 1 + self.zoom) for one in drawn[4:6])
        cos, sin = turn.cos(), turn.sin()
        # on (row, column): rotation x shift x shear x zoom, as [[1, -sin], [0, cos]] is Keras' shear
        x = torch.stack(((cos * shear.cos() - sin * shear.sin()) * wide, sin * tall, sin * down + cos * right), 1)
        y = torch.stack((-(cos * shear.sin() + sin * shear.cos()) * wide, cos * tall, cos * down - sin * right), 1)
        matrix = torch.stack((x, y), 1)
        if self.horizontal_flip:
            matrix[:, :, 0] *= torch.where(drawn[6] < 0.5, -1.0, 1.0).unsqueeze(1)
        return matrix


@dataclass(frozen=True)
class PlanarDistortion:
    """The planar affine distortions LeNet-5 was trained with (LeCun et al. 1998, section III.C).

    translate: horizontally and vertically, a share of the image's side either way; scale: by a factor up to 1 + scale
    either way; squeeze: as much narrower as taller or the reverse, by a factor up to 1 + squeeze; shear: horizontally,
    in pixels a row, either way. Bilinear; what comes from outside is background (0). The paper names these and gives no
    amounts: the defaults are ours.
    """

    order = 20
    translate: float = 0.06
    scale: float = 0.15
    squeeze: float = 0.15
    shear: float = 0.2

    def __call__(self, images: Tensor, key: AugmentKey) -> Tensor:
        matrix = self.matrices(images.shape[-2], images.shape[-1], key)
        return affine(images, matrix, interpolation="bilinear", fill=0)

    def matrices(self, height: int, width: int, key: AugmentKey) -> Tensor:
        """Where the pixels of the results come from, as `warp.affine` takes it: float64 (N, 2, 3)."""
        right, down, scale, squeeze, shear = uniforms(key, "planar_distortion", 5).mul_(2).sub_(1).unbind(1)
        right, down = right * (self.translate * width), down * (self.translate * height)
        scale, squeeze = (
            torch.exp(one * math.log1p(most)) for one, most in ((scale, self.scale), (squeeze, self.squeeze))
        )
        # the way there: x' = scale squeeze (x + shear y) + right, y' = scale / squeeze y + down
        of_x, of_y, zero = 1 / (scale * squeeze), squeeze / scale, torch.zeros_like(scale)
        lean = shear * self.shear * of_y
        x = torch.stack((of_x, -lean, lean * down - of_x * right), 1)
        y = torch.stack((zero, of_y, -of_y * down), 1)
        return torch.stack((x, y), 1)


SCALE = 1 << 16  # of the weights that smooth; 2**15 of the draws and this twice stay below 2**53


@lru_cache(maxsize=16)
def _smoothing(size: int, sigma: float, device: torch.device) -> Tensor:
    """A Gaussian around each of `size` places of a circle: float64 (size, size) of whole numbers, SCALE in a row."""
    reach = math.ceil(8 * sigma / size)
    apart = torch.arange(size, dtype=torch.float64)
    turns = torch.arange(-reach, reach + 1).unsqueeze(1)
    weights = torch.exp(-((apart + turns * size) ** 2) / (2 * sigma**2)).sum(0)
    weights = (weights / weights.sum() * SCALE).round()
    at = torch.arange(size)
    return weights[(at.unsqueeze(1) - at) % size].to(device)


@dataclass(frozen=True)
class Elastic:
    """Every pixel moved by a smooth random field (Simard et al. 2003, "Best practices for convolutional neural networks
    applied to visual document analysis", section 2).

    Two draws from [-1, 1] for each pixel, smoothed by a Gaussian of `sigma` pixels, times `alpha`, are how far right
    and down its level is taken from, in pixels; 34 and 4 are the paper's for MNIST. (torchvision's alpha is twice
    that.) The field goes on around the border, so that it is as strong there. Bilinear; outside is background (0).
    """

    order = 20
    alpha: float = 34.0
    sigma: float = 4.0

    def __call__(self, images: Tensor, key: AugmentKey) -> Tensor:
        height, width = images.shape[-2:]
        right, down = self.fields(height, width, key).unbind(1)
        from_x = centred(width, images.device) + right
        from_y = centred(height, images.device).unsqueeze(1) + down
        return moved(images, from_x, from_y, interpolation="bilinear", fill=0)

    def fields(self, height: int, width: int, key: AugmentKey) -> Tensor:
        """How far right and down a pixel of the result is taken from: pixels, float32 (N, 2, H, W)."""
        drawn = noise(key, "elastic", (2, height, width), torch.int16).double()
        # whole numbers below 2**53 all along: exact in whatever order a matrix product adds them up
        drawn = drawn @ _smoothing(width, self.sigma, drawn.device)
        drawn = _smoothing(height, self.sigma, drawn.device) @ drawn
        return (drawn * (self.alpha / 2**15 / SCALE**2)).float()
