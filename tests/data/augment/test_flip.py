import pytest
import torch

from convarium.data.augment.change import AugmentKey
from convarium.data.augment.crop import CropFlip
from convarium.data.augment.flip import Flip

IMAGES = torch.randint(0, 256, (1000, 1, 2, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


def which(change, epoch):
    changed = change(IMAGES, AugmentKey(0, epoch, torch.arange(1000)))
    mirrored = (changed == IMAGES.flip(-1)).flatten(1).all(1)
    assert (mirrored | (changed == IMAGES).flatten(1).all(1)).all()
    return mirrored


@pytest.mark.parametrize("kind", [Flip, lambda mirror: CropFlip(pad=0, mirror=mirror)])
def test_one_image_in_two_is_mirrored_afresh_in_every_epoch(kind):
    first, second = which(kind("random"), 0), which(kind("random"), 1)
    assert 450 < first.sum() < 550
    assert 400 < (first ^ second).sum() < 600


@pytest.mark.parametrize("kind", [Flip, lambda mirror: CropFlip(pad=0, mirror=mirror)])
def test_alternating_mirrors_each_image_in_every_other_epoch(kind):
    first = which(kind("alternating"), 0)
    assert 450 < first.sum() < 550
    assert torch.equal(which(kind("alternating"), 1), ~first)
    assert torch.equal(which(kind("alternating"), 2), first)


def test_none_is_none():
    assert not which(Flip("none"), 0).any()
