"""A made-up dataset of any size and shape: for tests, timing, and machines without data."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from convarium.data.image_files.pictures import read_picture
from convarium.data.module import ImageData
from convarium.data.sources import Synthetic
from convarium.machine import require_memory


@dataclass(kw_only=True, eq=False, repr=False)
class SyntheticImages(ImageData):
    """`train_size` + `test_size` images by formula; `split_seed` also chooses the classes' patterns."""

    def read(self, split: str) -> Synthetic | None:
        if split == "val":
            return None
        size = self.test_size if split == "test" else self.train_size
        if size is None:
            raise ValueError("data.train_size=null: accepted are whole numbers from 1")
        pixels = self.num_classes * self.channels * self.image_size**2
        require_memory(24 * size, f"data.{split}_size={size}: numbers and classes of the images take")
        require_memory(5 * pixels, f"data.num_classes={self.num_classes}: their patterns take")
        shape = {"num_classes": self.num_classes, "channels": self.channels, "image_size": self.image_size}
        return Synthetic(size, **shape, seed=self.split_seed, split=split)

    def open_image(self, path: Path) -> Tensor:
        return read_picture(path, channels=self.channels, image_size=self.image_size)
