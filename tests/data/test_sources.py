import pytest
import torch

from convarium.data.sources import InMemory, Synthetic

SHAPE = {"num_classes": 5, "channels": 3, "image_size": 16}


def test_in_memory_slices_its_images():
    pixels = torch.randint(0, 256, (10, 1, 4, 4), dtype=torch.uint8)
    source = InMemory(pixels, torch.arange(10))
    assert torch.equal(source.fetch(torch.tensor([7, 2]))[0], pixels[[7, 2]])


def test_in_memory_fits_each_slice_if_told_to():
    source = InMemory(torch.zeros(10, 1, 4, 4, dtype=torch.uint8), torch.arange(10), fit=lambda images: images + 1)
    assert (source.fetch(torch.tensor([3]))[0] == 1).all()


@pytest.mark.parametrize(
    ("images", "targets", "message"),
    [
        (torch.zeros(3, 1, 2, 2), 3, "torch.float32"),
        (torch.zeros(3, 2, 2, dtype=torch.uint8), 3, r"\(3, 2, 2\)"),
        (torch.zeros(3, 1, 2, 2, dtype=torch.uint8), 2, "3 images but 2 targets"),
    ],
)
def test_in_memory_refuses_what_is_not_a_split(images, targets, message):
    with pytest.raises(ValueError, match=message):
        InMemory(images, torch.arange(targets))


def test_synthetic_images_depend_on_their_number_alone():
    source = Synthetic(40, seed=0, split="train", **SHAPE)
    again = Synthetic(40, seed=0, split="train", **SHAPE)
    everything = source.fetch(torch.arange(40))[0]
    assert everything.dtype == torch.uint8
    assert everything.shape == (40, 3, 16, 16)
    assert torch.equal(again.fetch(torch.tensor([31, 5]))[0], everything[[31, 5]])
    assert torch.equal(source.fetch(torch.arange(40))[0], everything)  # drawing twice changes nothing


def test_synthetic_splits_are_balanced_and_share_patterns_but_no_image():
    train, test = (Synthetic(50, seed=0, split=split, **SHAPE) for split in ("train", "test"))
    assert torch.bincount(train.targets).tolist() == [10] * 5
    of_train, of_test = (s.fetch(torch.arange(50))[0].flatten(1).float() for s in (train, test))
    assert (torch.cdist(of_train, of_test) > 0).all()
    means = [
        torch.stack([images[source.targets == label].mean(0) for label in range(5)])
        for images, source in ((of_train, train), (of_test, test))
    ]
    nearest = torch.cdist(*means).argmin(1)
    assert nearest.tolist() == list(range(5))


def test_synthetic_classes_can_be_told_apart_by_their_mean_images():
    train, test = (Synthetic(200, seed=3, split=split, **SHAPE) for split in ("train", "test"))
    images = train.fetch(torch.arange(200))[0].flatten(1).float()
    centres = torch.stack([images[train.targets == label].mean(0) for label in range(5)])
    guesses = torch.cdist(test.fetch(torch.arange(200))[0].flatten(1).float(), centres).argmin(1)
    assert (guesses == test.targets).float().mean() > 0.95


def test_another_seed_makes_another_synthetic_dataset():
    first, second = (Synthetic(10, seed=seed, split="train", **SHAPE).fetch(torch.arange(10))[0] for seed in (0, 1))
    assert not torch.equal(first, second)
