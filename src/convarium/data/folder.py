"""Photographs in folders, one folder per class: anybody's own, and ImageNet's."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from convarium.data.facts import class_folders, image_files, split_folder
from convarium.data.module import ImageData
from convarium.data.pictures import read_picture
from convarium.data.sources import Files, Source
from convarium.errors import ConfigError, MissingData

IN_MEMORY_LIMIT = 1 << 30
"""Bytes up to which a decoded split is kept in memory when `in_memory` is not set."""


@dataclass(kw_only=True, eq=False, repr=False)
class FolderImages(ImageData):
    """root/{train,val,test}/CLASS/*, or root/CLASS/* alone.

    Without a folder val it is carved from train; without a folder test, validation is the test.
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
        folder = split_folder(self.root, split)
        if folder is None:
            return None
        expected = class_folders(self.root, "train") if self.classes is None else self.classes
        found = class_folders(self.root, split)
        if found != expected:
            more, less = sorted(set(found) - set(expected)), sorted(set(expected) - set(found))
            told = [
                f"{where}: {_shortened(labels)}"
                for where, labels in ((f"only in {split}", more), ("missing there", less))
                if labels
            ]
            raise ConfigError(f"data.root={self.root}: the classes of {split} differ from train's; {'; '.join(told)}")
        if len(found) != self.num_classes:
            raise ConfigError(f"data.num_classes={self.num_classes}: but {folder} has {len(found)} class folders")
        files = [image_files(folder / name) for name in found]
        for name, paths in zip(found, files, strict=True):
            if not paths:
                raise ConfigError(f"data.root={self.root}: no images in class folder {folder / name}")
        source = Files(
            [path for paths in files for path in paths],
            torch.arange(len(found)).repeat_interleave(torch.tensor([len(paths) for paths in files])),
            channels=self.channels,
            image_size=self.image_size,
            crop_share=self.crop_share,
            threads=self.num_workers or min(16, _cores()),
        )
        if self.whole:  # what is kept in memory are images
            return source
        fits = source.bytes_in_memory <= IN_MEMORY_LIMIT
        return source.load() if (fits if self.in_memory is None else self.in_memory) else source

    def _as_squares(self) -> Self:
        return replace(self, image_size=round(self.image_size / self.crop_share), crop_share=1.0, in_memory=False)

    def count_test(self) -> int:
        return self._count("test")

    def _count(self, split: str) -> int:
        folder = split_folder(self.root, split)
        return 0 if folder is None else len(image_files(folder))

    def open_image(self, path: Path) -> Tensor:
        return read_picture(path, channels=self.channels, image_size=self.image_size, crop_share=self.crop_share)

    def fetch(self) -> None:
        raise ConfigError(f"data.root={self.root}: a folder of your own; there is nothing to fetch")


@dataclass(kw_only=True, eq=False, repr=False)
class ImageNet(FolderImages):
    """ILSVRC 2012 as root/{train,val}/WNID/*.JPEG; the official validation split is validation and test.

    With a val_fraction above 0 validation is carved from train, and the official validation split is the test alone.
    """

    @property
    def class_names(self) -> list[str]:
        """The usual English names, or the class numbers for a part of ImageNet."""
        from torchvision.models import ResNet50_Weights

        english: list[str] = ResNet50_Weights.IMAGENET1K_V2.meta["categories"]
        return english if len(english) == self.num_classes else super().class_names

    def read(self, split: str) -> Source | None:
        self._require()
        if self.val_fraction > 0 and split != "train":
            return super().read("val") if split == "test" else None
        return super().read(split)

    def count_test(self) -> int:
        self._require()
        return self._count("val" if self.val_fraction > 0 else "test")

    def fetch(self) -> None:
        raise ConfigError(self._instructions())

    def _require(self) -> None:
        for split in ("train", "val"):
            if not Path(self.root, split).expanduser().is_dir():
                raise MissingData(f"data=imagenet: no folder {Path(self.root, split)}; {self._instructions()}")

    def _instructions(self) -> str:
        return (
            "convarium data fetch cannot download ImageNet: register at image-net.org, get ILSVRC2012_img_train and"
            f" _val, and unpack them as {self.root}/train/WNID and {self.root}/val/WNID"
        )


def _shortened(labels: list[str]) -> str:
    return ", ".join(labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
