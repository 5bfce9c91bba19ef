"""MNIST, CIFAR, and whatever else torchvision.datasets has of images and class numbers, read by torchvision."""

import operator
from dataclasses import dataclass
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convarium.data.datasets.stored import StoredImages
from convarium.data.readers.pillow import pixels
from convarium.data.readers.reader import central
from convarium.data.sources import InMemory
from convarium.errors import ConfigError, MissingData
from convarium.wording import nearest, one_line


@dataclass(kw_only=True, eq=False, repr=False)
class PublishedImages(StoredImages):
    """A published benchmark with an official test split, by its class in torchvision.datasets.

    How that class is asked, train=True or split="train", is read from its signature. Images that it holds as one array
    are taken as they are. If it holds none, every image is decoded once, its shorter side resized to `stored_size` and
    the central square kept. CIFAR's official files are pickles; torchvision compares their MD5 with the published one
    before it opens them.
    """

    name: str  # what the dataset is called in `data=...`, for the command that fetches it
    torchvision: str  # the class in torchvision.datasets that reads and downloads it
    root: str
    """The folder of all datasets, in which most of these classes make one of their own; of the others, their own."""

    def read(self, split: str) -> InMemory | None:
        if split == "val":
            return None
        stored = self._torchvision(train=split == "train", download=False)
        held = getattr(stored, "data", None), getattr(stored, "targets", getattr(stored, "labels", None))
        if any(part is None for part in held):
            return self.hold(*self._one_by_one(stored))
        images, targets = torch.from_numpy(np.asarray(held[0])), torch.as_tensor(held[1])
        if images.ndim == 3:
            images = images.unsqueeze(1)
        elif images.shape[1] != self.channels:
            images = images.permute(0, 3, 1, 2)
        return self.hold(*self.correct(images, targets))

    def correct(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) and targets as one expects them of this dataset, where its files have them otherwise."""
        return images, targets

    def reader(self) -> Any:
        """The class in torchvision.datasets. Raises ConfigError if it has no such class with official splits."""
        from torchvision import datasets  # seconds to import, and needed by these datasets only

        kind = getattr(datasets, self.torchvision, None)
        if not (isinstance(kind, type) and issubclass(kind, datasets.VisionDataset)):
            hint = nearest(self.torchvision, datasets.__all__)
            raise ConfigError(f"data.torchvision={self.torchvision}: no class of torchvision.datasets{hint}")
        return kind

    def asked(self, parameters: dict[str, Parameter], train: bool) -> dict[str, Any]:
        """The arguments that choose the split, by the reader's parameters. Raises ConfigError if none does."""
        if "train" in parameters:
            return {"train": train}
        if "split" not in parameters:
            raise ConfigError(f"data.torchvision={self.torchvision}: has no official test split (no train=, no split=)")
        usual = str(parameters["split"].default)
        return {"split": "test" if not train else usual if usual.startswith("train") else "train"}  # or "trainval"

    def fetch(self) -> None:
        """Download both splits into `root`; files that are there and sound are kept."""
        for train in (True, False):
            self._torchvision(train=train, download=True)

    def _one_by_one(self, stored: Any) -> tuple[Tensor, Tensor]:
        """Images (N, C, stored_size, stored_size) and class numbers, item by item. Raises ConfigError for others."""
        size, targets = self.stored_size, torch.empty(len(stored), dtype=torch.int64)
        images = torch.empty((len(stored), self.channels, size, size), dtype=torch.uint8)
        for number in range(len(stored)):
            image, target = stored[number]
            try:
                targets[number] = operator.index(target)
                whole, (top, left) = central(image.height, image.width, size)
                picture = pixels(image, None, whole, channels=self.channels)
                images[number] = picture[:, top : top + size, left : left + size]
            except (TypeError, AttributeError):
                raise ConfigError(
                    f"data.torchvision={self.torchvision}: gives {type(image).__name__} and {type(target).__name__},"
                    " not an image and a class number"
                ) from None
        return images, targets

    def _torchvision(self, *, train: bool, download: bool) -> Any:
        root, kind = Path(self.root).expanduser(), self.reader()
        parameters = dict(signature(kind).parameters)
        arguments = self.asked(parameters, train)
        if download and "download" not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
            raise ConfigError(f"data={self.name}: torchvision cannot download it; put its files in {root.absolute()}")
        try:
            return kind(root, **arguments, **({"download": True} if download else {}))
        except ModuleNotFoundError as error:
            raise ConfigError(f"data={self.name}: its files need {error.name}: pip install {error.name}") from None
        except (RuntimeError, OSError, AssertionError, ValueError, KeyError) as error:
            # torchvision says "Dataset not found or corrupted", or does not look
            if not download and (isinstance(error, FileNotFoundError) or "not found" in str(error)):
                raise MissingData(
                    f"data={self.name}: not found, or not complete, in {root.absolute()}; fetch it with:"
                    f" convarium data fetch {self.name} (CONVARIUM_DATA or data.root names another folder)"
                ) from None
            doing = "download" if download else "read"
            why = f"{type(error).__name__}: {one_line(error)}"
            raise ConfigError(f"data={self.name}: could not {doing} it in {root.absolute()} ({why})") from error


@dataclass(kw_only=True, eq=False, repr=False)
class STL10(PublishedImages):
    """STL-10 without its images without labels, which are 2.8 GB and would be read for their checksum."""

    def reader(self) -> Any:
        kind = super().reader()
        return type(kind.__name__, (kind,), {"train_list": kind.train_list[:2]})


@dataclass(kw_only=True, eq=False, repr=False)
class EMNIST(PublishedImages):
    """Letters and digits; the files hold them with rows and columns exchanged, here they stand upright."""

    split: str = "balanced"  # which classes, and how many of each: balanced, byclass, bymerge, letters, digits or mnist

    def correct(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        return images.transpose(2, 3).contiguous(), targets - 1 if self.split == "letters" else targets  # from 1

    def asked(self, parameters: dict[str, Parameter], train: bool) -> dict[str, Any]:
        return {"split": self.split, "train": train}
