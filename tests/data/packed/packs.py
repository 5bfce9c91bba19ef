"""What the tests of packing share: a reader without choices, a crop, and the data modules of small folders."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from convarium.data.folder import FolderImages
from convarium.data.packed.module import PackedImages
from convarium.data.readers.reader import Unreadable
from convarium.randomness import integers
from convarium.run.packing import Packing, pack


class PillowReader:
    """Pillow and nothing else."""

    def size(self, data):
        try:
            with Image.open(io.BytesIO(data)) as picture:
                return picture.height, picture.width
        except OSError as error:
            raise Unreadable(str(error)) from None

    def read(self, data, box, size, *, channels):
        try:
            with Image.open(io.BytesIO(data)) as file:
                picture = file.convert({1: "L", 3: "RGB"}[channels])
        except OSError as error:
            raise Unreadable(str(error)) from None
        if box is not None:
            picture = picture.crop((box.left, box.top, box.left + box.width, box.top + box.height))
        if size is not None and picture.size != size[::-1]:
            picture = picture.resize(size[::-1], Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(picture))
        return pixels.unsqueeze(0) if channels == 1 else pixels.permute(2, 0, 1).contiguous()


class Anywhere:
    """A crop: any box of the picture, by the hash."""

    def boxes(self, sizes, key, image_size):
        def draw(purpose, high):
            return integers(1 << 20, key.seed, purpose, epoch=key.epoch, index=key.index) * high >> 20

        height, width = 1 + draw("height", sizes[:, 0]), 1 + draw("width", sizes[:, 1])
        top, left = draw("top", sizes[:, 0] - height + 1), draw("left", sizes[:, 1] - width + 1)
        return torch.stack([top, left, height, width], dim=1)


def folder_of(root: Path, **options) -> FolderImages:
    facts = {"num_classes": 2, "channels": 3, "image_size": 12, "mean": [0.5], "std": [0.25], "val_fraction": 0.25}
    return FolderImages(root=str(root), **{**facts, "batch_size": 2, "eval_batch_size": 3, **options})


def packed_of(root, **options) -> PackedImages:
    facts = {"num_classes": 2, "channels": 3, "image_size": 12, "mean": [0.5], "std": [0.25], "val_fraction": 0.25}
    data = PackedImages(root=str(root), **{**facts, "batch_size": 2, "eval_batch_size": 3, **options})
    data._reader = PillowReader()  # whatever is installed
    return data


def packing_of(root: Path, to: Path, *, data: FolderImages | None = None, **options) -> Packing:
    defaults = {"reader": PillowReader(), "size": 16, "threads": 2, "show": False, "shard_mb": 0.004}
    return pack(data or folder_of(root), to, **{**defaults, **options})
