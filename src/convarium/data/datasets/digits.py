"""The digits that come with the package: small, real, and enough to see a network learn in seconds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from convarium.data.datasets.stored import StoredImages
from convarium.data.sources import InMemory

FILE = Path(__file__).parent / "optdigits" / "digits.npz"


@dataclass(kw_only=True, eq=False, repr=False)
class Digits(StoredImages):
    """Optical Recognition of Handwritten Digits: 1,797 images of 8x8 pixels (Alpaydin and Kaynak 1998, CC BY 4.0).

    The original counts 0..16 become 0..255. The test split, 297 images with every digit in proportion, is a mark in
    the file and never changes.
    """

    def read(self, split: str) -> InMemory | None:
        if split == "val":
            return None
        with np.load(FILE, allow_pickle=False) as file:
            chosen = file["test"] if split == "test" else ~file["test"]
            counts = torch.from_numpy(file["images"][chosen])
            targets = torch.from_numpy(file["targets"][chosen].astype(np.int64))
        images = (counts.float() * (255 / 16)).round().to(torch.uint8)
        return self.hold(images.unsqueeze(1), targets)
