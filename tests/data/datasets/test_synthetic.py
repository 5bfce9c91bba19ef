import pytest
import torch
from PIL import Image

from convarium.data.datasets.synthetic import SyntheticImages


def synthetic(**options):
    facts = {"num_classes": 10, "channels": 3, "image_size": 32, "mean": [0.5], "std": [0.18], "val_fraction": 0.2}
    return SyntheticImages(**{**facts, "train_size": 640, "test_size": 128, **options})


def test_the_splits_have_the_sizes_asked_for():
    data = synthetic()
    assert (data.num_train, data.num_val, data.num_test, data.test_is_val) == (512, 128, 128, False)


@pytest.mark.parametrize(("channels", "image_size", "num_classes"), [(1, 8, 2), (3, 64, 100), (5, 12, 7)])
def test_any_shape_can_be_made(channels, image_size, num_classes):
    data = synthetic(channels=channels, image_size=image_size, num_classes=num_classes)
    batch = next(iter(data.train_dataloader()))
    assert batch.images.shape == (64, channels, image_size, image_size)
    assert batch.targets.max() < num_classes


def test_two_modules_make_the_same_images():
    first, second = (next(iter(synthetic().train_dataloader())) for _ in range(2))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.index, second.index)


def test_a_picture_can_be_opened_as_one_of_its_images(tmp_path):
    Image.new("RGB", (50, 40)).save(tmp_path / "a.png")
    assert synthetic().open_image(tmp_path / "a.png").shape == (3, 32, 32)
