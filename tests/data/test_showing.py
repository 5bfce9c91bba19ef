"""What an evaluation is shown of the data: the image, the square that it is the centre of, or the whole picture."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from convarium.data.datasets.digits import Digits
from convarium.data.datasets.folder import FolderImages
from convarium.data.image_files.files import Files
from convarium.data.loaders import EvalBatches, PictureBatches

SIZES = ((30, 20), (18, 26), (20, 20), (40, 17), (21, 33))  # width, height


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of five pictures, each of a size of its own."""
    numbers = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "train" / label).mkdir(parents=True)
        for number, (width, height) in enumerate(SIZES):
            pixels = numbers.integers(0, 256, (height, width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "train" / label / f"{number}.png")
    return tmp_path


def folder(root: Path, **options: Any) -> FolderImages:
    facts = {"num_classes": 2, "channels": 3, "image_size": 12, "mean": [0.5], "std": [0.25], "crop_share": 0.75}
    return FolderImages(root=str(root), **{**facts, "val_fraction": 0.4, "eval_batch_size": 3, **options})


def digits() -> Digits:
    return Digits(num_classes=10, channels=1, image_size=32, stored_size=8, mean=[0.3], std=[0.3], test_size=297)


def test_an_image_is_what_the_data_give(root: Path) -> None:
    data = folder(root)
    assert data.showing("image") is data


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_square_has_the_image_as_its_centre(root: Path, in_memory: bool) -> None:
    data = folder(root, in_memory=in_memory)
    shown = data.showing("square")
    assert (shown.image_size, data.image_size) == (16, 12)
    for square, image in zip(shown.test_dataloader(), data.test_dataloader(), strict=True):
        assert square.images.shape[1:] == (3, 16, 16)
        assert torch.equal(square.images[:, :, 2:14, 2:14], image.images)
        assert torch.equal(square.index, image.index)


@pytest.mark.parametrize("in_memory", [True, False])
def test_whole_pictures_come_one_a_batch_as_they_are_stored(root: Path, in_memory: bool) -> None:
    data = folder(root, in_memory=in_memory)
    files = folder(root, in_memory=False)._train
    assert isinstance(files, Files)
    batches = list(data.showing("whole").test_dataloader())
    whole = torch.cat([batch.index for batch in data.test_dataloader()])
    assert torch.cat([batch.index for batch in batches]).tolist() == whole.tolist()
    for number, batch in enumerate(batches):
        with Image.open(files.paths[int(batch.index)]) as picture:
            stored = torch.from_numpy(np.array(picture)).permute(2, 0, 1)
        assert torch.equal(batch.images, stored.unsqueeze(0))
        assert (batch.targets.tolist(), batch.number) == (files.targets[batch.index].tolist(), number)


def test_the_data_of_the_training_go_on_as_they_were(root: Path) -> None:
    data = folder(root)
    before = [batch.images for batch in data.test_dataloader()]
    list(data.showing("whole").test_dataloader())
    assert all(torch.equal(batch.images, same) for batch, same in zip(data.test_dataloader(), before, strict=True))


def test_a_grey_picture_has_one_channel(root: Path) -> None:
    batch = next(iter(folder(root, channels=1).showing("whole").test_dataloader()))
    assert batch.images.shape[:2] == (1, 1)


def test_pictures_in_memory_are_all_of_one_size_and_come_in_batches() -> None:
    data = digits()
    for batch, plain in zip(data.showing("whole").test_dataloader(), data.test_dataloader(), strict=True):
        assert torch.equal(batch.images, plain.images)


def test_images_without_anything_around_them_have_no_square() -> None:
    with pytest.raises(ValueError, match="its images are the whole pictures"):
        digits().showing("square")


@pytest.mark.parametrize("ranks", [1, 2, 3, 12])
def test_the_ranks_share_the_pictures_each_once(root: Path, ranks: int) -> None:
    source = folder(root, in_memory=False)._train
    members = torch.tensor([7, 0, 3, 9, 4])
    batches = [PictureBatches(source, members, batch_size=16, world_size=ranks, rank=rank) for rank in range(ranks)]
    seen = [[int(batch.index) for batch in share] for share in batches]
    assert [len(share) for share in batches] == list(map(len, seen))
    plain = [EvalBatches(source, members, batch_size=2, world_size=ranks, rank=rank) for rank in range(ranks)]
    assert seen == [[int(i) for batch in share for i in batch.index] for share in plain]
    assert sorted(index for share in seen for index in share) == sorted(members.tolist())


def test_more_pictures_than_are_decoded_together_come_in_order(root: Path) -> None:
    source = folder(root, in_memory=False)._train
    members = torch.arange(40) % 10
    assert [int(batch.index) for batch in PictureBatches(source, members, batch_size=16)] == members.tolist()


def test_a_picture_that_cannot_be_read_is_named(root: Path) -> None:
    (root / "train" / "dog" / "2.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"dog/2.png: unreadable image"):
        list(PictureBatches(folder(root, in_memory=False)._train, torch.arange(10), batch_size=16))
