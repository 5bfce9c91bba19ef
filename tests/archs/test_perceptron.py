"""The perceptron: Rosenblatt's rule, step by step, and what has no place in it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from convarium.archs.perceptron import Perceptron
from convarium.config.compose import compose
from convarium.config.instantiate import build

CONF = Path(__file__).parents[2] / "conf"
ROSENBLATT = (CONF / "loss" / "perceptron.yaml").read_text().splitlines()[-1].removeprefix("# ").split()


def whole_numbers(images: int, classes: int) -> tuple[Tensor, Tensor]:
    """Images of whole numbers, whose weighted sums float32 has exactly, and their classes."""
    generator = torch.Generator().manual_seed(1)
    return (
        torch.randint(-3, 4, (images, 1, 3, 3), generator=generator).float(),
        torch.randint(classes, (images,), generator=generator),
    )


def train(net: Perceptron, images: Tensor, targets: Tensor, lr: float) -> int:
    """One pass with the loss and optimizer of the configuration, images one by one; how many changed a weight."""
    config = compose([*ROSENBLATT, f"optimizer.lr={lr}"]).config
    loss, optimizer = build(config["loss"], "loss"), build(config["optimizer"], "optimizer")(net.parameters())
    changes = 0
    for image, target in zip(images, targets, strict=True):
        before = net.classifier.weight.detach().clone()
        optimizer.zero_grad()
        loss(net(image[None]), target[None]).mean().backward()
        optimizer.step()
        changes += not torch.equal(before, net.classifier.weight)
    return changes


@pytest.mark.parametrize("units", [1, 3])
def test_with_its_loss_and_sgd_on_single_images_it_follows_rosenblatts_rule(units: int) -> None:
    images, targets = whole_numbers(200, max(units, 2))
    lr = 0.5
    net = Perceptron(image_size=3, num_classes=units)
    train(net, images, targets, lr)

    weights, biases, wrong, undecided = torch.zeros(units, 9), torch.zeros(units), 0, 0
    for x, target in zip(images.flatten(1), targets.tolist(), strict=True):
        for unit in range(units):
            t = 1 if target == (unit if units > 1 else 1) else -1
            s = weights[unit] @ x + biases[unit]
            if t * s <= 0:
                weights[unit] += lr * t * x
                biases[unit] += lr * t
                wrong += 1
                undecided += s.item() == 0
    assert wrong > 50
    assert undecided >= units
    assert torch.equal(net.classifier.weight, weights)
    assert torch.equal(net.classifier.bias, biases)


@pytest.mark.parametrize("target", [0, 1])
def test_from_zero_weights_the_first_image_is_wrong_whatever_its_class(target: int) -> None:
    image = torch.tensor([[1.0, -2.0], [0.0, 3.0]])[None, None]
    net = Perceptron(image_size=2, num_classes=1)
    train(net, image, torch.tensor([target]), lr=0.25)
    sign = 2 * target - 1
    assert net.classifier.weight.tolist() == [[0.25 * sign, -0.5 * sign, 0.0, 0.75 * sign]]
    assert net.classifier.bias.tolist() == [0.25 * sign]


def test_it_separates_what_can_be_separated_within_novikoffs_bound() -> None:
    images, _ = whole_numbers(300, 2)
    plane = torch.tensor([3.0, -1, 2, 0, 1, -2, 1, 1, -1]) / torch.tensor(22.0).sqrt()
    sums = images.flatten(1) @ plane
    images, sums = images[sums.abs() > 0.5], sums[sums.abs() > 0.5]
    targets = (sums > 0).long()
    net = Perceptron(image_size=3, num_classes=1)
    mistakes = 0
    while changes := train(net, images, targets, lr=1.0):
        mistakes += changes
        assert mistakes <= (images.flatten(1).square().sum(1).max() + 1) / sums.abs().min().square()
    assert torch.equal(net.fire(images)[:, 0], targets.float())


def test_a_unit_fires_where_its_sum_is_positive() -> None:
    net = Perceptron(image_size=1, num_classes=3)
    with torch.no_grad():
        net.classifier.weight.copy_(torch.tensor([[1.0], [-1.0], [0.0]]))
    assert net.fire(torch.tensor([2.0, -2.0]).view(2, 1, 1, 1)).tolist() == [[1, 0, 0], [0, 1, 0]]
