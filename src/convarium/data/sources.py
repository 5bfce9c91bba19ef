"""Where the pixels of a split come from: memory, image files, or a formula."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from convarium.data.pictures import read_picture, read_whole
from convarium.randomness import integers


class Source(Protocol):
    """A split: class numbers in memory, images on demand."""

    prefetches: ClassVar[bool]
    """Whether `images` takes long enough that a loader should ask for the next batch in a thread."""
    targets: Tensor
    """(len,) int64."""

    def __len__(self) -> int: ...

    def images(self, indices: Tensor) -> Tensor:
        """The images at `indices`, uint8 (n, C, H, W)."""
        ...

    def whole(self, indices: Tensor) -> list[Tensor]:
        """The pictures at `indices` of which the images are made, each uint8 (C, H, W) of a size of its own."""
        ...


class InMemory:
    """All images as one uint8 tensor (len, C, H, W), sliced; `fit`, if given, brings a slice to its final size."""

    prefetches: ClassVar[bool] = False

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

    def images(self, indices: Tensor) -> Tensor:
        chosen = self.pixels.index_select(0, indices)
        return chosen if self.fit is None else self.fit(chosen)

    def whole(self, indices: Tensor) -> list[Tensor]:
        return list(self.images(indices))

    def to(self, device: torch.device) -> "InMemory":
        """The same split held on `device`, so that batches are sliced there and nothing is copied per step."""
        return InMemory(self.pixels.to(device), self.targets.to(device), fit=self.fit)


class Files:
    """Image files, decoded by a few threads when asked for (Pillow frees the interpreter while it decodes)."""

    prefetches: ClassVar[bool] = True

    def __init__(
        self,
        paths: Sequence[str | Path],
        targets: Tensor,
        *,
        channels: int,
        image_size: int,
        crop_share: float = 1.0,
        threads: int = 4,
    ) -> None:
        if len(paths) != len(targets):
            raise ValueError(f"{len(paths)} files but {len(targets)} targets")
        self.paths = list(paths)
        self.targets = targets.to(torch.int64)
        self.channels = channels
        self.image_size = image_size
        self.crop_share = crop_share
        self.threads = threads
        self.pin_memory = False
        self._pool: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def bytes_in_memory(self) -> int:
        """What the decoded split would take."""
        return len(self) * self.channels * self.image_size**2

    @property
    def _decoders(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="decode")
        return self._pool

    def whole(self, indices: Tensor) -> list[Tensor]:
        def decode(sample: int) -> Tensor:
            return read_whole(self.paths[sample], channels=self.channels)

        return list(self._decoders.map(decode, indices.tolist()))

    def images(self, indices: Tensor) -> Tensor:
        size = (self.channels, self.image_size, self.image_size)
        with torch.inference_mode(False):  # a test split may be read inside a test; our threads are outside
            out = torch.empty((len(indices), *size), dtype=torch.uint8, pin_memory=self.pin_memory)

        def decode(row: int, sample: int) -> None:
            out[row] = read_picture(
                self.paths[sample], channels=self.channels, image_size=self.image_size, crop_share=self.crop_share
            )

        # list() waits for every image and raises the first error
        list(self._decoders.map(decode, range(len(indices)), indices.tolist()))
        return out

    def load(self) -> InMemory:
        """Decode everything, once."""
        return InMemory(self.images(torch.arange(len(self))), self.targets)


class Synthetic:
    """Images by formula: a smooth pattern per class plus noise per sample, both from the hash; learnable, never stored.

    A sample is its class's pattern (a random 4x4 grid, bilinearly enlarged, 0..128) plus a window of one long strip of
    noise (0..127) that starts at the sample's own offset. `split` tells train, val and test noise apart; the patterns
    are those of `seed` alone.
    """

    prefetches: ClassVar[bool] = False
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

    def images(self, indices: Tensor) -> Tensor:
        pattern = self._patterns.index_select(0, self.targets[indices])
        return pattern.add_(self._noise[self._offsets[indices]]).view(-1, *self.shape)

    def whole(self, indices: Tensor) -> list[Tensor]:
        return list(self.images(indices))
