"""Where the pixels of a split come from: memory, or a formula; image files have a file of their own."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from convarium.data.augment.change import AugmentKey, Crop
from convarium.randomness import integers


class Source(Protocol):
    """A split: class numbers in memory, images on demand."""

    prefetches: bool
    """Whether `fetch` takes long enough that a loader should ask for the next batches in threads."""
    targets: Tensor
    """(len,) int64."""

    def __len__(self) -> int: ...

    def fetch(self, indices: Tensor, key: AugmentKey | None = None) -> tuple[Tensor, Tensor]:
        """The images at `indices`, uint8 (n, C, H, W), and which samples they are: `indices`, but for those that cannot
        be read. With a key (in training), cut out of the stored pictures if the source does that.
        """
        ...


@runtime_checkable
class Cropping(Source, Protocol):
    """A source of pictures of any size, which cuts the training images out of them as it reads."""

    def cropped(self, crop: Crop) -> Source:
        """The same pictures, cut by `crop` where they are fetched with a key."""
        ...

    def whole(self, indices: Tensor) -> tuple[list[Tensor], Tensor]:
        """The pictures of which the images are made, each uint8 (C, H, W) of a size of its own, and which they are."""
        ...


class InMemory:
    """All images as one uint8 tensor (len, C, H, W), sliced; `fit`, if given, brings a slice to its final size."""

    prefetches = False

    def __init__(self, images: Tensor, targets: Tensor, *, fit: Callable[[Tensor], Tensor] | None = None) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4:
            raise ValueError(
                f"images: {images.dtype} {tuple(images.shape)}: accepted is uint8 (n, channels, height, width)"
            )
        if len(images) != len(targets):
            raise ValueError(f"{len(images)} images but {len(targets)} targets")
        self.pixels = images.contiguous()
        self.targets = targets.to(torch.int64)
        self.fit = fit

    def __len__(self) -> int:
        return len(self.targets)

    def __str__(self) -> str:
        return f"{self.pixels.nbytes / 1e6:,.1f} MB in memory"

    def fetch(self, indices: Tensor, key: AugmentKey | None = None) -> tuple[Tensor, Tensor]:
        chosen = self.pixels.index_select(0, indices)
        return chosen if self.fit is None else self.fit(chosen), indices

    def to(self, device: torch.device) -> "InMemory":
        """The same split held on `device`, so that batches are sliced there and nothing is copied per step."""
        return InMemory(self.pixels.to(device), self.targets.to(device), fit=self.fit)


class Synthetic:
    """Images by formula: a smooth pattern per class plus noise per sample, both from the hash; learnable, never stored.

    A sample is its class's pattern (a random 4x4 grid, bilinearly enlarged, 0..128) plus a window of one long strip of
    noise (0..127) that starts at the sample's own offset. `split` tells train, val and test noise apart; the patterns
    are those of `seed` alone.
    """

    prefetches = False
    _OFFSETS = 1 << 16

    def __init__(self, size: int, *, num_classes: int, channels: int, image_size: int, seed: int, split: str) -> None:
        self.shape = (channels, image_size, image_size)
        pixels = channels * image_size**2
        grid = integers(129, seed, "synthetic pattern", index=torch.arange(num_classes * channels * 16))
        self._patterns = (
            torch.nn.functional.interpolate(
                grid.view(num_classes, channels, 4, 4).float(), size=(image_size, image_size), mode="bilinear"
            )
            .round()
            .to(torch.uint8)
            .flatten(1)
        )
        strip = integers(128, seed, "synthetic noise", index=torch.arange(self._OFFSETS + pixels)).to(torch.uint8)
        self._noise = strip.unfold(0, pixels, 1)  # a view: row k is the window that starts at k
        samples = torch.arange(size)
        self._offsets = integers(self._OFFSETS, seed, f"synthetic {split} offset", index=samples)
        # the classes in turn, in a random order within each round of num_classes, so that every split is balanced
        self.targets = samples % num_classes

    def __len__(self) -> int:
        return len(self.targets)

    def __str__(self) -> str:
        return "made by formula"

    def fetch(self, indices: Tensor, key: AugmentKey | None = None) -> tuple[Tensor, Tensor]:
        pattern = self._patterns.index_select(0, self.targets[indices])
        return pattern.add_(self._noise[self._offsets[indices]]).view(-1, *self.shape), indices
