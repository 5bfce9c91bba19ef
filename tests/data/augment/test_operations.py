import pytest
import torch
from torchvision.transforms import v2

from convarium.data.augment import operations
from convarium.data.augment.operations import each, named

NAMES = ("identity", *operations.MATRICES, *operations.TONES)
THEIRS = {
    "identity": "Identity",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateX",
    "translate_y": "TranslateY",
    "rotate": "Rotate",
    "brightness": "Brightness",
    "color": "Color",
    "contrast": "Contrast",
    "sharpness": "Sharpness",
    "posterize": "Posterize",
    "solarize": "Solarize",
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
    "invert": "Invert",
}
REACH = {"shear_x": 0.99, "shear_y": 0.99, "translate_x": 20.5, "translate_y": 20.5, "rotate": 133.0}


def magnitudes(name):
    """Sixteen, over the range and a bit more; both signs where there are two."""
    if name == "posterize":
        return (torch.arange(16) % 9).double()
    if name == "solarize":
        return torch.linspace(0, 1, 16, dtype=torch.float64)
    return torch.linspace(-1, 0.97, 16, dtype=torch.float64) * REACH.get(name, 0.99)


# not with another level and bilinear: torchvision blends that level twice at the border
@pytest.mark.parametrize(("interpolation", "fill"), [("nearest", 0), ("nearest", 128), ("bilinear", 0)])
@pytest.mark.parametrize("name", NAMES)
def test_an_operation_is_torchvisions_for_every_magnitude(name, fill, interpolation, images):
    policy, mode = v2.RandAugment(), v2.InterpolationMode(interpolation)
    levels = {torch.Tensor: [float(fill)] * images.shape[1]} if fill else {torch.Tensor: None}
    expected = torch.stack(
        [
            policy._apply_image_or_video_transform(image, THEIRS[name], size.item(), mode, levels)
            for image, size in zip(images, magnitudes(name), strict=True)
        ]
    )
    which = torch.full((16,), NAMES.index(name))
    changed = each(images, which, magnitudes(name), named(NAMES, interpolation=interpolation, fill=fill))
    apart = (changed.int() - expected.int()).abs()
    # one level where fractions are dropped in another order; another pixel where a place lies halfway between two
    assert (apart > 0).float().mean() < 0.005
    assert (apart > 1).float().mean() < (1e-3 if name in REACH and interpolation == "nearest" else 1e-9)


def test_each_image_gets_its_own_operation_in_either_way(images):
    which, sizes = torch.arange(16) % len(NAMES), torch.linspace(0.1, 0.9, 16, dtype=torch.float64)
    sizes[which == NAMES.index("posterize")] = 3
    chosen = named(NAMES, interpolation="nearest", fill=7)
    before = images.clone()
    together = each(images, which, sizes, chosen)
    for k in range(16):
        one = chosen[which[k]]
        expected = images[k : k + 1] if one is None else one(images[k : k + 1], sizes[k : k + 1])
        assert torch.equal(together[k : k + 1], expected), NAMES[which[k]]
    assert torch.equal(operations._masked(images, which, sizes, chosen), together)
    assert torch.equal(images, before)


def test_many_large_images_are_changed_piece_by_piece_alike(monkeypatch, images):
    which, sizes = torch.arange(16) % 4, torch.linspace(0.1, 0.9, 16, dtype=torch.float64)
    chosen = named(["identity", "rotate", "brightness", "equalize"], interpolation="bilinear", fill=0)
    together = each(images, which, sizes, chosen)
    monkeypatch.setattr("convarium.data.augment.chunks.AT_ONCE", 1)
    assert torch.equal(each(images, which, sizes, chosen), together)


@pytest.mark.gpu
def test_a_gpu_changes_images_as_the_cpu_does(images):
    which, sizes = torch.arange(16) % len(NAMES), torch.linspace(0.1, 0.9, 16, dtype=torch.float64)
    chosen = named(NAMES, interpolation="nearest", fill=7)
    there = each(images.cuda(), which.cuda(), sizes.cuda(), chosen)
    assert torch.equal(there.cpu(), each(images, which, sizes, chosen))
