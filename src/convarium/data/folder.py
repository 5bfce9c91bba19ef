"""One's own images, in a folder per class or as a table of paths and labels."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from convarium.data.listing import listing
from convarium.data.module import ImageData
from convarium.data.pictures import read_picture
from convarium.data.sources import Files, Source
from convarium.errors import ConfigError

IN_MEMORY_LIMIT = 1 << 30
"""Bytes up to which a decoded split is kept in memory when `in_memory` is not set."""


@dataclass(kw_only=True, eq=False, repr=False)
class FolderImages(ImageData):
    """root/{train,val,test}/CLASS/*, or root/CLASS/* alone; or a table of paths and labels (`listing`).

    Without a split val it is carved from train; without a split test, validation is the test.
    An image's shorter side is resized to image_size / crop_share and the central square kept.
    """

    root: str
    crop_share: float = 1.0
    """Side of the central square as a share of the resized shorter side."""
    in_memory: bool | None = None
    """Whether a split is decoded once and kept; None: if it takes at most 1 GiB."""
    num_workers: int | None = None
    """Threads that decode; None: one per core, at most 16."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.crop_share <= 1:
            raise ValueError(f"data.crop_share={self.crop_share}: accepted are numbers above 0, up to 1")

    def read(self, split: str) -> Source | None:
        found = listing(self.root, split, self._labels)
        if found is None:
            return None
        if len(found.classes) != self.num_classes:
            raise ConfigError(f"data.num_classes={self.num_classes}: but {self.root} has {len(found.classes)} classes")
        source = Files(
            found.paths,
            torch.tensor(found.targets),
            channels=self.channels,
            image_size=self.image_size,
            crop_share=self.crop_share,
            threads=self.num_workers or min(16, _cores()),
        )
        fits = source.bytes_in_memory <= IN_MEMORY_LIMIT
        return source.load() if (fits if self.in_memory is None else self.in_memory) else source

    def count_test(self) -> int:
        return self._count("test")

    @property
    def _labels(self) -> list[str] | None:
        """What the class folders are called, or the table's labels, in the order of the class numbers."""
        return self.classes

    def _count(self, split: str) -> int:
        found = listing(self.root, split, self._labels)
        return 0 if found is None else len(found.paths)

    def open_image(self, path: Path) -> Tensor:
        return read_picture(path, channels=self.channels, image_size=self.image_size, crop_share=self.crop_share)

    def fetch(self) -> None:
        raise ConfigError(f"data.root={self.root}: a folder of your own; there is nothing to fetch")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
