"""What the tests of packing share: a crop, and the data modules of small folders."""

from pathlib import Path

import torch

from convarium.data.datasets.folder import FolderImages
from convarium.data.packed.module import PackedImages
from convarium.data.packed.packing import Packing, pack
from convarium.data.readers.choice import reader
from convarium.randomness import integers


class Anywhere:
    """A crop: any box of the picture, by the hash."""

    def boxes(self, sizes, key, image_size):
        def draw(purpose, high):
            return integers(1 << 20, key.seed, purpose, epoch=key.epoch, index=key.index) * high >> 20

        height, width = 1 + draw("height", sizes[:, 0]), 1 + draw("width", sizes[:, 1])
        top, left = draw("top", sizes[:, 0] - height + 1), draw("left", sizes[:, 1] - width + 1)
        return torch.stack([top, left, height, width], dim=1)


FACTS = {
    "num_classes": 2,
    "classes": ["cat", "dog"],
    "channels": 3,
    "image_size": 12,
    "mean": [0.5],
    "std": [0.25],
    "val_fraction": 0.25,
}


def folder_of(root: Path | str, **options) -> FolderImages:
    return FolderImages(root=str(root), **{**FACTS, "batch_size": 2, "eval_batch_size": 3, **options})


def packed_of(root: Path | str, **options) -> PackedImages:
    return PackedImages(
        root=str(root), **{**FACTS, "reader": "pillow", "batch_size": 2, "eval_batch_size": 3, **options}
    )


def packing_of(root: Path, to: Path, **options) -> Packing:
    """Four pictures or so to a shard."""
    data = folder_of(
        root, **{name: options.pop(name) for name in ("channels", "classes", "crop_share") if name in options}
    )
    defaults = {"reader": reader("pillow"), "size": 16, "threads": 2, "shard_mb": 0.004}
    return pack(data, to, **{**defaults, **options})
