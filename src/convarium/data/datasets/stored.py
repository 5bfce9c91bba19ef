"""Datasets that are one array of small images of one size, kept in memory."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from convarium.data.image_files.pictures import FITS, read_picture
from convarium.data.module import ImageData
from convarium.data.sources import InMemory

IN_MEMORY_LIMIT = 1 << 30
"""Bytes up to which a split is kept in its final size; beyond, each batch is resized when it is sliced."""


@dataclass(kw_only=True, eq=False, repr=False)
class StoredImages(ImageData):
    """Images that lie on disk as `stored_size` pixels and are brought to `image_size` by `resize`."""

    stored_size: int
    resize: str = "bilinear"  # pad (centred in background, pixel value 0) or bilinear

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resize == "pad" and self.image_size < self.stored_size:
            why = f"padding cannot shrink {self.stored_size} pixels; use data.resize=bilinear"
            raise ValueError(f"data.image_size={self.image_size}: {why}")

    def fit(self, images: Tensor) -> Tensor:
        """uint8 (N, C, stored_size, stored_size) to (N, C, image_size, image_size)."""
        return images if self.image_size == self.stored_size else FITS[self.resize](images, self.image_size)

    def hold(self, images: Tensor, targets: Tensor) -> InMemory:
        """The split in memory, resized once if that stays small, else as each batch is sliced."""
        expected = (self.channels, self.stored_size, self.stored_size)
        if tuple(images.shape[1:]) != expected:
            why = f"images are {tuple(images.shape[1:])}, not {expected}"
            raise ValueError(f"data.stored_size={self.stored_size}: {why}")
        if self.image_size == self.stored_size:
            return InMemory(images, targets)
        if len(images) * self.channels * self.image_size**2 > IN_MEMORY_LIMIT:
            return InMemory(images, targets, fit=partial(FITS[self.resize], image_size=self.image_size))
        return InMemory(torch.cat([self.fit(part) for part in images.split(4096)]), targets)  # type: ignore[no-untyped-call]

    def open_image(self, path: Path) -> Tensor:
        stored = read_picture(path, channels=self.channels, image_size=self.stored_size)
        return self.fit(stored.unsqueeze(0)).squeeze(0)
