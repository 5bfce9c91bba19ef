"""MNIST, CIFAR and their kin, read and downloaded by torchvision's own classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convarium.data.sources import InMemory
from convarium.data.stored import StoredImages
from convarium.errors import ConfigError, MissingData

READERS = ("MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100")
"""torchvision.datasets classes with `train` and `download` arguments and all images in `data`, labels in `targets`."""


@dataclass(kw_only=True, eq=False, repr=False)
class PublishedImages(StoredImages):
    """A published benchmark with an official test split.

    CIFAR's official files are pickles; torchvision compares their MD5 with the published one before it opens them.
    """

    name: str
    """What the dataset is called in `data=...`, for the command that fetches it."""
    reader: str
    """The class in torchvision.datasets that reads and downloads it."""
    root: str
    """The folder of all datasets; each reader has a folder of its own in it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reader not in READERS:
            raise ValueError(f"data.reader={self.reader}: accepted are {', '.join(READERS)}")

    def read(self, split: str) -> InMemory | None:
        if split == "val":
            return None
        stored = self._torchvision(train=split == "train", download=False)
        images = torch.from_numpy(np.asarray(stored.data))
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2)
        return self.hold(images, torch.as_tensor(stored.targets))

    def fetch(self) -> None:
        """Download both splits into `root`; files that are there and sound are kept."""
        for train in (True, False):
            self._torchvision(train=train, download=True)

    def _torchvision(self, *, train: bool, download: bool) -> Any:
        from torchvision import datasets  # seconds to import, and needed by these datasets only

        root = Path(self.root).expanduser()
        try:
            return getattr(datasets, self.reader)(root, train=train, download=download)
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
