"""What a training sees, sample by sample: one stream, whoever reads it, and however often it is stopped."""

import zlib
from collections.abc import Iterator
from functools import cache
from itertools import chain, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from convarium.data.augment.color import ColorJitter
from convarium.data.augment.crop import CropFlip, RandomResizedCrop
from convarium.data.augment.flip import Flip
from convarium.data.datasets.digits import Digits
from convarium.data.datasets.folder import FolderImages
from convarium.data.image_files.files import Files
from convarium.data.module import ImageData
from convarium.data.sources import InMemory

SIZES = ((30, 20), (18, 26), (16, 16), (40, 17), (21, 33), (24, 24))  # width, height
STEPS, EPOCHS = 3, 2
COLOR = ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)

Sample = tuple[int, int, int]  # epoch, index, checksum


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of twelve JPEG files of several sizes."""
    root, numbers = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for label in ("cat", "dog"):
        (root / "train" / label).mkdir(parents=True)
        for number in range(12):
            width, height = SIZES[number % len(SIZES)]
            pixels = numbers.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "train" / label / f"{number:02}.jpg")
    return root


def data_of(kind: str, pictures: Path, workers: int) -> ImageData:
    """files: cut as they are decoded; held: the same files in memory, cut there; stored: an array of small images."""
    crop: Any = CropFlip(pad=2) if kind == "stored" else RandomResizedCrop(scale=(0.2, 1.0))
    common: dict[str, Any] = {"mean": [0.4], "std": [0.2], "val_fraction": 0.0, "seed": 5}
    common["augment"] = {"crop": crop, "flip": Flip(), "color": COLOR}
    if kind == "stored":
        return Digits(num_classes=10, channels=1, image_size=16, stored_size=8, batch_size=500, **common)
    facts = {"root": str(pictures), "num_classes": 2, "channels": 3, "image_size": 16, "batch_size": 8}
    return FolderImages(**facts, in_memory=kind == "held", num_workers=workers, reader="pillow", **common)


def stream(data: ImageData, ranks: int, state: dict[str, int]) -> Iterator[list[Sample]]:
    """What is left of the epochs after `state`, of all ranks put together, step by step, as the network sees it."""
    loaders = []
    for rank in range(ranks):
        here = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(  # type: ignore[assignment]
            world_size=ranks, global_rank=rank, accumulate_grad_batches=1, overfit_batches=0, strategy=here
        )
        loaders.append(data.train_dataloader())
        loaders[-1].load_state_dict(state)
    for epoch in range(state["epoch"], EPOCHS):
        for loader in loaders:
            loader.set_epoch(epoch)
        for shares in zip(*loaders, strict=True):
            seen = [data.on_after_batch_transfer(share, 0) for share in shares]
            state.update(loaders[0].state_dict())
            yield [
                (batch.epoch, int(index), zlib.crc32(image.numpy().tobytes()))
                for batch in seen
                for index, image in zip(batch.index, batch.images, strict=True)
            ]


@cache
def expected(kind: str, pictures: Path) -> list[Sample]:
    """The stream of one rank that decodes by itself and is never stopped."""
    return list(chain(*stream(data_of(kind, pictures, 0), 1, {"epoch": 0, "position": 0})))


@pytest.mark.parametrize("kind", ["files", "held", "stored"])
@given(
    workers=st.sampled_from([0, 1, 2, 4]),
    ranks=st.sampled_from([1, 2, 4]),
    stop=st.integers(0, EPOCHS * STEPS),
    later_workers=st.sampled_from([0, 1, 2, 4]),
    later_ranks=st.sampled_from([1, 2, 4]),
)
@example(workers=4, ranks=4, stop=STEPS, later_workers=1, later_ranks=1)
@example(workers=1, ranks=2, stop=1, later_workers=2, later_ranks=4)
@settings(deadline=None, max_examples=6)
def test_the_stream_is_the_same_for_any_workers_and_ranks_and_after_a_stop_at_any_step(
    kind: str, pictures: Path, workers: int, ranks: int, stop: int, later_workers: int, later_ranks: int
) -> None:
    state = {"epoch": 0, "position": 0}
    before = list(chain(*islice(stream(data_of(kind, pictures, workers), ranks, state), stop)))
    rest = list(chain(*stream(data_of(kind, pictures, later_workers), later_ranks, state)))
    assert before + rest == expected(kind, pictures)
    assert len(before) == stop * len(expected(kind, pictures)) // (EPOCHS * STEPS)


def test_the_three_paths_are_what_they_are_called(pictures: Path) -> None:
    assert isinstance(data_of("files", pictures, 2)._train, Files)
    assert isinstance(data_of("held", pictures, 2)._train, InMemory)
    assert len(data_of("stored", pictures, 0).train_dataloader()) == STEPS


@pytest.mark.parametrize("kind", ["files", "held", "stored"])
def test_a_picture_is_seen_once_an_epoch_and_never_twice_alike(kind: str, pictures: Path) -> None:
    found = expected(kind, pictures)
    first, second = ([(index, sum_) for epoch, index, sum_ in found if epoch == number] for number in range(EPOCHS))
    assert len({index for index, _ in first}) == len(first)
    assert [index for index, _ in first] != [index for index, _ in second]
    again = set(first) & set(second)
    assert len(again) <= len(first) // 100  # a crop of small images may come twice
