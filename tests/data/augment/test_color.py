import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from convarium.data.augment.change import AugmentKey
from convarium.data.augment.color import EIGENVALUES, EIGENVECTORS, ColorJitter, FancyPCA
from convarium.data.augment.draws import normals, uniforms

N = 20_000
MANY = AugmentKey(0, 0, torch.arange(N))
FEW = AugmentKey(0, 0, torch.arange(16))


@pytest.mark.parametrize("change", [ColorJitter(0.4, 0.4, 0.4, 0.1), FancyPCA(0.1)], ids=repr)
def test_the_contract_is_kept(change, images, keeps_the_contract):
    keeps_the_contract(change, images)


def test_color_jitter_does_what_torchvision_does_with_the_same_factors_and_order(images):
    drawn = uniforms(FEW, "color_jitter", 8)
    colored = images.shape[1] == 3
    steps = [
        (reference.adjust_brightness, 0.5 + drawn[:, 0]),
        (reference.adjust_contrast, 0.6 + 0.8 * drawn[:, 1]),
        *([(reference.adjust_saturation, 0.7 + 0.6 * drawn[:, 2])] if colored else []),
        *([(reference.adjust_hue, -0.2 + 0.4 * drawn[:, 3])] if colored else []),
    ]
    expected = []
    for k, image in enumerate(images):
        for step in drawn[k, 4 : 4 + len(steps)].argsort().tolist():
            adjust, amounts = steps[step]
            image = adjust(image, amounts[k].item())
        expected.append(image)
    apart = (ColorJitter(0.5, 0.4, 0.3, 0.2)(images, FEW).int() - torch.stack(expected).int()).abs()
    # a level here or there, which a later factor may double
    assert apart.max() <= 4
    assert (apart > 1).float().mean() < 0.01
    assert len({tuple(row) for row in drawn[:, 4 : 4 + len(steps)].argsort(1).tolist()}) > 1


def test_a_factor_is_drawn_evenly_and_is_never_negative():
    grey = torch.full((N, 1, 1, 1), 100, dtype=torch.uint8)
    levels = ColorJitter(brightness=0.5)(grey, MANY).flatten().double()
    assert levels.min() == 50
    assert levels.max() == 149
    assert (torch.histc(levels, 5, 50, 150) / N - 1 / 5).abs().max() < 0.01
    widest = ColorJitter(brightness=1.5)(grey, MANY).flatten().double()
    assert widest.min() == 0
    assert abs((widest < 125).double().mean() - 1 / 2) < 0.01  # factors from 0 to 2.5


def test_hues_turn_evenly_either_way():
    red = torch.tensor([200, 0, 0], dtype=torch.uint8).view(1, 3, 1, 1).expand(N, 3, 1, 1)
    turned = ColorJitter(hue=1 / 6)(red, MANY)[:, :, 0, 0].double()
    assert (turned[:, 0] == 200).all()  # red leads from magenta to yellow
    for channel in (1, 2):
        assert (torch.histc(turned[:, channel][turned[:, channel] > 0], 4, 0, 200) / N - 1 / 8).abs().max() < 0.01


def test_what_is_not_asked_for_changes_nothing(images):
    assert torch.equal(ColorJitter()(images, FEW), images)
    assert torch.equal(FancyPCA(0.0)(images, FEW), images)
    grey = images[:, :1]
    assert torch.equal(ColorJitter(saturation=0.5, hue=0.5)(grey, FEW), grey)


def test_fancy_pca_adds_one_colour_to_every_pixel_of_an_image(colored):
    drawn = normals(FEW, "fancy_pca", 3) * 0.3 * torch.tensor(EIGENVALUES).double()
    shift = 255 * drawn @ torch.tensor(EIGENVECTORS).double().T
    expected = (colored + shift[..., None, None]).round().clamp(0, 255).to(torch.uint8)
    assert torch.equal(FancyPCA(0.3)(colored, FEW), expected)
    assert (expected != colored).float().mean() > 0.5


def test_the_colours_that_fancy_pca_adds_vary_along_the_principal_components():
    levels = torch.full((N, 3, 1, 1), 128, dtype=torch.uint8)
    shifts = FancyPCA(0.5)(levels, MANY).flatten(1).double() - 128
    vectors = torch.tensor(EIGENVECTORS).double()
    expected = vectors @ torch.diag((255 * 0.5 * torch.tensor(EIGENVALUES).double()) ** 2) @ vectors.T
    assert (torch.cov(shifts.T) / expected - 1).abs().max() < 0.05
    assert shifts.mean(0).abs().max() < 0.5
    assert (vectors.T @ vectors - torch.eye(3)).abs().max() < 1e-3
    grey = FancyPCA(0.5)(levels[:, :1], MANY).flatten().double() - 128
    assert (grey - shifts.mean(1)).abs().max() <= 1
