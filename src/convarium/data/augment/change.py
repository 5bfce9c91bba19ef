"""What an augmentation is made of: changes of pixels, and which part of a picture becomes the image."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor


@dataclass(frozen=True, slots=True)
class AugmentKey:
    """What the randomness of a batch hangs on."""

    seed: int
    epoch: int
    index: Tensor  # (N,) int64 sample numbers, on the images' device


LAST = 100  # the `order` of a change whose class has none: after all of ours, before the mix


class Change(Protocol):
    """uint8 images (N, C, H, W) to changed uint8 images of the same shape; the argument is not written to.

    A class attribute `order` says when a change is applied: the smaller numbers first. Ours: 0 cuts out, 10 mirrors,
    20 turns and bends, 30 operations at random, 40 and 50 change colours, 60 hides a part.
    """

    def __call__(self, images: Tensor, key: AugmentKey) -> Tensor: ...


@runtime_checkable
class Crop(Protocol):
    """Which part of a picture becomes the image; a reader decodes that part alone and resizes it, antialiased."""

    def boxes(self, sizes: Tensor, key: AugmentKey, image_size: int) -> Tensor:
        """(N, 2) int64 heights and widths of the pictures to (N, 4) int64 top, left, height, width inside them."""
        ...
