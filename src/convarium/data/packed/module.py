"""A packed dataset as a data module."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from convarium.data.image_files.pictures import read_file
from convarium.data.image_files.tables import are_classes_of
from convarium.data.module import ImageData
from convarium.data.packed.cache import Cache
from convarium.data.packed.shards import Header, Shards, read_header, read_index
from convarium.data.packed.source import Packed, central, cut_out, stored_size
from convarium.data.packed.storage import Storage, is_url, open_storage
from convarium.data.readers.choice import reader
from convarium.data.sources import Source, decoding_threads, waiting
from convarium.errors import ConfigError


@dataclass(kw_only=True, eq=False, repr=False)
class PackedImages(ImageData):
    """What `convarium data pack` wrote, in a folder or behind a URL (s3://, gs://, https://, ...).
    Without a split val it is carved from train; without a split test, validation is the test."""

    root: str
    crop_share: float = 1.0  # side of the central square as a share of the resized shorter side
    reader: str = "auto"  # what decodes JPEG shards
    num_workers: int | None = None
    """Threads that decode; None: one per core, at most 16; 0: none beside the one that trains."""
    cache_dir: str | None = None
    """A folder on this machine's disk that keeps the samples that came from elsewhere; None: nothing is kept."""
    cache_gb: float | None = None  # how much it keeps at most, in 10^9 bytes; None: everything

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cache_gb is not None and self.cache_dir is None:
            raise ValueError(f"data.cache_gb={self.cache_gb}: limits data.cache_dir, which is null")

    @cached_property
    def _header(self) -> Header:
        header = read_header(self.root)
        if not are_classes_of(self.num_classes, header.num_classes):
            raise ConfigError(f"data.num_classes={self.num_classes}: but {self.root} has {header.num_classes} classes")
        if header.store == "raw" and header.channels != self.channels:
            has = f"{self.root} has pixels of {header.channels} channels"
            raise ConfigError(f"data.channels={self.channels}: but {has}")
        return header

    @cached_property
    def _storage(self) -> Storage:
        return open_storage(self.root)

    @cached_property
    def _cache(self) -> Cache | None:
        if self.cache_dir is None:
            return None
        return Cache(self.cache_dir, None if self.cache_gb is None else int(self.cache_gb * 1e9))

    def read(self, split: str) -> Source | None:
        header = self._header
        if split not in header.splits:
            return None
        described, index = header.splits[split], read_index(self._storage, header, split)
        try:
            of_split = self._storage, described, index
            shards = Shards(*of_split) if self._cache is None else self._cache.shards(split, *of_split)
        except OSError as error:
            raise ConfigError(f"data.cache_dir={self.cache_dir}: {error.strerror}") from None
        return Packed(
            shards,
            channels=self.channels,
            image_size=self.image_size,
            crop_share=self.crop_share,
            reader=None if header.store == "raw" else reader(self.reader),
            threads=decoding_threads(self.num_workers),
        )

    def advice(self) -> str:
        ways = ["data.cache_dir=FOLDER on a disk here"] if is_url(self.root) and self.cache_dir is None else []
        ways += ["convarium data pack format=raw, which needs no decoding"] if self._header.store == "jpeg" else []
        return waiting("reading shards", decoding_threads(self.num_workers), *ways)

    def count_test(self) -> int:
        splits = self._header.splits
        return splits["test"].samples if "test" in splits else 0

    def open_image(self, path: Path) -> Tensor:
        """Decoded, sized as it would be packed, and cut as the dataset's own."""

        decoder = reader(self.reader)

        def decode(data: bytes) -> Tensor:
            height, width = stored_size(*decoder.size(data), self._header.size)
            stored = decoder.read(data, None, (height, width), channels=self.channels)
            cut = central(height, width, self.image_size, self.crop_share)
            return torch.from_numpy(cut_out(stored.permute(1, 2, 0).numpy(), cut).copy())

        return read_file(path, decode)

    def _as_squares(self) -> Self:
        return replace(self, image_size=round(self.image_size / self.crop_share), crop_share=1.0)

    def fetch(self) -> None:
        raise ConfigError(f"data.root={self.root}: packed by convarium data pack; there is nothing to fetch")
