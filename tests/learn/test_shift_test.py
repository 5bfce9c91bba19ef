"""The shift test against images moved one pixel at a time, and what it says of networks that are known."""

import pytest
import torch
from torch import Tensor, nn

from convarium.learn.shift_test import ShiftTest, shifted


def moved(image: Tensor, down: int, right: int) -> Tensor:
    """An image (C, H, W) whose pixel (y, x) is the one at (y - down, x - right), or the nearest that there is."""
    height, width = image.shape[1:]
    rows = [min(max(y - down, 0), height - 1) for y in range(height)]
    columns = [min(max(x - right, 0), width - 1) for x in range(width)]
    return image[:, rows][:, :, columns]


def measured(net: nn.Module, images: Tensor, targets: Tensor, pixels: int, batch: int = 4) -> dict[str, float]:
    test = ShiftTest(pixels)
    with torch.no_grad():
        for part, truth in zip(images.split(batch), targets.split(batch), strict=True):
            test.update(net, part, net(part), truth)
    return {name: value.item() for name, value in test.compute().items()}


@pytest.mark.parametrize("classes", [1, 5])
def test_the_shares_are_those_of_a_loop_over_images_and_shifts(classes: int) -> None:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(2, 4, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(36, classes))
    images, targets = torch.randn(10, 2, 7, 8), torch.arange(10) % max(classes, 2)
    alike, right = [], []
    with torch.no_grad():
        for image, target in zip(images, targets, strict=True):
            for down in range(-2, 3):
                for right_by in range(-2, 3):
                    one, other = net(image[None])[0], net(moved(image, down, right_by)[None])[0]
                    said = [int(logits > 0) if classes == 1 else int(logits.argmax()) for logits in (one, other)]
                    if (down, right_by) != (0, 0):
                        alike.append(said[0] == said[1])
                        right.append(said[1] == target.item())
    assert len(alike) == 240
    assert 0 < sum(alike) < 240
    assert measured(net, images, targets, 2) == {
        "consistency": pytest.approx(sum(alike) / 240, rel=1e-12),
        "shifted_acc1": pytest.approx(sum(right) / 240, rel=1e-12),
    }


def test_every_shift_but_none_is_shown_once() -> None:
    image = torch.arange(35.0).view(1, 1, 5, 7)
    own = [tuple(view.flatten().tolist()) for view in shifted(image, 1)]
    steps = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)]
    assert len(own) == 8
    assert set(own) == {tuple(moved(image[0], *step).flatten().tolist()) for step in steps}


def test_a_network_that_averages_single_pixels_answers_alike_and_one_that_looks_at_a_place_does_not() -> None:
    images = torch.zeros(8, 1, 9, 9)
    images[:, 0, 4, 4] = torch.tensor([1.0, -1.0] * 4)  # with a margin, so that nothing leaves the image
    targets = torch.tensor([1, 0] * 4)
    everywhere = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert measured(everywhere, images, targets, 2) == {"consistency": 1.0, "shifted_acc1": 1.0}

    class Place(nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            return pictures[:, :, 4, 4]

    assert measured(Place(), images, targets, 1) == {"consistency": 0.5, "shifted_acc1": 0.5}  # what is 0 is class 0
