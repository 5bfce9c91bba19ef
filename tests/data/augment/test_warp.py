import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from convarium.data.augment.warp import affine

ANGLES = torch.linspace(-170, 173, 16, dtype=torch.float64)


def turned(images, **options):
    cos, sin = ANGLES.deg2rad().cos(), ANGLES.deg2rad().sin()
    zero = torch.zeros_like(cos)
    return affine(images, torch.stack((cos, -sin, zero, sin, cos, zero), 1).view(-1, 2, 3), **options)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
def test_a_turn_is_torchvisions(images, interpolation):
    mode = InterpolationMode(interpolation)
    expected = torch.stack(
        [reference.rotate(image, angle.item(), mode) for image, angle in zip(images, ANGLES, strict=True)]
    )
    apart = (turned(images, interpolation=interpolation).int() - expected.int()).abs()
    # where a place lies halfway between two pixels, or a value between two levels, either may be taken
    assert (apart > 0).float().mean() < 1e-3
    assert interpolation == "nearest" or apart.max() <= 1


def test_what_is_moved_in_has_the_level_asked_for(images):
    expected = torch.stack(
        [reference.rotate(image, angle.item(), fill=99) for image, angle in zip(images, ANGLES, strict=True)]
    )
    assert (turned(images, fill=99) != expected).float().mean() < 1e-3
    corners = turned(torch.full_like(images, 99), interpolation="bilinear", fill=99)
    assert torch.equal(corners, torch.full_like(images, 99))


def test_without_a_level_the_border_goes_on(images):
    shift = torch.tensor([[1.0, 0, -5], [0, 1, 3]]).repeat(16, 1, 1)  # right by 5, up by 3
    padded = torch.nn.functional.pad(images.float(), (5, 0, 0, 3), mode="replicate").to(torch.uint8)
    expected = padded[..., 3:, : images.shape[-1]]
    for interpolation in ("nearest", "bilinear"):
        assert torch.equal(affine(images, shift, interpolation=interpolation, fill=None), expected)


def test_the_identity_changes_nothing(images):
    identity = torch.eye(2, 3).repeat(16, 1, 1)
    for interpolation in ("nearest", "bilinear"):
        assert torch.equal(affine(images, identity, interpolation=interpolation), images)
