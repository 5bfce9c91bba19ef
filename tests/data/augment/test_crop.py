import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convarium.data.augment.change import AugmentKey
from convarium.data.augment.crop import (
    CropFlip,
    RandomResizedCrop,
    ScaleCrop,
    _crop_on_device,
    _crop_on_host,
    cut,
)

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


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 7, 9), (3, 5, 8)])
def test_host_and_device_cut_the_same(shape):
    images = torch.randint(0, 256, (40, *shape), dtype=torch.uint8)
    drawn = [torch.randint(0, 7, (40,)), torch.randint(0, 7, (40,)), torch.rand(40) < 0.5]
    assert torch.equal(_crop_on_host(images, 3, *drawn), _crop_on_device(images, 3, *drawn))


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


@pytest.mark.gpu
def test_a_gpu_changes_images_exactly_as_the_cpu_does():
    index = torch.arange(64)
    there = CropFlip()(IMAGES.cuda(), AugmentKey(1, 2, index.cuda()))
    assert torch.equal(there.cpu(), CropFlip()(IMAGES, AugmentKey(1, 2, index)))


SIZES = torch.tensor([(375, 500), (500, 375), (224, 224), (64, 900), (900, 64), (1, 1), (3, 2)])


def boxes(crop, sizes=SIZES, *, epoch=0, image_size=224):
    return crop.boxes(sizes, AugmentKey(1, epoch, torch.arange(len(sizes))), image_size)


@pytest.mark.parametrize("crop", [RandomResizedCrop(), ScaleCrop(), ScaleCrop((256, 512)), ScaleCrop(central=True)])
def test_a_box_lies_in_its_picture(crop):
    for epoch in range(200):
        top, left, height, width = boxes(crop, epoch=epoch).unbind(1)
        assert (torch.stack((top, left)) >= 0).all()
        assert (torch.stack((height, width)) >= 1).all()
        assert (top + height <= SIZES[:, 0]).all()
        assert (left + width <= SIZES[:, 1]).all()


def test_random_resized_crops_are_drawn_as_torchvision_draws_them():
    from torchvision.transforms import RandomResizedCrop as Torchvisions

    n = 4000
    sizes = torch.tensor([(375, 500)]).expand(n, 2)
    ours = boxes(RandomResizedCrop(), sizes).double()
    torch.manual_seed(0)
    image = torch.empty(1, 375, 500)
    theirs = torch.tensor(
        [Torchvisions.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(n)], dtype=torch.float64
    )
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        torch.testing.assert_close(ours.quantile(share, 0), theirs.quantile(share, 0), atol=16, rtol=0)
    area, ratio = ours[:, 2] * ours[:, 3] / (375 * 500), (ours[:, 3] / ours[:, 2]).log()
    assert area.min() >= 0.079
    assert ratio.abs().max() <= np.log(4 / 3) + 0.02


def test_a_picture_too_long_for_any_draw_gives_its_centre():
    # areas from 0.9 on of so long a picture are all too wide for the accepted ratios
    crop = RandomResizedCrop(scale=(0.9, 1.0))
    assert boxes(crop, torch.tensor([(64, 900), (900, 64)])).tolist() == [[0, 407, 64, 85], [407, 0, 85, 64]]


def test_scale_crops_have_the_side_that_224_pixels_have_at_the_drawn_scale():
    sizes = torch.tensor([(400, 600)]).expand(3000, 2)
    jittered = boxes(ScaleCrop((256, 512)), sizes)
    assert torch.equal(jittered[:, 2], jittered[:, 3])
    assert jittered[:, 2].min() == 175  # 400 * 224 / 512
    assert jittered[:, 2].max() == 350  # 400 * 224 / 256
    assert jittered[:, 0].max() > 215
    assert jittered[:, 1].max() > 410
    central = boxes(ScaleCrop(central=True), sizes)
    assert set(central[:, 2].tolist()) == {350}
    assert (central[:, 1].min(), central[:, 1].max()) == (100, 150)  # of the square from 100 to 500
    assert (central[:, 0].min(), central[:, 0].max()) == (0, 50)


def test_a_part_of_an_image_in_memory_is_resized_as_pillow_does():
    image = IMAGES[:1]
    for top, left, height, width in ((0, 0, 16, 16), (3, 5, 8, 8), (2, 0, 5, 11), (15, 15, 1, 1)):
        part = cut(image, torch.tensor([(top, left, height, width)]))[0]
        pixels = Image.fromarray(image[0].permute(1, 2, 0).numpy())
        window = pixels.crop((left, top, left + width, top + height)).resize((16, 16), Image.Resampling.BILINEAR)
        expected = torch.from_numpy(np.array(window)).permute(2, 0, 1)
        assert (part.int() - expected.int()).abs().max() <= 1
