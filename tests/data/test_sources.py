import pytest
import torch

from convarium.data.listing import image_files
from convarium.data.sources import Files, InMemory, Synthetic

SHAPE = {"num_classes": 5, "channels": 3, "image_size": 16}


def test_in_memory_slices_its_images():
    pixels = torch.randint(0, 256, (10, 1, 4, 4), dtype=torch.uint8)
    source = InMemory(pixels, torch.arange(10))
    assert torch.equal(source.images(torch.tensor([7, 2])), pixels[[7, 2]])


def test_in_memory_fits_each_slice_if_told_to():
    source = InMemory(torch.zeros(10, 1, 4, 4, dtype=torch.uint8), torch.arange(10), fit=lambda images: images + 1)
    assert (source.images(torch.tensor([3])) == 1).all()


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


def test_files_are_decoded_in_the_order_asked_for(class_folders):
    paths = image_files(class_folders(images=5))
    files = Files(paths, torch.arange(10), channels=3, image_size=12, threads=4)
    held = files.load()
    some = torch.tensor([9, 0, 4, 4])
    assert torch.equal(files.images(some), held.images(some))
    assert files.bytes_in_memory == held.pixels.nbytes == 10 * 3 * 12 * 12


def test_files_are_decoded_inside_a_test_too(class_folders):
    files = Files(image_files(class_folders()), torch.arange(8), channels=3, image_size=12)
    with torch.inference_mode():
        inside = files.load()
    assert torch.equal(inside.pixels, files.images(torch.arange(8)))


def test_an_unreadable_file_is_named_when_it_is_decoded(class_folders):
    root = class_folders()
    broken = root / "train" / "dog" / "2.png"
    broken.write_bytes(b"?")
    files = Files(image_files(root), torch.arange(8), channels=3, image_size=12)
    with pytest.raises(ValueError, match=r"2\.png: unreadable image"):
        files.load()


def test_synthetic_images_depend_on_their_number_alone():
    source = Synthetic(40, seed=0, split="train", **SHAPE)
    again = Synthetic(40, seed=0, split="train", **SHAPE)
    everything = source.images(torch.arange(40))
    assert everything.dtype == torch.uint8
    assert everything.shape == (40, 3, 16, 16)
    assert torch.equal(again.images(torch.tensor([31, 5])), everything[[31, 5]])
    assert torch.equal(source.images(torch.arange(40)), everything)  # drawing twice changes nothing


def test_synthetic_splits_are_balanced_and_share_patterns_but_no_image():
    train, test = (Synthetic(50, seed=0, split=split, **SHAPE) for split in ("train", "test"))
    assert torch.bincount(train.targets).tolist() == [10] * 5
    of_train, of_test = (s.images(torch.arange(50)).flatten(1).float() for s in (train, test))
    assert (torch.cdist(of_train, of_test) > 0).all()
    means = [
        torch.stack([images[source.targets == label].mean(0) for label in range(5)])
        for images, source in ((of_train, train), (of_test, test))
    ]
    nearest = torch.cdist(*means).argmin(1)
    assert nearest.tolist() == list(range(5))


def test_synthetic_classes_can_be_told_apart_by_their_mean_images():
    train, test = (Synthetic(200, seed=3, split=split, **SHAPE) for split in ("train", "test"))
    images = train.images(torch.arange(200)).flatten(1).float()
    centres = torch.stack([images[train.targets == label].mean(0) for label in range(5)])
    guesses = torch.cdist(test.images(torch.arange(200)).flatten(1).float(), centres).argmin(1)
    assert (guesses == test.targets).float().mean() > 0.95


def test_another_seed_makes_another_synthetic_dataset():
    first, second = (Synthetic(10, seed=seed, split="train", **SHAPE).images(torch.arange(10)) for seed in (0, 1))
    assert not torch.equal(first, second)
