"""MNIST, CIFAR and their kin, read and downloaded by torchvision's own classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from convarium.data.datasets.stored import StoredImages
from convarium.data.sources import InMemory
from convarium.errors import ConfigError, MissingData


class Reader(NamedTuple):
    """How a class of torchvision.datasets wants to be asked, and what it has."""

    by_split: bool = False
    """split="train" instead of train=True; rows after channels; `labels` instead of `targets`."""
    folder: str = ""
    """Its folder in the folder of all datasets, unless it makes one itself."""
    labelled: int | None = None
    """How many files of its `train_list` have labels, if not all; the others are not asked for."""


READERS = {
    "MNIST": Reader(),
    "FashionMNIST": Reader(),
    "KMNIST": Reader(),
    "EMNIST": Reader(),
    "CIFAR10": Reader(),
    "CIFAR100": Reader(),
    "SVHN": Reader(by_split=True, folder="SVHN"),
    "STL10": Reader(by_split=True, labelled=2),
}


@dataclass(kw_only=True, eq=False, repr=False)
class PublishedImages(StoredImages):
    """A published benchmark with an official test split.

    CIFAR's official files are pickles; torchvision compares their MD5 with the published one before it opens them.
    """

    name: str
    """What the dataset is called in `data=...`, for the command that fetches it."""
    torchvision: str
    """The class in torchvision.datasets that reads and downloads it."""
    root: str
    """The folder of all datasets; each reader has a folder of its own in it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.torchvision not in READERS:
            raise ValueError(f"data.torchvision={self.torchvision}: accepted are {', '.join(READERS)}")

    def read(self, split: str) -> InMemory | None:
        if split == "val":
            return None
        stored = self._torchvision(train=split == "train", download=False)
        images = torch.from_numpy(np.asarray(stored.data))
        if READERS[self.torchvision].by_split:
            return self.hold(images, torch.as_tensor(stored.labels))
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        return self.hold(*self.correct(images, torch.as_tensor(stored.targets)))

    def correct(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) and targets as one expects them of this dataset, where its files have them otherwise."""
        return images, targets

    @property
    def _asked(self) -> dict[str, str]:
        """What the reader is told beside."""
        return {}

    def fetch(self) -> None:
        """Download both splits into `root`; files that are there and sound are kept."""
        for train in (True, False):
            self._torchvision(train=train, download=True)

    def _torchvision(self, *, train: bool, download: bool) -> Any:
        from torchvision import datasets  # seconds to import, and needed by these datasets only

        root, how = Path(self.root).expanduser(), READERS[self.torchvision]
        kind = getattr(datasets, self.torchvision)
        if how.labelled is not None:  # STL-10's images without labels are 2.8 GB, and would be read for their checksum
            kind = type(kind.__name__, (kind,), {"train_list": kind.train_list[: how.labelled]})
        part = {"split": "train" if train else "test"} if how.by_split else {"train": train}
        try:
            return kind(root / how.folder, **part, **self._asked, download=download)
        except ModuleNotFoundError as error:
            raise ConfigError(f"data={self.name}: its files need {error.name}: pip install convarium[matlab]") from None
        except (RuntimeError, OSError, AssertionError, ValueError, KeyError) as error:
            if not download and "not found" in str(error):  # torchvision's "Dataset not found or corrupted"
                raise MissingData(
                    f"data={self.name}: not found, or not complete, in {root.absolute()}; fetch it with:"
                    f" convarium data fetch {self.name} (CONVARIUM_DATA or data.root names another folder)"
                ) from None
            doing, told = "download" if download else "read", " ".join(str(error).split())
            raise ConfigError(
                f"data={self.name}: could not {doing} it in {root.absolute()} ({type(error).__name__}: {told})"
            ) from error


@dataclass(kw_only=True, eq=False, repr=False)
class EMNIST(PublishedImages):
    """Letters and digits; the files hold them with rows and columns exchanged, here they stand upright."""

    split: str = "balanced"
    """Which classes, and how many of each: balanced, byclass, bymerge, letters, digits or mnist."""

    def correct(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return images.transpose(2, 3).contiguous(), targets - 1 if self.split == "letters" else targets  # from 1

    @property
    def _asked(self) -> dict[str, str]:
        return {"split": self.split}
