"""Every operation beside torchvision's, with amounts of its own for each image of the batch."""

import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from convarium.data.augment import tones

FACTORS = torch.linspace(0, 2, 16, dtype=torch.float64)
WITH_AMOUNT = {
    # operation, torchvision's, amounts, levels it may differ by, share of the levels that may differ
    "brightness": (tones.brightness, reference.adjust_brightness, FACTORS, 0, 0.0),
    "contrast": (tones.contrast, reference.adjust_contrast, FACTORS, 1, 0.005),
    "saturation": (tones.saturation, reference.adjust_saturation, FACTORS, 1, 0.005),
    "hue": (tones.hue, reference.adjust_hue, FACTORS / 2 - 0.5, 1, 0.15),  # torchvision drops fractions, we round
    "sharpness": (tones.sharpness, reference.adjust_sharpness, FACTORS, 1, 0.005),
    "solarize": (tones.solarize, reference.solarize, FACTORS * 127.5, 0, 0.0),
    "posterize": (
        tones.posterize,
        lambda image, bits: reference.posterize(image, int(bits)),
        (FACTORS * 4).floor(),
        0,
        0.0,
    ),
}
WITHOUT = {
    "autocontrast": (tones.autocontrast, reference.autocontrast),
    "equalize": (tones.equalize, reference.equalize),
    "invert": (tones.invert, reference.invert),
}


@pytest.mark.parametrize("name", WITH_AMOUNT)
def test_an_operation_with_amounts_is_torchvisions(name, images):
    operation, theirs, amounts, levels, share = WITH_AMOUNT[name]
    before = images.clone()
    expected = torch.stack([theirs(image, amount.item()) for image, amount in zip(images, amounts, strict=True)])
    apart = (operation(images, amounts).int() - expected.int()).abs()
    assert apart.max() <= levels
    assert (apart > 0).float().mean() <= share
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", WITHOUT)
def test_an_operation_without_amounts_is_exactly_torchvisions(name, images):
    operation, theirs = WITHOUT[name]
    before = images.clone()
    assert torch.equal(operation(images), torch.stack([theirs(image) for image in images]))
    assert torch.equal(images, before)


def test_equalize_is_torchvisions_for_few_pixels_and_few_levels():
    few = torch.randint(0, 256, (40, 3, 12, 12), dtype=torch.uint8)
    few[:20] //= 64
    assert torch.equal(tones.equalize(few), torch.stack([reference.equalize(image) for image in few]))


def test_a_factor_of_one_and_a_turn_of_none_change_nothing(images):
    one = torch.ones(16, dtype=torch.float64)
    for operation in (tones.brightness, tones.contrast, tones.saturation, tones.sharpness):
        assert torch.equal(operation(images, one), images)
    assert torch.equal(tones.hue(images, 0 * one), images)


def test_a_whole_turn_in_two_halves_gives_every_hue_back(colored):
    half = torch.full((16,), 0.5, dtype=torch.float64)
    assert torch.equal(tones.hue(tones.hue(colored, half), half), colored)


def test_a_third_of_a_turn_takes_red_to_green_and_green_to_blue():
    colors = torch.tensor([[200, 10, 10], [10, 200, 10]], dtype=torch.uint8).view(2, 3, 1, 1)
    turned = tones.hue(colors, torch.full((2,), 1 / 3, dtype=torch.float64))
    assert turned.flatten(1).tolist() == [[10, 200, 10], [10, 10, 200]]


def test_an_image_of_two_pixels_has_no_inside_to_sharpen():
    small = torch.randint(0, 256, (4, 3, 2, 9), dtype=torch.uint8)
    assert torch.equal(tones.sharpness(small, torch.zeros(4, dtype=torch.float64)), small)
