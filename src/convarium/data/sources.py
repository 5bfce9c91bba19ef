"""Where the pixels of a split come from: memory, or a formula; what lies in files says of itself what is special."""

import copy
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Self, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from convarium.data.augment.change import AugmentKey, Crop
from convarium.machine import cores_of_a_rank
from convarium.randomness import integers

S = TypeVar("S")
T = TypeVar("T")

ON_DEVICE_LIMIT = 2 << 30  # bytes up to which a split in memory moves to the GPU as a whole


class Source(ABC):
    """A split: class numbers in memory, images on demand."""

    prefetches: bool = False
    """Whether `fetch` takes long enough that a loader should ask for the next batches in threads."""
    crops: bool = False  # whether its pictures may be of any size, and a crop is made as they are read (`for_training`)
    targets: Tensor  # (len,) int64

    def __len__(self) -> int:
        return len(self.targets)

    def name(self, sample: int) -> str:
        """What a person calls a sample: its file, with the folder that it is in; if it has none, its number."""
        return f"#{sample}"

    @abstractmethod
    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The images at `indices`, uint8 (n, C, H, W), and which samples they are: `indices`, but for those that cannot
        be read."""

    def fetch_training(self, indices: Tensor, key: AugmentKey) -> tuple[Tensor, Tensor]:
        """As `fetch`, for training: the crop is made if the source does that, and a sample that cannot be read may be
        replaced by another one."""
        return self.fetch(indices)

    def whole(self, indices: Tensor) -> tuple[list[Tensor], Tensor]:
        """The pictures of which the images are made, each uint8 (C, H, W), and which samples they are."""
        images, indices = self.fetch(indices)
        return list(images), indices

    def for_training(self, crop: Crop | None, members: Tensor | None = None) -> "Source":
        """The same split for `fetch_training`.

        crop: cuts the training images out of the pictures, if the source does that.
        members: (n,) int64, ascending: only these samples take the place of one that cannot be read; None: all may.
        """
        return self

    def near(self, device: torch.device) -> "Source":
        """The same split, kept so that its batches reach `device` soonest."""
        return self


def file_name(path: str | Path) -> str:
    """A file's name behind that of its folder."""
    return "/".join(Path(path).parts[-2:])


def in_order(threads: ThreadPoolExecutor, work: Callable[[S], T], items: Iterable[S], ahead: int) -> Generator[T]:
    """The results of `work` in order, at most `ahead` of them begun before they are asked for."""
    following = iter(items)
    coming = deque(threads.submit(work, item) for item in islice(following, ahead))
    try:
        while coming:
            done = coming.popleft().result()
            coming.extend(threads.submit(work, item) for item in islice(following, 1))
            yield done
    finally:
        for future in coming:
            future.cancel()


def decoding_threads(num_workers: int | None) -> int:
    """How many threads decode: `num_workers`; None: one for each core of this rank, at most 16."""
    return min(16, cores_of_a_rank()) if num_workers is None else num_workers


def waiting(doing: str, threads: int, *faster: str) -> str:
    """What to change where the device waits for threads that decode."""
    have = cores_of_a_rank()
    ways = [f"data.num_workers={have}"] if threads < have else []
    ways += [*faster, "a smaller data.image_size"]
    return f"{doing} in {threads} threads ({have} cores) keeps the device waiting; faster: {', or '.join(ways)}"


class PictureSource(Source):
    """A source of pictures of any size, decoded by `threads` threads (0: by the caller's own, and nothing ahead)."""

    crops = True

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.prefetches = threads > 0
        self.crop: Crop | None = None
        self.members: Tensor | None = None
        self._pin_memory = False
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode") if threads else None  # none starts yet

    def for_training(self, crop: Crop | None, members: Tensor | None = None) -> Self:
        other = copy.copy(self)
        other.crop, other.members = crop, members
        return other

    def near(self, device: torch.device) -> Self:
        self._pin_memory = device.type == "cuda"  # so that the copy of a batch overlaps with the step before it
        return self

    def _map(self, work: Callable[[S], T], items: Iterable[S]) -> list[T]:
        """The results in order; the first error is raised when all have ended."""
        return list(map(work, items) if self._pool is None else self._pool.map(work, items))

    def _empty(self, n: int, channels: int, side: int) -> Tensor:
        """Memory for n images, uint8 (n, channels, side, side). In memory the channels are last, as readers have them:
        turning them would take a quarter of the time in which they are made, and the device turns the whole batch."""
        with torch.inference_mode(False):  # a test split may be read inside a test; our threads are outside
            out = torch.empty((n, side, side, channels), dtype=torch.uint8, pin_memory=self._pin_memory)
            return out.permute(0, 3, 1, 2)


class InMemory(Source):
    """All images as one uint8 tensor (len, C, H, W), sliced; `fit`, if given, brings a slice to its final size.
    paths: the files that they come from."""

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        *,
        fit: Callable[[Tensor], Tensor] | None = None,
        paths: Sequence[str | Path] | None = None,
    ) -> None:
        if images.dtype != torch.uint8 or images.ndim != 4:
            found = f"{images.dtype} {tuple(images.shape)}"
            raise ValueError(f"images: {found}: accepted is uint8 (n, channels, height, width)")
        if len(images) != len(targets):
            raise ValueError(f"{len(images)} images but {len(targets)} targets")
        self.pixels = images.contiguous()
        self.targets = targets.to(torch.int64)
        self.fit = fit
        self.paths = paths
        self._near: InMemory | None = None

    def __str__(self) -> str:
        return f"{self.pixels.nbytes / 1e6:,.1f} MB in memory"

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        chosen = self.pixels.index_select(0, indices)
        return chosen if self.fit is None else self.fit(chosen), indices

    def name(self, sample: int) -> str:
        return super().name(sample) if self.paths is None else file_name(self.paths[sample])

    def near(self, device: torch.device) -> "InMemory":
        """On a GPU a small split is held there as a whole: batches are sliced there and nothing is copied per step."""
        if device.type != "cuda" or self.pixels.nbytes > ON_DEVICE_LIMIT:
            return self
        if self._near is None:
            self._near = InMemory(self.pixels.to(device), self.targets.to(device), fit=self.fit, paths=self.paths)
        return self._near


class Synthetic(Source):
    """Images by formula: a smooth pattern per class plus noise per sample, both from the hash; learnable, never stored.

    A sample is its class's pattern (a random 4x4 grid, bilinearly enlarged, 0..128) plus a window of one long strip of
    noise (0..127) that starts at the sample's own offset. `split` tells train, val and test noise apart; the patterns
    are those of `seed` alone.
    """

    _OFFSETS = 1 << 16

    def __init__(self, size: int, *, num_classes: int, channels: int, image_size: int, seed: int, split: str) -> None:
        self.shape = (channels, image_size, image_size)
        pixels = channels * image_size**2
        grid = integers(129, seed, "synthetic pattern", index=torch.arange(num_classes * channels * 16))
        coarse = grid.view(num_classes, channels, 4, 4).float()
        smooth = F.interpolate(coarse, size=(image_size, image_size), mode="bilinear")
        self._patterns = smooth.round().to(torch.uint8).flatten(1)
        strip = integers(128, seed, "synthetic noise", index=torch.arange(self._OFFSETS + pixels)).to(torch.uint8)
        self._noise = strip.unfold(0, pixels, 1)  # a view: row k is the window that starts at k
        samples = torch.arange(size)
        self._offsets = integers(self._OFFSETS, seed, f"synthetic {split} offset", index=samples)
        # the classes in turn, in a random order within each round of num_classes, so that every split is balanced
        self.targets = samples % num_classes

    def __str__(self) -> str:
        return "made by formula"

    def fetch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        pattern = self._patterns.index_select(0, self.targets[indices])
        return pattern.add_(self._noise[self._offsets[indices]]).view(-1, *self.shape), indices
