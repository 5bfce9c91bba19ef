"""Fully connected networks: the sizes of LeCun's table, and what has no place in them."""

import pytest
import torch

from convarium.archs.mlp import MLP


@pytest.mark.parametrize(("hidden", "parameters"), [([300], 238_510), ([1000], 795_010), ([1000, 150], 936_660)])
def test_any_depth_has_the_published_parameters(hidden: list[int], parameters: int) -> None:
    with torch.device("meta"):
        net = MLP(hidden=hidden)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters


def test_without_hidden_layers_it_is_linear_in_the_pixels() -> None:
    net = MLP(hidden=[], in_channels=2, image_size=3, num_classes=4)
    images = torch.randn(5, 2, 3, 3)
    torch.testing.assert_close(net(images), images.flatten(1) @ net.classifier.weight.T + net.classifier.bias)
