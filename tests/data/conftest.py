from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convarium.data.sources import InMemory


@pytest.fixture
def numbered() -> Callable[[int], InMemory]:
    """A split of n one-pixel images whose pixel and target are functions of the sample number."""

    def make(n: int) -> InMemory:
        samples = torch.arange(n)
        return InMemory((samples % 256).to(torch.uint8).view(n, 1, 1, 1), samples % 10)

    return make


@pytest.fixture
def class_folders(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder of class folders of random pictures; returns its root."""

    def make(
        splits: tuple[str, ...] = ("train",),
        classes: tuple[str, ...] = ("cat", "dog"),
        images: int = 4,
        size: tuple[int, int] = (12, 12),
        name: str = "my pictures = café",
        suffix: str = ".png",
    ) -> Path:
        root = tmp_path / name
        numbers = np.random.default_rng(0)
        for split in splits:
            for label in classes:
                folder = root / split / label
                folder.mkdir(parents=True)
                for k in range(images):
                    pixels = numbers.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / f"{k}{suffix}")
        return root

    return make
