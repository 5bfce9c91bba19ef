import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convarium.data.augment.change import AugmentKey
from convarium.data.augment.crop import CropFlip

IMAGES = torch.randint(1, 256, (64, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def augmented(samples, *, epoch=0, seed=1, pad=4):
    index = torch.tensor(samples)
    return CropFlip(pad=pad)(IMAGES[index], AugmentKey(seed, epoch, index))


@given(st.permutations(range(12)), st.integers(1, 12), st.integers(0, 100))
@settings(deadline=None)
def test_a_sample_is_changed_in_the_same_way_in_any_batch(order, size, epoch):
    together = augmented(list(range(12)), epoch=epoch)
    for first in range(0, 12, size):
        part = order[first : first + size]
        assert torch.equal(augmented(part, epoch=epoch), together[part])


def test_every_result_is_a_window_of_the_padded_image_or_of_its_mirror():
    padded = torch.nn.functional.pad(IMAGES, [4] * 4)
    for image, result in zip(padded, augmented(list(range(64))), strict=True):
        windows = [
            side[:, top : top + 16, left : left + 16]
            for side in (image, image.flip(-1))
            for top in range(9)
            for left in range(9)
        ]
        assert sum(torch.equal(result, window) for window in windows) == 1


def test_two_epochs_and_two_seeds_differ():
    base = augmented(list(range(64)))
    assert not torch.equal(base, augmented(list(range(64)), epoch=1))
    assert not torch.equal(base, augmented(list(range(64)), seed=2))


def test_places_and_mirrors_are_drawn_evenly():
    # one bright pixel in the middle shows where the window lay and whether it was mirrored
    n = 20_000
    images = torch.zeros(n, 1, 9, 8, dtype=torch.uint8)
    images[:, :, 4, 3] = 255
    moved = CropFlip(pad=1)(images, AugmentKey(0, 0, torch.arange(n)))
    counts = (moved == 255).sum(0)[0]
    # rows 3..5 a third each; columns 2..4 if kept, 3..5 if mirrored
    assert (counts.sum(1)[3:6] / n - 1 / 3).abs().max() < 0.02
    columns = torch.tensor([1 / 6, 1 / 3, 1 / 3, 1 / 6])
    assert (counts.sum(0)[2:6] / n - columns).abs().max() < 0.02
    assert counts.sum() == n


def test_without_padding_only_the_mirror_is_left():
    results = augmented(list(range(64)), pad=0)
    kept = (results == IMAGES).flatten(1).all(1)
    mirrored = (results == IMAGES.flip(-1)).flatten(1).all(1)
    assert (kept ^ mirrored).all()
    assert 16 < kept.sum() < 48


def test_the_images_are_not_written_to():
    before = IMAGES.clone()
    augmented(list(range(64)))
    assert torch.equal(IMAGES, before)


def test_a_window_needs_no_square():
    images = torch.zeros(5, 2, 6, 10, dtype=torch.uint8)
    assert CropFlip(pad=2)(images, AugmentKey(0, 0, torch.arange(5))).shape == images.shape


@pytest.mark.parametrize("pad", [-1, 20_000])
def test_a_padding_out_of_range_is_refused(pad):
    with pytest.raises(ValueError, match=f"pad={pad}: accepted are whole numbers from 0"):
        CropFlip(pad=pad)


@pytest.mark.gpu
def test_a_gpu_changes_images_exactly_as_the_cpu_does():
    index = torch.arange(64)
    there = CropFlip()(IMAGES.cuda(), AugmentKey(1, 2, index.cuda()))
    assert torch.equal(there.cpu(), CropFlip()(IMAGES, AugmentKey(1, 2, index)))
