"""One's own images, in a folder per class or as a table of paths and labels."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from convarium.data.image_files.decoded import decoded
from convarium.data.image_files.files import BadFile, Files, Shape
from convarium.data.image_files.listing import is_undivided, listing
from convarium.data.image_files.pictures import read_picture
from convarium.data.image_files.tables import Listing, are_classes_of
from convarium.data.module import ImageData
from convarium.data.readers.choice import reader
from convarium.data.sources import Source, decoding_threads, waiting
from convarium.errors import ConfigError

IN_MEMORY_LIMIT = 4 << 30  # bytes up to which a split is decoded once and kept when `in_memory` is not set

BAD_FILES = "bad_files.csv"
"""In a run directory: path, why it could not be read, and what was done (one line each, as they were met)."""


def listed_bad(folder: Path) -> dict[str, str]:
    """Why files could not be read, by their paths, as listed in a folder."""
    if not (folder / BAD_FILES).is_file():
        return {}
    with (folder / BAD_FILES).open(newline="", encoding="utf-8") as file:
        return {path: why for path, why, _ in csv.reader(file)}


@dataclass(kw_only=True, eq=False, repr=False)
class FolderImages(ImageData):
    """root/{train,val,test}/CLASS/*, as people spell them, or root/CLASS/* alone; or a table (`listing`).

    Without a split val it is carved from train; without a split test, validation is the test.
    An image's shorter side is resized to image_size / crop_share and the central square kept.
    """

    by_name: ClassVar[bool] = True
    """Whether `classes` are what the folders or labels are called, in any order, so that each image says its class."""
    root: str
    crop_share: float = 1.0  # side of the central square as a share of the resized shorter side
    in_memory: bool | None = None
    """Whether a split is decoded once and kept; None: if that takes at most 4 GiB, and a crop of the augmentation would
    not find larger pictures in the files."""
    cache: str | None = None  # the folder where what was decoded is kept for the next run; None: nowhere
    num_workers: int | None = None
    """Threads that decode; None: one per core, at most 16; 0: none beside the one that trains."""
    reader: str = "auto"  # the library that decodes, see `convarium.data.readers.choice`
    on_bad_file: str = "raise"  # what becomes of a file that cannot be read, see `Files`

    def __post_init__(self) -> None:
        super().__post_init__()
        self._noted: list[tuple[str, str]] = []

    def read(self, split: str) -> Source | None:
        files = self._listing(split)
        if files is None:
            return None
        if not are_classes_of(self.num_classes, len(files.classes)):
            raise ConfigError(f"data.num_classes={self.num_classes}: but {self.root} has {len(files.classes)} classes")
        source = Files(
            files.paths,
            torch.tensor(files.targets),
            shape=Shape(self.channels, self.image_size, self.crop_share),
            reader=reader(self.reader),
            threads=decoding_threads(self.num_workers),
            on_bad_file=self.on_bad_file,
            note=self._note,
        )
        keep = False if self.whole else self.in_memory  # what is kept in memory are images
        if keep is None:
            cuts = split == "train" and self.pipeline.crop is not None
            keep = source.bytes_in_memory <= IN_MEMORY_LIMIT and (not cuts or source.all_of_size())
        if not keep:
            return source
        return source.load() if self.cache is None else decoded(source, Path(self.cache).expanduser())

    def advice(self) -> str:
        source = self._train
        if not isinstance(source, Files):
            return super().advice()
        return waiting("decoding", source.threads, "convarium data pack once, then data=packed")

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if self.trainer is None:  # data are read before there is one
            return
        noted, self._noted = self._noted, []
        if self.trainer.is_global_zero:  # every rank met them when it read the data
            self._list(noted)

    def _note(self, path: str, why: str) -> None:
        """List a file that cannot be read; once there is a run directory."""
        if self.trainer is None:
            self._noted.append((path, why))
        else:
            self._list([(path, why)])

    def _list(self, noted: list[tuple[str, str]]) -> None:
        if self.trainer is not None and noted:
            with open(Path(self.trainer.default_root_dir, BAD_FILES), "a+", newline="", encoding="utf-8") as file:
                file.seek(0)
                known = {row[0] for row in csv.reader(file)}  # by another rank, or before a resume
                rows = ((path, why, self.on_bad_file) for path, why in noted if path not in known)
                csv.writer(file, lineterminator="\n").writerows(rows)

    def _as_squares(self) -> Self:
        return replace(self, image_size=round(self.image_size / self.crop_share), crop_share=1.0, in_memory=False)

    def count_test(self) -> int:
        return self._count("test")

    def check_test(self) -> None:
        """By the names of its files alone."""
        if self._own_test_size != (self.test_size or self._own_test_size):
            raise ValueError(f"data.test_size={self.test_size}: but test has {self._own_test_size} images")

    @property
    def _labels(self) -> list[str] | None:
        """What the class folders are called, or the table's labels, in the order of the class numbers."""
        return self.classes

    def _listing(self, split: str) -> Listing | None:
        if self.measured and split == "test" and is_undivided(self.root, self._labels or ()):
            split = "train"
        files = listing(self.root, split, self._labels, some=self.measured and self.by_name)
        if files is not None and files.odd and self.on_bad_file == "raise":
            raise BadFile.named(*next(iter(files.odd.items())))
        return files

    def _count(self, split: str) -> int:
        files = self._listing(split)
        return 0 if files is None else len(files.paths)

    def open_image(self, path: Path) -> Tensor:
        return read_picture(path, channels=self.channels, image_size=self.image_size, crop_share=self.crop_share)

    def fetch(self) -> None:
        raise ConfigError(f"data.root={self.root}: a folder of your own; there is nothing to fetch")
